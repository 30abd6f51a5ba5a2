"""What each method does, in a sentence and a formula; without torch, so that pages can show it.

No letter means two things; the chapter on how the report was made defines each. y is the class's
logit, p its probability, x the image, x′ a baseline, t the place between them, η noise, A_k a
feature map, M_k the same as a mask of the image, s a superpixel, R the relevance of a neuron, z_ij
what neuron i adds to neuron j.
"""

from typing import NamedTuple


class Idea(NamedTuple):
    """A method in a sentence and in a formula."""

    idea: str
    formula: str


_CAM = "Feature maps × "

IDEAS = {
    "lime": Idea("A linear model of which superpixels are shown", "p ≈ β₀ + Σₛ βₛ·zₛ"),
    "gradcam": Idea(f"{_CAM}the mean gradient", "ReLU Σₖ mean(∂y/∂Aₖ)·Aₖ"),
    "gradcam++": Idea(f"{_CAM}the positive gradients", "ReLU Σₖ Σ(α·ReLU ∂y/∂Aₖ)·Aₖ"),
    "hirescam": Idea(f"{_CAM}the gradient at each place", "ReLU Σₖ ∂y/∂Aₖ ⊙ Aₖ"),
    "layercam": Idea(f"{_CAM}the positive gradient at each place", "ReLU Σₖ ReLU(∂y/∂Aₖ) ⊙ Aₖ"),
    "eigencam": Idea(
        "First principal component of the maps, of either sign, for any class",
        "ReLU (A − Ā)·v₁",
    ),
    "ablationcam": Idea(f"{_CAM}what the class loses without them", "ReLU Σₖ (y − y₋ₖ)/|y|·Aₖ"),
    "scorecam": Idea(
        f"{_CAM}the class of the image masked by them", "ReLU Σₖ softmax y(x ⊙ Mₖ)·Aₖ"
    ),
    "integrated_gradients": Idea(
        "Gradients summed along a path from a baseline", "(x − x′)·∫ ∂y/∂x dt"
    ),
    "smoothgrad_squared": Idea("Mean square of IG over noisy copies", "mean IG(x + η)²"),
    "vargrad": Idea("Variance of IG over noisy copies", "var IG(x + η)"),
    "gradient_shap": Idea(
        "SHAP values by gradients at random points",
        "E (x − x′)·∂y/∂x",
    ),
    "occlusion": Idea(
        "What the class loses where a square is hidden", "y(x) − y(x without square)"
    ),
    "lrp": Idea(
        "The logit, handed back layer by layer to what added to it", "Rᵢ = Σⱼ z⁺ᵢⱼ/Σᵢz⁺ᵢⱼ·Rⱼ"
    ),
    "guided_backpropagation": Idea(
        "The gradient, through a ReLU only if positive", "∂y/∂x, ReLU backwards"
    ),
    "guided_gradcam": Idea("Guided Backpropagation times Grad-CAM", "guided ∂y/∂x ⊙ Grad-CAM"),
    "gradient": Idea("How the logit changes with each pixel", "∂y/∂x"),
    "lrp_captum": Idea("Captum's LRP, for comparison", "Rᵢ = Σⱼ zᵢⱼ/(Σᵢzᵢⱼ + ε)·Rⱼ"),
    "random": Idea("A baseline: noise", "uniform in [0, 1]"),
    "edges": Idea("A baseline: the image's edges", "Sobel of the brightness"),
}

"""Attributions are those of the papers and of Captum where Captum is right, and leave no trace."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from captum import attr
from torch import Tensor, nn
from zennit.composites import EpsilonPlusFlat

import networks
from conftest import TEN
from networks import (
    CLASSES,
    CROP,
    FRAME,
    SIDE,
    Awkward,
    Plain,
    asked,
    classifier_of,
    noise_batch,
    seeded_network,
)
from vitrine.data.images import read_image
from vitrine.errors import NotApplicable, StudyError
from vitrine.methods.attribution import ATTRIBUTION_METHODS, Parameters, attribute, explaining
from vitrine.methods.guided_backprop import guided_gradient
from vitrine.methods.lrp import relevance
from vitrine.methods.method import Query
from vitrine.models.canonical import Addition, canonical
from vitrine.models.classifier import Classifier
from vitrine.models.registry import load_classifier
from vitrine.project import Project

TARGET = 4
FEW = Parameters(batch=4, steps=8, samples=3, noisy_steps=4, points=8, window=12, stride=8)


PLAIN, AWKWARD = classifier_of(Plain(), "4"), classifier_of(Awkward(), "last")


@pytest.fixture(scope="module")
def lite(root: Path) -> Classifier:
    return load_classifier(Project(root), "efficientnet_lite0")


@pytest.fixture(scope="module")
def terrier(lite: Classifier, mirror: Path) -> Tensor:
    """An image as EfficientNet-Lite0's input."""
    path = mirror / TEN / "n02098286_West_Highland_white_terrier.JPEG"
    return lite.normalise(lite.crop(read_image(path))[None])


def _noise(count: int = 2) -> Tensor:
    return noise_batch(count, seed=1)


def test_the_canonical_form_gives_the_same_logits_from_modules_used_once() -> None:
    form = canonical(AWKWARD.network, _noise(1))
    torch.testing.assert_close(form(_noise()), AWKWARD.network(_noise()))
    torch.testing.assert_close(
        networks.gradient(form, _noise(), TARGET),
        networks.gradient(AWKWARD.network, _noise(), TARGET),
    )
    used = [node.target for node in form.graph.nodes if node.op == "call_module"]
    assert len(used) == len(set(used))
    kinds = [type(form.get_submodule(name)) for name in used]
    assert not [node for node in form.graph.nodes if node.op.startswith("call_f")]
    assert kinds.count(Addition) == 3 and nn.BatchNorm2d not in kinds
    assert kinds.count(nn.ReLU6) == 2 and kinds.count(nn.ReLU) == 2
    assert not any(getattr(module, "inplace", False) for module in form.modules())


class Undecided(nn.Module):
    """Its Python asks what the numbers are, so it cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Plain()

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images if images.mean() > 99 else images * 2)


class Gated(nn.Module):
    """A product of two things that depend on the input, for which there is no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.gate = nn.SiLU()
        self.classifier = nn.Linear(4, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        features = self.convolution(images)
        return self.classifier((features * self.gate(features)).mean((2, 3)))


class Flat(nn.Sequential):
    """No convolution at all."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * SIDE**2, 8), nn.ReLU(), nn.Linear(8, CLASSES))


@pytest.mark.parametrize(
    ("network", "layer", "method", "reason"),
    [
        (Undecided, "layers.4", "lrp", "cannot be traced"),
        (Undecided, "layers.4", "guided_backpropagation", "cannot be traced"),
        (Gated, "convolution", "lrp", "no rule for the step mul"),
        (Gated, "convolution", "guided_backpropagation", "the network has SiLU"),
        (Gated, "convolution", "lrp_captum", "Captum has no rule .* type SiLU"),
        (Flat, "1", "guided_gradcam", "'1' of Tiny network has none"),
    ],
)
def test_what_a_network_does_not_support_is_said(
    network: Callable[[], nn.Module], layer: str, method: str, reason: str
) -> None:
    classifier = classifier_of(network(), layer)
    with pytest.raises(NotApplicable, match=reason):
        attribute(asked(method, classifier, TARGET, FEW))
    for module in classifier.network.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
    # The other methods go on.
    found = attribute(asked("gradient", classifier, TARGET, FEW))
    assert not found.is_constant


def test_numbers_that_are_not_finite_are_no_map() -> None:
    broken = classifier_of(Plain(), "4")
    with torch.no_grad():
        broken.network[0].weight[0] = float("nan")  # type: ignore[index]
    with pytest.raises(NotApplicable, match="not finite"):
        attribute(asked("gradient", broken, TARGET, FEW))


def _conserves(network: nn.Module, batch: Tensor, target: int, tolerance: float) -> None:
    form = canonical(network, batch[:1])
    found = relevance(form, batch, target).sum(dim=(1, 2, 3))
    torch.testing.assert_close(found, network(batch)[:, target], rtol=tolerance, atol=0)


def test_relevance_is_conserved_with_and_without_biases() -> None:
    for network in (Plain(bias=False), Plain(), Awkward()):
        _conserves(seeded_network(network), _noise(), TARGET, 1e-4)


def test_relevance_is_conserved_on_trained_efficientnet_lite0(
    lite: Classifier, terrier: Tensor
) -> None:
    """A logit of 12.8; zennit's own rules leave less than a hundredth of it."""
    _conserves(lite.network, terrier, 203, 1e-3)


def test_without_biases_and_shortcuts_relevance_is_zennits() -> None:
    network = seeded_network(Plain(bias=False))
    batch = _noise().requires_grad_(True)
    with EpsilonPlusFlat().context(network) as hooked:
        logits = hooked(batch)[:, TARGET]
        (expected,) = torch.autograd.grad(logits, batch, grad_outputs=logits.detach())
    found = relevance(canonical(network, _noise(1)), _noise(), TARGET)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_relevance_of_a_batch_is_that_of_its_images() -> None:
    form = canonical(AWKWARD.network, _noise(1))
    together = relevance(form, _noise(3), TARGET)
    alone = torch.cat([relevance(form, each[None], TARGET) for each in _noise(3)])
    torch.testing.assert_close(together, alone)


def test_on_a_plain_network_guided_backpropagation_is_captums() -> None:
    expected = attr.GuidedBackprop(PLAIN.network).attribute(
        _noise().requires_grad_(True), target=TARGET
    )
    found = guided_gradient(canonical(PLAIN.network, _noise(1)), _noise(), TARGET)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, networks.gradient(PLAIN.network, _noise(), TARGET))


def test_guided_backpropagation_guides_where_captum_does_not(
    lite: Classifier, terrier: Tensor
) -> None:
    """All of EfficientNet-Lite0's activations are ReLU6, which Captum passes over."""
    plain = networks.gradient(lite.network, terrier, 203)
    captums = attr.GuidedBackprop(lite.network).attribute(
        terrier.clone().requires_grad_(True), target=203
    )
    assert torch.equal(captums, plain)
    found = guided_gradient(canonical(lite.network, terrier), terrier, 203)
    alike = torch.corrcoef(torch.stack([found.flatten(), plain.flatten()]))[0, 1]
    assert abs(float(alike)) < 0.5


def test_guidance_by_hand() -> None:
    """Two ReLU6 in a row: the negative gradient and the saturated activation let nothing pass."""
    first, second = nn.Conv2d(3, 4, 1, bias=False), nn.Linear(4, CLASSES, bias=False)
    network = nn.Sequential(first, nn.ReLU6(), nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    network.append(second)
    weight = torch.tensor([1.0, 1.0, -1.0, 9.0])
    with torch.no_grad():
        first.weight.copy_(weight[:, None, None, None].expand(4, 3, 1, 1) / 3)
        second.weight.zero_()
        second.weight[TARGET] = torch.tensor([2.0, -2.0, 2.0, 2.0])
    batch = torch.ones(1, 3, 2, 2)
    found = guided_gradient(canonical(network.eval(), batch), batch, TARGET)
    # Only the first channel is on, not saturated, and speaks for the class: 2 / 3 over 4 places.
    torch.testing.assert_close(found, torch.full_like(batch, 2 / 3 / 4))


def test_on_a_plain_network_guided_gradcam_is_captums() -> None:
    batch = PLAIN.normalise(CROP[None])
    with explaining(asked("guided_gradcam", PLAIN, TARGET, FEW)) as explain:
        found = explain(batch)["guided_gradcam"]
    expected = attr.GuidedGradCam(PLAIN.network, PLAIN.network[4]).attribute(  # type: ignore[index]
        batch.clone().requires_grad_(True), target=TARGET
    )
    torch.testing.assert_close(found, expected.detach())
    assert found.abs().max() > 0


def test_integrated_gradients_are_complete() -> None:
    """Their sum is what the image's logit is above that of zero (Sundararajan et al., 2017)."""
    found = attribute(asked("integrated_gradients", AWKWARD, TARGET, Parameters(steps=200)))
    batch = AWKWARD.normalise(CROP[None])
    gained = AWKWARD.network(batch) - AWKWARD.network(batch * 0)
    assert float(found.values.sum()) == pytest.approx(float(gained[0, TARGET]), rel=0.02)


def test_small_batches_do_not_change_what_captum_computes() -> None:
    batch = _noise(3)
    network, steps = AWKWARD.network, FEW.steps
    expected = {
        "gradient": networks.gradient(network, batch, TARGET),
        "integrated_gradients": attr.IntegratedGradients(network).attribute(
            batch, target=TARGET, n_steps=steps
        ),
        "occlusion": attr.Occlusion(network).attribute(
            batch, (3, 12, 12), strides=(3, 8, 8), target=TARGET
        ),
    }
    for method, values in expected.items():
        with explaining(asked(method, AWKWARD, TARGET, FEW)) as explain:
            torch.testing.assert_close(
                explain(batch)[method], values.float().detach(), rtol=1e-4, atol=1e-5, msg=method
            )


def test_the_noise_tunnel_is_captums_with_the_same_draws() -> None:
    torch.manual_seed(FEW.seed)
    tunnel = attr.NoiseTunnel(attr.IntegratedGradients(AWKWARD.network))
    expected = tunnel.attribute(
        _noise(1),
        nt_type="smoothgrad_sq",
        nt_samples=FEW.samples,
        nt_samples_batch_size=1,
        stdevs=0.15 * 255 / 128,
        target=TARGET,
        n_steps=FEW.noisy_steps,
    )
    with explaining(asked("smoothgrad_squared", AWKWARD, TARGET, FEW)) as explain:
        found = explain(_noise(1))["smoothgrad_squared"]
        torch.testing.assert_close(found, expected.float(), rtol=1e-3, atol=1e-5)


USABLE = [name for name in ATTRIBUTION_METHODS if name != "lrp_captum"]


@pytest.mark.parametrize("method", USABLE)
def test_a_map_repeats_knows_its_class_and_leaves_the_generators_alone(method: str) -> None:
    torch.manual_seed(7)
    np.random.seed(7)
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    counted: list[int] = []
    one = attribute(asked(method, AWKWARD, TARGET, FEW, progress=counted.append))
    same = attribute(asked(method, AWKWARD, TARGET, FEW))
    row = ATTRIBUTION_METHODS[method]
    assert (one.values == same.values).all() and not one.is_constant
    assert (one.method, one.target) == (method, TARGET)
    assert one.signed == row.signed
    assert row.signed or one.values.min() >= 0
    assert sum(counted) == row.passes(FEW, SIDE)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()
    # Another class has another map, and only those that draw know the seed.
    other = attribute(asked(method, AWKWARD, 1, FEW))
    assert (one.values != other.values).any()
    again = FEW.model_copy(update={"seed": 1})
    reseeded = attribute(asked(method, AWKWARD, TARGET, again))
    assert (one.values != reseeded.values).any() == row.stochastic


def test_draws_go_on_from_one_call_to_the_next() -> None:
    with explaining(asked("gradient_shap", AWKWARD, TARGET, FEW)) as explain:
        assert not torch.equal(*(explain(_noise(1))["gradient_shap"] for _ in range(2)))


def test_what_does_not_exist_is_named() -> None:
    with pytest.raises(StudyError, match="no attribution method 'lpr'. Did you mean 'lrp'"):
        attribute(asked("lpr", PLAIN, TARGET))
    with pytest.raises(StudyError, match="There is no class 6"):
        attribute(asked("lrp", PLAIN, 6))
    with pytest.raises(StudyError, match="is not what Tiny network sees"):
        attribute(Query("lrp", PLAIN, CROP[:20], FRAME, 0))

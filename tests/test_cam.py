"""Class activation maps are those of the paper and of the library, and leave no trace."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from vitrine.errors import StudyError
from vitrine.inputs.classifiers import Classifier, load_classifier
from vitrine.inputs.pictures import Frame, Picture, Pixels
from vitrine.methods.cam import class_activation_map
from vitrine.methods.heatmap import Heatmap
from vitrine.project import Project


@pytest.fixture(scope="module", params=["resnet18", "efficientnet_lite0"])
def classifier(request: pytest.FixtureRequest, root: Path) -> Classifier:
    return load_classifier(Project(root), request.param, weights="random")


@pytest.fixture(scope="module")
def seen(classifier: Classifier) -> tuple[Pixels, Frame]:
    pixels = np.random.default_rng(3).integers(0, 255, (260, 300, 3), dtype=np.uint8)
    picture = Picture("noise", "", pixels)
    return classifier.crop(picture), classifier.frame(picture)


def _slow_gradcam(classifier: Classifier, crop: Pixels, target: int) -> np.ndarray:
    """Grad-CAM written from the paper: weights are mean gradients, the sum is clipped at zero."""
    kept: list[torch.Tensor] = []

    def keep(_module: object, _inputs: object, output: torch.Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    hook = classifier.layer(classifier.last_convolution).register_forward_hook(keep)
    batch = classifier.normalise(crop[None]).requires_grad_(True)
    classifier.network(batch)[0, target].backward()
    hook.remove()
    activations, gradients = kept[0][0], kept[0].grad[0]  # type: ignore[index]
    weights = gradients.mean(dim=(1, 2))  # [channels]
    small = (weights[:, None, None] * activations).sum(dim=0).clamp(min=0)  # [7, 7]
    low, high = small.min(), small.max()
    scaled = ((small - low) / (high - low)).detach().numpy()
    large = cv2.resize(scaled, crop.shape[:2][::-1])
    return (large - large.min()) / (large.max() - large.min())


def _heatmap(classifier: Classifier, seen: tuple[Pixels, Frame], target: int) -> Heatmap:
    return class_activation_map(classifier, *seen, "gradcam", target)


def test_gradcam_is_the_formula_of_the_paper(
    classifier: Classifier, seen: tuple[Pixels, Frame]
) -> None:
    found = _heatmap(classifier, seen, 5)
    assert found.values.max() > 0
    np.testing.assert_allclose(found.values, _slow_gradcam(classifier, seen[0], 5), atol=2e-5)


def test_gradcam_is_the_librarys(classifier: Classifier, seen: tuple[Pixels, Frame]) -> None:
    network = classifier.network.requires_grad_(True)
    library = GradCAM(network, [classifier.layer(classifier.last_convolution)])
    expected = library(classifier.normalise(seen[0][None]), [ClassifierOutputTarget(5)])[0]
    library.activations_and_grads.release()
    network.requires_grad_(False).zero_grad()
    np.testing.assert_array_equal(_heatmap(classifier, seen, 5).values, expected)


def test_a_map_repeats_to_the_last_digit_and_knows_its_frame(
    classifier: Classifier, seen: tuple[Pixels, Frame]
) -> None:
    one, same = (_heatmap(classifier, seen, 7) for _ in range(2))
    assert (one.values == same.values).all()
    assert one.frame == seen[1]
    assert (one.method, one.target, one.signed) == ("gradcam", 7, False)
    assert one.values.dtype == np.float32


def test_another_class_has_another_map(classifier: Classifier, seen: tuple[Pixels, Frame]) -> None:
    assert (_heatmap(classifier, seen, 1).values != _heatmap(classifier, seen, 2).values).any()


def test_the_network_is_as_it_was(classifier: Classifier, seen: tuple[Pixels, Frame]) -> None:
    _heatmap(classifier, seen, 1)
    with pytest.raises(StudyError):
        class_activation_map(
            classifier, *seen, "gradcam", 1, "fc" if "resnet" in classifier.name else "classifier"
        )
    for module in classifier.network.modules():
        assert not module._forward_hooks and not module.training
    for parameter in classifier.network.parameters():
        assert parameter.grad is None and not parameter.requires_grad


def test_a_class_without_positive_evidence_has_a_map_of_zeros(root: Path) -> None:
    classifier = load_classifier(Project(root), "resnet18", weights="random")
    with torch.no_grad():
        classifier.network.fc.weight[3] = -classifier.network.fc.weight.abs()[3]  # type: ignore
    pixels = np.full((256, 256, 3), 90, dtype=np.uint8)
    picture = Picture("grey", "", pixels)
    found = class_activation_map(
        classifier, classifier.crop(picture), classifier.frame(picture), "gradcam", 3
    )
    assert found.is_blank and (found.values == 0).all()


def test_what_does_not_exist_is_named(classifier: Classifier, seen: tuple[Pixels, Frame]) -> None:
    with pytest.raises(StudyError, match=r"no CAM method 'grad-cam'. Did you mean 'gradcam'"):
        class_activation_map(classifier, *seen, "grad-cam", 0)
    with pytest.raises(StudyError, match="There is no class 1000"):
        class_activation_map(classifier, *seen, "gradcam", 1000)
    with pytest.raises(StudyError, match="has no layer 'nowhere'"):
        class_activation_map(classifier, *seen, "gradcam", 0, "nowhere")
    flat = "fc" if "resnet" in classifier.name else "classifier"
    with pytest.raises(StudyError, match="has no feature maps to weight"):
        class_activation_map(classifier, *seen, "gradcam", 0, flat)

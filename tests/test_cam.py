"""Class activation maps are those of the paper and of the library, and leave no trace."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import libraries
from networks import CLASSES, SIDE, asked, classifier_of, noise_image
from vitrine.data.images import Frame, Image, Pixels
from vitrine.errors import StudyError
from vitrine.methods.cam import CAM_METHODS, class_activation
from vitrine.methods.feature_maps import read_maps
from vitrine.methods.method import Query
from vitrine.models.classifier import Classifier
from vitrine.models.inference import InferenceOptions
from vitrine.models.registry import load_classifier
from vitrine.project import Project

Seen = tuple[Classifier, Pixels, Frame]


class TinyNetwork(nn.Module):
    """Twelve feature maps, one of them always zero, and one activation that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Conv2d(8, 12, 3, stride=2)
        self.act = nn.ReLU6()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classify = nn.Linear(12, CLASSES)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        maps = self.act(self.last(self.relu(self.norm(self.first(batch)))))
        return self.classify(self.pool(self.relu(maps)).flatten(1))


class Around(TinyNetwork):
    """Its logits depend on the image by a way around the last feature maps too."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return super().forward(batch) + batch.mean(dim=(1, 2, 3))[:, None]


def _small(root: Path, name: str) -> Classifier:
    """A classifier whose input is small, so that the library's many passes take seconds."""
    if name in SMALL:
        found = classifier_of(SMALL[name](), "act")
        found.network.last.weight[5], found.network.last.bias[5] = 0, -1  # a map of zeros
        return found
    weights = "random" if name == "resnet18" else "pretrained"
    found = load_classifier(Project(root), name, weights=weights)
    return replace(found, preprocessing=replace(found.preprocessing, resize=72, crop=64))


SMALL: dict[str, type[TinyNetwork]] = {"tiny": TinyNetwork, "around": Around}
Small = Callable[[str], Seen]


@pytest.fixture(scope="module")
def small(root: Path) -> Small:
    @cache
    def make(name: str) -> Seen:
        with torch.no_grad():
            classifier = _small(root, name)
        coarse = noise_image(8, 8, seed=5).pixels
        image = Image("patches", "", np.kron(coarse, np.ones((12, 12, 1), dtype=np.uint8)))
        return classifier, classifier.crop(image), classifier.frame(image)

    return make


def _target(classifier: Classifier, crop: Pixels) -> int:
    return int(classifier.probabilities(crop[None])[0].argmax())


LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("resnet18", "efficientnet_lite0")]


@pytest.mark.parametrize("name", ["tiny", *LARGE])
@pytest.mark.parametrize("method", sorted(libraries.CAMS))
def test_every_method_gives_the_librarys_map(small: Small, name: str, method: str) -> None:
    seen = small(name)
    target = _target(*seen[:2])
    ours = class_activation(Query(method, *seen, target))
    library = libraries.class_activation(Query(method, *seen, target))
    tolerance = {"ablationcam": 1e-4, "gradcam": 0}.get(method, 1e-5)
    assert library.heatmap.values.max() > 0
    np.testing.assert_allclose(ours.heatmap.values, library.heatmap.values, atol=tolerance)
    np.testing.assert_allclose(
        ours.evidence.values, library.evidence.values, atol=tolerance * library.maximum
    )
    assert ours.maximum == pytest.approx(library.maximum, rel=1e-4)
    if method == "scorecam":
        pair = ours.heatmap.values.ravel(), library.heatmap.values.ravel()
        assert np.corrcoef(*pair)[0, 1] >= 0.999999


def test_a_hundred_ways_to_run_a_pass_give_one_scorecam(small: Small) -> None:
    seen = small("efficientnet_lite0")
    settings = InferenceOptions(batch=8, channels_last=True, folded=True, keep_memory=True)
    plain, changed = (
        class_activation(Query("scorecam", *seen, 3, layer="blocks.4", settings=each))
        for each in (InferenceOptions(), settings)
    )
    pair = plain.heatmap.values.ravel(), changed.heatmap.values.ravel()
    assert np.corrcoef(*pair)[0, 1] >= 0.999999


def test_scorecam_asks_once_for_all_channels_that_carry_no_map(small: Small) -> None:
    seen = small("tiny")
    told: list[int] = []
    found = class_activation(Query("scorecam", *seen, 1, progress=told.append))
    maps = read_maps(Query("scorecam", *seen, 1)).maps
    dead = int((maps[0].amax(dim=(1, 2)) == 0).sum())
    assert dead >= 1
    assert found.evidence.passes == 1 + 1 + 12 - dead
    assert sum(told) == CAM_METHODS["scorecam"].expected_passes(12) == 13


def test_ablationcam_needs_the_head_only(small: Small) -> None:
    seen = small("efficientnet_lite0")
    found = class_activation(Query("ablationcam", *seen, 2))
    assert (found.evidence.passes, found.evidence.head_passes) == (1, 1280)
    assert found.evidence.note == ""


def test_ablationcam_at_an_earlier_layer_is_the_librarys(small: Small) -> None:
    seen = small("efficientnet_lite0")  # maps before an activation: below zero, not set to zero
    target = _target(*seen[:2])  # whose logit is positive: the library divides by the logit itself
    ours = class_activation(Query("ablationcam", *seen, target, layer="blocks.2"))
    library = libraries.class_activation(Query("ablationcam", *seen, target, layer="blocks.2"))
    assert ours.evidence.passes == 1
    np.testing.assert_allclose(ours.heatmap.values, library.heatmap.values, atol=1e-4)


def test_where_the_head_cannot_be_separated_ablationcam_runs_the_network_and_says_so(
    small: Small,
) -> None:
    seen = small("around")
    assert seen[0].after("act") is None
    told: list[int] = []
    ours = class_activation(Query("ablationcam", *seen, 4, progress=told.append))
    library = libraries.class_activation(Query("ablationcam", *seen, 4))
    assert ours.evidence.passes == 13 and sum(told) == 12
    assert "cannot be separated" in ours.evidence.note
    np.testing.assert_allclose(ours.heatmap.values, library.heatmap.values, atol=1e-4)


def test_the_strength_tells_a_weak_map_from_a_strong_one() -> None:
    query = asked("gradcam", classifier_of(TinyNetwork(), "act"), 1)
    strong = class_activation(query)
    query.classifier.network.classify.weight[1] /= 100  # type: ignore
    weak = class_activation(query)
    np.testing.assert_allclose(weak.heatmap.values, strong.heatmap.values, atol=1e-3)
    assert weak.maximum == pytest.approx(strong.maximum / 100, rel=1e-3)


def test_a_logit_of_zero_cannot_be_lost() -> None:
    classifier = classifier_of(TinyNetwork(), "act")
    head: Any = classifier.network.classify
    head.weight[5], head.bias[5] = 0, 0
    found = class_activation(asked("ablationcam", classifier, 5))
    assert (found.heatmap.values == 0).all() and found.maximum == 0


def test_a_small_image_is_enlarged_and_a_crop_of_another_size_is_refused(small: Small) -> None:
    classifier, crop, frame = small("tiny")
    image = Image("small", "", np.full((20, 20, 3), 9, dtype=np.uint8))
    assert classifier.crop(image).shape == (SIDE, SIDE, 3)
    with pytest.raises(StudyError, match=r"A crop of the shape \(20, 20, 3\) is not what"):
        class_activation(Query("gradcam", classifier, crop[:20, :20], frame, 0))


def test_a_map_repeats_to_the_last_digit_and_knows_its_frame_and_class(small: Small) -> None:
    seen = small("tiny")
    one, same, other = (
        class_activation(Query("gradcam", *seen, target)).heatmap for target in (2, 2, 1)
    )
    assert (one.values == same.values).all() and (one.values != other.values).any()
    assert one.frame == seen[2]
    assert (one.method, one.target, one.signed) == ("gradcam", 2, False)
    assert one.values.dtype == np.float32


def test_a_class_without_positive_evidence_has_a_map_of_zeros() -> None:
    classifier = classifier_of(TinyNetwork(), "act")
    classifier.network.classify.weight[3].abs_().neg_()  # type: ignore
    found = class_activation(asked("gradcam", classifier, 3)).heatmap
    assert found.is_constant and (found.values == 0).all()


def test_what_does_not_exist_is_named(small: Small) -> None:
    seen = small("tiny")
    with pytest.raises(StudyError, match=r"no CAM method 'grad-cam'. Did you mean 'gradcam'"):
        class_activation(Query("grad-cam", *seen, 0))
    with pytest.raises(StudyError, match="There is no class 6"):
        class_activation(Query("gradcam", *seen, 6))
    with pytest.raises(StudyError, match="has no layer 'nowhere'"):
        class_activation(Query("gradcam", *seen, 0, layer="nowhere"))


@pytest.mark.parametrize("method", sorted(CAM_METHODS))
def test_a_layer_without_feature_maps_is_named_and_no_trace_left(small: Small, method: str) -> None:
    classifier, crop, frame = small("tiny")
    for layer in ("classify", "pool"):
        with pytest.raises(StudyError, match=f"The layer '{layer}' .* has no feature maps"):
            class_activation(Query(method, classifier, crop, frame, 0, layer=layer))
    for module in classifier.network.modules():
        assert not module._forward_hooks and not module.training
    for parameter in classifier.network.parameters():
        assert parameter.grad is None and not parameter.requires_grad

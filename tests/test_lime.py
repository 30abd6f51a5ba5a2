"""LIME's weights are the library's, repeat to the last digit, and mean what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lime import lime_image
from sklearn.linear_model import Ridge

from vitrine import study
from vitrine.errors import StudyError
from vitrine.inputs.classifiers import Classifier, load_classifier
from vitrine.inputs.pictures import Frame, Picture, Pixels
from vitrine.methods.lime import explain, superpixels
from vitrine.project import Project

PARAMETERS = study.Lime(samples=40, batch=16)


@pytest.fixture(scope="module")
def classifier(root: Path) -> Classifier:
    return load_classifier(Project(root), "efficientnet_lite0", weights="random")


@pytest.fixture(scope="module")
def seen(classifier: Classifier) -> tuple[Pixels, Frame]:
    generator = np.random.default_rng(1)
    coarse = generator.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    picture = Picture("patches", "", np.kron(coarse, np.ones((50, 50, 1), dtype=np.uint8)))
    return classifier.crop(picture), classifier.frame(picture)


@pytest.fixture(scope="module")
def segments(seen: tuple[Pixels, Frame]) -> np.ndarray:
    return superpixels(seen[0], PARAMETERS.segmentation, seed=0)


def test_superpixels_are_numbered_from_zero_and_seeded(
    seen: tuple[Pixels, Frame], segments: np.ndarray
) -> None:
    assert segments.shape == seen[0].shape[:2]
    assert set(np.unique(segments)) == set(range(segments.max() + 1))
    assert (superpixels(seen[0], PARAMETERS.segmentation, seed=0) == segments).all()


def test_a_picture_of_one_colour_has_no_superpixels_to_compare(classifier: Classifier) -> None:
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)
    with pytest.raises(StudyError, match="found one superpixel"):
        superpixels(grey, study.Segmentation(kernel_size=20, max_dist=1000), seed=0)


def test_the_weights_are_the_librarys(
    classifier: Classifier, seen: tuple[Pixels, Frame], segments: np.ndarray
) -> None:
    found = explain(classifier, *seen, 3, PARAMETERS, segments)
    library = lime_image.LimeImageExplainer(random_state=np.random.RandomState(PARAMETERS.seed))
    expected = library.explain_instance(
        seen[0],
        classifier.probabilities,
        labels=(3,),
        top_labels=None,
        num_samples=PARAMETERS.samples,
        batch_size=16,
        segmentation_fn=lambda _: segments,
    )
    assert dict(expected.local_exp[3]) == dict(enumerate(found.weights))
    assert found.r_squared == expected.score
    assert found.intercept == expected.intercept[3]


def test_the_weights_are_a_weighted_ridge_regression(
    classifier: Classifier, seen: tuple[Pixels, Frame], segments: np.ndarray
) -> None:
    """Written from the paper: perturb, ask the network, weigh by the kernel, regress."""
    found = explain(classifier, *seen, 3, PARAMETERS, segments)
    crop, count = seen[0], segments.max() + 1
    generator = np.random.RandomState(PARAMETERS.seed)
    generator.randint(0, 1000)  # the library draws a seed for its own segmentation first
    shown = generator.randint(0, 2, (PARAMETERS.samples, count))
    shown[0] = 1
    means = np.stack([crop[segments == index].mean(axis=0) for index in range(count)])
    answers = []
    for row in shown:
        hidden = np.flatnonzero(row == 0)
        perturbed = crop.copy()
        for index in hidden:
            perturbed[segments == index] = means[index].astype(np.uint8)
        answers.append(classifier.probabilities(perturbed[None])[0, 3])
    cosine = 1 - shown.sum(axis=1) / np.sqrt(shown.sum(axis=1) * count)
    kernel = np.sqrt(np.exp(-(cosine**2) / PARAMETERS.kernel_width**2))
    model = Ridge(alpha=1, fit_intercept=True).fit(shown, answers, sample_weight=kernel)
    np.testing.assert_allclose(found.weights, model.coef_, atol=1e-9)
    assert found.r_squared == pytest.approx(
        model.score(shown, answers, sample_weight=kernel), abs=1e-5
    )


def test_a_run_repeats_to_the_last_digit_and_another_seed_does_not(
    classifier: Classifier, seen: tuple[Pixels, Frame], segments: np.ndarray
) -> None:
    one, same = (explain(classifier, *seen, 3, PARAMETERS, segments) for _ in range(2))
    other = explain(classifier, *seen, 3, PARAMETERS.model_copy(update={"seed": 1}), segments)
    assert (one.weights == same.weights).all()
    assert (one.weights != other.weights).any()


def test_the_map_gives_each_pixel_the_weight_of_its_superpixel(
    classifier: Classifier, seen: tuple[Pixels, Frame], segments: np.ndarray
) -> None:
    found = explain(classifier, *seen, 3, PARAMETERS, segments)
    heatmap = found.heatmap
    assert heatmap.signed and heatmap.frame == seen[1]
    for index, weight in enumerate(found.weights):
        assert (heatmap.values[segments == index] == np.float32(weight)).all()


def test_the_strongest_are_those_the_library_would_mask(
    classifier: Classifier, seen: tuple[Pixels, Frame], segments: np.ndarray
) -> None:
    found = explain(classifier, *seen, 3, PARAMETERS, segments)
    positive = found.strongest(5)
    assert all(found.weights[index] > 0 for index in positive)
    both = found.strongest(5, positive_only=False)
    assert np.abs(found.weights[both]).min() >= np.sort(np.abs(found.weights))[-5]


def test_progress_counts_every_forward_pass(
    classifier: Classifier, seen: tuple[Pixels, Frame], segments: np.ndarray
) -> None:
    told: list[int] = []
    explain(classifier, *seen, 3, PARAMETERS, segments, told.append)
    assert sum(told) == PARAMETERS.samples


def test_the_librarys_own_bar_stays_away_and_comes_back(
    classifier: Classifier,
    seen: tuple[Pixels, Frame],
    segments: np.ndarray,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bar = lime_image.tqdm
    explain(classifier, *seen, 3, PARAMETERS, segments)
    assert capsys.readouterr().err == ""
    assert lime_image.tqdm is bar

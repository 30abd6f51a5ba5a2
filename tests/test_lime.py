"""LIME's weights are the library's, repeat to the last digit, and mean what they say."""

from pathlib import Path

import numpy as np
import pytest
from lime import lime_image

import libraries
from networks import CROP, Plain, classifier_of, noise_image
from vitrine.data.images import Frame, Image, Pixels
from vitrine.errors import StudyError
from vitrine.measures.stability import (
    chance_jaccard,
    jaccard,
    mean_jaccard,
    relative_std,
    weight_std,
)
from vitrine.methods import lime
from vitrine.methods.heatmap import heatmap_from
from vitrine.methods.lime import explain_by_lime, linear_model, neighbourhoods, pooled
from vitrine.methods.method import Query
from vitrine.methods.perturbation import MaskedImage, fidelities, mask, mean_colours
from vitrine.methods.superpixels import superpixels, top_superpixels
from vitrine.models.classifier import Classifier
from vitrine.models.inference import InferenceOptions
from vitrine.models.registry import load_classifier
from vitrine.project import Project
from vitrine.study import lime as lime_section

PARAMETERS = lime_section.Lime(samples=56, batch=16)  # of 40 superpixels
Seen = tuple[Pixels, Frame]


@pytest.fixture(scope="module")
def classifier(root: Path, small_crops: None) -> Classifier:
    return load_classifier(Project(root), "efficientnet_lite0", weights="random")


@pytest.fixture(scope="module")
def seen(classifier: Classifier) -> Seen:
    coarse = noise_image(6, 6, seed=1).pixels
    image = Image("patches", "", np.kron(coarse, np.ones((50, 50, 1), dtype=np.uint8)))
    return classifier.crop(image), classifier.frame(image)


@pytest.fixture(scope="module")
def image(classifier: Classifier, seen: Seen) -> MaskedImage:
    return mask(classifier, seen[0], superpixels(seen[0], PARAMETERS.segmentation, seed=0), 3)


@pytest.fixture(scope="module")
def found(classifier: Classifier, image: MaskedImage) -> lime.LinearModel:
    return explain_by_lime(classifier, image, PARAMETERS)


def test_a_run_repeats_to_the_last_digit_counts_its_passes_and_another_seed_is_another(
    classifier: Classifier, image: MaskedImage, found: lime.LinearModel
) -> None:
    told: list[int] = []
    same = explain_by_lime(classifier, image, PARAMETERS, told.append)
    assert sum(told) == PARAMETERS.samples
    other = explain_by_lime(classifier, image, PARAMETERS.model_copy(update={"seed": 1}))
    assert (found.weights == same.weights).all()
    assert (found.weights != other.weights).any()


def test_the_map_gives_each_pixel_the_weight_of_its_superpixel(
    classifier: Classifier, seen: Seen, image: MaskedImage, found: lime.LinearModel
) -> None:
    query = Query("lime", classifier, *seen, 3, PARAMETERS, InferenceOptions(batch=16))
    heatmap = heatmap_from(*lime.LIME_METHODS["lime"].explain(query), "lime")
    assert heatmap.signed and heatmap.frame == seen[1]
    for index, weight in enumerate(found.weights):
        assert (heatmap.values[image.segments == index] == np.float32(weight)).all()


def test_the_strongest_are_those_the_library_would_mask(
    seen: Seen, image: MaskedImage, found: lime.LinearModel
) -> None:
    library = lime_image.ImageExplanation(seen[0], image.segments)
    library.local_exp[3] = sorted(enumerate(found.weights), key=lambda pair: -abs(pair[1]))
    _, mask = library.get_image_and_mask(3, positive_only=True, num_features=5, hide_rest=True)
    assert sorted(top_superpixels(found.weights, 5)) == sorted(set(image.segments[mask == 1]))


def test_an_explanation_is_the_librarys_to_the_last_digit(
    classifier: Classifier, seen: Seen, image: MaskedImage, found: lime.LinearModel
) -> None:
    library = libraries.explain(classifier, seen[0], 3, PARAMETERS, image.segments)
    assert (found.weights == library.weights).all()
    for name in ("intercept", "r_squared", "local_prediction"):
        assert getattr(found, name) == getattr(library, name), name


def test_faster_settings_change_weights_by_rounding_only(
    root: Path, seen: Seen, image: MaskedImage
) -> None:
    classifier = load_classifier(Project(root), "efficientnet_lite0")
    settings = InferenceOptions(batch=8, channels_last=True, folded=True, keep_memory=True)
    target = int(classifier.probabilities(seen[0][None])[0].argmax())
    own = mask(classifier, seen[0], image.segments, target)
    plain, fast = (
        explain_by_lime(classifier, own, PARAMETERS, settings=each) for each in (None, settings)
    )
    np.testing.assert_allclose(fast.weights, plain.weights, atol=1e-5)


def test_images_share_batches_and_keep_their_weights(
    classifier: Classifier, seen: Seen, image: MaskedImage
) -> None:
    grid = superpixels(seen[0], lime_section.Grid(rows=4, columns=4), seed=0)
    images, told = [image, mask(classifier, seen[0][::-1], grid, 5)], list[int]()
    found = neighbourhoods(classifier, images, PARAMETERS, told.append)
    assert told == [16] * 7
    for each, around in zip(images, found, strict=True):
        alone = explain_by_lime(classifier, each, PARAMETERS)
        weights = linear_model(around, PARAMETERS.kernel_width).weights
        np.testing.assert_allclose(weights, alone.weights, atol=1e-6)


def test_fewer_samples_are_the_first_of_more(classifier: Classifier, image: MaskedImage) -> None:
    (around,) = neighbourhoods(classifier, [image], PARAMETERS)
    few = explain_by_lime(classifier, image, PARAMETERS.model_copy(update={"samples": 32}))
    np.testing.assert_allclose(
        linear_model(around, PARAMETERS.kernel_width, samples=32).weights, few.weights, atol=1e-9
    )


def test_draws_of_several_seeds_are_explanations_with_more_samples(
    classifier: Classifier, image: MaskedImage
) -> None:
    wanted = PARAMETERS.model_copy(update={"samples": 16})
    parts = neighbourhoods(classifier, [image] * 3, wanted, seeds=[4, 5, 6])
    (second,) = neighbourhoods(classifier, [image], wanted.model_copy(update={"seed": 5}))
    assert (parts[1].shown == second.shown).all()
    np.testing.assert_allclose(parts[1].probabilities, second.probabilities, atol=1e-6)
    few = pooled(parts, 10)
    assert all((a.shown == b.shown[:10]).all() for a, b in zip(few, parts, strict=True))
    many = pooled(parts, 20)
    # 3 · 15 drawn images are two runs of 19, each with the whole image before them.
    assert [len(run.shown) for run in many] == [20, 20]
    drawn = np.concatenate([part.shown[1:] for part in parts])
    assert (np.concatenate([run.shown[1:] for run in many]) == drawn[:38]).all()
    assert all((run.shown[0] == 1).all() for run in many)
    assert many[1].probabilities[1] == parts[1].probabilities[5]


def test_fidelity_shows_and_hides(classifier: Classifier, seen: Seen, image: MaskedImage) -> None:
    crop, segments = seen[0], image.segments
    (found,) = fidelities(classifier, image, [[0, 2]])
    means = mean_colours(crop, segments)
    chosen = np.isin(segments, [0, 2])[..., None]
    expected = classifier.probabilities(
        np.stack([crop, np.where(chosen, crop, means), np.where(chosen, means, crop)])
    )[:, 3]
    np.testing.assert_allclose(
        [found.p_original, found.p_kept, found.p_removed], expected, atol=1e-7
    )
    (whole,) = fidelities(classifier, image, [range(image.count)])
    assert whole.p_kept == pytest.approx(found.p_original)
    several = fidelities(classifier, image, [[1], [0, 2]])
    assert (several[1].p_kept, several[1].p_removed) == pytest.approx(
        (found.p_kept, found.p_removed)
    )
    with pytest.raises(StudyError, match=f"There is no superpixel {image.count}"):
        fidelities(classifier, image, [[image.count]])


@pytest.mark.parametrize(
    "kind",
    [lime_section.Quickshift, lime_section.Slic, lime_section.Felzenszwalb, lime_section.Grid],
)
def test_every_segmentation_numbers_its_superpixels_from_zero(
    seen: Seen, kind: type[lime_section.Segmentation]
) -> None:
    found, again = (superpixels(seen[0], kind(), seed=0) for _ in range(2))
    assert found.dtype == np.int16 and found.shape == seen[0].shape[:2]
    assert set(np.unique(found)) == set(range(found.max() + 1))
    assert (again == found).all()


def test_a_grid_has_pieces_of_equal_size(seen: Seen) -> None:
    found = superpixels(seen[0], lime_section.Grid(rows=8, columns=4), seed=0)
    assert (np.bincount(found.ravel()) == found.size // 32).all()


@pytest.mark.parametrize(
    "parameters",
    [
        lime_section.Quickshift(kernel_size=20, max_dist=1000),
        lime_section.Felzenszwalb(scale=1e6, min_size=10**6),
        lime_section.Grid(rows=2, columns=1),
    ],
    ids=lambda p: p.method,
)
def test_one_superpixel_is_refused_whatever_found_it(parameters: lime_section.Segmentation) -> None:
    grey = np.full((64 if parameters.method != "grid" else 1, 64, 3), 128, dtype=np.uint8)
    with pytest.raises(StudyError, match=r"found one superpixel.*\. .+\."):
        superpixels(grey, parameters, seed=0)


def test_bad_input_stops_before_a_pass_is_run(
    classifier: Classifier, seen: Seen, image: MaskedImage
) -> None:
    segments = image.segments
    with pytest.raises(StudyError, match="There is no class 1000"):
        mask(classifier, seen[0], segments, 1000)
    with pytest.raises(StudyError, match="There is one superpixel"):
        mask(classifier, seen[0], segments * 0, 3)
    with pytest.raises(StudyError, match=r"Superpixels of the shape \(10, .* do not fit a crop"):
        mask(classifier, seen[0], segments[:10], 3)
    with pytest.raises(StudyError, match="is not what EfficientNet-Lite0 sees"):
        mask(classifier, seen[0][:50], segments, 3)


def test_the_agreement_of_runs_is_their_mean_jaccard_index() -> None:
    assert jaccard([], []) == 1 and jaccard([1], [2]) == 0
    assert mean_jaccard([[1, 2], [1, 2], [2, 3]]) == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    assert np.isnan(mean_jaccard([[1, 2]]))
    generator = np.random.default_rng(0)
    drawn = [generator.choice(50, 10, replace=False) for _ in range(200)]
    assert chance_jaccard(10, 50) == pytest.approx(mean_jaccard(drawn), abs=0.01)


def test_the_spread_of_weights_is_told_apart_from_their_differences() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=40)
    runs = truth + 0.1 * generator.normal(size=(300, 40))
    np.testing.assert_allclose(weight_std(runs), 0.1, atol=0.03)
    assert relative_std(runs) == pytest.approx(0.1 / truth.std(), rel=0.05)
    assert relative_std(np.tile(truth, (3, 1))) == pytest.approx(0, abs=1e-12)
    assert np.isnan(relative_std(np.ones((3, 4))))


@pytest.mark.parametrize(
    ("rows", "samples", "width", "reason"),
    [
        (4, 100, 0.25, ""),
        (4, 100, 0.05, "the kernel of width 0.05 leaves 100 samples the weight of"),
        (4, 100, 1e-3, "the kernel of width 0.001 leaves 100 samples the weight of 1.0"),
        (9, 81, 0.25, "81 samples cannot tell 81 superpixels apart"),
        (32, 20, 0.25, "20 samples cannot tell 1024 superpixels apart"),
    ],
)
def test_a_fit_that_means_nothing_is_missing_with_its_reason(
    rows: int, samples: int, width: float, reason: str
) -> None:
    classifier = classifier_of(Plain(), "4")
    segments = superpixels(CROP, lime_section.Grid(rows=rows, columns=rows), 0)
    parameters = lime_section.Lime(samples=samples, kernel_width=width)
    found = explain_by_lime(classifier, mask(classifier, CROP, segments, 0), parameters)
    assert found.reason.startswith(reason) and bool(found.reason) == bool(reason)
    for value in (found.r_squared, found.local_prediction):
        assert np.isnan(value) == bool(reason)


def test_a_network_that_says_one_thing_of_all_images_gives_no_weight_to_any_superpixel() -> None:
    around = lime.Neighbourhood(lime.draw(50, 12, 0), np.full(50, 0.001, np.float32))
    found = lime.linear_model(around, 0.25)
    assert not found.weights.any() and np.isnan(found.r_squared)
    assert found.reason == "the network gives all perturbed images one probability"

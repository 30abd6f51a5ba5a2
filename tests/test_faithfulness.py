"""Curves start and end where they must, and measures are those of Captum."""

import numpy as np
import pytest
import torch
from captum.metrics import infidelity as captums_infidelity
from captum.metrics import sensitivity_max
from torch import Tensor, nn

from networks import Awkward, asked, classifier_of, gradient, seeded_network
from oracles import infidelity, maximum_sensitivity
from vitrine.measures.faithfulness import REPLACEMENTS, deletion, insertion, losses, order, squares
from vitrine.measures.sensitivity import perturbations
from vitrine.methods.attribution import explaining
from vitrine.models.inference import InferenceOptions, scoring

Inputs = np.ndarray


LAYERS = (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5))
NETWORK = seeded_network(nn.Sequential(*LAYERS))
IMAGE = np.random.default_rng(0).normal(size=(1, 3, 12, 12)).astype(np.float32)


def _scores(batch: Inputs) -> np.ndarray:
    with torch.inference_mode():
        return NETWORK(torch.from_numpy(batch))[:, 2].numpy()


def test_a_classifiers_scores_and_explanations_are_functions_of_arrays() -> None:
    classifier = classifier_of(Awkward(), "last")
    inputs = np.random.default_rng(4).normal(size=(3, 3, 32, 32)).astype(np.float32)
    logits = classifier.network(torch.from_numpy(inputs))
    with scoring(classifier, 2) as scores:
        np.testing.assert_allclose(scores(inputs), logits.softmax(1)[:, 2].numpy(), rtol=1e-5)
    with scoring(classifier, 2, InferenceOptions(folded=True), "logit") as scores:
        np.testing.assert_allclose(scores(inputs), logits[:, 2].numpy(), rtol=1e-4)
    with explaining(asked("lrp", classifier, 2)) as explain:
        sums = explain(torch.from_numpy(inputs))["lrp"].sum(dim=(1, 2, 3))
    np.testing.assert_allclose(sums.numpy(), logits[:, 2].numpy(), rtol=1e-4)


def _mean_of_first_channel(batch: Inputs) -> np.ndarray:
    return batch[:, 0].mean(axis=(1, 2))


def test_a_curve_goes_from_the_image_to_its_replacement_and_back() -> None:
    values = IMAGE[0].sum(axis=0)
    for name, replace in REPLACEMENTS.items():
        ends = [_mean_of_first_channel(each)[0] for each in (IMAGE, replace(IMAGE))]
        way = {"replacement": name, "steps": 9, "batch": 14}
        away = deletion(_mean_of_first_channel, IMAGE, values, **way)
        shown = insertion(_mean_of_first_channel, IMAGE, values, **way)
        assert away.shares.tolist() == pytest.approx(np.linspace(0, 1, 10))
        np.testing.assert_allclose(away.scores[[0, -1]], ends, atol=1e-6)
        np.testing.assert_allclose(shown.scores[[0, -1]], ends[::-1], atol=1e-6)


def test_a_curve_is_the_one_that_a_loop_over_pixels_gives() -> None:
    values = np.random.default_rng(1).random((12, 12))
    found = deletion(_scores, IMAGE, values, replacement="mean", steps=12, batch=5)
    changed = IMAGE.copy()
    expected = [_scores(changed)[0]]
    for number, pixel in enumerate(np.argsort(-values.ravel()), start=1):
        changed[0, :, pixel // 12, pixel % 12] = IMAGE[0].mean(axis=(1, 2))
        if number % 12 == 0:
            expected.append(_scores(changed)[0])
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)


def test_the_map_that_knows_has_the_least_area() -> None:
    image = np.zeros((1, 3, 10, 10), dtype=np.float32)
    image[0, 0, 2:4, 2:7] = 10
    right = image[0, 0]
    way = {"replacement": "mean", "steps": 10, "batch": 14}
    area = {
        name: deletion(_mean_of_first_channel, image, values, **way).area
        for name, values in {"right": right, "even": right * 0, "wrong": -right}.items()
    }
    assert area["right"] < area["even"] < area["wrong"]
    shown = insertion(_mean_of_first_channel, image, right, **way)
    assert shown.area > area["right"]


def test_ties_do_not_follow_the_image() -> None:
    even = order(np.ones((20, 20)))
    assert sorted(even) == list(range(400))
    assert abs(np.corrcoef(even, np.arange(400))[0, 1]) < 0.2
    assert (even == order(np.zeros((20, 20)))).all()
    assert order(np.array([[1.0, 3.0], [2.0, 0.0]])).tolist() == [1, 2, 0, 3]


@pytest.mark.parametrize("scaled", [True, False])
def test_infidelity_is_captums(scaled: bool) -> None:
    batch = torch.from_numpy(IMAGE)
    attributions = gradient(NETWORK, batch, 2)
    drawn = np.random.default_rng(3).normal(scale=0.4, size=(17, *IMAGE.shape[1:]))
    drawn = drawn.astype(np.float32)

    def perturb(inputs: Tensor) -> tuple[Tensor, Tensor]:
        added = torch.from_numpy(drawn)
        return added, inputs - added

    expected = captums_infidelity(
        NETWORK, perturb, batch, attributions, target=2, n_perturb_samples=17, normalize=scaled
    )
    lost = losses(_scores, IMAGE, drawn, batch=4)
    found = infidelity(attributions[0].numpy(), drawn, lost, scaled=scaled)
    assert found == pytest.approx(float(expected), rel=1e-4)


def test_the_gradient_of_a_linear_network_is_not_unfaithful() -> None:
    weights = np.random.default_rng(2).normal(size=(3, 12, 12))
    removed = squares(IMAGE, seed=0, samples=20, side=4)

    def linear(batch: Inputs) -> np.ndarray:
        return np.tensordot(batch, weights, axes=3)

    lost = losses(linear, IMAGE, removed, batch=14)
    right, wrong = (infidelity(each, removed, lost) for each in (weights, np.ones((3, 12, 12))))
    assert right == pytest.approx(0, abs=1e-6) and wrong > 1


def test_squares_remove_the_image_where_they_are() -> None:
    removed = squares(IMAGE, seed=0, samples=8, side=5)
    left = IMAGE - removed
    assert ((left == 0).all(axis=1).sum(axis=(1, 2)) == 25).all()
    assert (removed == squares(IMAGE, seed=0, samples=8, side=5)).all()


def test_maximum_sensitivity_is_captums() -> None:
    drawn = torch.from_numpy(perturbations(IMAGE.shape[1:], 5, 10, 0.02))
    assert drawn.shape[0] == 10 and 0.019 < float(drawn.abs().max()) <= 0.02

    def explain(batch: Tensor) -> Tensor:
        return gradient(NETWORK, batch, 2) * batch

    expected = sensitivity_max(
        lambda inputs: (explain(inputs[0]),) if isinstance(inputs, tuple) else explain(inputs),
        torch.from_numpy(IMAGE),
        perturb_func=lambda inputs: inputs + drawn,
    )
    found = maximum_sensitivity(
        lambda batch: explain(torch.from_numpy(batch)).numpy(), IMAGE, seed=5
    )
    assert found > 0 and found == pytest.approx(float(expected), rel=1e-4)


def test_sensitivity_is_zero_for_what_does_not_move_and_nan_for_what_says_nothing() -> None:
    constant = np.ones((1, 12, 12))
    assert maximum_sensitivity(lambda batch: constant.repeat(len(batch), 0), IMAGE, seed=0) == 0
    for nothing in (constant * 0, constant * np.nan):
        found = maximum_sensitivity(lambda batch, same=nothing: same, IMAGE, seed=0)
        assert np.isnan(found)


def test_fewer_perturbations_are_the_first_of_more() -> None:
    few, many = (perturbations((3, 4, 4), 1, count, 0.02) for count in (4, 9))
    np.testing.assert_array_equal(few, many[:4])

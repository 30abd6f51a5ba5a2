"""Where Quantus has our measures, both give the same numbers for the same maps.

Its defaults are others: a maximum sensitivity from 200 perturbations of up to 0.2 (Captum: 10 of up
to 0.02), pixels flipped to black, of probabilities and without the whole image first, and an
infidelity over patches that stay removed while the next is. Given our perturbations and
replacements, the formulas agree.
"""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from networks import seeded_network
from oracles import infidelity, maximum_sensitivity
from vitrine.measures.faithfulness import REPLACEMENTS, deletion, losses
from vitrine.measures.localisation import share_inside
from vitrine.measures.map_extent import entropy, gini
from vitrine.measures.mprt import values_correlation
from vitrine.measures.sensitivity import perturbations

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    quantus = pytest.importorskip("quantus")

QUIET = {"disable_warnings": True, "normalise": False, "abs": False}
SIDE, TARGET = 12, 2


LAYERS = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5))
NETWORK = seeded_network(nn.Sequential(*LAYERS))
"""Of one channel, as Quantus flips the channels of a pixel one by one."""

IMAGE = np.random.default_rng(0).normal(size=(1, 1, SIDE, SIDE)).astype(np.float32)


def _explain(model: nn.Module, inputs: Any, *_: Any, **__: Any) -> np.ndarray:
    """Gradient times input ``[n, 1, h, w]``."""
    batch = torch.as_tensor(np.asarray(inputs), dtype=torch.float32).requires_grad_(True)
    with torch.enable_grad():
        (found,) = torch.autograd.grad(model(batch)[:, TARGET].sum(), batch)
    return (found * batch).detach().numpy()


GRADIENT = _explain(NETWORK, IMAGE)


def _scores(batch: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        answer: Tensor = NETWORK(torch.from_numpy(batch))
        return answer[:, TARGET].numpy()


def _call(metric: Any, maps: np.ndarray = GRADIENT, **more: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metric(
            model=NETWORK,
            x_batch=IMAGE.copy(),
            y_batch=np.array([TARGET]),
            a_batch=maps.copy(),
            device="cpu",
            channel_first=True,
            **more,
        )


def test_maximum_sensitivity() -> None:
    drawn = perturbations(IMAGE.shape[1:], 4, 6, 0.02)
    waiting = iter(drawn)
    metric = quantus.MaxSensitivity(
        nr_samples=6, perturb_func=lambda arr, **_: arr + next(waiting).reshape(1, -1), **QUIET
    )
    (expected,) = _call(metric, explain_func=_explain)
    found = maximum_sensitivity(lambda batch: _explain(NETWORK, batch), IMAGE, seed=4, samples=6)
    assert found == pytest.approx(float(expected), rel=1e-4)


def test_pixel_flipping_is_the_deletion_curve() -> None:
    mean = REPLACEMENTS["mean"](IMAGE).ravel()

    def flip(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
        changed = arr.copy()
        changed[0, indices[0]] = mean[indices[0]]
        return changed

    metric = quantus.PixelFlipping(features_in_step=SIDE, perturb_func=flip, **QUIET)
    (expected,) = _call(metric, softmax=False)

    found = deletion(_scores, IMAGE, GRADIENT[0, 0], replacement="mean", steps=SIDE, batch=5)
    np.testing.assert_allclose(found.scores[1:], np.ravel(expected), rtol=1e-4, atol=1e-5)


def test_infidelity() -> None:
    seen: list[np.ndarray] = []

    def blacken(arr: np.ndarray, indices: Any, **_: Any) -> np.ndarray:
        changed = arr.copy().reshape(1, -1)
        changed[0, np.ravel(indices[-1] if isinstance(indices, tuple) else indices)] = 0
        seen.append(changed.reshape(IMAGE.shape)[0])
        return changed

    metric = quantus.Infidelity(
        perturb_patch_sizes=[4], n_perturb_samples=1, perturb_func=blacken, **QUIET
    )
    (expected,) = _call(metric)
    assert len(seen) == 9
    removed = IMAGE - np.stack(seen)
    lost = losses(_scores, IMAGE, removed, batch=14)
    found = infidelity(GRADIENT[0], removed, lost, scaled=False)
    assert found == pytest.approx(float(expected), rel=1e-3)


def test_randomisation_is_compared_by_the_same_rank_correlation() -> None:
    maps: list[np.ndarray] = []

    def explain(model: nn.Module, inputs: Any, *_: Any, **__: Any) -> np.ndarray:
        maps.append(_explain(model, inputs))
        return maps[-1].copy()

    metric = quantus.MPRT(**{**QUIET, "abs": True}, layer_order="top_down", seed=1)
    scores = _call(metric, explain_func=explain)
    expected = [float(np.ravel(values)[0]) for values in scores.values()]
    last = maps[-len(expected) :]
    found = [values_correlation(GRADIENT[0, 0], each[0, 0], absolute=True) for each in last]
    assert found == pytest.approx(expected, abs=1e-6) and min(found) < 0.9


def test_concentration_and_localisation() -> None:
    sizes = np.abs(GRADIENT)
    quiet = {**QUIET, "abs": True}
    (sparse,) = _call(quantus.Sparseness(**quiet))
    assert gini(GRADIENT[0, 0]) == pytest.approx(float(sparse), abs=1e-4)
    (complex_,) = _call(quantus.Complexity(**quiet))
    assert entropy(GRADIENT[0, 0]) == pytest.approx(float(complex_), abs=1e-4)
    mask = np.zeros((1, 1, SIDE, SIDE), dtype=bool)
    mask[..., 3:8, 2:9] = True
    metric = quantus.RelevanceMassAccuracy(**QUIET)
    (mass,) = _call(metric, sizes, s_batch=mask.copy())
    assert share_inside(sizes[0, 0], mask[0, 0]) == pytest.approx(float(mass), abs=1e-5)

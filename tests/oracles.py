"""Measures as their papers have them, from which ours are made or to which they are compared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vitrine.measures.sensitivity import greatest_change, perturbations


def maximum_sensitivity(
    explain: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray, seed: int, samples: int = 10
) -> float:
    """max ‖e(x + δ) - e(x)‖ / ‖e(x)‖ over our perturbations δ of ``inputs [1, 3, h, w]``."""
    drawn = perturbations(inputs.shape[1:], seed, samples)
    return greatest_change(explain(inputs), explain(inputs + drawn))


def infidelity(
    weights: np.ndarray, perturbations: np.ndarray, lost: np.ndarray, *, scaled: bool = True
) -> float:
    """E[(δ · a - (f(x) - f(x - δ)))²] over perturbations δ (Yeh et al., 2019).

    weights : attributions ``[c, h, w]``. lost : what the score loses by each perturbation.
    scaled : with the one factor of the attributions that makes it least, as Captum's ``normalize``.
    """
    claimed = np.tensordot(perturbations.astype(np.float64), weights.astype(np.float64), axes=3)
    factor = claimed @ lost / (claimed @ claimed) if scaled else 1.0
    return float(np.mean((factor * claimed - lost) ** 2))

"""Measures as their papers have them, and similarities in one piece, to compare ours with."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vitrine.measures.sensitivity import greatest_change, perturbations
from vitrine.methods.dissection.similarity import (
    BLOCK_UNITS,
    LayerActivations,
    Matches,
    check_top,
    pick_similarity,
)


def maximum_sensitivity(
    explain: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray, seed: int, samples: int = 10
) -> float:
    """max ‖e(x + δ) - e(x)‖ / ‖e(x)‖ over our perturbations δ of ``inputs [1, 3, h, w]``."""
    drawn = perturbations(inputs.shape[1:], seed, samples, 0.02)
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


def similarities(name: str, activations: Tensor, matches: Matches, **given: float) -> Tensor:
    """``S [units, concepts]`` of whole activations ``[images, units]``, in one piece.

    A study takes the blocks. Raises ``StudyError`` for an unknown similarity or parameter, and for
    fewer images than it looks at.
    """
    row = pick_similarity(name, **given)
    wanted = row.top_of(activations.shape[0])
    check_top(wanted, activations.shape[0])
    order = torch.cat(
        [
            part.argsort(dim=0, descending=True, stable=True)[:wanted]
            for part in torch.split(activations, BLOCK_UNITS, dim=1)
        ],
        dim=1,
    )
    evidence = LayerActivations(order.T, activations.gather(0, order).T, activations)
    found = activations.new_empty(activations.shape[1], matches.count)
    for start, block in row.blocks(evidence, matches):
        found[:, start : start + block.shape[1]] = block
    return found

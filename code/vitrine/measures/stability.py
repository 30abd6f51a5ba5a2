"""How far an explanation repeats: the same image explained with other seeds, or more samples."""

from collections.abc import Collection, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float64]


def jaccard(first: Collection[int], second: Collection[int]) -> float:
    """Shared members over all members of two sets; 1 for two empty ones.

    >>> jaccard([1, 2, 3], [2, 3, 4])
    0.5
    """
    one, other = set(first), set(second)
    return len(one & other) / len(one | other) if one | other else 1.0


def mean_jaccard(runs: Sequence[Collection[int]]) -> float:
    """The mean Jaccard index over all pairs of runs; ``nan`` for fewer than two runs."""
    pairs = [jaccard(*pair) for pair in combinations(runs, 2)]
    return float(np.mean(pairs)) if pairs else float("nan")


def chance_jaccard(count: int, superpixels: int) -> float:
    """About the Jaccard index of two random sets of ``count`` among so many superpixels.

    The expected number of shared members is ``count² / superpixels``; its share of the union is
    taken as if it were the number itself.
    """
    shared = count**2 / superpixels
    return shared / (2 * count - shared) if count else 1.0


def weight_std(weights: Weights) -> Weights:
    """Each superpixel's standard deviation ``[superpixels]`` over runs ``[runs, superpixels]``.

    With ``runs - 1`` in the denominator, as the runs are a sample of all seeds.
    """
    return np.asarray(np.std(weights, axis=0, ddof=1), dtype=np.float64)


def relative_std(weights: Weights) -> float:
    """The standard deviation over runs ``[runs, superpixels]``, over that of the mean weights.

    0 is a perfect repetition; at 1 the weights scatter by as much as superpixels differ. ``nan``
    when all superpixels have the same mean weight.
    """
    means = weights.mean(axis=0)
    difference = float(np.std(means))
    std = float(np.sqrt(np.mean(weight_std(weights) ** 2)))
    return std / difference if difference > 0 else float("nan")

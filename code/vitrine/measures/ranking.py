"""Which method comes out first, how sure that is, and how far measures agree about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau, rankdata

from vitrine.measures.agreement import bootstrap_interval
from vitrine.measures.difference import Difference, paired_difference

Better = Literal["higher", "lower"]
"""Which values of a measure are the better ones."""


def ranks(values: Sequence[float], direction: Better) -> npt.NDArray[np.float64]:
    """The rank of each value, 1 for the best; equal values share the mean of their ranks.

    Values are equal that agree to five digits: two names of one map differ by rounding. What is
    not a number has no rank (``nan``) and pushes nobody down.

    >>> ranks([0.2, float("nan"), 0.9, 0.2], "higher")
    array([2.5, nan, 1. , 2.5])
    """
    numbers = np.array([float(f"{value:.5g}") for value in values])
    signed = numbers if direction == "lower" else -numbers
    return np.asarray(rankdata(signed, nan_policy="omit"), dtype=np.float64)


@dataclass(frozen=True)
class Score:
    """A method's value of a measure, over images.

    mean, std : over the images that have a value; the standard deviation with ``n - 1``.
    low, high : the bootstrap's 95% interval of the mean, ``nan`` for too few images.
    images : how many have a value. missing : how many do not, and entered nothing.
    """

    mean: float
    std: float
    low: float
    high: float
    images: int
    missing: int


def score(values: Sequence[float], draws: int = 2000, seed: int = 0) -> Score:
    """Summarise a method's values over images; what is not finite is counted, never averaged."""
    numbers = np.asarray(values, dtype=np.float64)
    kept = numbers[np.isfinite(numbers)]
    nothing = float("nan")
    if len(kept) == 0:
        return Score(nothing, nothing, nothing, nothing, 0, len(numbers))
    std = float(np.std(kept, ddof=1)) if len(kept) > 1 else nothing
    low, high = bootstrap_interval(kept, draws, seed)
    return Score(float(kept.mean()), std, low, high, len(kept), len(numbers) - len(kept))


Standing = Literal["better", "worse", "undecided", "too few"]


def advantage(
    values: Sequence[float], baseline: Sequence[float], direction: Better, comparisons: int = 1
) -> Difference:
    """By how much a method is better than a baseline (below zero: worse), over the same images.

    Images without a value for either are left out.
    """
    gain = np.asarray(values, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    # Of more than 13 images a sample of signs is drawn: enough of them for the corrected level.
    draws = max(9999, 40 * comparisons)
    return paired_difference(gain if direction == "higher" else -gain, comparisons, draws=draws)


def standing_of(gain: Difference) -> Standing:
    """How a method stands against a baseline, by the test of its ``advantage``.

    Better or worse where the sign-flip test says so at the level corrected for its comparisons;
    "too few" where so few images could not have told.
    """
    if gain.direction == "larger":
        return "better"
    return "worse" if gain.direction == "smaller" else gain.direction


def tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's τ-b of two rankings of the same methods: 1 for the same order, -1 for the reverse.

    Methods without a rank in either are left out; ``nan`` for fewer than two, or all tied.
    """
    pair = np.array([first, second], dtype=np.float64)
    pair = pair[:, np.isfinite(pair).all(axis=0)]
    if pair.shape[1] < 2 or (np.ptp(pair, axis=1) == 0).any():
        return float("nan")
    return float(kendalltau(pair[0], pair[1]).statistic)


def disagreement(rankings: dict[str, Sequence[float]]) -> list[tuple[str, str, float]]:
    """Kendall's τ-b between every two measures, from the rankings of the same methods."""
    return [
        (one, other, tau(rankings[one], rankings[other]))
        for one, other in combinations(rankings, 2)
    ]

"""Whether two measures of the same images go together, and how far few images can tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.stats import permutation_test, rankdata

from vitrine.arrays import Values
from vitrine.measures.agreement import LEAST


@dataclass(frozen=True)
class Association:
    """Spearman's rank correlation of two measures.

    p_value : two-sided, of the hypothesis that the pairing of the values is arbitrary.
    low, high : 95% percentile interval over resampled pairs, ``nan`` for fewer than ``LEAST``.
    count : pairs.
    """

    rho: float
    p_value: float
    low: float
    high: float
    count: int


def spearman(first: Values, second: Values, draws: int = 9999) -> Association:
    """Spearman's rho of ``first [n]`` and ``second [n]`` with its permutation p-value.

    Pairs in which one value is not a number are left out. All ``nan`` for fewer than three pairs,
    or where one measure is the same for all.
    """
    one, other = _paired(first, second)
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return Association(*(float("nan"),) * 4, count=len(one))
    ranks = rankdata(other)

    def statistic(values: Values, axis: int = -1) -> npt.NDArray[np.float64]:
        return _correlation(values, ranks)

    tested = permutation_test(
        (rankdata(one),),
        statistic,
        permutation_type="pairings",
        n_resamples=draws,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    picks = np.random.default_rng(0).integers(0, len(one), size=(draws, len(one)))
    drawn = _correlation(rankdata(one[picks], axis=1), rankdata(other[picks], axis=1))
    enough = len(one) >= LEAST
    low, high = np.nanquantile(drawn, (0.025, 0.975)) if enough else (float("nan"), float("nan"))
    return Association(
        float(tested.statistic), float(tested.pvalue), float(low), float(high), len(one)
    )


def few_of_many(
    first: Values, second: Values, size: int, draws: int = 9999
) -> npt.NDArray[np.float64]:
    """Spearman's rho ``[draws]`` of random parts of ``size`` pairs: what few of them would show."""
    one, other = _paired(first, second)
    picks = _parts(len(one), size, draws)
    return _correlation(rankdata(one[picks], axis=1), rankdata(other[picks], axis=1))


@lru_cache(maxsize=1)  # one measure after the other is asked of the same images
def _parts(count: int, size: int, draws: int) -> npt.NDArray[np.int64]:
    """Random parts ``[draws, size]`` of ``count`` places, without repetition."""
    generator = np.random.default_rng(0)
    return np.stack([generator.choice(count, size, replace=False) for _ in range(draws)])


def least_significant(count: int, level: float = 0.05, draws: int = 9999) -> float:
    """The size of rho above which so many pairs are significant, two-sided."""
    ranks = np.arange(count, dtype=np.float64)
    shuffled = np.random.default_rng(0).permuted(np.tile(ranks, (draws, 1)), axis=1)
    return float(np.quantile(np.abs(_correlation(shuffled, ranks)), 1 - level))


def within_groups(first: Values, second: Values, groups: Sequence[str]) -> tuple[float, float]:
    """The correlation of ``first [n]`` and ``second [n]`` within groups, and its p-value.

    Both are taken from their group's mean. The p-value is two-sided, of ``first`` permuted within
    its groups, whose values need not be independent of each other's. ``nan`` where one is constant.
    """
    labels = np.unique(np.asarray(groups), return_inverse=True)[1]
    one, other = (
        values - (np.bincount(labels, values) / np.bincount(labels))[labels]
        for values in (np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64))
    )
    size = np.sqrt((one**2).sum() * (other**2).sum())
    if not size > 0:
        return float("nan"), float("nan")
    generator, draws = np.random.default_rng(0), 9999
    shuffled = np.tile(one, (draws, 1))
    for label in range(labels.max() + 1):
        of_group = np.flatnonzero(labels == label)
        shuffled[:, of_group] = generator.permuted(shuffled[:, of_group], axis=1)
    found = float(one @ other)
    # Sums that are equal but for rounding are equal.
    extreme = np.abs(shuffled @ other) >= abs(found) - 1e-12 * size
    return found / float(size), float((1 + extreme.sum()) / (1 + draws))


def _paired(first: Values, second: Values) -> tuple[Values, Values]:
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    known = ~(np.isnan(one) | np.isnan(other))
    return one[known], other[known]


def _correlation(first: Values, second: Values) -> npt.NDArray[np.float64]:
    """Pearson's correlation along the last axis; ``nan`` where one side is constant."""
    one = first - first.mean(axis=-1, keepdims=True)
    other = second - second.mean(axis=-1, keepdims=True)
    size = np.sqrt((one**2).sum(axis=-1) * (other**2).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((one * other).sum(axis=-1) / size)

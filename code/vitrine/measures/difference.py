"""Whether a difference over images is more than chance, with the interval of the same test.

Fisher's sign-flipping test (The Design of Experiments, 1935): where two methods are alike, each
image's difference could as well have had the other sign. Pitman's permutation test (Supplement to
the Journal of the Royal Statistical Society 4, 1937): where maps say nothing of their image, any
pairing of them could have occurred. The interval holds every true mean that the test would not
reject, so that test and interval cannot disagree.
"""

from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np
import numpy.typing as npt

from vitrine.arrays import Values

Direction = Literal["larger", "smaller", "undecided", "too few"]
"""Of a mean difference: above zero, below it, either, or beyond what so few images can tell."""

EXACT = 13
"""Up to so many images every pattern of signs is tried; beyond, a seeded sample of them."""

EXACT_PAIRINGS = 7
"""Up to so many images every pairing is tried; beyond, a seeded sample of them."""


@dataclass(frozen=True)
class Difference:
    """A mean difference ``mean`` of ``count`` images.

    low, high : the interval at ``level``, infinite where so few images cannot bound it.
    p_value : two-sided. level : after correction for the number of comparisons.
    """

    mean: float
    low: float
    high: float
    p_value: float
    count: int
    level: float

    @property
    def direction(self) -> Direction:
        """What the test says; zero lies outside the interval just where it is not "undecided"."""
        if not np.isfinite(self.low):
            return "too few"
        if self.p_value > self.level:
            return "undecided"
        return "larger" if self.low > 0 else "smaller"


def paired_difference(values: Values, comparisons: int = 1, draws: int = 9999) -> Difference:
    """Test the mean of differences ``values [n]`` against zero.

    comparisons : how many tests the answer stands among; the level 0.05 is divided by it
        (Bonferroni).
    Differences that are not a number, of images for which there is none, are left out.

    >>> paired_difference(np.array([1.0, 2.0, 1.5, 1.0, 2.5, 2.0, 1.0, 3.0])).direction
    'larger'
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    corrected, n = 0.05 / max(comparisons, 1), len(values)
    if n == 0:
        return Difference(float("nan"), -np.inf, np.inf, 1.0, 0, corrected)
    low_ends, high_ends = _not_rejected(values, _signs(n, draws))
    p_value = ((low_ends <= 0) & (high_ends >= 0)).mean()
    interval = _interval(low_ends, high_ends, corrected)
    return Difference(float(values.mean()), *interval, float(p_value), n, corrected)


def pairing_difference(
    matrix: npt.NDArray[np.floating], comparisons: int = 1, draws: int = 9999
) -> Difference:
    """Test whether values of pairs that belong together exceed those of other pairs.

    matrix : ``[n, n]``, e.g. the IoU of the map of image i by one method with that of image j by
        another. The difference is the mean of the diagonal minus that of the rest.
    comparisons : as for ``paired_difference``.
    Images without a number on the diagonal are left out. Two-sided: twice the smaller tail of the
    means over pairings. A true mean is not rejected where the test does not reject the matrix
    whose diagonal it was taken from: it is taken to be the same on every image. Where it
    differs between images, the interval is too narrow for its mean over further images.

    >>> pairing_difference(np.eye(6)).mean
    1.0
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    known = np.isfinite(np.diagonal(matrix))
    matrix = matrix[np.ix_(known, known)]
    corrected, n = 0.05 / max(comparisons, 1), len(matrix)
    if n < 2:
        return Difference(float("nan"), -np.inf, np.inf, 1.0, n, corrected)
    places, orders = np.arange(n), _pairings(n, draws)
    moved = (orders != places).mean(axis=1)
    lost = np.diagonal(matrix).mean() - matrix[places, orders].mean(axis=1)
    # The pairing that occurred is as extreme as itself, whatever the true mean is.
    with np.errstate(invalid="ignore", divide="ignore"):
        ends = lost / moved
    slack = 1e-12 * np.abs(matrix).max()
    low_ends = np.where(moved > 0, ends - slack, -np.inf)
    high_ends = np.where(moved > 0, ends + slack, np.inf)
    tail = min((low_ends <= 0).mean(), (high_ends >= 0).mean())
    mean = np.trace(matrix) / n - matrix[~np.eye(n, dtype=bool)].mean()
    interval = _interval(low_ends, high_ends, corrected / 2)
    return Difference(float(mean), *interval, float(min(1.0, 2 * tail)), n, corrected)


def _pairings(n: int, draws: int) -> npt.NDArray[np.int64]:
    """Orders of ``n`` places ``[m, n]``: all of them, or the one that occurred and a sample."""
    if n <= EXACT_PAIRINGS:
        return np.array(list(permutations(range(n))))
    shuffled = np.tile(np.arange(n), (draws + 1, 1))
    np.random.default_rng(0).permuted(shuffled[1:], axis=1, out=shuffled[1:])
    return shuffled


def _interval(low_ends: Values, high_ends: Values, level: float) -> tuple[float, float]:
    """The true means that more than a share ``level`` of the patterns would not reject.

    low_ends, high_ends : ``[m]``, between which each pattern is as extreme as the data.
    """
    kept = int(np.floor(level * len(low_ends)))
    return float(np.sort(low_ends)[kept]), float(np.sort(high_ends)[::-1][kept])


def _signs(n: int, draws: int) -> Values:
    """Patterns of signs ``[m, n]``: all of them, or the one that occurred and a sample."""
    if n <= EXACT:
        numbers, places = np.arange(2**n)[:, None], np.arange(n)[::-1]
        return 1.0 - 2.0 * (numbers >> places & 1)  # all plus first, the last sign varying fastest
    drawn = np.random.default_rng(0).choice((1.0, -1.0), size=(draws, n))
    return np.vstack([np.ones(n), drawn])


def _not_rejected(values: Values, signs: Values) -> tuple[Values, Values]:
    """For each pattern of signs, the true means ``delta`` at which it is as extreme as the data.

    |Σ (x - delta)| ≤ |Σ s (x - delta)| is quadratic in delta: it holds between
    Σ (1 - s) x / Σ (1 - s) and Σ (1 + s) x / Σ (1 + s), and everywhere where all signs are alike.
    """
    ends = []
    for side in (1 - signs, 1 + signs):
        weights = side.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            ends.append(np.where(weights > 0, side @ values / weights, np.nan))
    low, high = np.minimum(*ends), np.maximum(*ends)
    always = np.isnan(low)
    # Means that are equal but for rounding are equal: a pattern may not lose zero to its last bit.
    slack = 1e-12 * np.abs(values).max()
    return np.where(always, -np.inf, low - slack), np.where(always, np.inf, high + slack)

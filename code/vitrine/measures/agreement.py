"""How far two heatmaps agree about where the evidence lies.

Regions are compared at equal area, because the overlap of two regions says as much about their
sizes as about their places: a region that covers most of the frame overlaps with everything.
"""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from vitrine.errors import FrameError
from vitrine.methods.heatmap import Heatmap

LEAST = 5
"""Fewer values have no bootstrap interval: it would be far too narrow."""

Region = npt.NDArray[np.float64]
"""``float64 [h, w]``: how much of each pixel belongs to the region, from 0 to 1."""


def top_region(values: npt.NDArray[np.floating], share: float) -> Region:
    """The strongest pixels of a map, covering exactly ``share`` of it.

    values : ``[h, w]``. Pixels tied at the threshold, such as those of one superpixel, all belong
    to the region by the same fraction, so that neither the area nor the order of pixels decides.
    A constant map gives the same fraction everywhere: no evidence is spread over the whole frame.

    >>> top_region(np.array([[3.0, 1.0], [1.0, 0.0]]), 0.5)
    array([[1. , 0.5],
           [0.5, 0. ]])
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, not {share}")
    wanted = share * values.size
    # The greatest threshold at which the pixels on or above it cover the wanted area.
    descending = np.sort(values, axis=None)[::-1]
    threshold = descending[int(np.ceil(wanted - 1e-9)) - 1]
    region: Region = (values > threshold).astype(np.float64)
    tied = values == threshold
    region[tied] = (wanted - region.sum()) / tied.sum()
    return region


def intersection_over_union(first: Region, second: Region) -> float:
    """IoU (Jaccard index) of two regions: Σ min / Σ max, from 0 to 1.

    For whole pixels this is the usual count of shared pixels over the count of all; fractions of
    pixels count as such (the fuzzy, or Ružička, form of the index).
    """
    if first.shape != second.shape:
        raise FrameError(f"Regions of the shapes {first.shape} and {second.shape} do not compare")
    return float(np.minimum(first, second).sum() / np.maximum(first, second).sum())


def ious(
    first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """IoU ``[n, m]`` of every region of ``first [n, pixels]`` with every one of ``second``.

    As ``intersection_over_union``, by matrix products: of a region, all pixels that belong to it in
    part must do so by the same fraction, as those of ``top_region`` do. ``nan`` where one of the
    two is empty. Raises ``ValueError`` for a region with several fractions.
    """
    whole, tied, fraction = _in_parts(first)
    other_whole, other_tied, other_fraction = _in_parts(second)
    shared = (
        whole @ other_whole.T
        + (whole @ other_tied.T) * other_fraction
        + (tied @ other_whole.T) * fraction[:, None]
        + (tied @ other_tied.T) * np.minimum(fraction[:, None], other_fraction)
    )
    areas = whole.sum(axis=1) + fraction * tied.sum(axis=1)
    other_areas = other_whole.sum(axis=1) + other_fraction * other_tied.sum(axis=1)
    union = areas[:, None] + other_areas - shared
    found = np.full(union.shape, np.nan)
    np.divide(shared, union, out=found, where=(areas[:, None] > 0) & (other_areas > 0))
    return found


def _in_parts(
    regions: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Whole pixels and shared ones ``[n, pixels]``, and the fraction ``[n]`` of the latter.

    Ones and zeros in ``float32`` are added up without rounding.
    """
    flat = regions.reshape(len(regions), -1)
    whole, tied = flat >= 1, (flat > 0) & (flat < 1)
    fraction = np.where(tied, flat, 0).max(axis=1)
    if not (flat == np.where(tied, fraction[:, None], flat)).all():
        raise ValueError("the pixels that belong to a region in part do so by several fractions")
    return whole.astype(np.float32), tied.astype(np.float32), fraction.astype(np.float64)


def matched_and_mismatched(
    pair: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The diagonal ``[n]`` of a matrix of images, and each row's mean off the diagonal.

    Missing numbers are left out of the means; what has none to average is missing.
    """
    matched = np.diagonal(pair).copy()
    others = pair.copy()
    np.fill_diagonal(others, np.nan)
    counts = np.isfinite(others).sum(axis=1)
    means = np.full(len(matched), np.nan)
    np.divide(np.nansum(others, axis=1), counts, out=means, where=counts > 0)
    return matched, means


def dice(iou: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
    """The Dice coefficient of two regions from their IoU: ``2 IoU / (1 + IoU)``.

    Shared area over the mean of the two areas. The two measures order pairs of regions alike, and
    Dice gives the greater number.
    """
    return np.asarray(2 * np.asarray(iou) / (1 + np.asarray(iou)))


def standard_ranks(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The ranks of a map's pixels ``[n]``, with mean 0 and length 1; ties share their mean rank.

    Two maps' rank correlation is the product of their ranks. All ``nan`` for a constant map.
    """
    ranks = rankdata(values, axis=None)
    ranks -= ranks.mean()
    length = np.linalg.norm(ranks)
    return np.asarray(ranks / length if length > 0 else np.full(ranks.shape, np.nan))


def rank_correlation(first: Heatmap, second: Heatmap) -> float:
    """Spearman's rank correlation of two maps of one frame, over all pixels.

    ``nan`` when one of them is the same everywhere. Raises ``FrameError`` when the maps live in
    different frames.
    """
    if first.frame != second.frame:
        raise FrameError(
            f"The maps of {first.method} and {second.method} live in different frames "
            f"({first.frame} and {second.frame})",
            "Warp one into the other's frame before comparing them",
        )
    return float(standard_ranks(first.values) @ standard_ranks(second.values))


def chance_agreement(share: float, other: float | None = None) -> float:
    """The IoU of two regions that lie independently, covering ``share`` and ``other`` of the frame.

    other : as much as ``share`` by default.

    The expected overlap is ``share · other`` and the union ``share + other - share · other``; their
    quotient is ``share / (2 - share)`` for two equal areas. ``nan`` where one is empty.
    """
    second = share if other is None else other
    if not (share > 0 and second > 0):
        return float("nan")
    return share * second / (share + second - share * second)


def bootstrap_interval(
    values: npt.NDArray[np.floating], draws: int, seed: int
) -> tuple[float, float]:
    """The 95% percentile interval of the mean over resampled ``values [n]``, seeded.

    Values that are not a number, of images for which there is none, are left out. ``nan`` for fewer
    than ``LEAST``.
    """
    values = np.asarray(values)[~np.isnan(values)]
    if len(values) < LEAST:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    picks = generator.integers(0, len(values), size=(draws, len(values)))
    low, high = np.quantile(np.mean(values[picks], axis=1), (0.025, 0.975))
    return float(low), float(high)

"""How far two heatmaps agree about where the evidence lies.

Regions are compared at equal area, because the overlap of two regions says as much about their
sizes as about their places: a region that covers most of the frame overlaps with everything.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from vitrine.errors import FrameError
from vitrine.methods.heatmap import Heatmap

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


def agreement(first: Heatmap, second: Heatmap, share: float) -> float:
    """IoU of the strongest ``share`` of two maps of one frame.

    Raises ``FrameError`` when the maps live in different frames; warp one of them first.
    """
    _check_frames(first, second)
    return intersection_over_union(
        top_region(first.values, share), top_region(second.values, share)
    )


def _check_frames(first: Heatmap, second: Heatmap) -> None:
    if first.frame != second.frame:
        raise FrameError(
            f"The maps of {first.method} and {second.method} live in different frames "
            f"({first.frame} and {second.frame})",
            "Warp one into the other's frame before comparing them",
        )


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
    _check_frames(first, second)
    return float(standard_ranks(first.values) @ standard_ranks(second.values))


def chance_agreement(share: float) -> float:
    """The IoU of two regions that each cover ``share`` of the frame independently.

    The expected overlap is ``share²`` and the union ``2 share - share²``, so their quotient is
    ``share / (2 - share)``.
    """
    return share / (2 - share)


def bootstrap_interval(
    values: npt.NDArray[np.floating],
    draws: int,
    seed: int,
    statistic: Callable[..., npt.NDArray[np.floating]] = np.mean,
) -> tuple[float, float]:
    """The 95% percentile interval of a statistic over resampled ``values [n]``, seeded."""
    generator = np.random.default_rng(seed)
    picks = generator.integers(0, len(values), size=(draws, len(values)))
    low, high = np.quantile(statistic(np.asarray(values)[picks], axis=1), (0.025, 0.975))
    return float(low), float(high)

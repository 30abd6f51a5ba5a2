"""What counts as the region that a heatmap highlights: the rules that people use."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from skimage.filters import threshold_otsu

from vitrine.arrays import Values
from vitrine.measures.agreement import Region, top_region


@dataclass(frozen=True)
class RegionRule:
    """A row of ``REGION_RULES``.

    region : of a map ``[h, w]`` and a share of the frame; empty where the map highlights nothing.
    area : whose share that is: ``"chosen"`` by the study, that of the superpixels which LIME keeps
        (``"positive"`` or ``"both signs"``), or ``""`` where the rule finds its own.
    """

    title: str
    region: Callable[[Values, float], Region]
    area: str = ""


def _above(values: Values, threshold: float) -> Region:
    return (np.asarray(values) > threshold).astype(np.float64)


def _above_half(values: Values, _share: float) -> Region:
    """Empty where nothing speaks for the class."""
    greatest = float(np.max(values))
    return _above(values, greatest / 2 if greatest > 0 else np.inf)


def _otsu(values: Values, _share: float) -> Region:
    """Otsu (1979): the threshold that parts the values into two groups best. Empty for one value.

    As scikit-image computes it, over 256 bins.
    """
    if np.ptp(values) == 0:
        return np.zeros(np.shape(values))
    return _above(values, float(threshold_otsu(np.asarray(values))))  # type: ignore[no-untyped-call]


def _strongest(values: Values, share: float) -> Region:
    """Empty for a share of nothing, or a map that is the same everywhere."""
    if share <= 0 or np.ptp(values) == 0:
        return np.zeros(np.shape(values))
    return top_region(values, share) if share < 1 else np.ones(np.shape(values))


REGION_RULES: dict[str, RegionRule] = {
    "share": RegionRule("Equal area", _strongest, "chosen"),
    "zero": RegionRule("Above zero", lambda values, _share: _above(values, 0.0)),
    "half": RegionRule("Above half of the maximum", _above_half),
    "otsu": RegionRule("Above Otsu's threshold", _otsu),
    "lime1": RegionRule("As much as LIME 1", _strongest, "positive"),
    "lime2": RegionRule(
        "As much as LIME 2", lambda values, share: _strongest(np.abs(values), share), "both signs"
    ),
}
"""The last two give LIME the superpixels that it keeps, and any other map as much of the frame."""

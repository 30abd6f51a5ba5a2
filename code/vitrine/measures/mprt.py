"""Whether a map depends on what the network has learned (Adebayo et al., 2018).

A map is compared with that of the same image from the network whose layers have been randomised
from the classifier down. Where both are alike, the map explains the image and not the network.
"""

import numpy as np
from skimage.metrics import structural_similarity

from vitrine.arrays import Values
from vitrine.measures.agreement import standard_ranks


def values_correlation(first: Values, second: Values, *, absolute: bool = False) -> float:
    """Spearman's rank correlation of two maps ``[h, w]``.

    absolute : of their absolute values, which does not notice that a network with random layers
        has lost the sign. ``nan`` where a map is constant or not finite.
    """
    if absolute:
        first, second = np.abs(first), np.abs(second)
    if not _speaks(first) or not _speaks(second):
        return float("nan")
    return float(standard_ranks(first) @ standard_ranks(second))


def similarity(first: Values, second: Values) -> float:
    """The structural similarity index (SSIM) of two maps ``[h, w]``, each scaled to 0 to 1.

    Wang et al. (2004), as scikit-image computes it with windows of 7 pixels. ``nan`` where a map is
    constant or not finite.
    """
    if not _speaks(first) or not _speaks(second):
        return float("nan")
    one, other = (
        (values - values.min()) / np.ptp(values)
        for values in (np.asarray(each, dtype=np.float64) for each in (first, second))
    )
    return float(structural_similarity(one, other, data_range=1.0))  # type: ignore[no-untyped-call]


def _speaks(values: Values) -> bool:
    return bool(np.isfinite(values).all() and np.ptp(values) > 0)

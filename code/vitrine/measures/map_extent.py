"""Where the evidence of a heatmap lies, and over how much of the frame it is spread."""

import numpy as np
import numpy.typing as npt


def area_above(values: npt.NDArray[np.floating], fraction: float) -> float:
    """The share of a map ``[h, w]`` that is above ``fraction`` of its maximum.

    This is the region that half-maximum thresholds choose, and it says how large that region is.
    ``nan`` when the map holds no positive evidence.
    """
    top = float(values.max())
    return float((values > fraction * top).mean()) if top > 0 else float("nan")


def centre_of_mass(values: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Row and column of the positive evidence's centre, each from 0 to 1 across the frame.

    ``(nan, nan)`` when the map holds no positive evidence.
    """
    evidence = np.clip(np.asarray(values, dtype=np.float64), 0, None)
    total = evidence.sum()
    if total == 0:
        return float("nan"), float("nan")
    height, width = evidence.shape
    rows = (np.arange(height) + 0.5) / height
    columns = (np.arange(width) + 0.5) / width
    return float(evidence.sum(axis=1) @ rows / total), float(evidence.sum(axis=0) @ columns / total)


def gini(values: npt.NDArray[np.floating]) -> float:
    """The Gini index of a map's absolute values: 0 where all are equal, near 1 for one pixel.

    As sparseness in Chalasani et al. (2020). ``nan`` for a map of zeros.
    """
    sizes = np.sort(np.abs(np.asarray(values, dtype=np.float64)), axis=None)
    total = sizes.sum()
    if total == 0:
        return float("nan")
    ranks = np.arange(1, sizes.size + 1)
    return float((2 * ranks - sizes.size - 1) @ sizes / (sizes.size * total))


def entropy(values: npt.NDArray[np.floating]) -> float:
    """The entropy of a map's absolute values as shares of their sum, in nats.

    0 for a single pixel, ``log(pixels)`` where all are equal; complexity in Bhatt et al. (2020).
    ``nan`` for a map of zeros.
    """
    sizes = np.abs(np.asarray(values, dtype=np.float64)).ravel()
    total = sizes.sum()
    if total == 0:
        return float("nan")
    shares = sizes[sizes > 0] / total
    return float(-(shares * np.log(shares)).sum())

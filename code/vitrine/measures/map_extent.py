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

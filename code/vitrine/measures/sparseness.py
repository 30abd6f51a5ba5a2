"""How concentrated a map is: one that lights up everything explains nothing."""

import numpy as np
import numpy.typing as npt


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

"""Which of many p-values hold when it is known that they are many."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def discoveries(p_values: Values, rate: float) -> npt.NDArray[np.bool_]:
    """Which hypotheses are rejected so that at most ``rate`` of these are expected to be wrong.

    Benjamini and Hochberg (1995): with the p-values in ascending order, all up to the last with
    ``p_(i) <= i / m * rate``.

    >>> discoveries(np.array([0.04, 0.001, 0.03, 0.5]), 0.05).tolist()
    [False, True, False, False]
    """
    order = np.argsort(p_values, kind="stable")
    below = p_values[order] <= rate * np.arange(1, len(p_values) + 1) / len(p_values)
    found = np.zeros(len(p_values), dtype=np.bool_)
    if below.any():
        found[order[: int(np.flatnonzero(below)[-1]) + 1]] = True
    return found

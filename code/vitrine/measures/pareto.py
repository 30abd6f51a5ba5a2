"""Which of several choices no other is better than."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def pareto_front(
    values: npt.NDArray[np.floating], higher_is_better: Sequence[bool]
) -> npt.NDArray[np.bool_]:
    """The choices that no other dominates: ``bool [choices]``.

    values : ``[choices, criteria]``, without ``nan``. higher_is_better : one for each criterion. A
    choice dominates another when it is at least as good by every criterion and better by one.

    >>> pareto_front(np.array([[0.9, 5.0], [0.8, 1.0], [0.7, 2.0]]), [True, False])
    array([ True,  True, False])
    """
    if values.ndim != 2 or values.shape[1] != len(higher_is_better):
        raise ValueError("each criterion needs a direction")
    if np.isnan(values).any():
        raise ValueError("a choice without a value cannot be compared")
    good = np.where(np.asarray(higher_is_better), values, -values)
    at_least = (good[:, None] >= good[None]).all(axis=2)  # [one, other]
    better = (good[:, None] > good[None]).any(axis=2)
    return np.asarray(~(at_least & better).any(axis=0))

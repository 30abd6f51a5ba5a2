"""A choice is on the Pareto front when no other is at least as good by all criteria."""

import numpy as np
import pytest

from vitrine.measures.pareto import pareto_front


def _slow(values: np.ndarray, higher: list[bool]) -> list[bool]:
    found = []
    for one in values:
        beaten = False
        for other in values:
            pairs = list(zip(other, one, higher, strict=True))
            as_good = all(a >= b if up else a <= b for a, b, up in pairs)
            beaten = beaten or (as_good and any(a != b for a, b, _ in pairs))
        found.append(not beaten)
    return found


def test_the_front_is_what_nothing_dominates() -> None:
    values = np.random.default_rng(0).integers(0, 5, (40, 3)).astype(float)
    higher = [True, False, True]
    assert pareto_front(values, higher).tolist() == _slow(values, higher)


def test_equal_choices_stand_or_fall_together() -> None:
    assert pareto_front(np.array([[1.0], [1.0], [0.0]]), [True]).tolist() == [True, True, False]


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a direction"):
        pareto_front(np.ones((3, 2)), [True])
    with pytest.raises(ValueError, match="without a value"):
        pareto_front(np.array([[np.nan]]), [True])

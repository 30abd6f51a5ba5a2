"""Ranks and fronts know which way is better, and what is not a number enters no mean."""

import numpy as np
import pytest

from vitrine.measures.pareto import pareto_front
from vitrine.measures.ranking import (
    Better,
    advantage,
    disagreement,
    ranks,
    score,
    standing_of,
    tau,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "direction", "expected"),
    [
        ([0.1, 0.1 + 1e-8, 0.2], "lower", [1.5, 1.5, 3]),  # which differ by rounding
        ([1e-6, 2e-6], "higher", [2, 1]),
        ([0.1, 0.5, 0.3], "higher", [3, 1, 2]),
        ([0.1, 0.5, 0.3], "lower", [1, 3, 2]),
        ([0.2, NAN, 0.9, 0.2], "higher", [2.5, NAN, 1, 2.5]),
    ],
)
def test_the_best_is_first_and_ties_share_a_rank(
    values: list[float], direction: Better, expected: list[float]
) -> None:
    np.testing.assert_array_equal(ranks(values, direction), expected)


def test_a_score_counts_what_is_missing_and_averages_the_rest() -> None:
    values = [1.0, 2.0, 2.5, 3.5, 6.0]
    found = score([*values, NAN, float("inf")])
    assert (found.images, found.missing) == (5, 2)
    assert found.mean == pytest.approx(3) and found.std == pytest.approx(np.std(values, ddof=1))
    assert 1 <= found.low < found.mean < found.high <= 6
    assert found == score([*values, NAN, float("inf")])
    nothing = score([NAN, NAN])
    assert np.isnan(nothing.mean) and (nothing.images, nothing.missing) == (0, 2)
    assert np.isnan(score([1.0]).std) and np.isnan(score(values[:4]).low)


def test_a_method_is_better_only_where_the_corrected_test_says_so() -> None:
    ones = [1.0 + n / 10 for n in range(8)]
    assert standing_of(advantage([*ones, NAN], [*np.zeros(8), 9], "higher")) == "better"
    assert standing_of(advantage(ones, [0] * 8, "lower")) == "worse"
    assert standing_of(advantage([1, -2, 3, -4, 5, -6, 7, -8], [0] * 8, "higher")) == "undecided"
    assert standing_of(advantage(ones, [0] * 8, "higher", comparisons=100)) == "too few"
    assert standing_of(advantage([1, 2, 3], [0, 1, 1], "higher")) == "too few"
    assert standing_of(advantage([1, NAN], [0, 0], "higher")) == "too few"


def test_tau_is_one_for_the_same_order_and_minus_one_for_the_reverse() -> None:
    assert tau([1, 2, 3, 4], [1, 2, 3, 4]) == pytest.approx(1)
    assert tau([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # One of the six pairs is the other way round.
    assert tau([1, 2, 3, 4], [2, 1, 3, 4]) == pytest.approx(4 / 6)
    assert tau([1, 2, NAN, 3], [1, 2, 9, 3]) == pytest.approx(1)
    assert np.isnan(tau([1, 1], [1, 2])) and np.isnan(tau([NAN, 1], [1, 2]))


def test_every_two_measures_are_compared_once() -> None:
    found = disagreement({"a": [1, 2, 3], "b": [1, 2, 3], "c": [3, 2, 1]})
    assert [(one, other) for one, other, _ in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [value for *_, value in found] == pytest.approx([1, -1, -1])


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

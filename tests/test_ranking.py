"""Ranks know which way is better, and what is not a number enters no mean."""

import numpy as np
import pytest

from vitrine.measures.ranking import advantage, disagreement, ranks, score, standing_of, tau

NAN = float("nan")


def test_values_that_differ_by_rounding_share_a_rank() -> None:
    np.testing.assert_array_equal(ranks([0.1, 0.1 + 1e-8, 0.2], "lower"), [1.5, 1.5, 3])
    np.testing.assert_array_equal(ranks([1e-6, 2e-6], "higher"), [2, 1])


def test_the_best_is_first_whichever_way_is_better() -> None:
    assert ranks([0.1, 0.5, 0.3], "higher").tolist() == [3, 1, 2]
    assert ranks([0.1, 0.5, 0.3], "lower").tolist() == [1, 3, 2]


def test_ties_share_a_rank_and_what_is_missing_has_none() -> None:
    found = ranks([0.2, NAN, 0.9, 0.2], "higher")
    np.testing.assert_array_equal(found, [2.5, NAN, 1, 2.5])


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

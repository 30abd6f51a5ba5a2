"""Findings: the sentence, the verdict and the number come from one comparison."""

import re
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import permutation_test

from any_study import any_study
from stub_study import assert_sound
from vitrine.errors import StudyError
from vitrine.measures.difference import Difference, paired_difference, pairing_difference
from vitrine.measures.registry import MEASURES
from vitrine.report import replication
from vitrine.report.attributions import PRINTED
from vitrine.report.findings import Finding, absent, attribution, findings, measures
from vitrine.report.findings.sentences import bound, span, spelt, which_way
from vitrine.report.observations import read_observations
from vitrine.report.study_report import StudyReport
from vitrine.report.text import p_text, part_of, plural


@settings(max_examples=40)
@given(any_study())
def test_every_finding_is_a_sentence_of_any_study(study: StudyReport) -> None:
    asked = [ask for *_, ask in replication.questions()]
    printed = pd.Series(range(8), [*PRINTED.values()])
    given = [measures.by_family(study, name, "Means") for name in MEASURES]
    for found in [*(ask(study) for ask in asked), *given, attribution.printed(study, printed)]:
        # A label may be called "nan"; nothing else may.
        plain = [re.sub(r"“[^”]*”", "“x”", text) for text in (found.headline, found.text)]
        assert_sound(Finding(*plain, verdict=found.verdict))


differences = st.lists(st.floats(-1, 1, allow_subnormal=False), max_size=12).map(np.array)


@given(differences, st.integers(1, 30))
def test_interval_and_verdict_cannot_disagree(values: np.ndarray, comparisons: int) -> None:
    _agree(paired_difference(values, comparisons))


def _agree(found: Difference) -> None:
    """The interval, the p-value and the direction of a difference say the same."""
    outside = not found.low <= 0 <= found.high
    assert outside == (found.direction in ("larger", "smaller"))
    assert outside == (found.p_value <= found.level and np.isfinite(found.low))
    if outside:
        assert (found.low > 0) == (found.direction == "larger") == (found.mean > 0)


@pytest.mark.parametrize("n", [2, 5, 8, 11])
def test_sign_flips_against_scipy_and_by_hand(n: int) -> None:
    values = np.random.default_rng(n).normal(0.5, 1, n)
    found = paired_difference(values)
    theirs = permutation_test(
        (values, np.zeros(n)), lambda a, b: np.mean(a - b), permutation_type="samples"
    )
    assert found.p_value == pytest.approx(theirs.pvalue)
    flips = [abs(np.dot(signs, values)) for signs in product((1, -1), repeat=n)]
    assert found.p_value == np.mean(np.array(flips) >= abs(values.sum()) - 1e-12)


@pytest.mark.parametrize(
    ("tested", "values", "one"),
    [
        (paired_difference, np.random.default_rng(1).normal(0.3, 1, 10), np.ones(10)),
        *(
            (pairing_difference, np.random.default_rng(n).random((n, n)), np.eye(n))
            for n in (6, 11)
        ),
    ],
)
def test_the_interval_holds_the_differences_that_the_test_does_not_reject(
    tested: Callable[[np.ndarray], Difference], values: np.ndarray, one: np.ndarray
) -> None:
    found = tested(values)
    for inside in (found.low + 1e-6, found.high - 1e-6):
        assert tested(values - inside * one).p_value > 0.05
    for outside in (found.low - 1e-6, found.high + 1e-6):
        assert tested(values - outside * one).p_value <= 0.05


matrices = st.integers(0, 9).flatmap(
    lambda n: arrays(
        float, (n, n), elements=st.floats(0, 1, allow_subnormal=False) | st.just(float("nan"))
    )
)


@given(matrices, st.integers(1, 30))
def test_interval_and_verdict_of_a_pairing_cannot_disagree(matrix: Any, comparisons: int) -> None:
    whole = np.isfinite(np.diagonal(matrix))
    matrix[np.ix_(whole, whole)] = np.nan_to_num(matrix[np.ix_(whole, whole)])
    found = pairing_difference(matrix, comparisons, draws=199)
    assert found.count == whole.sum()
    _agree(found)


@pytest.mark.parametrize("n", [3, 5, 7])
def test_pairings_against_scipy_and_by_hand(n: int) -> None:
    matrix = np.random.default_rng(n).random((n, n)) + 0.3 * np.eye(n)
    found = pairing_difference(matrix)
    theirs = permutation_test(
        (np.arange(n),),
        lambda order: matrix[np.arange(n), order].mean(),
        permutation_type="pairings",
    )
    assert found.p_value == pytest.approx(theirs.pvalue)
    every = [
        np.mean([matrix[i, j] for i, j in enumerate(order)]) for order in permutations(range(n))
    ]
    tails = [np.mean(np.array(every) >= np.trace(matrix) / n - 1e-12)]
    tails += [np.mean(np.array(every) <= np.trace(matrix) / n + 1e-12)]
    assert found.p_value == pytest.approx(min(1, 2 * min(tails)))
    others = [matrix[i, j] for i in range(n) for j in range(n) if i != j]
    assert found.mean == pytest.approx(np.trace(matrix) / n - np.mean(others))


def test_one_map_that_all_others_resemble_is_no_pairing() -> None:
    matrix = np.random.default_rng(0).random((11, 11)) * 0.1
    matrix[:, 3] += 0.8  # a map that agrees with every image
    found = pairing_difference(matrix)
    assert found.direction == "undecided" and abs(found.mean) < 0.1
    assert pairing_difference(matrix * 0.3 + 0.2 * np.eye(11)).p_value < 0.01


def test_one_great_value_elsewhere_does_not_turn_what_the_test_says() -> None:
    matrix = 5e-5 * np.eye(100)
    matrix[0, 1] = 1.0  # it is in one pairing of a hundred, and lifts the mean of them all
    found = pairing_difference(matrix)
    assert found.mean < 0 < found.low and found.p_value <= 0.05
    assert found.direction == "larger"


def test_maps_that_agree_more_or_less_with_every_other_leave_the_level_of_the_test() -> None:
    rng = np.random.default_rng(0)
    p_values = [
        pairing_difference(
            rng.normal(size=(8, 8)) + rng.normal(size=8) + rng.normal(size=(8, 1)), draws=499
        ).p_value
        for _ in range(300)
    ]
    assert 0.01 < np.mean(np.array(p_values) <= 0.05) < 0.09


def test_few_images_have_no_pairings_to_tell_from_theirs() -> None:
    assert pairing_difference(np.eye(4)).direction == "too few"
    assert pairing_difference(np.eye(5)).direction == "larger"
    assert pairing_difference(np.eye(5), comparisons=10).direction == "too few"
    assert pairing_difference(np.full((9, 9), 0.3)).p_value == 1
    assert pairing_difference(np.ones((1, 1))).count == 1


def test_few_images_decide_nothing() -> None:
    assert paired_difference(np.ones(5)).direction == "too few"
    assert paired_difference(np.ones(6)).direction == "larger"
    assert paired_difference(np.ones(6), comparisons=10).direction == "too few"
    assert paired_difference(np.array([np.nan])).count == 0
    assert "cannot tell" in which_way(paired_difference(np.ones(2)), "[more|less]", "").text


def test_numbers_of_a_difference() -> None:
    found = paired_difference(np.array([0.004] * 9 + [0.9]))
    assert found.direction == "larger"
    assert spelt(found) == "0.09 (95% interval 0.004 to 0.30, p = 0.002)"
    assert spelt(paired_difference(np.ones(12), 10)).startswith("1.00 (99.5% interval 1.00 to 1.00")
    assert spelt(paired_difference(np.ones(2))) == "1.00 (two images, no test)"
    assert spelt(paired_difference(np.full(2, -0.0012))) == "−0.001 (two images, no test)"
    assert (bound(-0.0004), bound(0.0), bound(0.126)) == ("−0.0004", "0.00", "0.13")
    assert bound(-1e-8) == "0.00"
    assert span([0.1, np.nan, 0.304], as_percent=True) == "10% to 30%"
    assert span([0.1, 0.1]) == "0.10"
    assert span([]) == "unknown"


def test_counted_nouns() -> None:
    assert [plural(n, "image") for n in (0, 1, 2, 12)] == [
        "no image",
        "one image",
        "two images",
        "12 images",
    ]
    assert part_of(3, 10, "image") == "three of ten images"
    assert part_of(10, 10, "image") == "all ten images"
    assert part_of(0, 10, "image") == "none of the ten images"
    assert part_of(2, 2, "class", "classes") == "both classes"
    assert [part_of(n, 1, "image") for n in (0, 1)] == ["no image", "the one image"]
    assert [p_text(p) for p in (0.0001, 0.0123, 0.42)] == ["p < 0.001", "p = 0.012", "p = 0.42"]


def test_a_list_leaves_out_what_a_study_cannot_have() -> None:
    found, missing = Finding("Labels *differ*.", "By a|b."), absent("This study has no LIME.")
    assert found.markdown == "**Labels \\*differ\\*\\.** By a\\|b\\."
    assert findings(found, missing).data == f"- {found.markdown}"
    assert "This study has no LIME" in findings(missing, missing).data
    assert findings(missing, missing).data.count("LIME") == 1


OBSERVATION = """## place: sec-lime
images: [kite]
seen: 2026-11-26
when:
  predictions: image == "kite" and rank == 1

The flower at the left edge holds the *greatest* weight.
"""


def test_observations_are_read_with_their_conditions(tmp_path: Path) -> None:
    assert read_observations(tmp_path) == []
    (tmp_path / "observations.md").write_text("# Seen\n\n" + OBSERVATION * 2)
    first, second = read_observations(tmp_path)
    assert (first.place, first.images, first.line, second.line) == ("sec-lime", ("kite",), 3, 10)
    assert first.text.endswith("weight.")
    table = pd.DataFrame({"image": ["kite"], "rank": [1]})
    assert first.failed(lambda name: table) is None
    assert first.failed(lambda name: table.assign(rank=2)) == first.failed(
        lambda name: table.iloc[:0]
    )
    assert "rank" in str(first.failed(lambda name: table.drop(columns="rank")))


@pytest.mark.parametrize(
    "wrong",
    [
        OBSERVATION.replace("when:\n", "then:\n"),
        OBSERVATION.replace("2026-11-26", "yesterday"),
        OBSERVATION.partition("\n\n")[0],
        OBSERVATION.replace("images: [", "images: [["),
        OBSERVATION.replace("\n  predictions: image", " image"),
    ],
)
def test_an_observation_that_cannot_be_read_is_named(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "observations.md").write_text(wrong)
    with pytest.raises(StudyError, match=r"observations\.md:1: "):
        read_observations(tmp_path)

"""Findings of several studies are compared by their verdicts, and by nothing else."""

import pkgutil
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stub_study import assert_sound, stub_study
from vitrine.measures.difference import paired_difference
from vitrine.project import Project
from vitrine.report import computed_studies, replication
from vitrine.report import findings as rooms
from vitrine.report.findings import Finding, absent, lime
from vitrine.report.findings.sentences import which_way
from vitrine.report.replication import Answered
from vitrine.report.study_report import StudyReport

VERDICTS = ("larger", "smaller", "undecided", "too few", "absent", "described", "mixed", "some")


def _study(kept: float, images: int = 8) -> StudyReport:
    """A study in which LIME's superpixels keep so much, and random ones a half."""
    rows = {"image": [f"{n}" for n in range(images)], "rule": "positive", "superpixels": 10}
    rows |= {"p_kept": kept, "p_kept_random": 0.5, "p_removed": 0.1, "p_removed_random": 0.1}
    table = pd.DataFrame(rows).assign(area=0.3, area_random=0.3)
    return stub_study({"fidelity": table})


@pytest.mark.parametrize(
    ("kept", "images", "expected"),
    [(0.9, 8, "holds"), (0.1, 8, "reverses"), (0.5, 8, "undecided"), (0.9, 2, "undecided")],
)
def test_the_verdicts_of_two_studies_decide(kept: float, images: int, expected: str) -> None:
    shown, other = lime.best_alone(_study(0.8)), lime.best_alone(_study(kept, images))
    assert replication.outcome(shown, other) == expected
    assert replication.outcome(shown, absent("Nothing.")) == "not asked"
    assert replication.outcome(shown, Finding("It is so.")) == "not tested"
    best = [Finding(f"{who} is the best.", verdict="larger") for who in ("This", "That")]
    assert replication.outcome(*best) == "changes"
    named = [replace(one, same_as="the same") for one in best]
    assert replication.outcome(*named) == "holds"


def test_a_finding_carries_the_difference_that_it_says() -> None:
    found = lime.best_alone(_study(0.8))
    assert found.difference is not None and found.difference.mean == pytest.approx(0.3)
    assert replication.value(found) == "0.30 (0.30 to 0.30)"
    assert replication.value(found, changed=True) == f"{found.headline} 0.30 (0.30 to 0.30)"
    assert replication.value(lime.best_alone(_study(0.8, images=1))) == "0.30"
    assert replication.value(absent("Nothing.")) == "–"
    assert replication.value(Finding("", "First: 1.5. Second.")) == "First: 1.5."


def test_every_question_is_asked_once_and_reads_as_a_line() -> None:
    asked = list(replication.questions())
    lines = [(question, chapter) for question, chapter, _ in asked]
    assert len(lines) == len(set(lines)) > 70
    assert all(question and not question.endswith(".") for question, _ in lines)
    assert {chapter for _, chapter in lines} == set(replication.CHAPTERS)
    assert lime.best_alone in [ask for *_, ask in asked]
    assert set(replication.PUBLISHED) <= {ask for *_, ask in asked}


def test_a_study_without_the_part_says_so_to_every_question() -> None:
    nothing = stub_study({}, images=["one"])
    for question, _, ask in replication.questions():
        found = ask(nothing)
        assert found.is_absent, question
        assert_sound(found)


def test_all_questions_are_asked_of_studies_that_have_next_to_nothing() -> None:
    answered = replication.answers([_study(0.8), _study(0.2)])
    assert len(answered) == 2  # what is kept, and what is left
    assert [answer.outcomes for answer in answered] == [("reverses",), ("undecided",)]
    table = replication.intervals(answered, ["one", "other"])
    assert table["mean"].round(9).tolist() == [0.3, -0.3, 0, 0]
    assert table["at"].round(9).tolist() == [1, -1, 0, 0]
    found = replication.replicated(answered, ["one", "other"], 1)
    assert found.headline == "One finding reverses on other."
    assert_sound(found)


@given(st.lists(st.tuples(st.sampled_from(VERDICTS), st.sampled_from(VERDICTS)), max_size=12))
def test_what_holds_is_said_for_any_verdicts(pairs: list[tuple[str, str]]) -> None:
    answered = [
        Answered("Whether", "lime.qmd", (Finding("So.", verdict=one), Finding("So.", verdict=two)))
        for one, two in pairs
    ]
    found = replication.replicated(answered, ["a network", "another"], 1)
    assert_sound(found)
    outcomes = [answer.outcomes[0] for answer in answered]
    assert found.is_absent == (not set(outcomes) & set(replication.DECIDED))
    assert ("reverses" in outcomes) != (
        found.is_absent or found.headline.startswith(("No finding", "Every"))
    )
    assert (found.verdict == "holds") == ({*outcomes} & {*replication.DECIDED} == {"holds"})


@given(st.lists(st.lists(st.floats(-3, 3, allow_subnormal=False), max_size=9), max_size=5))
def test_each_finding_is_drawn_on_its_own_scale(values: list[list[float]]) -> None:
    answered = [
        Answered("Whether", "lime.qmd", (which_way(one, "[more|less]", ""), absent("Nothing.")))
        for one in (paired_difference(np.array(each)) for each in values)
    ]
    table = replication.intervals(answered, ["one", "other"])
    assert set(table["study"]) <= {"one"}
    assert len(table) == sum(bool(each) for each in values)
    drawn = table[["at", "from", "to"]].abs()
    assert not (drawn > 1 + 1e-9).any().any()
    known = table[table["low"].notna()]
    assert ((known["from"] > 0) == (known["low"] > 0)).all()


def test_computed_studies_are_the_shown_one_first(
    done: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VITRINE_PROJECT", str(done.root))
    (done.root / "_variables.yml").write_text("study: tiny\n")
    shutil.copytree(done.results / "tiny", done.results / "another")
    (done.results / "stopped" / "tasks").mkdir(parents=True)
    studies = computed_studies()
    assert [study.store.study for study in studies] == ["tiny", "another"]
    assert replication.only_one_study(studies) is None
    alone = replication.only_one_study(studies[:1])
    assert alone is not None and alone.is_absent
    assert_sound(alone)


def test_no_room_of_findings_is_left_out() -> None:
    rooms_of_studies = {m.__name__ for _, modules in replication.CHAPTERS.values() for m in modules}
    every = {f"{rooms.__name__}.{found.name}" for found in pkgutil.iter_modules(rooms.__path__)}
    # What findings are made of, and those about imported runs.
    others = {f"{rooms.__name__}.{n}" for n in ("finding", "sentences", "published", "other_run")}
    assert rooms_of_studies | others == every

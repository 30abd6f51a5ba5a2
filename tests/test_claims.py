"""Every claim of the earlier reports has its verdict, whatever study is shown."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from any_study import COLUMNS, any_study
from claims import JUDGES, VERDICTS, Judgement, Part, claims_of, judged, ledger_table, verdicts
from claims.judgement import told
from claims.ledger import BY_CHAPTER, REPORTS
from conftest import ROOT
from stub_study import UNSOUND, stub_study
from vitrine.project import Project
from vitrine.report import tables
from vitrine.report.published import PublishedReport, open_published
from vitrine.report.study_report import StudyReport

EVERY = frozenset(column for columns in COLUMNS.values() for column in columns)
"""The columns of all tables: a claim is judged whatever is missing."""


@pytest.fixture(scope="module")
def published() -> Iterator[PublishedReport]:
    """The imported runs, of which claims read only what the store has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRINE_PROJECT", str(ROOT))
        found = open_published()
        patch.setattr(found.store, "table", cache(found.store.table))
        yield found


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(study=any_study(missing=EVERY))
def test_every_claim_is_judged_for_any_study(
    published: PublishedReport, study: StudyReport
) -> None:
    found = judged(study, published)
    assert set(found["verdict"]) <= set(VERDICTS)
    for text in found["why"]:
        assert text.endswith(".") and not UNSOUND.search(text), text
    assert str(len(found)) in verdicts(found).headline


def test_a_study_of_nothing_leaves_claims_undecided(published: PublishedReport) -> None:
    study = stub_study({}, images=["a"])
    found = judged(study, published).set_index("key")
    for key in ("chimney", "repeats", "samples_600", "occlusion_stable", "probing_grows"):
        assert found.loc[key, "verdict"] == "not decidable", key
        assert "This study" in found.loc[key, "why"]


def _of_places(units: pd.DataFrame) -> StudyReport:
    """The dissection of a network of places and of one of objects, with these units."""
    sets = {"p": "Places365", "i": "ImageNet"}
    networks = [{"name": n, "title": n, "training_set": told} for n, told in sets.items()]
    layers = units[["network", "layer"]].drop_duplicates().assign(null_mean=[0.0, 1.0])
    return stub_study(
        {"units": units, "layers": layers},
        {"dissection": {"images": {"source": "imagenet-sample-images"}}},
        images=["a"],
        provenance={"dissection": {"classifiers": networks}},
    )


def test_a_network_of_places_decides_the_claim_about_places(published: PublishedReport) -> None:
    units = pd.DataFrame(
        [
            (name, "layer4", place, place + higher)
            for name, higher in (("p", 0), ("i", 99))
            for place in range(30)
        ],
        columns=["network", "layer", "unit", "similarity"],
    )
    units = units.assign(label="word", kind="object", q_value=0.0)
    assert JUDGES["places_less"](_of_places(units), published).verdict == "confirmed"
    alike = _of_places(units.assign(similarity=units["unit"] + (units["network"] == "i")))
    assert JUDGES["places_less"](alike, published).verdict == "not decidable"  # above the null


def test_layers_without_units_leave_it_undecided_which_are_more_similar(
    published: PublishedReport,
) -> None:
    units = pd.DataFrame({"network": ["p", "i"], "layer": "fc"})
    study = _of_places(units.assign(label="constant", similarity=np.nan, q_value=np.nan))
    assert JUDGES["places_less"](study, published).verdict == "not decidable"


@pytest.mark.parametrize(("inside", "verdict"), [(0.0, "confirmed"), (0.3, "not decidable")])
def test_that_weight_lies_beside_a_small_object_is_judged_by_its_area(
    published: PublishedReport, inside: float, verdict: str
) -> None:
    mask, values = np.zeros((10, 10), dtype=bool), np.full((10, 10), 1 - inside)
    mask[0, 0], values[0, 0] = True, 99 * inside
    study = stub_study(
        {"maps": pd.DataFrame({"image": ["American coot"], "method": ["lime"]})},
        images=["American coot"],
        objects={"American coot": mask},
        heatmap=lambda method, image: SimpleNamespace(values=values),
    )
    assert JUDGES["coot"](study, published).verdict == verdict


@pytest.mark.parametrize(("q_value", "verdict"), [(0.0, "confirmed"), (1.0, "not decidable")])
def test_close_words_of_units_without_a_significant_label_decide_nothing(
    published: PublishedReport, q_value: float, verdict: str
) -> None:
    words = [f"word {place // 4}" for place in range(200)]
    runners = [f"word {place // 4 ^ 1}" for place in range(200)]
    units = pd.DataFrame({"network": "i", "layer": "fc", "label": words, "runner_up_1": runners})
    study = stub_study(
        {"units": units.assign(similarity=1.0, q_value=q_value)},
        provenance={
            "dissection": {"classifiers": [{"name": "i", "title": "i", "training_set": "ImageNet"}]}
        },
    )
    assert JUDGES["close_concepts"](study, published).verdict == verdict


def test_relevance_propagation_is_judged_by_both_sets_of_rules(published: PublishedReport) -> None:
    values = {"lrp": 0.1, "lrp_captum": 9.0, "gradient": 0.5, "occlusion": 0.4}
    rows = pd.DataFrame(
        [(f"{place}", name, value) for place in range(9) for name, value in values.items()],
        columns=["image", "method", "by_channel"],
    )
    found = {"sensitivities": rows, "attributions": rows.assign(reason="")}
    judged_by_both = JUDGES["lrp_unstable"](stub_study(found, images=["0"]), published)
    assert judged_by_both.verdict == "in part" and "place 2 of 2" in judged_by_both.text


@pytest.mark.parametrize(
    ("halves", "verdict"),
    [
        ([(True, True)], "confirmed"),
        ([(True, None)], "confirmed"),
        ([(True,), (None,)], "in part"),
        ([(True, False)], "in part"),
        ([(False, None), (False,)], "refuted"),
        ([(None,), ()], "not decidable"),
    ],
)
def test_a_verdict_follows_from_its_comparisons(halves: list[Any], verdict: str) -> None:
    parts = tuple(Part("Said.", outcomes, str(n)) for n, outcomes in enumerate(halves))
    assert Judgement(parts).verdict == verdict


def test_outcomes_are_counted_in_words() -> None:
    assert told([True, True, None], "network") == "in two of three networks (one undecided)"
    assert told([False], "network") == "in no network"


def test_there_are_25_claims_of_four_reports(root: Path) -> None:
    claims = claims_of(Project(root))
    assert len(claims) == 25 and claims["key"].is_unique
    assert set(claims["source"]) == set(REPORTS)
    assert {key: chapter for chapter, judges in BY_CHAPTER.items() for key in judges} == dict(
        zip(claims["key"], claims["chapter"], strict=True)
    )


def test_every_claim_is_judged_once_with_a_number(
    embedded: StudyReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = judged(embedded, open_published()).set_index("key")
    assert set(found["verdict"]) <= set(VERDICTS)
    assert ledger_table(found.reset_index()).data.count("\n| ") >= len(found)
    known = {"low_alike": "confirmed", "roof": "in part", "classifier_highest": "in part"}
    assert {key: found.loc[key, "verdict"] for key in known} == known


def test_a_link_in_a_table_is_a_link_and_its_text_is_escaped() -> None:
    cell = tables.LinkedText("a_b", "lime.qmd#sec-x")
    frame = pd.DataFrame({"where": pd.Series([cell], dtype=object)})
    assert r"[a\_b](lime.qmd#sec-x)" in tables.markdown_table(frame, {}, {})
    assert frame.to_csv(index=False).splitlines() == ["where", "lime.qmd#sec-x"]


@pytest.mark.usefixtures("embedded")
def test_published_maps_are_shown_in_any_frame_of_their_image() -> None:
    published = open_published()
    assert len(published.images) == 10
    frame, whole = (published.frame(run, "vulture") for run in ("lime_1", "gradcam"))
    assert frame.size == (224, 224) and whole.box == (0, 0, 500, 375)
    mask = published.map_in("lime_1", "vulture", frame)
    regions = published.table("regions").set_index(["run", "image"])
    assert (mask != 0).mean() == pytest.approx(regions.loc[("lime_1", "vulture"), "marked"])
    assert published.map_in("gradcam", "vulture", frame).shape == frame.size
    assert published.crop("vulture", frame, 60).shape == (60, 60, 3)
    assert published.on_object("kite").isna().all()  # it shows no bird

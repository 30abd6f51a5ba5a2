"""Every claim of the earlier reports has its verdict, its number and its place."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from claims import claims_of, claims_table, judged, link
from claims.judgement import VERDICTS
from claims.ledger import CLAIMED_IN, JUDGES, REPORTS
from vitrine.project import Project
from vitrine.report import open_study, tables
from vitrine.report.published import PublishedReport, open_published
from vitrine.report.study_report import StudyReport


@pytest.fixture
def opened(
    root: Path, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[StudyReport, PublishedReport]:
    """The studies of the repository, with a cache and images of the test's own."""
    monkeypatch.setenv("VITRINE_PROJECT", str(root))
    monkeypatch.setenv("VITRINE_MIRROR", str(mirror))
    monkeypatch.setenv("VITRINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return open_study("embedded"), open_published()


def test_there_are_25_claims_of_four_reports(root: Path) -> None:
    claims = claims_of(Project(root))
    assert len(claims) == 25 and claims["key"].is_unique
    assert set(claims["source"]) == set(REPORTS)
    assert set(claims["chapter"]) == set(CLAIMED_IN)


def test_every_claim_is_judged_once_with_a_number(
    opened: tuple[StudyReport, PublishedReport],
) -> None:
    found = judged(*opened)
    assert set(found["chapter"]) == set(JUDGES)
    assert set(found["verdict"]) <= set(VERDICTS)
    assert (found["words"] != "").all()
    assert found["number"].str.contains(r"\d").all()
    for chapter in JUDGES:
        shown = claims_table(*opened, chapter, "claims").data
        assert shown.count("\n| ") >= (found["chapter"] == chapter).sum()


def test_a_claim_leads_to_the_section_that_takes_it_up(root: Path) -> None:
    for chapter in CLAIMED_IN:
        found = link(chapter)
        file = found.address.split("#")[0]
        text = (root / "chapters" / file).read_text(encoding="utf-8")
        assert f"{{#{found.address.split('#')[1]}}}" in text


def test_a_link_in_a_table_is_a_link_and_its_text_is_escaped() -> None:
    cell = tables.Link("a_b", "lime.qmd#sec-x")
    frame = pd.DataFrame({"where": pd.Series([cell], dtype=object)})
    assert r"[a\_b](lime.qmd#sec-x)" in tables.markdown_table(frame, {}, {})
    assert frame.to_csv(index=False).splitlines() == ["where", "lime.qmd#sec-x"]


def test_published_maps_are_shown_in_any_frame_of_their_image(
    opened: tuple[StudyReport, PublishedReport],
) -> None:
    published = opened[1]
    assert len(published.images) == 10
    frame, whole = (published.frame(run, "vulture") for run in ("lime_1", "gradcam"))
    assert frame.size == (224, 224) and whole.box == (0, 0, 500, 375)
    mask = published.map_in("lime_1", "vulture", frame)
    regions = published.table("regions").set_index(["run", "image"])
    assert (mask != 0).mean() == pytest.approx(regions.loc[("lime_1", "vulture"), "marked"])
    assert published.map_in("gradcam", "vulture", frame).shape == frame.size
    assert published.crop("vulture", frame, 60).shape == (60, 60, 3)
    assert published.on_object("kite").isna().all()  # it shows no bird

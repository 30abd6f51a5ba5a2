"""The viewer in a real browser: its numbers are the tables', and each view is a link."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page

from vitrine.measures.agreement import top_region
from vitrine.report import open_study
from vitrine.report.study_report import StudyReport
from vitrine.report.viewer import SHARES, levels_of, viewer

ASSETS = (Path(__file__).parent.parent / "assets").as_uri()
CLOSE = 0.005
Open = Callable[..., Page]


def test_regions_of_the_levels_are_those_of_the_map() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(60, 50))
    flat = np.where(noise > 0.3, noise, 0)  # ties over most of the frame
    for values in (noise, flat, noise.round(1), np.zeros((4, 4))):
        levels, means = levels_of(values, SHARES)
        assert len(means) == levels.max() + 1 <= 256
        assert (np.diff(means) > 0).all()
        for share in SHARES:
            assert np.allclose(top_region(levels, share), top_region(values, share), atol=2e-2)


@pytest.fixture(scope="module")
def shown(
    root: Path, mirror: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[StudyReport, Path]:
    """The shown study, and a page that holds its viewer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRINE_MIRROR", str(mirror))
        patch.setenv("VITRINE_PROJECT", str(root))
        study = open_study()
        return study, written(study, tmp_path_factory.mktemp("viewer"), patch)


def written(study: StudyReport, folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """A page with the viewer of a study, as a chapter has it."""
    told = folder / "execute.json"
    told.write_text(
        json.dumps(
            {
                "document-path": str(folder / "page.qmd"),
                "format": {"identifier": {"target-format": "html"}},
            }
        )
    )
    patch.setenv("QUARTO_EXECUTE_INFO", str(told))
    text = str(viewer(study).data)
    script = next(line for line in text.splitlines() if "vitrine-views" in line)
    path = folder / "page.html"
    path.write_text(
        '<!DOCTYPE html><html lang="en" class="js"><meta charset="utf-8"><title>Viewer</title>'
        f'<link rel="stylesheet" href="{ASSETS}/vitrine.css">'
        f'<link rel="stylesheet" href="{ASSETS}/page.css">'
        f'<script src="{ASSETS}/vitrine.js" defer></script><body class="vitrine-page">'
        f'<main class="page-text"><div id="look" class="vitrine-viewer">{script}</div></main>',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    contexts = []

    def show(path: Path, query: str = "", width: int = 1400, scheme: str = "light") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: pytest.fail(message.text))
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto(path.as_uri() + query)
        settled(page)
        return page

    yield show
    for context in contexts:
        context.close()


def settled(page: Page) -> None:
    page.locator(".vitrine-viewer.is-ready:not([aria-busy])").wait_for()


LOOK = """async (views) => {
  const viewer = document.querySelector('.vitrine-viewer'), found = [];
  for (const view of views) {
    const { iou, elsewhere, random } = await viewer.agreement(view);
    found.push([iou, elsewhere, random]);
  }
  return found;
}"""


def assert_as_tables(page: Page, rows: pd.DataFrame, views: list[dict[str, object]]) -> None:
    given = np.array(page.evaluate(LOOK, views), dtype=float)
    told = rows[["iou", "iou_other_images", "iou_chance"]].to_numpy(dtype=float)
    wrong = ~np.isclose(given, told, atol=CLOSE, rtol=0, equal_nan=True)
    assert not wrong.any(), rows[wrong.any(axis=1)].head().to_string()


def test_ious_are_those_of_the_tables(shown: tuple[StudyReport, Path], opened: Open) -> None:
    """All images, pairs and shares, and every rule for all pairs."""
    study, path = shown
    page = opened(path)
    keys = ["image", "first", "second"]
    by_rule = study.table("ious")
    assert len(by_rule) > 1000
    views = by_rule.assign(share=round(100 * study.parameters("agreement")["share"]))
    assert_as_tables(page, by_rule, views[[*keys, "rule", "share"]].to_dict("records"))
    by_share = study.table("agreement")
    by_share["share"] = (100 * by_share["share"]).round().astype(int)
    views = by_share.assign(rule="share")
    assert_as_tables(page, by_share, views[[*keys, "rule", "share"]].to_dict("records"))

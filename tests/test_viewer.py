"""The viewer in a real browser: it computes what the tables say, and each view is a link."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page

from browser import Visits, page_of
from conftest import STUDY, new_tiny, tell_page
from vitrine.experiments.run import run
from vitrine.measures.agreement import top_region
from vitrine.report import open_study
from vitrine.report.study_report import StudyReport
from vitrine.report.viewer import SHARES, agreement_table, levels_of, viewer
from vitrine.store import Store
from vitrine.study import load_study

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
    tell_page(folder, "page", "html", patch)
    text = str(viewer(study).data)
    script = next(line for line in text.splitlines() if "vitrine-views" in line)
    path = folder / "page.html"
    body = f'<div id="look" class="vitrine-viewer">{script}</div>'
    path.write_text(page_of(body), encoding="utf-8")
    return path


@pytest.fixture
def opened(visits: Visits) -> Open:
    def show(path: Path, query: str = "", width: int = 1400, scheme: str = "light") -> Page:
        page = visits(width, color_scheme=scheme).read(path.as_uri() + query)
        settled(page)
        return page

    return show


def settled(page: Page) -> None:
    page.locator(".vitrine-viewer.is-ready:not([aria-busy])").wait_for()


CUT = """[...document.querySelectorAll('.viewer-side *, .viewer-curves *, .viewer-controls span')]
  .filter((e) => e.clientWidth && e.scrollWidth > e.clientWidth + 1).map((e) => e.outerHTML)"""
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


def address(page: Page) -> dict[str, str]:
    return dict(part.split("=") for part in page.evaluate("location.search")[1:].split("&") if part)


def test_a_view_is_a_link_and_back_leads_to_the_one_before(
    shown: tuple[StudyReport, Path], opened: Open
) -> None:
    study, path = shown
    row = study.table("agreement").query("image == 'goldfish' and share == 0.1").iloc[1]
    page = opened(path, f"?image=goldfish&second={quote(row['second'])}&share=10#look")
    said = page.locator(".viewer-iou")
    assert said.inner_text().startswith(f"{row['iou']:.2f} IoU of LIME and")
    assert study.prediction("goldfish")["category"] in page.locator(".viewer-side").inner_text()
    before = said.inner_text()
    page.get_by_role("combobox", name="Region", exact=True).select_option("otsu")
    settled(page)
    page.locator(".viewer-strip label").first.click()
    settled(page)
    assert address(page)["rule"] == "otsu" and address(page).get("image") is None
    page.go_back()
    page.go_back()
    settled(page)
    assert said.inner_text() == before and address(page)["share"] == "10"
    page.goto(path.as_uri() + "?image=nothing&share=many&first=&swipe=-3")
    settled(page)
    assert page.locator(".viewer-title").inner_text().startswith(study.images[0])


def test_keys_and_sliders_choose_the_view(shown: tuple[StudyReport, Path], opened: Open) -> None:
    study, path = shown
    page = opened(path)
    for key, told in (("ArrowLeft", "image"), ("+", "share"), ("x", "first"), ("v", "view")):
        page.keyboard.press(key)
        settled(page)
        assert told in address(page), key
    assert page.locator("input[type=radio]:checked").input_value() == study.images[-1]
    swipe = page.get_by_label("Uncover the image")
    swipe.focus()
    page.keyboard.press("End")
    settled(page)
    clip = "getComputedStyle(document.querySelector('.viewer-stage img')).clipPath"
    assert page.evaluate(clip) == "inset(0px 0% 0px 0px)" and address(page)["swipe"] == "100"
    stops = page.evaluate("document.querySelectorAll('.viewer-live :is(select, input)').length")
    assert stops - len(study.images) + 1 <= 8


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_is_cut_off_and_all_is_labelled(
    shown: tuple[StudyReport, Path], opened: Open, width: int, scheme: str
) -> None:
    page = opened(shown[1], "", width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT) == []
    for control in page.locator(".viewer-live :is(select, input)").all():
        assert control.evaluate("e => e.getAttribute('aria-label') || e.labels[0]?.innerText")
    drawn = page.locator("canvas[role=img]").evaluate("c => c.getContext('2d') && c.ariaLabel")
    assert "LIME" in drawn


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"cam": False}, "An IoU needs two methods with maps."),
        ({"lime": False}, "has no comparison of LIME and class activation maps"),
        ({"images": 1}, "cross-image baseline: needs a second image"),
    ],
)
def test_a_study_with_less_shows_what_it_has_and_says_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Open, given: dict[str, Any], says: str
) -> None:
    text = STUDY
    if "cam" in given:
        text = re.sub(r"\[cam\].*?\n\n|\[agreement\].*", "", text, flags=re.DOTALL)
    if "lime" in given:
        text = re.sub(r"\[lime\].*", "", text, flags=re.DOTALL)
        text = text.replace('["gradcam"]', '["gradcam", "hirescam"]')
    if "images" in given:
        text = text.replace(', "n00000002_noise.png"', "")
    project = new_tiny(tmp_path, text)
    run(project, load_study(project, "tiny"))
    study = StudyReport(Store(project, "tiny"), "efficientnet_lite0")
    monkeypatch.setenv("VITRINE_PROJECT", str(project.root))
    page = opened(written(study, tmp_path, monkeypatch))
    assert says in page.locator(".viewer-live").inner_text()
    assert "This study has no measures" in page.locator(".viewer-notes").inner_text()
    assert "nan" not in str(agreement_table(study).data).lower()

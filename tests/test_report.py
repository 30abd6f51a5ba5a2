"""What chapters print: safe text, readable tables, charts that work still and alive."""

import json
import re
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest
from PIL import Image as PilImage

from conftest import tell_page, write_study
from stub_study import NETWORK, stub_study
from vitrine.data.images import Frame, Image
from vitrine.errors import ResultsError
from vitrine.methods.heatmap import Heatmap
from vitrine.project import Project
from vitrine.report import charts, figures, open_study, tables
from vitrine.report.explorer import explorer
from vitrine.report.findings import predictions
from vitrine.report.page import this_page
from vitrine.report.placement import offsets
from vitrine.report.provenance import studies_table
from vitrine.report.study_report import StudyReport
from vitrine.report.text import (
    count,
    listing,
    number,
    number_cell,
    percent,
    safe,
    safe_html,
    slug,
    trained_on,
)
from vitrine.store import Store

EVIL = '</script><b onclick="x()">|`*_#$@[a](b)\\'


Executing = tuple[str, Path]


@pytest.fixture(params=["html", "typst"])
def page(
    request: pytest.FixtureRequest, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Executing:
    """A page of the report being executed: the format, and the folder of its figures."""
    monkeypatch.setenv("VITRINE_PROJECT", str(root))
    tell_page(tmp_path, "one", request.param, monkeypatch)
    return request.param, tmp_path / "one_files" / f"figure-{request.param}"


def _data(folder: Path, name: str) -> dict[str, Any]:
    """What the site's script reads of a data file."""
    script = (folder / f"{name}.js").read_text(encoding="utf-8")
    head, tail = f'(window.VITRINE_DATA??={{}})["{name}"]=', ";\n"
    assert script.startswith(head) and script.endswith(tail)
    return json.loads(script.removeprefix(head).removesuffix(tail))


def test_numbers_in_sentences() -> None:
    assert percent(0.314) == "31%"
    assert percent(0.0314, 1) == "3.1%"
    assert [percent(share) for share in (0, 0.002, 0.006)] == ["0%", "<1%", "1%"]
    assert number(-0.126) == "−0.13"
    values = (0.0, 0.001, -0.001, 0.009, -0.126)
    assert [number_cell(v) for v in values] == ["0.00", "< 0.01", "0.00", "0.01", "−0.13"]
    rows = tables.markdown_table(pd.DataFrame({"p": [0.0004]}), {}, {"p": 3})
    assert rows.endswith(r"| < 0.001 |")
    assert [count(n) for n in (0, 7, 10, 11, 20000)] == ["no", "seven", "ten", "11", "20,000"]
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing([]) == ""
    assert slug("West Highland: white/terrier!") == "west-highland-white-terrier"
    assert slug("…") == "unnamed"


def test_text_from_outside_is_text_and_nothing_else() -> None:
    """Through pandoc, what was escaped comes out as it went in, whatever it holds."""
    from vitrine.book.pandoc import run

    plain = ["a_b*c*", "1. x", "- y", "@fig-x", "$x$", "#h", "x^2^ ~y~", "'q' \"q\" -- ...", ":a:"]
    for text in (EVIL, *plain):
        (paragraph,) = json.loads(run(["--to=json"], safe(text)))["blocks"]
        assert paragraph["t"] == "Para"
        assert {part["t"] for part in paragraph["c"]} <= {"Str", "Space"}, text
        assert "".join(part.get("c", " ") for part in paragraph["c"]) == text
    assert safe_html(EVIL).count("<") == 0
    assert '"' not in safe_html(EVIL)
    assert safe("two\nlines") == "two lines"


def test_a_table_is_written_for_its_page(page: Executing) -> None:
    frame = pd.DataFrame({"name": ["a|b", EVIL], "value": [0.12345, float("nan")], "n": [1, 2]})
    text = tables.table(frame, "t", {"value": "Value"}, {"value": 2}).data
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert lines[0].split("|")[2].strip() == "Value"
    assert re.fullmatch(r"\| -+ \| -+: \| -+: \|", lines[1])
    assert "0.12" in lines[2] and "–" in lines[3]
    assert r"a\|b" in lines[2] and "</script>" not in text
    target, folder = page
    if target == "html":
        assert "[Data (CSV)](one_files/figure-html/t.csv)" in text
        assert pd.read_csv(folder / "t.csv")["value"][0] == 0.12345
    else:
        assert "Download" not in text and not folder.exists()


def test_an_explorer_shows_some_rows_and_holds_all(page: Executing) -> None:
    frame = pd.DataFrame({"label": [EVIL, *"abcdefghijklmnopq"], "value": np.arange(18) / 7})
    text = explorer(frame, "all", "Everything", ("label",), {"value": "Value"}, {"value": 2}).data
    rows = [line for line in text.splitlines() if line.startswith("|")]
    target, folder = page
    assert len(rows) == 2 + (5 if target == "typst" else 12)
    assert "</script>" not in text
    if target == "typst":
        assert not folder.exists()
        return
    assert "[Download all rows as CSV](one_files/figure-html/all.csv)" in text
    assert 'data-source="one_files/figure-html/all.js"' in text
    data = _data(folder, "all")
    assert [column["title"] for column in data["columns"]] == ["label", "Value"]
    assert [column["filter"] for column in data["columns"]] == [True, False]
    assert len(data["rows"]) == 18
    assert data["rows"][0] == [EVIL, 0.0]


def test_a_chart_is_an_image_and_on_the_site_a_live_one(page: Executing) -> None:
    data = pd.DataFrame({"x": [1, 2], "label": ["plain", EVIL]})
    drawing = alt.Chart(data).mark_bar().encode(x="x:Q", y="label:N")
    text = charts.chart(drawing, "c", "Two bars").data
    target, folder = page
    svg = (folder / "c.svg").read_text()
    assert svg.startswith("<svg") and "Source Sans 3" in svg
    assert '{fig-alt="Two bars"' in text
    assert "<script" not in text and "</script>" not in text
    if target == "typst":
        assert not (folder / "c-chart.js").exists()
        return
    assert 'data-source="one_files/figure-html/c-chart.js"' in text
    spec = _data(folder, "c-chart")
    assert spec["width"] == "container"
    labels = {row["label"] for rows in spec["datasets"].values() for row in rows}
    assert labels == {"plain", EVIL}


def test_a_chart_of_several_views_keeps_its_width(page: Executing) -> None:
    one = alt.Chart(pd.DataFrame({"x": [1]})).mark_point().encode(x="x:Q")
    charts.chart(one | one, "c", "Two charts")
    if page[0] == "html":
        assert "width" not in _data(page[1], "c-chart")


def test_charts_are_the_same_bytes_every_time(page: Executing) -> None:
    drawing = alt.Chart(pd.DataFrame({"x": [1, 2]})).mark_bar().encode(x="x:Q")
    first = charts.chart(drawing, "c", "Bars").data, (page[1] / "c.svg").read_bytes()
    assert first == (charts.chart(drawing, "c", "Bars").data, (page[1] / "c.svg").read_bytes())


def test_a_grid_shows_every_panel_with_alternative_text(page: Executing) -> None:
    pixels = np.zeros((20, 30, 3), dtype=np.uint8)
    cards = [
        figures.Card(f"n {index}", (figures.Panel("A", pixels, f"alt {index} {EVIL}"),), EVIL)
        for index in range(3)
    ]
    text = figures.grid(cards, "g", columns=2).data
    target, folder = page
    files = sorted(path.name for path in folder.iterdir())
    ending = "webp" if target == "html" else "jpg"
    assert files == [f"g-{index + 1}-n-{index}-a.{ending}" for index in range(3)]
    with PilImage.open(folder / files[0]) as image:
        assert image.size == (30, 20)
    assert "</script>" not in text
    if target == "html":
        assert text.count("<img ") == text.count(" alt=") == 3
        assert text.count('width="30" height="20"') == 3
    else:
        assert text.count("![alt ") == 3


def test_without_quarto_a_page_is_html_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert this_page().is_html
    assert this_page().figures == tmp_path / "notebook_files" / "figure-html"


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.06, 0.9, [0.1, 0.2, 0.5]),
        (0.012, 1.1, [0.03, 0.1, 0.3, 1]),
        (0.02, 900, [0.1, 1, 10, 100]),
        (3, 3, [2, 5]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round_and_in_equal_steps(
    low: float, high: float, ticks: list[float]
) -> None:
    shown = charts.log_ticks([low, high])
    assert [tick for tick in shown if low / 2 <= tick <= high * 2 and tick in ticks] == ticks
    assert [tick for tick in shown if low < tick < high] == [t for t in ticks if low < t < high]


@pytest.fixture
def drawn(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The static image of a line chart on logarithmic axes, beside bars with a tick."""
    monkeypatch.setenv("VITRINE_PROJECT", str(root))
    monkeypatch.chdir(tmp_path)
    rows = pd.DataFrame({"x": [0.0321, 0.5, 1.7], "y": [1 / 3, 2 / 3, 1.0], "kind": list("aab")})
    log = alt.X("x:Q", scale=alt.Scale(type="log"))
    line = alt.Chart(rows).mark_line(point=True).encode(x=log, y="y:Q", color="kind:N")
    legend = charts.legend_of({"a": "bar", "b": "tick"})
    bars = alt.Chart(rows).mark_bar().encode(x="y:Q", color=alt.Color("kind:N", legend=legend))
    both = alt.hconcat(line, bars).resolve_scale(color="independent")
    charts.chart(both, "c", "Two")
    return tmp_path / "notebook_files" / "figure-html" / "c.svg"


def test_a_still_chart_holds_no_words_for_its_marks_and_no_needless_digits(drawn: Path) -> None:
    svg = drawn.read_text()
    assert "aria-" not in svg and "role=" not in svg
    numbers = re.findall(r"\d+\.\d+", " ".join(re.findall(r' (?:d|transform)="([^"]*)"', svg)))
    assert numbers and all(len(one.partition(".")[2]) <= 2 for one in numbers)
    assert {"0.02", "0.05", "0.1", "0.2", "0.5", "1"} & set(re.findall(r">([\d.]+)</text>", svg))


def test_a_legend_shows_the_marks_that_it_stands_for(drawn: Path) -> None:
    symbols = re.findall(r'role-legend-symbol.*?\bd="([^"]+)"', drawn.read_text(), re.S)
    strokes, (bar, tick) = symbols[:2], symbols[2:]
    assert all(re.fullmatch(r"M-\d+,0L\d+,0", path) for path in strokes)
    assert "h10v10" in bar and tick != bar


@pytest.mark.parametrize("radius", [0.0, 6.0])
def test_boxes_beside_crowded_points_hide_neither_each_other_nor_a_point(radius: float) -> None:
    generator = np.random.default_rng(0)
    points = np.vstack([generator.uniform(40, 210, (7, 2)), [[100, 100], [103, 101], [98, 104]]])
    sizes = np.full_like(points, 27.0)
    middles = points + offsets(points, sizes, (250, 250), radius)
    apart = np.abs(middles[:, None] - middles[None]).max(axis=2)
    assert apart[~np.eye(len(points), dtype=bool)].min() >= 27
    assert middles.min() >= 13.5 and middles.max() <= 250 - 13.5
    if radius:
        assert np.abs(middles[:, None] - points[None]).max(axis=2).min() >= 13.5 + radius
    else:
        assert (middles == points).all(axis=1).any()


FRAME = Frame("p", (0, 0, 4, 4), (4, 4))


def _map(values: np.ndarray, signed: bool) -> Heatmap:
    return Heatmap(values.astype(np.float32), FRAME, signed, "m", 0, 0.0)


def test_a_crop_is_the_frame_of_the_image() -> None:
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[10:30, 20:50] = (255, 0, 0)
    frame = Frame("p", (10, 20, 20, 30), (8, 8))
    found = figures.crop_of(Image("p", "", pixels), frame, 16)
    assert np.abs(found[2:-2, 2:-2].astype(int) - (255, 0, 0)).max() <= 3


def test_a_signed_map_is_orange_for_and_blue_against_the_class() -> None:
    crop = np.full((4, 4, 3), 128, dtype=np.uint8)
    values = np.zeros((4, 4))
    values[0, 0], values[3, 3] = 1, -1
    shown = figures.overlay(crop, _map(values, signed=True)).astype(int)
    assert shown[0, 0, 0] > shown[0, 0, 2] + 100
    assert shown[3, 3, 2] > shown[3, 3, 0] + 60
    assert np.ptp(shown[1, 1]) == 0  # what says nothing stays grey


def test_a_blank_map_shows_the_image_and_no_colour() -> None:
    crop = np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    for signed in (True, False):
        shown = figures.overlay(crop, _map(np.zeros((4, 4)), signed))
        assert (np.ptp(shown, axis=2) == 0).all()


def test_only_the_marked_superpixels_keep_their_colours() -> None:
    crop = np.tile(np.array([200, 40, 40], dtype=np.uint8), (40, 40, 1))
    segments = np.zeros((4, 4), dtype=np.int16)
    segments[:, 2:] = 1
    shown = figures.outlined(crop, segments, [1], np.array([-1.0, 2.0]))
    assert (shown[20, 35] == (200, 40, 40)).all()
    assert np.ptp(shown[20, 5]) == 0
    assert (shown[20, 20] == figures.FOR).all()


def test_an_image_is_cut_along_the_borders_of_its_superpixels() -> None:
    crop = np.zeros((8, 8, 3), dtype=np.uint8)
    segments = np.repeat([[0, 1]], 2, axis=0).repeat(2, axis=1)
    shown = figures.cut(crop, segments)
    white = (shown == 255).all(axis=2)
    assert white[:, 3:5].all() and not white[:, 1:3].any() and not white[:, 5:7].any()


def test_regions_show_the_overlap_in_its_own_colours() -> None:
    crop = np.tile(np.array([10, 200, 10], dtype=np.uint8), (8, 8, 1))
    first, second = np.zeros((8, 8)), np.zeros((8, 8))
    first[:, :5], second[:, 4:] = 1, 1
    shown = figures.regions(crop, first, second).astype(int)
    assert (shown[4, 4] == (10, 200, 10)).all()
    assert shown[4, 1, 0] > shown[4, 1, 2]
    assert shown[4, 7, 2] > shown[4, 7, 0]


def test_a_study_is_read_without_computing_anything(
    done: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_PROJECT", str(done.root))
    study = open_study("tiny")
    assert study.images == ["red square", "noise"]
    assert study.title == "EfficientNet-Lite0"
    assert study.method_titles["gradcam"] == "Grad-CAM"
    assert "classifier" not in study.table("maps")
    crop = study.crop("red square")
    assert crop.shape == (figures.SIDE, figures.SIDE, 3)
    assert (crop[200, 200] == (200, 20, 20)).all()
    assert study.heatmap("lime", "noise").values.shape == study.segments("noise").shape
    assert study.prediction("noise")["rank"] == 1
    assert "random weights" in study.badge().data
    # Its WordNet id is of no class, whatever the prediction is called.
    assert study.prediction_note("noise").startswith("predicted: ")
    PilImage.new("RGB", (128, 96)).save(done.root / "images" / "n00000001_red_square.png")
    with pytest.raises(ResultsError, match=r"red_square\.png is not the one that the study"):
        open_study("tiny").crop("red square")
    with pytest.raises(ResultsError, match="has no classifier 'resnet50'"):
        open_study("tiny", "resnet50")


def test_a_prediction_is_correct_by_the_id_of_its_class_not_by_its_name(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = StudyReport(Store(Project(root), "embedded"), "efficientnet_lite0")
    right = [image for image in study.images if study.is_correct(image)]
    assert set(study.images) - set(right) == {"kite", "vulture"}
    monkeypatch.setitem(study._labels, "crane", "")
    crane = {"category": "crane", "target": 517, "probability": 0.5}  # the machine
    for wnid, is_correct in (("n03126707", True), ("n02012849", False), ("", False)):  # or the bird
        monkeypatch.setattr(study, "prediction", lambda _, wnid=wnid: {**crane, "wnid": wnid})
        assert study.is_correct("crane") is is_correct
        assert study.prediction_note("crane").startswith("predicted: crane") is not is_correct
    monkeypatch.setattr(study, "prediction", lambda _: {**crane, "wnid": "n03126707"})
    monkeypatch.setitem(study.facts, "wordnet", False)  # its class 517 is something else
    assert not study.is_correct("crane")


def test_the_only_class_of_a_network_is_predicted_from_one_half_on() -> None:
    facts = {**NETWORK, "one_output": True, "training_set": ""}
    rows = [{"name": name, "extra": False, "label": "cat"} for name in ("a", "b")]
    table = {"image": ["a", "b"], "rank": 1, "category": "cat", "probability": [0.03, 0.9]}
    study = stub_study({"predictions": table}, provenance={"images": rows}, facts=facts)
    assert [study.is_correct(image) for image in ("a", "b")] == [False, True]
    assert [study.prediction_note(image) for image in ("a", "b")] == ["3%", "90%"]
    found = predictions.correct(study)
    assert found.is_absent and "one output" in found.text


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("ImageNet", "trained on ImageNet"),
        ("none (random weights)", "untrained (random weights)"),
        ("", "training set not stated"),
    ],
)
def test_what_a_network_was_trained_on_is_said_as_far_as_it_is_known(told: str, said: str) -> None:
    assert trained_on(told) == said


def test_a_broken_study_file_is_listed_with_what_is_wrong(
    tiny: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_PROJECT", str(tiny.root))
    write_study(tiny, "broken", "title = ")
    (tiny.results / "tiny").mkdir(parents=True)
    (tiny.results / "tiny" / "provenance.json").write_text("{")
    listed = str(studies_table().data).replace("\\", "")
    assert "Its file cannot be read: data/studies/broken" in listed
    assert "not readable: data/results/tiny/provenance" in listed


def test_parts_are_tinted_in_their_order() -> None:
    crop = np.full((8, 8, 3), 200, dtype=np.uint8)
    left = np.zeros((4, 4), dtype=bool)
    left[:, :2] = True
    image = figures.tinted(crop, [left, ~left]).astype(int)
    red, blue = image[4, 1], image[4, 6]
    assert red[0] > red[2] and blue[2] > blue[0]  # orange first, then blue


def test_the_parts_of_an_image_and_the_sample_of_a_class(embedded: StudyReport) -> None:
    parts = embedded.parts("vulture")
    assert list(parts) == ["the vultures", "the chimney", "the house", "the sky"]
    occluded = embedded.table("region_occlusion").query("image == 'vulture'")
    areas = occluded.groupby("region")["area"].first()
    for name, mask in parts.items():
        assert mask.mean() == pytest.approx(areas[name], abs=1e-6)
    assert embedded.parts("orange") == {}
    assert embedded.sample_of(1, 32).shape == (32, 32, 3)


def test_an_object_is_known_where_it_was_outlined(embedded: StudyReport) -> None:
    mask = embedded.object_mask("tiger shark")
    assert mask.shape == embedded.heatmap("gradcam", "tiger shark").values.shape
    assert mask.mean() == pytest.approx(0.32, abs=0.01)
    assert embedded.object_mask("kite") is None  # the image shows no kite

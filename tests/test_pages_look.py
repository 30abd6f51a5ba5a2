"""The look: colours that can be read, nothing asked of another host, room on a phone and a desk."""

import io
import json
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path

import altair as alt
import pandas as pd
import pytest
import typst
from PIL import Image
from playwright.sync_api import Page
from pypdf import PdfReader

from browser import TEXT_OUTSIDE, Visits, page_of
from vitrine.book import pandoc

Open = Callable[[str, int], Page]

ASSETS = Path(__file__).parent.parent / "assets"
THEMES = ("light", "dark")
STYLES = ("vitrine.css", "page.css", "quarto-light.scss", "quarto-dark.scss")
NAMESPACE = "http://www.w3.org/2000/svg"  # a name, not an address that is fetched

TEXT = [
    "text", "muted", "accent", "note", "tip", "important", "warning", "caution",
    "code-keyword", "code-string", "code-number", "code-function", "code-comment",
]  # fmt: skip
COLOURED = [
    ("accent", "accent-soft"), ("muted", "accent-soft"), ("on-accent", "accent"),
    ("text", "mark"), ("text", "raised"), ("muted", "raised"),
]  # fmt: skip
DRAWN = ["edge", *(f"series-{index}" for index in range(1, 7))]


def read(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def tokens(theme: str) -> dict[str, str]:
    """The colour tokens of a theme, by name without ``--v-``."""
    pairs = re.findall(
        r"--v-([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", read("vitrine.css")
    )
    return {name: (light, dark)[THEMES.index(theme)] for name, light, dark in pairs}


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_text_is_readable_and_what_is_drawn_stands_out(theme: str) -> None:
    colours = tokens(theme)
    for words, ground in (*product(TEXT, ("bg", "surface")), *COLOURED):
        assert contrast(colours[words], colours[ground]) >= 4.5, (words, ground)
    for name in DRAWN:
        assert contrast(colours[name], colours["bg"]) >= 3, name


def test_browsers_without_light_dark_get_the_light_theme() -> None:
    fallback = read("vitrine.css").split("@supports not", 1)[1].split("/* -----", 1)[0]
    given = dict(re.findall(r"--v-([\w-]+): (#[0-9a-f]{6});", fallback))
    assert given == tokens("light")


@pytest.mark.parametrize("theme", THEMES)
def test_quarto_has_the_same_colours_and_fetches_no_web_font(theme: str) -> None:
    style = read(f"quarto-{theme}.scss")
    given = set(re.findall(r"#[0-9a-f]{6}\b", style))
    assert given and given <= set(tokens(theme).values())
    assert "$web-font-path: false;" in style


@pytest.mark.parametrize("name", [*STYLES, "vitrine.js", "page.html"])
def test_styles_scripts_and_template_ask_nothing_of_another_host(name: str) -> None:
    text = read(name).replace(NAMESPACE, "")
    assert "@import" not in text
    for address in re.findall(r"url\(\s*[\"']?([^\"')]+)", text):
        assert address.startswith(("data:image/svg+xml,", "fonts/")), address
    assert not re.search(r"(https?:|[\"'=])//[\w-]|//[\w-]+\.\w", text)


def test_every_font_is_there_and_used() -> None:
    named = set(re.findall(r"url\(\"fonts/([^\"]+)\"\)", read("vitrine.css")))
    assert named == {path.name for path in (ASSETS / "fonts").glob("*.woff2")}


@pytest.mark.parametrize(
    ("head", "row", "ruled"),
    [
        ("", "[#box(image(dot)) snake], [#box(image(dot)) boat]", False),
        ("table.header([], [Map]),", "[goldfish], [#box(image(dot))]", False),
        ("table.header([Image], [IoU]),", "[goldfish], [0.63]", True),
    ],
)
def test_in_quartos_pdf_a_table_of_pictures_has_no_rules(head: str, row: str, ruled: bool) -> None:
    picture = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    source = f"""#import "/report.typ": report, quarto-forms
#show: report.with(contents: false)
#show: quarto-forms
#let dot = bytes({json.dumps(picture)})
#table(columns: (50%, 50%), {head} {row})
"""
    drawn = typst.compile(source.encode(), root=ASSETS, format="svg")
    assert isinstance(drawn, list)
    assert ('<path fill="#1e2024"' in drawn[-1].decode()) == ruled


def test_in_quartos_pdf_titles_and_names_may_have_any_characters() -> None:
    odd = """A "quoted" word, one's \\\\ # $ * _ [b] <c> ~"""
    names = {"title": odd, "subtitle": f"S {odd}", "description": f"D {odd}", "author": f"N {odd}"}
    escaped = {key: re.sub(r"([][$*_<>~])", r"\\\1", text) for key, text in names.items()}
    author = [{"name": {"literal": escaped.pop("author")}}]
    front = json.dumps({**escaped, "by-author": author})
    template = ASSETS / "quarto" / "typst-show.typ"
    source = pandoc.run(["--to=typst", f"--template={template}"], f"---\n{front}\n---\n")
    reader = PdfReader(io.BytesIO(typst.compile(source.encode(), root=ASSETS.parent)))
    shown = odd.replace("\\\\", "\\")
    words = " ".join(reader.pages[0].extract_text().split())
    assert [f"{start} {shown}" in words for start in "SDN"] == [True] * 3
    assert (reader.metadata.title, reader.metadata.author) == (shown, f"N {shown}")


@pytest.fixture
def opened(visits: Visits, tmp_path: Path) -> Open:
    """Opens a page with the given body."""

    def show(body: str, width: int) -> Page:
        (tmp_path / "page.html").write_text(page_of(body), encoding="utf-8")
        return visits(width).read((tmp_path / "page.html").as_uri())

    return show


def drawings() -> dict[str, alt.TopLevelMixin]:
    """Charts as chapters have them: one view, views beside each other, one for each group."""
    networks = ["EfficientNet-Lite0", "EfficientNet-Lite1", "EfficientNet-Lite2"]
    rows = [
        {"network": network, "layer": layer, "share": 0.07 * (place + 1)}
        for network in networks
        for place, layer in enumerate(["first", "second", "third", "fourth", "fifth"])
    ]
    title, percent = "Share of the frame above half of the maximum", alt.Axis(format="%")
    colour = alt.Color("network:N", scale=alt.Scale(domain=networks))
    x = alt.X("share:Q", title=title, axis=percent)
    bars = alt.Chart(pd.DataFrame(rows)).mark_bar().encode(x=x, y="layer:N", color=colour)
    narrow = bars.properties(width=190)
    fitting = alt.AutoSizeParams(type="fit-x")
    return {
        "single": bars.properties(width="container", height=100, autosize=fitting),
        "beside": alt.hconcat(narrow, narrow, narrow),
        "grouped": narrow.facet(column="network:N"),
    }


def chart(drawing: alt.TopLevelMixin, folder: Path) -> str:
    spec = drawing.to_dict() | {"config": {"legend": {"orient": "top", "title": None}}}
    script = f'(window.VITRINE_DATA??={{}})["c-chart"]={json.dumps(spec)};'
    (folder / "c-chart.js").write_text(script, encoding="utf-8")
    source = '<div hidden class="vitrine-spec" data-source="c-chart.js"></div>'
    return f'<div class="vitrine-chart">{source}</div>'


@pytest.mark.parametrize("width", [390, 1000])
@pytest.mark.parametrize("kind", ["single", "beside", "grouped"])
def test_a_chart_fills_its_place_and_cuts_no_text(
    opened: Open, tmp_path: Path, kind: str, width: int
) -> None:
    page = opened(chart(drawings()[kind], tmp_path), width)
    page.locator(".vitrine-chart.is-mounted svg").wait_for()
    assert page.evaluate(TEXT_OUTSIDE) == []
    mount = page.locator(".vitrine-mount")
    room, needed, drawn = mount.evaluate(
        "m => [m.clientWidth, m.scrollWidth, m.querySelector('svg').getBoundingClientRect().width]"
    )
    assert needed <= room
    assert drawn >= 0.9 * room


def test_what_the_reader_chose_in_a_chart_survives_a_change_of_width(
    opened: Open, tmp_path: Path
) -> None:
    choice = alt.param(name="least", value=0, bind=alt.binding_select(options=[0, 1], name="Least"))
    drawing = drawings()["single"].add_params(choice)  # type: ignore[attr-defined]
    page = opened(chart(drawing, tmp_path), 1000)
    page.locator("select").select_option("1")
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function("document.querySelector('.vitrine-chart').width < 400")
    page.locator(".vitrine-mount svg").wait_for()
    assert page.locator("select").input_value() == "1"


def card(picture: Path, panels: int) -> str:
    link = (
        f'<a class="vitrine-zoom" href="{picture.as_uri()}">'
        f'<img src="{picture.as_uri()}" width="100" height="100" alt="a picture"></a>'
    )
    return f'<figure class="vitrine-card"><div class="vitrine-strip">{link * panels}</div></figure>'


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (100, 100), "teal").save(tmp_path / "small.png")
    return tmp_path / "small.png"


@pytest.mark.parametrize("panels", [3, 5])
def test_pictures_on_a_phone_are_large_enough_to_be_seen(
    opened: Open, picture: Path, panels: int
) -> None:
    style = f"--columns:2;--panels:{panels}"
    cards = card(picture, panels) * 2
    page = opened(f'<div class="vitrine-grid" style="{style}">{cards}</div>', 390)
    widths = page.locator(".vitrine-zoom").evaluate_all("all => all.map((a) => a.clientWidth)")
    assert min(widths) >= 90


def test_a_small_picture_is_not_enlarged_until_it_blurs(opened: Open, picture: Path) -> None:
    page = opened(f'<div class="vitrine-grid">{card(picture, 1)}</div>', 1000)
    page.locator(".vitrine-zoom").click()
    enlarged = page.locator(".vitrine-lightbox img")
    enlarged.wait_for()
    box = enlarged.bounding_box()
    assert box is not None and box["height"] <= 150


def test_a_wide_chart_of_quartos_is_wide_when_it_is_live(opened: Open, tmp_path: Path) -> None:
    """Quarto gives the width to the picture, in whose place the live chart comes."""
    image = '<p class="page-columns page-full"><img class="figure-img column-page" alt=""></p>'
    live = chart(drawings()["single"], tmp_path).replace("</div></div>", f"</div>{image}</div>")
    live = live.replace('"vitrine-chart"', '"vitrine-chart page-columns page-full"')
    page = opened(f'<script>document.body.className = "quarto-light"</script>{live}', 1000)
    page.locator(".vitrine-chart.is-mounted svg").wait_for()
    assert page.locator(".vitrine-chart").get_attribute("class") == (
        "vitrine-chart column-page is-mounted"
    )
    # What is not displayed has no place; Quarto would hide its list of sections for good.
    assert page.locator("[class*=column-]:not(:visible)").count() == 0


def test_numbers_with_a_mark_or_an_interval_sort_as_numbers(opened: Open) -> None:
    cells = ["0.86", "188.88 (1)", "0.05✓", "–", "0.2✗ (0.1 to 0.3)", "12.5○"]
    rows = "".join(f"<tr><td>{cell}</td></tr>" for cell in cells)
    table = f"<table><thead><tr><th>Value</th></tr></thead><tbody>{rows}</tbody></table>"
    page = opened(f'<div class="vitrine-table">{table}</div>', 1000)
    page.locator(".vitrine-sort").click()
    assert page.locator("tbody td").all_inner_texts() == [cells[n] for n in (1, 5, 0, 4, 2, 3)]


def test_the_heads_of_numbers_break_so_that_a_table_has_room(opened: Open) -> None:
    heads = "".join(f"<th>Insertion (mean colour {at}) ↑</th>" for at in range(6))
    row = f"<tr>{'<td>0.51</td>' * 6}</tr>"
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{row * 2}</tbody></table>"
    page = opened(f'<div class="vitrine-table">{table}</div>', 1000)
    page.locator(".vitrine-table.is-ready").wait_for()
    room, needed = page.locator(".vitrine-scroll").evaluate("b => [b.clientWidth, b.scrollWidth]")
    assert needed <= room
    assert page.locator(".vitrine-sort").first.inner_text().endswith(")\u00a0↑")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_quartos_pages_print_the_text_alone_dark_on_white(opened: Open, theme: str) -> None:
    page = opened(
        f'<script>document.body.className = "nav-sidebar quarto-{theme}"</script>'
        '<header id="quarto-header">Bar</header><nav id="quarto-sidebar">Chapters</nav>'
        '<nav class="page-navigation">Next</nav><p id="text">Text</p>',
        800,
    )
    page.emulate_media(media="print")
    assert page.locator(":is(header, nav):visible").count() == 0
    colour = page.locator("#text").evaluate("p => getComputedStyle(p).color")
    assert colour == "rgb(30, 32, 36)"

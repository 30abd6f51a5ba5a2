"""The look: colours that can be read, nothing asked of another host, a template that fits."""

import io
import json
import re
from itertools import product
from pathlib import Path

import pytest
import typst
from pypdf import PdfReader

from vitrine.book import pandoc

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


@pytest.mark.parametrize("name", STYLES)
def test_styles_ask_nothing_of_another_host(name: str) -> None:
    style = read(name)
    assert "@import" not in style
    for address in re.findall(r"url\(\s*[\"']?([^\"')]+)", style):
        assert address.startswith(("data:image/svg+xml,", "fonts/")), address
    assert not re.search(r"(https?:)?//[\w-]+\.\w", style.replace(NAMESPACE, ""))


@pytest.mark.parametrize("name", ["vitrine.js", "page.html"])
def test_scripts_and_template_name_no_other_host(name: str) -> None:
    assert not re.search(r"(https?:|[\"'=])//[\w-]", read(name).replace(NAMESPACE, ""))


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

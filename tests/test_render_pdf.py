"""The PDF of the bundled renderer, read back with pypdf."""

import json
import re
from pathlib import Path

import pytest
from pypdf import PdfReader

from bookmaker import REPOSITORY, Book, as_markdown, text_of

NASTY = "# $ @ * _ [ ] \\ ` < > ~ // /* = - + #let x"


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book.at(tmp_path)


def test_the_whole_report(tmp_path: Path) -> None:
    pdf = Book.whole(tmp_path).render("pdf").pdf
    reader, text = PdfReader(pdf), text_of(pdf)
    for words in (
        "A small book", "On {testing} & $dollars", "Ada Lovelace", "Łukasz <Ó>", "Home",
        "Chapter 1", "Figure 1.1: The caption of blue", "Figure 1.2: Two planes", "(b) Right",
        "Table 1.1: The caption of the table", "1.1 Part", "1.1.1 Deeper", "In short, much",
        "References", "Ribeiro, Marco. 2016", "Section 1.1, Chapter 1", "Back to Figure 1.1",
        "See Figure 1.1, 1.1, Figures 1.1 and 1.2, Figure 1.2 (b), Table 1.1",
    ):  # fmt: skip
        assert words in text, words
    annotations = [note.get_object() for page in reader.pages for note in page.annotations or []]
    links = [note for note in annotations if note["/Subtype"] == "/Link"]
    assert len(links) > 12
    assert not [note for note in links if "/URI" in note.get("/A", {})]
    titles = [entry.title for entry in reader.outline if not isinstance(entry, list)]
    assert any("Everything" in (title or "") for title in titles)
    assert reader.metadata.title == "A small book"
    assert "Ada Lovelace" in (reader.metadata.author or "")
    assert reader.trailer["/Root"]["/Lang"] == "en"
    compressed = [reader.get_object(number) for number in reader.xref_objStm]
    plain = [reader.get_object(number) for number in reader.xref.get(0, {}) if number]
    assert "A blue plane" in str([*compressed, *plain])


def test_special_characters_are_text(book: Book) -> None:
    nasty = as_markdown(NASTY)
    book.chapter(
        "one",
        f"# Title {nasty}\n\n## Section {nasty}\n\n![Caption {nasty}](../assets/blue.png)"
        f"{{#fig-x fig-alt={json.dumps(NASTY)}}}\n\n"
        f"| {nasty} |\n|---|\n| {nasty} |\n\n: Table {nasty} {{#tbl-x}}\n\n"
        "@fig-x(a) @tbl-x [x](#sec-ü.ß_1)\\(b\\)\n\n### Odd {#sec-ü.ß_1}\n",
    )
    text = text_of(book.render("pdf").pdf)
    for place in ("Title", "Section", "Caption", "Table"):
        assert f"{place} {NASTY}" in text, place


def test_pictures_never_run_off_the_page(book: Book) -> None:
    book.picture("assets/tall.png", (200, 4000))
    book.picture("assets/wide.png", (4000, 200))
    book.chapter(
        "one",
        "# One\n\n![Tall](../assets/tall.png){#fig-t}\n\n![Wide](../assets/wide.png){#fig-w}\n\n"
        "![Big](../assets/tall.png){#fig-b width=100%}\n",
    )
    placed = _placed_pictures(PdfReader(book.render("pdf").pdf))
    assert len(placed) == 3
    for page_width, page_height, left, bottom, width, height in placed:
        assert 0 <= left <= page_width - width and 0 <= bottom <= page_height - height


def _placed_pictures(reader: PdfReader) -> list[tuple[float, ...]]:
    """Page size, and place and size of every picture, in points."""
    found: list[tuple[float, ...]] = []

    def note(operator: bytes, _operands: object, cm: list[float], _tm: object) -> None:
        if operator == b"Do":
            bottom = min(cm[5], cm[5] + cm[3])
            found.append((*size, cm[4], bottom, abs(cm[0]), abs(cm[3])))

    for page in reader.pages:
        size = float(page.mediabox.width), float(page.mediabox.height)
        page.extract_text(visitor_operand_before=note)
    return found


def test_what_is_folded_has_its_title_and_its_numbers_on_paper(book: Book) -> None:
    fold = '::: {.callout-note collapse="true"}\n## More\n\n![x](../assets/blue.png){#fig-x}\n:::'
    book.chapter("one", f"# One\n\n{fold}\n\n![y](../assets/blue.png){{#fig-y}}\n\nSee @fig-x.\n")
    text = text_of(book.render("pdf").pdf)
    assert "On the site: More." in text and "Figure 1.2: y" in text and "See Figure 1.1." in text
    assert "Figure 1.1: x" not in text


def test_long_words_stay_on_the_page(book: Book) -> None:
    book.chapter("one", f"# One\n\n```\n{'z' * 200}\n```\n\n`{'a_' * 90}` and {'w' * 150}\n")
    pdf = book.render("pdf").pdf
    text = re.sub(r"[\s\u200b]", "", text_of(pdf))
    assert "z" * 200 in text
    lines = PdfReader(pdf).pages[-1].extract_text().replace("\u200b", "").split("\n")
    assert max(map(len, lines)) < 120


def test_characters_without_a_font_are_named(book: Book) -> None:
    (book.root / "assets" / "fonts").symlink_to(REPOSITORY / "assets" / "fonts")
    book.chapter("one", "# One\n\nWords: \u043a\u043e\u0442 \u2192.\n")
    assert not book.render("pdf").warnings
    book.chapter("one", "# One\n\nWords: \u6f22.\n")
    (warning,) = book.render("pdf").warnings
    assert re.search("\u6f22.*chapters/one\\.qmd:3", warning)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```{=typst}\n#nonsense()\n```\n", "unknown variable: nonsense"),
        ("![x](../assets/broken.png){#fig-x}\n", "the PDF cannot be set"),
    ],
)
def test_an_error_of_typst_names_the_chapter(book: Book, text: str, problem: str) -> None:
    book.write("assets/broken.png", "not a picture")
    book.chapter("one", "# One\n\nText.\n")
    book.chapter("two", f"# Two\n\n{text}")
    book.assert_refused(rf"chapters/two\.qmd: .*{problem}", "pdf")


def test_a_missing_template_is_a_clear_error(book: Book) -> None:
    (book.root / "assets/report.typ").unlink()
    book.assert_refused(r"assets/report\.typ is missing", "pdf")


def test_the_pages_stay_when_only_the_pdf_is_made(book: Book) -> None:
    book.render("html")
    before = book.page("index")
    book.render("pdf")
    assert book.page("index") == before
    assert (book.site / "small.pdf").is_file()

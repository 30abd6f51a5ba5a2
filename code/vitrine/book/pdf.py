"""The book as one PDF, set by Typst with the template ``assets/report.typ``."""

import json
import re
from pathlib import Path

import matplotlib
import typst
from fontTools.ttLib import TTFont

from vitrine.book import pandoc
from vitrine.book.document import Document
from vitrine.errors import ChapterError

TEMPLATE = "report.typ"
# The same input gives the same bytes: the PDF carries no date but this one (2000-01-01).
TIMESTAMP = 946684800

_CHAPTER_MARK = "// vitrine chapter "
_DEJAVU = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf"
"""The widest of the fonts that Typst brings along, which cannot be read there."""


def write_pdf(document: Document, path: Path) -> list[str]:
    """Write the PDF of a document that was read for ``"typst"``; returns warnings.

    Raises ``ChapterError`` when the template is missing, and when Typst refuses something, with
    the chapter it is in.
    """
    project = document.project
    if not (project.assets / TEMPLATE).is_file():
        raise ChapterError(
            f"{project.relative(project.assets / TEMPLATE)} is missing",
            "Restore the template of the PDF",
        )
    source = typst_source(document)
    fonts = project.assets / "fonts"
    warnings = _without_font(document, source, fonts)
    compiler = typst.Compiler(
        root=str(project.root),
        font_paths=[str(fonts)] if fonts.is_dir() else [],
        # Fonts of this computer would make the PDF differ from one to the next; they stand in only
        # for what no other font has.
        ignore_system_fonts=not warnings,
    )
    try:
        data, notes = compiler.compile_with_warnings(
            source.encode(), format="pdf", timestamp=TIMESTAMP
        )
    except typst.TypstError as error:
        raise _explained(error, source) from None
    if not isinstance(data, bytes):
        raise TypeError("typst returned no bytes")
    path.write_bytes(data)
    return [*warnings, *(f"the PDF: {note.message}" for note in notes)]


def typst_source(document: Document) -> str:
    """The whole book as one Typst document; its paths are from the project's root."""
    settings = document.settings()
    blocks = [block for chapter in document.chapters for block in chapter.tree["blocks"]]
    tree = {**document.chapters[0].tree, "meta": {}, "blocks": blocks}
    sources = [chapter.source for chapter in document.chapters]
    options = document.citeproc(settings["cited"])
    return _preamble(document) + pandoc.write(tree, "typst", sources, settings, options)


def _preamble(document: Document) -> str:
    book, first = document.book, document.chapters[0]
    words = [w for c in document.chapters for w in c.source.front_matter.get("keywords") or ()]
    arguments = {
        "title": _string(book.book.title),
        "subtitle": _string(book.book.subtitle),
        "description": _string(book.book.description or first.text("about")),
        "authors": _array(book.book.author),
        "keywords": _array(tuple(dict.fromkeys(map(str, words)))),
        "lang": _string(book.lang),
        "paper": _string(book.typst.papersize),
        "contents": str(book.typst.toc).lower(),
        "contents-depth": str(book.typst.toc_depth),
    }
    listed = "".join(f"  {key}: {value},\n" for key, value in arguments.items())
    return f'#import "/assets/{TEMPLATE}": *\n#show: report.with(\n{listed})\n\n'


def _string(text: str) -> str:
    """A Typst string literal: JSON's escapes are Typst's but for ``\\u``, which is not used."""
    return json.dumps(text, ensure_ascii=False)


def _array(texts: tuple[str, ...]) -> str:
    return "(" + "".join(f"{_string(text)}, " for text in texts) + ")"


def _without_font(document: Document, source: str, fonts: Path) -> list[str]:
    """A warning with file and line for the characters that none of the fonts has."""
    covered = {0x0A, 0x200B, 0x2060}
    for path in (_DEJAVU, *fonts.glob("*.[ot]tf")):
        with TTFont(path, lazy=True) as font:
            covered |= set(font.getBestCmap() or ())
    missing = sorted({letter for letter in source if ord(letter) not in covered})
    if not missing:
        return []
    sources = [chapter.source for chapter in document.chapters]
    places = dict.fromkeys(pandoc.find(sources, [letter]) for letter in missing)
    return [
        f"the PDF's fonts lack {''.join(missing)!r} "
        f"({', '.join(filter(None, places)) or 'in the output of a cell'}): a font of this "
        "computer stands in, or a box; put one that has them into assets/fonts"
    ]


def _explained(error: typst.TypstError, source: str) -> ChapterError:
    """Typst's message, with the chapter that the offending line comes from."""
    found = re.search(r":(\d+):\d+", str(error.diagnostic))
    before = source.split("\n")[: int(found.group(1)) if found else 0]
    marks = [line for line in before if line.startswith(_CHAPTER_MARK)]
    chapter = marks[-1].removeprefix(_CHAPTER_MARK) if marks else f"assets/{TEMPLATE}"
    hints = "".join(f" ({hint})" for hint in error.hints)
    return ChapterError(
        f"{chapter}: the PDF cannot be set: {error.message}{hints}",
        "Correct what it names; images in the PDF are PNG, JPEG, SVG, GIF or WebP",
    )

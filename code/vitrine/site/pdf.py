"""The book as one PDF, set by Typst with the template ``assets/report.typ``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import panflute as pf
import typst

from vitrine.errors import ChapterError
from vitrine.site import pandoc
from vitrine.site.document import Chapter, Document, pdf_label
from vitrine.site.links import Files
from vitrine.site.tree import copied, text_of
from vitrine.site.typst_forms import lower, numbering, raw, string, wrapped

TEMPLATE = "report.typ"
# The same input gives the same bytes: the PDF carries no date but this one (2000-01-01).
TIMESTAMP = 946684800

_CHAPTER_MARK = "// vitrine chapter "


def write_pdf(document: Document, path: Path) -> None:
    """Write the PDF of a document that was read for ``"typst"``.

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
    compiler = typst.Compiler(
        root=str(project.root),
        font_paths=[str(fonts)] if fonts.is_dir() else [],
        # Fonts of this computer would make the PDF differ from one to the next.
        ignore_system_fonts=True,
    )
    try:
        data = compiler.compile(source.encode(), format="pdf", timestamp=TIMESTAMP)
    except typst.TypstError as error:
        raise _explained(error, source, document) from None
    if not isinstance(data, bytes):
        raise TypeError("typst returned no bytes")
    path.write_bytes(data)


def typst_source(document: Document) -> str:
    """The whole book as one Typst document; its paths are from the project's root."""
    blocks: list[Any] = []
    for chapter in document.chapters:
        blocks.append(raw(f"{_CHAPTER_MARK}{chapter.qmd.name}"))
        blocks += _chapter_blocks(document, chapter)
    cited = any(chapter.cited for chapter in document.chapters)
    blocks = _with_references(blocks, cited)
    body = pandoc.write(
        blocks,
        "typst",
        name="the PDF",
        bibliography=document.bibliography if cited else (),
        csl=document.csl,
        link_citations=document.book.link_citations,
    )
    return _on_disk(_preamble(document) + body, document.files)


def _preamble(document: Document) -> str:
    book = document.book
    index = document.chapters[0]
    keywords = dict.fromkeys(word for chapter in document.chapters for word in chapter.keywords)
    arguments = {
        "title": string(book.title),
        "subtitle": string(book.subtitle),
        "description": string(book.description or text_of(index.description.content)),
        "authors": _array(book.authors),
        "keywords": _array(tuple(keywords)),
        "lang": string(book.lang),
        "paper": string(book.papersize),
        "contents": str(book.pdf_toc).lower(),
        "contents-depth": str(book.pdf_toc_depth),
    }
    listed = "".join(f"  {key}: {value},\n" for key, value in arguments.items())
    return f'#import "/assets/{TEMPLATE}": *\n#show: report.with(\n{listed})\n\n'


def _array(texts: tuple[str, ...]) -> str:
    return "(" + "".join(f"{string(text)}, " for text in texts) + ")"


def _chapter_blocks(document: Document, chapter: Chapter) -> list[Any]:
    """A chapter with its title, subtitle and abstract."""
    number = "" if chapter.number is None else str(chapter.number)
    title = lower([pf.Plain(*copied(chapter.title.content))], chapter)[0].content
    label = f"<{pdf_label(chapter, '')}>"
    blocks = [wrapped(f"#heading(level: 1, {numbering(number)})[", title, f"] {label}")]
    if chapter.label:
        blocks.append(raw(f"#[#metadata(none)<{pdf_label(chapter, chapter.label)}>]"))
    if chapter.subtitle.content:
        inside = lower([pf.Plain(*copied(chapter.subtitle.content))], chapter)[0].content
        blocks.append(wrapped("#chapter-subtitle[", inside, "]"))
    if chapter.abstract:
        blocks += [raw("#abstract["), *lower(copied(chapter.abstract), chapter), raw("]")]
    return [*blocks, *lower(copied(chapter.blocks), chapter)]


def _with_references(blocks: list[Any], cited: bool) -> list[Any]:
    """One list of references: where a chapter asks for it, else at the end of the book."""
    places = [b for b in blocks if isinstance(b, pf.Div) and b.identifier == "refs"]
    kept = [block for block in blocks if block not in places[:-1]]
    if cited and not places:
        heading = raw("#heading(level: 1, numbering: none)[References] <references>")
        return [*kept, heading, pf.Div(identifier="refs")]
    return kept


def _on_disk(source: str, files: Files) -> str:
    """Typst source whose picture paths, as in the site, lead to the files in the project."""
    root = files.project.root.resolve()
    for path, place in files.sources.items():
        written, real = string("/" + path), string("/" + place.relative_to(root).as_posix())
        source = source.replace(f"picture({written},", f"picture({real},")
    return source


def _explained(error: typst.TypstError, source: str, document: Document) -> ChapterError:
    """Typst's message, with the chapter that the offending line comes from."""
    found = re.search(r":(\d+):\d+", str(error.diagnostic))
    chapter = ""
    if found:
        for line in source.split("\n")[: int(found.group(1))]:
            if line.startswith(_CHAPTER_MARK):
                chapter = line.removeprefix(_CHAPTER_MARK)
    where = chapter or f"assets/{TEMPLATE}"
    hints = "".join(f" ({hint})" for hint in error.hints)
    return ChapterError(
        f"{where}: the PDF cannot be set: {error.message}{hints}",
        "Correct what it names; pictures in the PDF are PNG, JPEG, SVG, GIF or WebP",
    )

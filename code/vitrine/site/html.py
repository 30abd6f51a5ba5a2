"""The book as web pages: bodies, navigation, tables of contents, search index, assets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import panflute as pf

from vitrine.errors import ChapterError
from vitrine.project import Project
from vitrine.site import pandoc
from vitrine.site.book import Book
from vitrine.site.document import Chapter, Document, relative_url
from vitrine.site.html_forms import lower
from vitrine.site.normal import CODE, is_form
from vitrine.site.tree import copied, searchable, text_of
from vitrine.site.vega import VEGA

# What lies in assets/ for other purposes than the finished pages.
_NOT_PUBLISHED = (".scss", ".typ", ".ttf", ".otf", ".html")
_PLACEHOLDERS = (
    "lang", "title", "site_title", "description", "root", "head", "nav", "toc", "body",
    "prev", "next", "footer",
)  # fmt: skip


@dataclass(frozen=True)
class Heading:
    """An entry of a page's table of contents; ``html`` is its text with its number."""

    level: int
    anchor: str
    html: str


def write_pages(document: Document, folder: Path, pdf: str) -> None:
    """Write the site into ``folder``; ``pdf`` is the file name of the report's PDF, or ``""``.

    Raises ``ChapterError`` when the page template or the Vega bundle is missing.
    """
    template = _template(document.project)
    _prepare_references(document)
    titles = _title_texts(document)
    with ThreadPoolExecutor() as pool:
        bodies = list(pool.map(lambda chapter: _body(document, chapter), document.chapters))
        contents = list(pool.map(_contents, document.chapters))
    for chapter, body, headings in zip(document.chapters, bodies, contents, strict=True):
        page = _page(document, chapter, template, titles, body, headings, pdf)
        path = folder / chapter.page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    with_charts = any('class="vitrine-spec"' in body for body in bodies)
    _copy_files(document, folder, with_charts)
    if document.book.search:
        _write_search(document, folder)


def _template(project: Project) -> Template:
    path = project.assets / "page.html"
    try:
        template = Template(path.read_text(encoding="utf-8"))
    except OSError:
        raise ChapterError(
            f"{project.relative(path)} is missing", "Restore the template of the pages"
        ) from None
    if not template.is_valid():
        raise ChapterError(f"{project.relative(path)} has a stray $", "Write $$ for a dollar sign")
    unknown = sorted(set(template.get_identifiers()) - set(_PLACEHOLDERS))
    if unknown:
        raise ChapterError(
            f"{project.relative(path)} has unknown placeholders: {', '.join(unknown)}",
            "Known are " + ", ".join(_PLACEHOLDERS),
        )
    return template


# Bodies


def _prepare_references(document: Document) -> None:
    """Give each chapter with citations a section for its references, unless it has one."""
    for chapter in document.chapters:
        if chapter.cited and "refs" not in chapter.anchors:
            anchor = "references" if "references" not in chapter.anchors else "references-cited"
            heading = pf.Header(
                pf.Str("References"), level=2, identifier=anchor, classes=["unnumbered"]
            )
            chapter.blocks += [heading, pf.Div(identifier="refs", classes=["references"])]


def _body(document: Document, chapter: Chapter) -> str:
    blocks = [*_title_block(document, chapter), *lower(copied(chapter.blocks))]
    return pandoc.write(
        blocks,
        "html",
        name=chapter.qmd.name,
        bibliography=document.bibliography if chapter.cited else (),
        csl=document.csl,
        link_citations=document.book.link_citations,
    )


def _title_block(document: Document, chapter: Chapter) -> list[Any]:
    """The head of a page: number and title, subtitle, authors (on the home page), abstract."""
    book = document.book
    number = ""
    if chapter.number is not None:
        number = f'<span class="chapter-number">{chapter.number}</span>&nbsp; '
    identifier = f' id="{escape(chapter.label)}"' if chapter.label else ""
    blocks = [
        pf.RawBlock('<header id="title-block-header" class="quarto-title-block">', format="html"),
        _wrapped(
            f'<h1 class="title"{identifier}>{number}<span class="chapter-title">',
            chapter.title.content,
            "</span></h1>",
        ),
    ]
    home = chapter.index == 0
    if chapter.subtitle.content:
        blocks.append(_wrapped('<p class="subtitle lead">', chapter.subtitle.content, "</p>"))
    elif home and book.subtitle not in ("", text_of(chapter.title.content)):
        subtitle = f'<p class="subtitle lead">{escape(book.subtitle)}</p>'
        blocks.append(pf.RawBlock(subtitle, format="html"))
    if home and book.authors:
        names = escape(", ".join(book.authors))
        blocks.append(pf.RawBlock(f'<p class="authors">{names}</p>', format="html"))
    # As in Quarto's books, the description of other pages is only for search engines.
    if home and chapter.description.content:
        blocks.append(_wrapped('<p class="description">', chapter.description.content, "</p>"))
    if chapter.abstract:
        title = '<div class="abstract">\n<p class="abstract-title">Abstract</p>'
        blocks += [
            pf.RawBlock(title, format="html"),
            *chapter.abstract,
            pf.RawBlock("</div>", format="html"),
        ]
    return [*blocks, pf.RawBlock("</header>", format="html")]


def _wrapped(opening: str, inlines: Sequence[Any], closing: str) -> Any:
    return pf.Plain(
        pf.RawInline(opening, format="html"),
        *copied(inlines),
        pf.RawInline(closing, format="html"),
    )


# Around the bodies


def _page(
    document: Document,
    chapter: Chapter,
    template: Template,
    titles: list[str],
    body: str,
    headings: list[Heading],
    pdf: str,
) -> str:
    book = document.book
    title = text_of(chapter.title.content)
    site_title = book.title
    description = text_of(chapter.description.content) or book.description or book.subtitle
    around = _neighbours(document, chapter, titles)
    return template.substitute(
        lang=escape(book.lang),
        title=escape(title if title == site_title else f"{title} \N{EN DASH} {site_title}"),
        site_title=escape(site_title),
        description=escape(description),
        root="../" * chapter.page.count("/"),
        head=_head(book, chapter),
        nav=_navigation(document, chapter, titles),
        toc=_toc(headings) if chapter.toc else "",
        body=body,
        prev=around[0],
        next=around[1],
        footer=_footer(book, chapter, pdf),
    )


def _head(book: Book, chapter: Chapter) -> str:
    """Extra lines for the ``<head>``: authors, keywords, icon."""
    lines = [f'<meta name="author" content="{escape(name)}">' for name in book.authors]
    if chapter.keywords:
        lines.append(f'<meta name="keywords" content="{escape(", ".join(chapter.keywords))}">')
    if book.favicon:
        address = escape(relative_url(book.favicon, chapter.page))
        lines.append(f'<link rel="icon" href="{address}">')
    return "\n".join(lines)


def _title_texts(document: Document) -> list[str]:
    """Each chapter's title as HTML that can stand inside a link, with its number."""
    texts = pandoc.write_inlines(
        [_linkable(chapter.title.content) for chapter in document.chapters], "html"
    )
    return [
        (f'<span class="chapter-number">{chapter.number}</span> ' if chapter.number else "")
        + f'<span class="chapter-title">{text}</span>'
        for chapter, text in zip(document.chapters, texts, strict=True)
    ]


def _linkable(inlines: Sequence[Any]) -> list[Any]:
    """A copy of inline elements without notes, links and identifiers, to be put into a link."""

    def strip(element: Any, _doc: Any) -> Any:
        if isinstance(element, pf.Note):
            return []
        if isinstance(element, (pf.Link, pf.Cite)):
            return list(element.content)
        if getattr(element, "identifier", ""):
            element.identifier = ""
        return None

    plain = pf.Plain(*copied(inlines))
    return list(plain.walk(strip).content)


def _navigation(document: Document, current: Chapter, titles: list[str]) -> str:
    items = []
    for chapter, title in zip(document.chapters, titles, strict=True):
        here = ' aria-current="page"' if chapter is current else ""
        address = escape(relative_url(chapter.page, current.page))
        items.append(f'<li><a href="{address}"{here}>{title}</a></li>')
    return '<ol class="book-nav">\n' + "\n".join(items) + "\n</ol>"


def _neighbours(document: Document, chapter: Chapter, titles: list[str]) -> tuple[str, str]:
    """Links to the chapters before and after."""
    links = []
    for step, rel, label in ((-1, "prev", "Previous"), (1, "next", "Next")):
        index = chapter.index + step
        if not 0 <= index < len(document.chapters):
            links.append("")
            continue
        address = escape(relative_url(document.chapters[index].page, chapter.page))
        links.append(
            f'<a class="page-{rel}" rel="{rel}" href="{address}">'
            f'<span class="page-nav-label">{label}</span> '
            f'<span class="page-nav-title">{titles[index]}</span></a>'
        )
    return links[0], links[1]


def _footer(book: Book, chapter: Chapter, pdf: str) -> str:
    parts = [f'<span class="footer-authors">{escape(", ".join(book.authors))}</span>']
    if pdf:
        address = escape(relative_url(pdf, chapter.page))
        parts.append(f'<a class="footer-pdf" href="{address}">The whole report as PDF</a>')
    return "\n".join(part for part in parts if book.authors or "<a" in part)


def _contents(chapter: Chapter) -> list[Heading]:
    """The headings of a page, in order."""
    headers: list[Any] = []

    def collect(element: Any, _doc: Any) -> None:
        if isinstance(element, pf.Header) and "unlisted" not in element.classes:
            headers.append(element)

    for block in chapter.blocks:
        block.walk(collect)
    headers = [h for h in headers if 2 <= h.level <= chapter.toc_depth and h.identifier]
    texts = pandoc.write_inlines([_linkable(header.content) for header in headers], "html")
    return [
        Heading(header.level, header.identifier, _numbered(header, text))
        for header, text in zip(headers, texts, strict=True)
    ]


def _numbered(header: Any, text: str) -> str:
    number = header.attributes.get("number")
    return f'<span class="header-section-number">{number}</span> {text}' if number else text


def _toc(headings: list[Heading]) -> str:
    if not headings:
        return ""
    return (
        '<nav class="page-toc" aria-labelledby="toc-title">\n'
        '<h2 id="toc-title">On this page</h2>\n' + _toc_list(headings) + "\n</nav>"
    )


def _toc_list(headings: list[Heading]) -> str:
    """Headings as nested lists; a deeper heading goes into the entry before it."""
    level = min(heading.level for heading in headings)
    groups: list[list[Heading]] = []
    for heading in headings:
        if heading.level == level or not groups:
            groups.append([heading])
        else:
            groups[-1].append(heading)
    items = []
    for first, *below in groups:
        inner = "\n" + _toc_list(below) if below else ""
        anchor = escape(first.anchor)
        items.append(f'<li><a href="#{anchor}">{first.html}</a>{inner}</li>')
    return "<ul>\n" + "\n".join(items) + "\n</ul>"


# Search


def _write_search(document: Document, folder: Path) -> None:
    """Write ``search.js``: a script, so that it can be loaded from a file as well."""
    entries = [entry for chapter in document.chapters for entry in search_entries(chapter)]
    data = json.dumps(entries, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
    (folder / "search.js").write_text(f"window.VITRINE_SEARCH = {data};\n", encoding="utf-8")


def search_entries(chapter: Chapter) -> list[dict[str, str]]:
    """One entry a section: ``page``, ``title``, ``section``, ``href`` (from the root), ``text``."""
    title = text_of(chapter.title.content)
    entries: list[dict[str, str]] = []
    section, anchor = "", ""
    texts = [text_of(chapter.description.content)]

    def close() -> None:
        entries.append(
            {
                "page": chapter.page,
                "title": title,
                "section": section,
                "href": relative_url(chapter.page, "") + (f"#{anchor}" if anchor else ""),
                "text": " ".join(text for text in texts if text),
            }
        )

    for block in _flattened(chapter.blocks):
        if isinstance(block, pf.Header):
            close()
            section, anchor, texts = text_of(block.content), block.identifier, []
        else:
            texts.append(searchable(block))
    close()
    return entries


def _flattened(blocks: Sequence[Any]) -> list[Any]:
    """Blocks with ``Div`` elements taken apart; code and raw markup are not searched."""
    out: list[Any] = []
    for block in blocks:
        if is_form(block, CODE) or isinstance(block, (pf.RawBlock, pf.CodeBlock)):
            continue
        out += _flattened(list(block.content)) if isinstance(block, pf.Div) else [block]
    return out


# Files


def _copy_files(document: Document, folder: Path, with_charts: bool) -> None:
    """Copy assets, resources, figures and every file that a page shows or offers."""
    project, book = document.project, document.book
    _copy_assets(project, folder / "assets", with_charts)
    for pattern in book.resources:
        for source in sorted(project.root.glob(pattern)):
            _copy_resource(project, source, folder)
    if book.favicon:
        _copy_resource(project, project.root / book.favicon, folder)
    for chapter in document.chapters:
        if chapter.frozen.figures:
            named, source = chapter.frozen.figures
            _copy_tree(source, folder / chapter.qmd.folder / named)
    for path, source in document.files.sources.items():
        target = folder / path
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _copy_assets(project: Project, folder: Path, with_charts: bool) -> None:
    if with_charts and not (project.root / VEGA).is_file():
        raise ChapterError(
            f"{VEGA} is missing, and a page has a chart",
            "Run `vitrine freeze`",
        )
    for source in sorted(project.assets.rglob("*")):
        inside = source.relative_to(project.assets)
        hidden = any(part.startswith(".") for part in inside.parts)
        if not source.is_file() or hidden or source.suffix in _NOT_PUBLISHED:
            continue
        if f"assets/{inside.as_posix()}" == VEGA and not with_charts:
            continue
        target = folder / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _copy_resource(project: Project, source: Path, folder: Path) -> None:
    if source.is_dir():
        files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    else:
        files = [source] if source.is_file() else []
    for path in files:
        target = folder / path.relative_to(project.root)
        if (
            path.suffix not in _NOT_PUBLISHED
            and not target.exists()
            and path != project.root / VEGA
        ):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True, copy_function=shutil.copyfile)

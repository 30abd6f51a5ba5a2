"""The book as web pages in the frame of ``assets/page.html``, with search index and files."""

import json
import os
import posixpath
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vitrine.book import check, pandoc
from vitrine.book.config import pdf_name
from vitrine.book.document import Document, FilteredChapter
from vitrine.book.frozen import FIGURE_FOLDERS, freeze_folder
from vitrine.book.vega import VEGA
from vitrine.errors import ChapterError

# What lies in assets/ for other purposes than the finished pages.
_NOT_PUBLISHED = (".scss", ".typ", ".ttf", ".otf", ".html")


def write_pages(document: Document, folder: Path) -> None:
    """Write the site into ``folder``, with links to the report's PDF if that lies there.

    Raises ``ChapterError`` when the page template or the Vega bundle is missing, and for what the
    written pages show to be wrong.
    """
    template = document.project.assets / "page.html"
    if not template.is_file():
        raise ChapterError(
            f"{document.project.relative(template)} is missing", "Restore the template of the pages"
        )
    name = pdf_name(document.project)
    pdf = name if (folder / name).is_file() else ""
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        pages = list(pool.map(lambda c: _page(document, c, template, pdf), document.chapters))
    for chapter, page in zip(document.chapters, pages, strict=True):
        path = folder / chapter.page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    _copy_files(document, folder, any('class="vitrine-spec"' in page for page in pages))
    if document.book.book.search:
        _write_search(document, folder)
    check.check_site(document, folder)


def _page(document: Document, chapter: FilteredChapter, template: Path, pdf: str) -> str:
    """A page: Pandoc fills the template from the chapter and the values below."""
    book, own, here = document.book, chapter.source.front_matter, chapter.page
    title = unescape(chapter.text("plain"))
    values: dict[str, Any] = {
        "lang": book.lang,
        "pagetitle": title
        if title == book.book.title
        else f"{title} \N{EN DASH} {book.book.title}",
        "site-title": book.book.title,
        "about": chapter.text("about") or book.book.description or book.book.subtitle,
        "root": "../" * here.count("/"),
        "authors": list(book.book.author),
        "keywords": [str(word) for word in own.get("keywords") or ()],
        "favicon": relative_url(book.book.favicon, here) if book.book.favicon else "",
        "pdf": relative_url(pdf, here) if pdf else "",
        "repository": book.book.repo_url,
        "tools": [
            {"text": tool.text, "href": _href(tool.href, here)} for tool in book.book.sidebar.tools
        ],
        "number": str(chapter.number or ""),
        "home": chapter.index == 0,
        "chapters": [_entry(other, chapter) for other in document.chapters],
    }
    if chapter.index == 0 and book.book.subtitle != title:
        values["book-subtitle"] = book.book.subtitle
    for name, step in (("prev", -1), ("next", 1)):
        if 0 <= chapter.index + step < len(document.chapters):
            values[name] = _entry(document.chapters[chapter.index + step], chapter)
    kept = {k: v for k, v in chapter.tree["meta"].items() if k not in ("labels", "entries")}
    tree = {**chapter.tree, "meta": {**_meta(values)["c"], **kept}}
    options = [f"--template={template}", *document.citeproc(chapter.cited)]
    if own.get("toc", book.html.toc):
        options += ["--toc", f"--toc-depth={own.get('toc-depth', book.html.toc_depth)}"]
    return pandoc.write(tree, "html", [chapter.source], document.settings(chapter), options)


def _entry(chapter: FilteredChapter, current: FilteredChapter) -> dict[str, Any]:
    return {
        "href": relative_url(chapter.page, current.page),
        "number": str(chapter.number or ""),
        "title": chapter.tree["meta"]["link"],
        "current": chapter is current,
    }


def _meta(value: Any) -> dict[str, Any]:
    """A value as Pandoc's metadata; texts are escaped when they are written."""
    if isinstance(value, bool | str):
        return {"t": "MetaBool" if isinstance(value, bool) else "MetaString", "c": value}
    if isinstance(value, list):
        return {"t": "MetaList", "c": [_meta(item) for item in value]}
    if isinstance(value, Mapping) and "t" not in value:
        return {"t": "MetaMap", "c": {key: _meta(item) for key, item in value.items()}}
    return dict(value)


def _href(address: str, page: str) -> str:
    """The link to a chapter's file, with its anchor; an address elsewhere stays."""
    path, mark, anchor = address.partition("#")
    if not path.endswith(".qmd") or ":" in path:
        return address
    return relative_url(path.removesuffix(".qmd") + ".html", page) + mark + anchor


def relative_url(path: str, page: str) -> str:
    """The URL that leads from ``page`` to ``path``, both paths inside the site."""
    return quote(posixpath.relpath(path, posixpath.dirname(page) or "."))


def _write_search(document: Document, folder: Path) -> None:
    """Write ``search.js``: a script, so that it can be loaded from a file as well.

    One entry a section: ``page``, ``title``, ``section``, ``href`` (from the root), ``text``.
    """
    entries = []
    for chapter in document.chapters:
        for entry in json.loads(chapter.text("entries")):
            href = quote(chapter.page) + (f"#{entry['anchor']}" if entry["anchor"] else "")
            words = {key: entry[key] for key in ("section", "text")} | {"href": href}
            entries.append({"page": chapter.page, "title": chapter.text("plain"), **words})
    data = json.dumps(entries, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
    (folder / "search.js").write_text(f"window.VITRINE_SEARCH = {data};\n", encoding="utf-8")


def _copy_files(document: Document, folder: Path, with_charts: bool) -> None:
    """Copy assets, resources and figures; other files are copied when a page leads to them."""
    project, book = document.project, document.book
    if with_charts and not (project.root / VEGA).is_file():
        raise ChapterError(f"{VEGA} is missing, and a page has a chart", "Run `vitrine freeze`")
    favicon = [book.book.favicon] if book.book.favicon else []
    for pattern in ("assets", *book.project.resources, *favicon):
        for source in sorted(project.root.glob(pattern)):
            for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
                name = path.relative_to(project.root)
                hidden = any(part.startswith(".") for part in name.parts)
                if hidden or path.suffix in _NOT_PUBLISHED or not path.is_file():
                    continue
                if with_charts or name.as_posix() != VEGA:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, folder / name)
    for chapter in document.chapters:
        figures = freeze_folder(project, chapter.source.name) / FIGURE_FOLDERS["html"]
        if chapter.source.executable and figures.is_dir():
            beside = (folder / chapter.page).parent / chapter.source.files_folder.name
            shutil.copytree(
                figures, beside / figures.name, dirs_exist_ok=True, copy_function=shutil.copyfile
            )

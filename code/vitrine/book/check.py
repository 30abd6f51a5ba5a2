"""What can be wrong with a site is looked for on its pages, as they were written."""

import posixpath
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vitrine.book import pandoc
from vitrine.book.document import Document, FilteredChapter

SAFE_SCHEMES = ("http", "https", "mailto")
_NO_FILES_TO_OFFER = (".qmd", ".py", ".ipynb")
# Attributes whose address is loaded with the page, rather than followed by the reader.
_LOADED = {"src", "poster", "data", "background"}
_SOURCES = re.compile(r"(?:^|,)\s*([^\s,]+)")  # of srcset, each before its width
_CSS_URL = re.compile(r"url\(\s*[\"']?([^)\"']+)")


class ParsedPage(HTMLParser):
    """A written page: its ``ids``, and the addresses that it loads and leads to.

    ``found`` has of each what it is ("loaded", "link", and "undescribed" for an image without
    alternative text), the address, and the labels before it, nearest first.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.found: list[tuple[str, str, list[str]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.ids += [values["id"]] if values.get("id") else []
        for key, value in values.items():
            if key in _LOADED or key == "href":
                self._note("loaded" if key != "href" or tag == "link" else "link", value)
            elif key == "srcset":
                self._note("loaded", *_SOURCES.findall(value))
            elif key == "style":
                self._note("loaded", *_CSS_URL.findall(value))
        if tag == "img" and "alt" not in values:
            self._note("undescribed", values.get("src", ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "style":
            self._note("loaded", *_CSS_URL.findall(data))

    def _note(self, what: str, *urls: str) -> None:
        within = [name.removeprefix("cell-") for name in self.ids[:-4:-1]]
        self.found += [(what, url, within) for url in urls]


def check_site(document: Document, folder: Path) -> None:
    """Check every page in ``folder``, and copy the project's files that pages lead to.

    Raises ``ChapterError`` for an identifier that is used twice, an image without alternative
    text, something loaded from another host, a link or file that leads nowhere.
    """
    pages = {
        chapter.page: ParsedPage((folder / chapter.page).read_text(encoding="utf-8"))
        for chapter in document.chapters
    }
    for chapter in document.chapters:
        page = pages[chapter.page]
        for name in (name for name, count in Counter(page.ids).items() if count > 1):
            name = name.removeprefix("toc-")
            twice = f"the identifier {name} is used twice"
            pandoc.refuse([chapter.source], twice, "Rename one", [f"#{name}", f'id="{name}"'])
        for what, url, within in page.found:
            problem = _outside(url, what) or _inside(document, folder, chapter, pages, url)
            if problem:
                near = [url, unquote(url), url.replace(".html", ".qmd"), url[:80]]
                pandoc.refuse([chapter.source], *problem, near, within)


def _outside(url: str, what: str) -> tuple[str, str] | None:
    """What is wrong with an image or with an address out of the site, and the remedy."""
    if what == "undescribed":
        return f"the image {url} has no alternative text", 'Add alt="text"'
    scheme, host, *_ = urlsplit(url)
    if not scheme and not host:
        return None
    if what == "loaded" and scheme != "data":
        shown = f"the page would load {url[:80]} from another host"
        return shown, "Put the file into the project"
    if what == "link" and scheme not in SAFE_SCHEMES:
        shown = f"links to {scheme or 'other hosts without https'}: are not allowed"
        return shown, "Use https:, mailto: or a file of the project"
    return None


def _inside(
    document: Document,
    folder: Path,
    chapter: FilteredChapter,
    pages: Mapping[str, ParsedPage],
    url: str,
) -> tuple[str, str] | None:
    """What is wrong with an address inside the site, and the remedy."""
    split = urlsplit(url)
    if split.scheme or split.netloc:
        return None
    anchor = unquote(split.fragment)
    path = posixpath.join(posixpath.dirname(chapter.page), unquote(split.path))
    path = posixpath.normpath(path) if split.path else chapter.page
    if path in pages:
        if not anchor or anchor in pages[path].ids:
            return None
        remedy = "Correct it, or give the section or figure this identifier"
        return f"the link {url} leads nowhere: {path} has no {anchor}", remedy
    if (folder / path).is_file() or _copied(document, folder, path):
        return None
    remedy = "Correct the path, add a chapter to _quarto.yml, or run `vitrine freeze`"
    return f"the file {url} does not exist, or is none to be published", remedy


def _copied(document: Document, folder: Path, path: str) -> bool:
    """Whether ``path`` is a file of the project that may be offered; it is copied then."""
    root = document.project.root.resolve()
    source = (root / path).resolve()
    inside = source.is_relative_to(root) and source.is_file()
    if not inside or source.suffix in _NO_FILES_TO_OFFER:
        return False
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return True

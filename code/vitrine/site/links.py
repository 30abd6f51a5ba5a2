"""Links and files: where a chapter's addresses lead, and what has to be copied into the site."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import panflute as pf

from vitrine.project import Project
from vitrine.site.frozen import Frozen
from vitrine.site.qmd import Qmd

SAFE_SCHEMES = ("http", "https", "mailto")
# Elements whose address is loaded with the page, rather than followed by the reader.
_LOADED = {"src", "poster", "data", "background"}
_CSS_URL = re.compile(r"url\(\s*[\"']?([^)\"']+)")
_UNSAFE_FILES = (".qmd", ".py", ".ipynb")


@dataclass(frozen=True)
class Address:
    """Where a link leads: exactly one of the three is meant.

    ``outside`` is a URL elsewhere; ``chapter`` the index of a chapter, with ``anchor`` in it;
    ``file`` a file of the project, as a path inside the site.
    """

    outside: str = ""
    chapter: int | None = None
    anchor: str = ""
    file: str = ""


@dataclass
class Files:
    """The files that pages show or offer: path inside the site to path on disk."""

    project: Project
    chapters: Sequence[str]
    sources: dict[str, Path] = field(default_factory=dict)

    def address(self, url: str, qmd: Qmd, frozen: Frozen, cell: str = "") -> Address:
        """Where ``url``, written in a chapter, leads.

        Raises ``ChapterError`` for an unsafe scheme and for a file that does not exist.
        """
        split = urlsplit(url)
        if split.scheme or split.netloc:
            if split.scheme not in SAFE_SCHEMES:
                qmd.refuse(
                    f"links to {split.scheme or 'other hosts without https'}: are not allowed",
                    "Use https:, mailto: or a file of the project",
                    re.escape(url),
                    cell,
                )
            return Address(outside=url)
        anchor = unquote(split.fragment)
        if not split.path:
            return Address(chapter=self.chapters.index(qmd.name), anchor=anchor)
        path = self.inside(split.path, qmd)
        if path in self.chapters:
            return Address(chapter=self.chapters.index(path), anchor=anchor)
        page = re.sub(r"\.html$", ".qmd", path)
        if page in self.chapters:
            return Address(chapter=self.chapters.index(page), anchor=anchor)
        return Address(file=self.file(url, qmd, frozen, cell))

    def inside(self, path: str, qmd: Qmd) -> str:
        """A path written in a chapter, as a path from the project's root."""
        path = unquote(path)
        if path.startswith("/"):
            return posixpath.normpath(path.lstrip("/"))
        return posixpath.normpath(posixpath.join(qmd.folder.as_posix(), path))

    def file(self, url: str, qmd: Qmd, frozen: Frozen, cell: str = "") -> str:
        """The path inside the site of a local file, which is noted for copying.

        Raises ``ChapterError`` when it does not exist, or is not a file to be published.
        """
        path = self.inside(urlsplit(url).path, qmd)
        source = self.on_disk(path, qmd, frozen)
        if source is None:
            qmd.refuse(
                f"the file {url} does not exist",
                "Correct the path, or run `vitrine freeze` if a cell makes it",
                re.escape(url),
                cell,
            )
        if source.suffix in _UNSAFE_FILES:
            qmd.refuse(
                f"{url} is not a chapter of the book",
                "Add it to the chapters in _quarto.yml, or link to something else",
                re.escape(url),
                cell,
            )
        self.sources[path] = source
        return path

    def on_disk(self, path: str, qmd: Qmd, frozen: Frozen) -> Path | None:
        """The file behind a path from the project's root, figures being in the freeze."""
        root = self.project.root.resolve()
        candidate = root / path
        if frozen.figures:
            named, folder = frozen.figures
            prefix = posixpath.normpath(posixpath.join(qmd.folder.as_posix(), named)) + "/"
            if path.startswith(prefix):
                candidate, root = folder / path.removeprefix(prefix), folder.resolve()
        resolved = candidate.resolve()
        return resolved if resolved.is_relative_to(root) and resolved.is_file() else None


def check_loaded(url: str, qmd: Qmd, cell: str = "") -> None:
    """Refuse what a page would load from another host."""
    split = urlsplit(url)
    if split.scheme != "data" and (split.scheme or split.netloc):
        qmd.refuse(
            f"the page would load {url[:80]} from another host",
            "Put the file into the project",
            re.escape(url[:80]),
            cell,
        )


class RawHtml(HTMLParser):
    """What a raw HTML block contains: ``ids``, ``loaded`` and ``followed`` addresses.

    ``undescribed`` are the pictures without alternative text.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.followed: list[str] = []
        self.undescribed: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if values.get("id"):
            self.ids.append(values["id"])
        for key, value in values.items():
            if key in _LOADED or (key == "href" and tag == "link"):
                self.loaded.append(value)
            elif key == "href":
                self.followed.append(value)
            elif key == "srcset":
                self.loaded += [part.split()[0] for part in value.split(",") if part.strip()]
            elif key == "style":
                self.loaded += _CSS_URL.findall(value)
        if tag == "img" and "alt" not in values:
            self.undescribed.append(values.get("src", ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "style":
            self.loaded += _CSS_URL.findall(data)


def anchors(blocks: Sequence[Any], target: str) -> list[str]:
    """The identifiers in a chapter that a link can lead to, in order, repeated ones included."""
    found: list[str] = []
    labelled: tuple[Any, ...] = (pf.Header, pf.Div, pf.Span, pf.Table, pf.Figure)
    if target == "html":
        labelled += (pf.Link, pf.Image, pf.CodeBlock, pf.Code)

    def collect(element: Any, _doc: Any) -> None:
        if isinstance(element, labelled):
            found.extend(
                name for name in (element.identifier, element.attributes.get("label")) if name
            )
        elif isinstance(element, (pf.RawBlock, pf.RawInline)) and element.format == "html":
            found.extend(RawHtml(element.text).ids)

    for block in blocks:
        block.walk(collect)
    return found

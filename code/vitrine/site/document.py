"""The whole book for one output format: read, checked, numbered, with every link resolved."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import panflute as pf

from vitrine.errors import ChapterError
from vitrine.project import Project
from vitrine.site import pandoc
from vitrine.site.book import Book, fold_mode
from vitrine.site.crossref import Numbering, Registry, resolve
from vitrine.site.frozen import Frozen, read_frozen
from vitrine.site.links import Address, Files, RawHtml, anchors, check_loaded
from vitrine.site.normal import Settings, attribute_texts, normalise
from vitrine.site.qmd import Qmd, read_qmd
from vitrine.site.tree import copied

_TITLE_ATTRIBUTES = re.compile(r"\{[^{}]*\}\s*$")


@dataclass
class Chapter:
    """A chapter, ready to be written.

    ``title``, ``subtitle`` and ``description`` are ``Plain`` blocks (the latter two may be empty),
    ``abstract`` and ``blocks`` lists of blocks in the report's form (see ``normal``). ``number``
    is ``None`` for a chapter without one. ``anchors`` are the identifiers a link can lead to.
    ``cited`` says whether it has citations.
    """

    index: int
    qmd: Qmd
    frozen: Frozen
    title: Any
    label: str
    number: int | None
    numbered: bool
    subtitle: Any
    description: Any
    abstract: list[Any]
    keywords: tuple[str, ...]
    toc: bool
    toc_depth: int
    blocks: list[Any]
    anchors: set[str] = field(default_factory=set)
    cited: bool = False

    @property
    def page(self) -> str:
        """The path of its page inside the site, ``chapters/lime.html``."""
        return self.qmd.name.removesuffix(".qmd") + ".html"


@dataclass(frozen=True)
class Document:
    """The book for one format, ``"html"`` or ``"typst"``."""

    project: Project
    book: Book
    target: str
    chapters: tuple[Chapter, ...]
    files: Files
    bibliography: tuple[Path, ...]
    csl: Path | None


def read_document(project: Project, book: Book, target: str) -> Document:
    """Read every chapter of the book for ``target``.

    Raises ``ChapterError`` with file and line at the first construct that is unknown, label that
    is used twice, reference or link that leads nowhere, and file that does not exist.
    """
    bibliography = tuple(project.root / name for name in book.bibliography)
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        keys = pool.submit(pandoc.citation_keys, bibliography)
        drafts = list(pool.map(lambda name: _read_draft(project, name, target), book.chapters))
    texts = _parse_texts(drafts)
    chapters = _make_chapters(book, drafts, texts, target)
    registry = _number(book, chapters)
    for chapter in chapters:
        chapter.cited = resolve(_all_blocks(chapter), registry, chapter.qmd, keys.result())
    files = Files(project, book.chapters)
    _collect_anchors(chapters, target)
    for chapter in chapters:
        _resolve_addresses(chapter, chapters, files, target)
    return Document(
        project=project,
        book=book,
        target=target,
        chapters=tuple(chapters),
        files=files,
        bibliography=bibliography,
        csl=project.root / book.csl if book.csl else None,
    )


def check_constructs(project: Project, name: str, markdown: str, target: str) -> None:
    """Raise ``ChapterError`` where executed Markdown has what ``render`` would not know.

    Only what one chapter tells by itself; references and links are followed with the whole book.
    """
    qmd = read_qmd(project, name)
    doc = pandoc.parse(markdown.replace("\r\n", "\n"), name)
    draft = _Draft(qmd, Frozen(markdown, None), doc, tuple(attribute_texts(doc)))
    settings = Settings(
        target=target,
        texts=_parse_texts([draft]),
        meta=lambda key: _meta(doc, key),
        code_fold="none",
        code_summary="Code",
    )
    normalise(list(doc.content), qmd, settings)


@dataclass(frozen=True)
class _Draft:
    """A chapter as Pandoc reads it; ``texts`` are the captions and titles still to be parsed."""

    qmd: Qmd
    frozen: Frozen
    doc: Any
    texts: tuple[str, ...]


def _read_draft(project: Project, name: str, target: str) -> _Draft:
    qmd = read_qmd(project, name)
    frozen = read_frozen(project, qmd, target)
    doc = pandoc.parse(frozen.markdown, name)
    texts = [qmd.front.text(key) for key in ("title", "subtitle", "description")]
    if _TITLE_ATTRIBUTES.search(texts[0]):
        qmd.refuse(
            "a title in the front matter cannot have attributes (Quarto shows them as text)",
            "Write the title as a `# Title {…}` heading instead",
            r"^title:",
        )
    texts += attribute_texts(doc)
    return _Draft(qmd, frozen, doc, tuple(filter(None, texts)))


def _parse_texts(drafts: Sequence[_Draft]) -> dict[str, list[Any]]:
    unique = list(dict.fromkeys(text for draft in drafts for text in draft.texts))
    return dict(zip(unique, pandoc.parse_inlines(unique), strict=True))


def _make_chapters(
    book: Book, drafts: Sequence[_Draft], texts: dict[str, list[Any]], target: str
) -> list[Chapter]:
    chapters: list[Chapter] = []
    count = 0
    for index, draft in enumerate(drafts):
        chapter = _make_chapter(book, draft, texts, target, index)
        if chapter.numbered:
            count += 1
            chapter.number = count
        chapters.append(chapter)
    return chapters


def _make_chapter(
    book: Book, draft: _Draft, texts: dict[str, list[Any]], target: str, index: int
) -> Chapter:
    qmd, front = draft.qmd, draft.qmd.front
    settings = _settings(book, draft, texts, target)
    heading, body = _take_title(draft)
    title = list(heading.content) if heading is not None else texts[front.text("title")]
    unnumbered = heading is not None and "unnumbered" in heading.classes
    if index == 0 and not unnumbered:
        qmd.refuse(
            "the home page would be chapter 1 under Quarto",
            "Write its title as a `# Title {.unnumbered}` heading, not in the front matter",
            r"^(title:|#\s)",
        )
    return Chapter(
        index=index,
        qmd=qmd,
        frozen=draft.frozen,
        title=_plain(title, qmd, settings),
        label=heading.identifier if heading is not None else "",
        number=None,
        numbered=book.number_sections and not unnumbered,
        subtitle=_plain(texts.get(front.text("subtitle"), []), qmd, settings),
        description=_plain(texts.get(front.text("description"), []), qmd, settings),
        abstract=normalise(_abstract(draft), qmd, settings),
        keywords=front.texts("keywords"),
        toc=front.flag("toc", default=book.html_toc),
        toc_depth=front.whole("toc-depth", default=book.html_toc_depth),
        blocks=normalise(body, qmd, settings),
    )


def _settings(book: Book, draft: _Draft, texts: dict[str, list[Any]], target: str) -> Settings:
    front = draft.qmd.front
    folded = fold_mode(front, ("code-fold",)) if "code-fold" in front.data else book.code_fold
    return Settings(
        target=target,
        texts=texts,
        meta=lambda key: _meta(draft.doc, key),
        code_fold=folded,
        code_summary=front.text("code-summary") or book.code_summary,
    )


def _meta(doc: Any, key: str) -> list[Any] | None:
    """The value of a key of the front matter (``a.b`` for nested ones) as inline elements."""
    value: Any = doc.metadata
    for name in key.split("."):
        if not isinstance(value, (pf.MetaMap, dict)) or name not in value:
            return None
        value = value[name]
    if isinstance(value, pf.MetaInlines):
        return list(value.content)
    if isinstance(value, pf.MetaBool):
        return [pf.Str(str(value.boolean).lower())]
    return [pf.Str(value.text)] if isinstance(value, pf.MetaString) else None


def _plain(inlines: Sequence[Any], qmd: Qmd, settings: Settings) -> Any:
    """A copy of inline elements as one checked ``Plain`` block."""
    blocks = normalise([pf.Plain(*copied(inlines))], qmd, settings)
    return blocks[0] if blocks else pf.Plain()


def _abstract(draft: _Draft) -> list[Any]:
    metadata: Any = draft.doc.metadata
    value = metadata["abstract"] if "abstract" in metadata else None  # noqa: SIM401
    if isinstance(value, pf.MetaBlocks):
        return list(value.content)
    return [pf.Para(*value.content)] if isinstance(value, pf.MetaInlines) else []


def _take_title(draft: _Draft) -> tuple[Any, list[Any]]:
    """The level-1 heading that titles a chapter (``None`` if the front matter does), and the rest.

    Raises ``ChapterError`` when there is no title, or more than one.
    """
    blocks = list(draft.doc.content)
    headings = [b for b in blocks if isinstance(b, pf.Header) and b.level == 1]
    titled = bool(draft.qmd.front.text("title"))
    extra = headings if titled else headings[1:]
    if extra:
        text = pf.stringify(extra[0]).strip()
        draft.qmd.refuse(
            f"the chapter has a second title, {text!r}",
            "Keep one title a chapter: in its front matter, or as its only `# ` heading",
            r"^#\s+" + re.escape(text.split(" ")[0]),
        )
    if titled:
        return None, blocks
    if not headings:
        raise ChapterError(
            f"{draft.qmd.name}:1: the chapter has no title",
            "Give it a title in its front matter, or a `# ` heading",
        )
    return headings[0], [block for block in blocks if block is not headings[0]]


def _number(book: Book, chapters: Sequence[Chapter]) -> Registry:
    registry = Registry()
    for chapter in chapters:
        numbering = Numbering(
            registry, chapter.qmd, chapter.index, chapter.number, book.number_depth
        )
        numbering.chapter(chapter.label)
        numbering.blocks(chapter.blocks)
    return registry


def _all_blocks(chapter: Chapter) -> list[Any]:
    """Every block of a chapter, its title block included."""
    head = [chapter.title, chapter.subtitle, chapter.description]
    return [*head, *chapter.abstract, *chapter.blocks]


def _collect_anchors(chapters: Sequence[Chapter], target: str) -> None:
    for chapter in chapters:
        found = anchors(_all_blocks(chapter), target)
        found += [chapter.label] if chapter.label else []
        for name in found:
            if name in chapter.anchors:
                chapter.qmd.refuse(
                    f"the identifier {name} is used twice",
                    "Rename one of them",
                    rf"(?:#|id=[\"']){re.escape(name)}(?![\w-])",
                )
            chapter.anchors.add(name)


def _resolve_addresses(
    chapter: Chapter, chapters: Sequence[Chapter], files: Files, target: str
) -> None:
    """Rewrite the addresses of links and pictures for ``target``."""
    resolver = _Resolver(chapter, chapters, files, target)
    for block in _all_blocks(chapter):
        resolver.enter(block)


class _Resolver:
    """Rewrites addresses in one chapter; knows the cell whose output it is in, for errors."""

    def __init__(
        self, chapter: Chapter, chapters: Sequence[Chapter], files: Files, target: str
    ) -> None:
        self.chapter = chapter
        self.chapters = chapters
        self.files = files
        self.target = target

    def enter(self, block: Any) -> None:
        block.walk(lambda element, _doc: self.rewrite(element))

    def rewrite(self, element: Any) -> Any:
        if isinstance(element, pf.Image):
            self.picture(element)
        elif isinstance(element, pf.Link):
            return self.link(element)
        elif isinstance(element, (pf.RawBlock, pf.RawInline)) and element.format == "html":
            self.raw(element)
        return None

    def cell_of(self, element: Any) -> str:
        """The label of the executed cell around an element, or ``""``."""
        while element is not None:
            if isinstance(element, pf.Div):
                label = element.attributes.get("label", "")
                if label:
                    return str(label)
                if element.identifier.startswith("cell-"):
                    return str(element.identifier.removeprefix("cell-"))
            element = element.parent
        return ""

    def picture(self, image: Any) -> None:
        cell = self.cell_of(image)
        check_loaded(image.url, self.chapter.qmd, cell)
        if image.url.startswith("data:"):
            return
        path = self.files.file(image.url, self.chapter.qmd, self.chapter.frozen, cell)
        image.url = path if self.target == "typst" else self.relative(path)

    def link(self, link: Any) -> Any:
        if "chapter" in link.attributes:
            index = int(link.attributes.pop("chapter"))
            self.lead_to(link, Address(chapter=index, anchor=link.url[1:]))
            return None
        cell = self.cell_of(link)
        address = self.files.address(link.url, self.chapter.qmd, self.chapter.frozen, cell)
        if address.chapter is not None:
            self.check_anchor(address, link.url, cell)
            self.lead_to(link, address)
        elif address.file and self.target == "typst":
            # The PDF travels without the site, so files that lie beside it cannot be linked.
            return list(link.content)
        elif address.file:
            link.url = self.relative(address.file)
        return None

    def check_anchor(self, address: Address, url: str, cell: str) -> None:
        chapter = self.chapters[address.chapter or 0]
        if address.anchor and address.anchor not in chapter.anchors:
            self.chapter.qmd.refuse(
                f"the link {url} leads nowhere: {chapter.qmd.name} has no {address.anchor}",
                "Correct it, or give the section or figure this identifier",
                re.escape(url),
                cell,
            )

    def lead_to(self, link: Any, address: Address) -> None:
        chapter = self.chapters[address.chapter or 0]
        if self.target == "typst":
            link.url = "#" + pdf_label(chapter, address.anchor)
        elif chapter is self.chapter:
            link.url = "#" + address.anchor
        else:
            anchor = "#" + address.anchor if address.anchor else ""
            link.url = self.relative(chapter.page) + anchor

    def raw(self, raw: Any) -> None:
        """Check the addresses in raw HTML; they are written for the page already."""
        cell = self.cell_of(raw)
        content = RawHtml(raw.text)
        for url in content.undescribed:
            self.chapter.qmd.refuse(
                f"the picture {url} has no alternative text", 'Add alt="text"', re.escape(url), cell
            )
        for url in content.loaded:
            check_loaded(url, self.chapter.qmd, cell)
            if url and not url.startswith(("data:", "#")):
                self.files.file(url, self.chapter.qmd, self.chapter.frozen, cell)
        for url in content.followed:
            address = self.files.address(url, self.chapter.qmd, self.chapter.frozen, cell)
            if address.chapter is not None:
                self.check_anchor(address, url, cell)
                if ".qmd" in url:
                    self.chapter.qmd.refuse(
                        f"raw HTML links to {url}", "Link to its .html page", re.escape(url), cell
                    )

    def relative(self, path: str) -> str:
        """The URL of a path inside the site, relative to the chapter's page."""
        return relative_url(path, self.chapter.page)


def relative_url(path: str, page: str) -> str:
    """The URL that leads from ``page`` to ``path``, both paths inside the site."""
    return quote(posixpath.relpath(path, posixpath.dirname(page) or "."))


def pdf_label(chapter: Chapter, identifier: str) -> str:
    """The Typst label of an identifier: unique in the whole book, letters and digits only."""
    safe = re.sub(r"[^A-Za-z0-9-]", lambda found: f"_{ord(found.group()):x}_", identifier)
    return f"c{chapter.index}" + (f"-{safe}" if safe else "")

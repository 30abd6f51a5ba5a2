"""The book for one output format: chapters through the filter, numbers and labels of the whole."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from vitrine.book import pandoc
from vitrine.book.chapter import Chapter as Source
from vitrine.book.chapter import read_chapter
from vitrine.book.config import LEFT_OUT, Book, Look
from vitrine.book.frozen import freeze_folder, read_frozen
from vitrine.project import Project

_NUMBER = "\ue000"  # stands for the chapter's number in what the filter writes


@dataclass(frozen=True)
class FilteredChapter:
    """A chapter after the filter's first run.

    ``tree`` is Pandoc's document; ``number`` is ``None`` for a chapter without one; ``labels`` maps
    what can be referred to, to its name, number, page and chapter.
    """

    index: int
    source: Source
    tree: dict[str, Any]
    number: int | None
    labels: dict[str, dict[str, Any]]

    @property
    def page(self) -> str:
        """The path of its page inside the site, ``chapters/lime.html``."""
        return _page(self.source.name)

    @property
    def cited(self) -> bool:
        return bool(self.tree["meta"]["cited"]["c"])

    def text(self, key: str) -> str:
        """A value of the filter that is a text, or ``""``."""
        return str(self.tree["meta"].get(key, {}).get("c", ""))


@dataclass(frozen=True)
class Document:
    """The book for one format, ``"html"`` or ``"typst"``."""

    project: Project
    book: Book
    target: str
    chapters: tuple[FilteredChapter, ...]
    keys: list[str]

    def settings(self, chapter: FilteredChapter | None = None) -> dict[str, Any]:
        """What the filter's second run is told, for one chapter or for the whole book."""
        labels = {name: value for c in self.chapters for name, value in c.labels.items()}
        return {
            "target": self.target,
            "page": chapter.page if chapter else "",
            "cited": chapter.cited if chapter else any(c.cited for c in self.chapters),
            "labels": labels,
            "keys": dict.fromkeys(self.keys, True),
        }

    def citeproc(self, cited: bool) -> list[str]:
        """Pandoc's options for the citations of a page or of the book."""
        if not cited:
            return []
        options = [f"--bibliography={self.project.root / name}" for name in self.book.bibliography]
        options += [f"--csl={self.project.root / self.book.csl}"] if self.book.csl else []
        linked = str(self.book.link_citations).lower()
        return ["--citeproc", *options, f"--metadata=link-citations={linked}"]


def read_document(project: Project, book: Book, target: str) -> Document:
    """Read every chapter of the book for ``target``.

    Raises ``ChapterError`` with the chapter and the nearest line at the first construct that is
    unknown, and for a label that is used twice.
    """
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        keys = pool.submit(pandoc.citation_keys, [project.root / n for n in book.bibliography])
        read = list(pool.map(lambda name: _read(project, book, name, target), book.chapters))
    chapters: list[FilteredChapter] = []
    defined: dict[str, Source] = {}
    count = 0
    for index, (source, tree) in enumerate(read):
        number = count = count + tree["meta"]["numbered"]["c"]
        tree = json.loads(json.dumps(tree, ensure_ascii=False).replace(_NUMBER, str(number)))
        labels = json.loads(tree["meta"]["labels"]["c"]) or {}
        for label in defined.keys() & labels:
            near = [f"#{label}", f"label: {label}"]
            first = pandoc.find([defined[label]], near) or defined[label].name
            problem = f"the label {label} is used twice in the book"
            pandoc.refuse([source], problem, f"Rename one; the other is at {first}", near)
        defined |= dict.fromkeys(labels, source)
        numbered = tree["meta"]["numbered"]["c"]
        chapters.append(FilteredChapter(index, source, tree, number if numbered else None, labels))
    return Document(project, book, target, tuple(chapters), keys.result())


def check_constructs(project: Project, source: Source, markdown: str, target: str) -> None:
    """Raise ``ChapterError`` where executed Markdown has what ``render`` would not know.

    Only what one chapter tells by itself; references and links are followed with the whole book.
    """
    pandoc.read(markdown, source, _settings(project, source, target, None))


def _read(project: Project, book: Book, name: str, target: str) -> tuple[Source, dict[str, Any]]:
    source = read_chapter(project, project.root / name)
    markdown = read_frozen(project, source, target)
    return source, pandoc.read(markdown, source, _settings(project, source, target, book))


def _settings(project: Project, source: Source, target: str, book: Book | None) -> dict[str, Any]:
    """What the filter's first run is told of a chapter; of its book, where there is one."""
    folder = PurePosixPath(source.name).parent.as_posix()
    own = source.front_matter
    chapters = book.chapters if book else ()
    look = book.html if book else Look()
    left_out = project.root / LEFT_OUT
    return {
        "target": target,
        "name": source.name,
        "page": _page(source.name),
        "folder": "" if folder == "." else folder,
        "stem": source.path.stem,
        "before": str(left_out) if left_out.is_file() else "",
        "frozen": project.relative(freeze_folder(project, source.name)),
        "index": chapters.index(source.name) if book else int(source.name != "index.qmd"),
        "pages": {name: index for index, name in enumerate(chapters)},
        "depth": book.number_depth if book else 6,
        "numbers": book.number_sections if book else True,
        "code_fold": str(own.get("code-fold", look.code_fold)).lower(),
        "code_summary": own.get("code-summary", look.code_summary),
    }


def _page(name: str) -> str:
    return name.removesuffix(".qmd") + ".html"

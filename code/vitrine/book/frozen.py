"""Executed chapters as they lie in ``_freeze/``, written by ``vitrine freeze`` or by Quarto."""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vitrine.book.chapter import Chapter
from vitrine.errors import ChapterError
from vitrine.project import Project

# What Quarto calls an output format in a freeze: the file under ``execute-results`` and the
# ending of the figure folder.
RESULT_FILES = {"html": "html.json", "typst": "typ.json"}
FIGURE_FOLDERS = {"html": "figure-html", "typst": "figure-typst"}


def freeze_folder(project: Project, name: str) -> Path:
    """Where a chapter is frozen, ``_freeze/chapters/lime``."""
    return project.freeze / PurePosixPath(name).with_suffix("")


@dataclass(frozen=True)
class Frozen:
    """A chapter's Markdown after execution.

    ``figures`` pairs the folder that the Markdown names, ``lime_files/figure-html``, with the
    folder that holds its figures, ``_freeze/chapters/lime/figure-html``; it is ``None`` for a
    chapter without figures.
    """

    markdown: str
    figures: tuple[str, Path] | None


def read_frozen(project: Project, chapter: Chapter, target: str) -> Frozen:
    """The executed Markdown of a chapter for ``target``, ``"html"`` or ``"typst"``.

    A chapter without cells needs no execution and is read as it is. Raises ``ChapterError`` when
    a chapter with cells was not frozen, was changed since, or its freeze is damaged.
    """
    if not chapter.executable:
        return Frozen(chapter.text, None)
    folder = freeze_folder(project, chapter.name)
    path = folder / "execute-results" / RESULT_FILES[target]
    if not path.is_file():
        raise ChapterError(
            f"{chapter.name} has not been executed for {target} "
            f"({project.relative(path)} is missing)",
            "Run `vitrine freeze`",
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        digest, markdown = str(data["hash"]), str(data["result"]["markdown"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ChapterError(
            f"{project.relative(path)} is damaged", "Delete it and run `vitrine freeze`"
        ) from None
    if digest != chapter.hash:
        raise ChapterError(
            f"{chapter.name} was changed since it was executed for {target}", "Run `vitrine freeze`"
        )
    named = f"{chapter.path.stem}_files/{FIGURE_FOLDERS[target]}"
    figures = folder / FIGURE_FOLDERS[target]
    markdown = markdown.replace("\r\n", "\n")
    return Frozen(markdown, (named, figures) if figures.is_dir() else None)

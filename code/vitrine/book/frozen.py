"""Executed chapters as they lie in ``_freeze/``, written by ``vitrine freeze`` or by Quarto."""

import json
from pathlib import Path, PurePosixPath

from vitrine.book.chapter import Chapter
from vitrine.errors import ChapterError
from vitrine.project import Project

# Where Quarto freezes an output format in a chapter's folder: its Markdown and its figures.
RESULT_FILES = {"html": "execute-results/html.json", "typst": "execute-results/typ.json"}
FIGURE_FOLDERS = {"html": "figure-html", "typst": "figure-typst"}


def freeze_folder(project: Project, name: str) -> Path:
    """Where a chapter is frozen, ``_freeze/chapters/lime``."""
    return project.freeze / PurePosixPath(name).with_suffix("")


def read_frozen(project: Project, chapter: Chapter, target: str) -> str:
    """The executed Markdown of a chapter for ``target``, ``"html"`` or ``"typst"``.

    A chapter without cells needs no execution and is read as it is. Raises ``ChapterError`` when
    a chapter with cells was not frozen, was changed since, or its freeze is damaged.
    """
    if not chapter.executable:
        return chapter.text
    path = freeze_folder(project, chapter.name) / RESULT_FILES[target]
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
            f"{chapter.name} was changed since it was executed", "Run `vitrine freeze`"
        )
    return markdown

"""Which study the report shows, and which chapters that study has.

The first is ``study: NAME`` in ``_variables.yml``, Quarto's own file. A line of ``_quarto.yml``
such as ``- chapters/lime.qmd  # needs lime`` names a part of a study file; Quarto takes nothing out
of a list, so the line is commented out there where the study has no such part, or where no other
network explains its images (``needs other_networks``). A study that answers the assignment keeps
the chapters that need one thing; where a line names several (``needs answers_assignment lime``),
the study must have each.
"""

from __future__ import annotations

import re

from vitrine.book.chapter import read_text
from vitrine.errors import ChapterError, VitrineError
from vitrine.project import Project
from vitrine.store import explained_alike
from vitrine.study import load_study

VARIABLES = "_variables.yml"
BOOK = "_quarto.yml"

OTHERS = "other_networks"
"""What a chapter needs that compares networks: another that explains the study's images."""

_NEEDS = re.compile(r"^( *)(?:# )?(- \S+\.qmd +# needs (\w+(?: \w+)*))$", re.MULTILINE)


def shown_study(project: Project) -> str:
    """The study that ``_variables.yml`` names, or ``""``."""
    try:
        return project.shown_study
    except VitrineError:
        return ""


def write_study(project: Project, name: str) -> None:
    """Name a study in ``_variables.yml``; the rest of the file stays."""
    path = project.root / VARIABLES
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        line = f"study: {name}"
        changed, found = re.subn(r"^study:.*$", lambda _: line, text, count=1, flags=re.MULTILINE)
        path.write_text(changed if found else f"{text}{line}\n", encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ChapterError(
            f"{VARIABLES} cannot be written ({error})",
            f"Write one line into it, as `study: {name}`",
        ) from None


def book_text(project: Project, name: str) -> str:
    """``_quarto.yml`` with the chapters that a study has. Raises ``StudyError``."""
    text = read_text(project.root / BOOK, BOOK)
    if not name or not _NEEDS.search(text):
        return text
    study = load_study(project, name)

    def line(found: re.Match[str]) -> str:
        needs = found[3].split()
        if needs == [OTHERS]:
            stays = len(explained_alike(project, name)) > 1
        else:
            whole = study.answers_assignment and len(needs) == 1
            stays = whole or all(getattr(study, need) for need in needs)
        return f"{found[1]}{'' if stays else '# '}{found[2]}"

    return _NEEDS.sub(line, text)

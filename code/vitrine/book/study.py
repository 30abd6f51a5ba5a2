"""Which study the report shows, and which chapters that study has.

The first is ``study: NAME`` in ``_variables.yml``, Quarto's own file. A line of ``_quarto.yml``
such as ``- chapters/lime.qmd  # needs lime`` says what a chapter needs of a study; Quarto takes
nothing out of a list, so the line is commented out there where the study does not have it.
"""

import re

from vitrine.book.chapter import read_text
from vitrine.book.config import BOOK
from vitrine.errors import VitrineError
from vitrine.files import write_atomically
from vitrine.project import LISTED, Project, chapters
from vitrine.store import explained_alike
from vitrine.study import load_study

VARIABLES = "_variables.yml"


def shown_study(project: Project) -> str:
    """The study that ``_variables.yml`` names, or ``""``."""
    try:
        return project.shown_study
    except VitrineError:
        return ""


def write_study(project: Project, name: str) -> None:
    """Name a study in ``_variables.yml``; the rest of the file stays."""
    path = project.root / VARIABLES
    text, line = read_text(path, VARIABLES) if path.exists() else "", f"study: {name}"
    changed, found = re.subn(r"^study:.*$", lambda _: line, text, count=1, flags=re.MULTILINE)
    write_atomically(path, (changed if found else f"{text}{line}\n").encode())


def book_text(project: Project, name: str) -> str:
    """``_quarto.yml`` with the chapters that a study has. Raises ``StudyError``."""
    text = read_text(project.root / BOOK, BOOK)
    if not name or " # needs " not in text:
        return text
    asked = load_study(project, name).model_dump(mode="json")
    kept = chapters(text, asked, len(explained_alike(project, name)) > 1)

    def line(found: re.Match[str]) -> str:
        if not found["needs"]:
            return found[0]
        return f"{found['indent']}{'' if found['chapter'] in kept else '# '}{found['item']}"

    return LISTED.sub(line, text)

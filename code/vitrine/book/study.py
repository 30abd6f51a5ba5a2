"""Which study the report shows: ``study: NAME`` in ``_variables.yml``, Quarto's own file."""

from __future__ import annotations

import re

from vitrine.errors import ChapterError, VitrineError
from vitrine.project import Project

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

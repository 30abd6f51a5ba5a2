"""Where the parts of a vitrine project lie on disk."""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vitrine.errors import VitrineError

STUDY_FILE = "study.toml"

LISTED = re.compile(
    r"^(?P<indent> *)(?P<out># )?(?P<item>- (?P<chapter>\S+\.qmd)(?: +# needs (?P<needs>\S.*))?)$",
    re.MULTILINE,
)
"""A chapter in ``_quarto.yml``, with what it needs of a study."""


def chapters(book: str, asked: Mapping[str, Any], has_others: bool) -> list[str]:
    """The chapters that a study has of those that the text of ``_quarto.yml`` lists.

    ``# needs lime`` names a section of the study file, ``# needs cam/lime`` one of several,
    ``# needs answers_assignment lime`` two of which it must have each. A study that answers the
    assignment keeps every chapter that needs one thing; ``other_networks`` that explain the same
    images it must have in any case.

    asked : the study file. has_others : whether other networks explain its images.
    """
    whole = bool(asked.get("answers_assignment", True))
    told = {**asked, "answers_assignment": whole}

    def stays(needs: str) -> bool:
        if needs == "other_networks":
            return has_others
        each = [any(told.get(part) for part in need.split("/")) for need in needs.split()]
        return all(each) or (whole and len(each) == 1)

    return [
        found["chapter"]
        for found in LISTED.finditer(book)
        if (stays(found["needs"]) if found["needs"] else not found["out"])
    ]


@dataclass(frozen=True)
class Project:
    """A project folder: the one that holds ``_quarto.yml`` and ``data/studies``."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> "Project":
        """The project around ``start`` (the working folder by default).

        ``VITRINE_PROJECT`` names it explicitly; otherwise the nearest folder upwards that holds
        ``_quarto.yml`` and ``data/studies``: another Quarto project may lie inside this one. Raises
        ``VitrineError`` when there is none.
        """
        named = os.environ.get("VITRINE_PROJECT")
        if start is None and named:
            start = Path(named)
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / "_quarto.yml").is_file() and (folder / "data" / "studies").is_dir():
                return cls(folder)
        raise VitrineError(
            f"{here} is not inside a vitrine project (no folder here or above holds both "
            "_quarto.yml and data/studies)",
            "Change into the folder that holds them, or set VITRINE_PROJECT to it",
        )

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def studies(self) -> Path:
        return self.data / "studies"

    def study_file(self, name: str) -> Path:
        """The file of a study; what a person saw in its images lies beside it."""
        return self.studies / name / STUDY_FILE

    @property
    def results(self) -> Path:
        return self.data / "results"

    @property
    def shown_study(self) -> str:
        """The study that the report shows: ``study`` of ``_variables.yml``, Quarto's own file.

        While a chapter is frozen it is the one that it is frozen for (``VITRINE_STUDY``), and where
        Quarto executes a chapter by itself, the one of the chapters that are frozen. Raises
        ``VitrineError`` when the file names none.
        """
        if named := os.environ.get("VITRINE_STUDY"):
            return named
        if os.environ.get("QUARTO_EXECUTE_INFO"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                manifest = json.loads((self.freeze / "vitrine.json").read_text(encoding="utf-8"))
                if manifest["study"]:
                    return str(manifest["study"])
        path = self.root / "_variables.yml"
        try:
            variables = yaml.safe_load(path.read_text(encoding="utf-8"))
            name = variables["study"]
        except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
            name = None
        if not name or not isinstance(name, str):
            raise VitrineError(
                "_variables.yml does not say which study the report shows",
                "Write one line into it, as `study: embedded`",
            )
        return name

    @property
    def cache(self) -> Path:
        """Downloaded files; ``VITRINE_CACHE`` moves it."""
        named = os.environ.get("VITRINE_CACHE")
        return Path(named).resolve() if named else self.data / "cache"

    @property
    def freeze(self) -> Path:
        return self.root / "_freeze"

    @property
    def assets(self) -> Path:
        return self.root / "assets"

    @property
    def site(self) -> Path:
        return self.root / "_site"

    def path(self, named: str) -> Path:
        """A path of a study file: absolute, below ``~``, or below the project's root."""
        return self.root / Path(named).expanduser()

    def relative(self, path: Path) -> str:
        """``path`` as the reader would type it from the project's root."""
        try:
            return Path(os.path.realpath(path)).relative_to(self.root).as_posix()
        except ValueError:
            return str(path)

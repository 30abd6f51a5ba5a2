"""A study: which images to explain, with which classifiers and methods, and how.

A study is a file ``data/studies/NAME/study.toml``. It is read once into frozen, validated data;
every later step takes its parameters from here and from nowhere else.
"""

import os
import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from vitrine.errors import StudyError, pick
from vitrine.files import toml_table
from vitrine.project import STUDY_FILE, Project
from vitrine.study.errors import validated
from vitrine.study.lime import Lime
from vitrine.study.section import Section, Unique, listed_once
from vitrine.study.sections import (
    Agreement,
    Attribution,
    Cam,
    ClassifierSection,
    Dissection,
    Images,
    InferenceOptions,
    LargeSample,
    Measures,
    Predictions,
    RegionOcclusion,
)


class Study(Section):
    """One study, as its file says. ``name`` is that of its folder and of the results' folder.

    answers_assignment : whether the report has the chapters that answer the assignment, whatever
        the study has of them; otherwise a chapter is left out where the study has no such part.
    root : the project's, below which relative paths lie.
    """

    name: str
    root: Path = Field(default=Path(), exclude=True)
    title: str
    description: str
    classifiers: Unique[ClassifierSection] = Field(min_length=1)
    images: Images
    answers_assignment: bool = Field(default=True, exclude_if=lambda answers: answers)
    predictions: Predictions = Predictions()
    speed: InferenceOptions | None = None
    cam: Cam | None = None
    lime: Lime | None = None
    attribution: Attribution | None = None
    measures: Measures | None = None
    agreement: Agreement | None = None
    dissection: Dissection | None = None
    large_sample: LargeSample | None = None
    region_occlusion: RegionOcclusion | None = None

    @model_validator(mode="after")
    def _parts_have_what_they_build_on(self) -> Self:
        parts = ("cam", "lime", "attribution", "dissection", "region_occlusion")
        names = ", ".join(f"[{part}]" for part in parts)
        if all(getattr(self, part) is None for part in parts):
            raise ValueError(f"no method is asked for; add one of the sections {names}")
        if self.large_sample and not self.lime:
            raise ValueError("`large_sample` takes LIME's other parameters from a [lime] section")
        if self.region_occlusion and not self.images.source:
            raise ValueError(
                "`region_occlusion` needs images from a source, whose regions are outlined"
            )
        if self.agreement and not (self.cam and self.lime):
            raise ValueError("`agreement` needs both a [cam] and a [lime] section")
        if self.measures and not (self.cam or self.lime or self.attribution):
            raise ValueError("`measures` needs a [cam], a [lime] or an [attribution] section")
        known = {row.name: ("classifiers", row) for row in self.classifiers}
        for key, others in self._other_networks().items():
            listed_once(others)
            for row in others:
                place, first = known.setdefault(row.name, (key, row))
                if first != row:
                    raise ValueError(
                        f"the classifier {row.name!r} has other weights under `{place}` than under "
                        f"`{key}`"
                    )
        return self

    def network(self, name: str) -> ClassifierSection:
        """The classifier called ``name``."""
        return next(row for row in self.networks if row.name == name)

    @property
    def networks(self) -> tuple[ClassifierSection, ...]:
        """All classifiers of the study, those that explain images first."""
        others = (row for rows in self._other_networks().values() for row in rows)
        return tuple(dict.fromkeys((*self.classifiers, *others)))

    def _other_networks(self) -> dict[str, tuple[ClassifierSection, ...]]:
        """The classifiers that parts of the study name for themselves, by their key."""
        return {
            "attribution.lrp_networks": self.attribution.lrp_networks if self.attribution else (),
            "dissection.classifiers": self.dissection.classifiers if self.dissection else (),
        }


def study_names(project: Project) -> list[str]:
    """The names of the studies that the project holds, sorted."""
    folders = sorted(project.studies.iterdir())
    return [folder.name for folder in folders if os.path.lexists(folder / STUDY_FILE)]


def load_study(project: Project, name: str) -> Study:
    """Read and validate ``data/studies/NAME/study.toml``.

    Raises ``StudyError`` naming the file, the key and what is allowed there.
    """
    shown, table = study_table(project, name)
    with validated(shown, "Mend the study file and run again", Study):
        return Study(name=name, root=project.root, **table)


def study_table(project: Project, name: str) -> tuple[str, dict[str, Any]]:
    """The file of a study as its reader knows it, and its table, which has no name of its own.

    Raises ``StudyError``, for an unknown name with the studies that there are.
    """
    pick(dict.fromkeys(study_names(project)), name, "study", "studies")
    path = project.study_file(name)
    shown = project.relative(path)
    try:
        table = toml_table(path)
    except OSError as error:
        raise StudyError(
            f"{shown} cannot be read ({error.strerror})",
            "Put a file there that you have the right to read",
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise StudyError(
            f"{shown}:{line} is not UTF-8 text", "Save the file as UTF-8 in your editor"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise StudyError(
            f"{shown} is not valid TOML: {error}",
            "Correct it there; a text stands in quotes, and true and false are written small",
        ) from error
    for key in ("name", "root"):
        if key in table:
            raise StudyError(
                f"{shown}: the key `{key}` is not allowed", "It follows from where the file lies"
            )
    return shown, table

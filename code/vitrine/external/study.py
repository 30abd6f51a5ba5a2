"""A study of other people's runs: which of their files to import, and what is known about each.

Like a study that is computed it is a file ``data/studies/NAME/study.toml``; it has no classifiers
of its own, but ``labels`` (of units) and ``maps`` (masks and heatmaps of images).
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vitrine.errors import StudyError
from vitrine.files import toml_table
from vitrine.project import Project
from vitrine.study import study_table
from vitrine.study.errors import validated
from vitrine.study.section import Section, Seed, Unique, listed_once, one_origin
from vitrine.study.sections import Images

LabelFormatName = Literal["clip-dissect", "network-dissection", "milan"]


class ImportOrigin(Section):
    """What every run names: itself, what it explained, who published it, and its files.

    run : its key, in tables and in folders.
    title : of the run, e.g. "MILAN".
    network : that it is about; runs about the same network are compared.
    paper : key of the bibliography.
    source, folder : where the files lie: a source of ``data/sources.toml``, or a local folder.
    """

    run: str = Field(pattern=r"^[a-z0-9][a-z0-9_.+-]*$")
    title: str = Field(min_length=1)
    network: str = Field(min_length=1)
    paper: str = ""
    source: str | None = None
    folder: str | None = None

    _one_origin = model_validator(mode="after")(one_origin)


class LabelRun(ImportOrigin):
    """Labels of a network's units.

    files : one or more; ``layers`` names the layer of each where the format does not.
    settings : the file in which CLIP-Dissect noted how it was run.
    training_set : ImageNet or Places365, where the last layer's units are its classes.
    probing_set : the images that were shown to the network.
    classifier_layer : the layer whose unit ``j`` is class ``j``.
    concepts : the list that the labels were chosen from.
    """

    format: LabelFormatName
    files: Unique[str] = Field(min_length=1)
    layers: tuple[str, ...] = ()
    settings: str | None = None
    training_set: Literal["ImageNet", "Places365", ""] = ""
    probing_set: str = ""
    classifier_layer: str = "fc"
    concepts: str | None = None

    @model_validator(mode="after")
    def _a_layer_a_file(self) -> Self:
        if self.layers and len(self.layers) != len(self.files):
            raise ValueError("name as many `layers` as `files`, or none")
        return self


class CropFrame(Section):
    """The centre crop of an image that was resized first.

    resize : height and width; both, so that the image's shape is not kept.
    crop : side of the square in the middle.
    """

    resize: tuple[int, int]
    crop: int = Field(ge=1)

    @model_validator(mode="after")
    def _crop_inside(self) -> Self:
        if min(self.resize) < self.crop:
            raise ValueError("the crop is larger than what it is cut from")
        return self


class MapRun(ImportOrigin):
    """Masks or heatmaps of the study's images, one file an image.

    files : the path of each, with ``{file}`` for the image's file and ``{stem}`` for its name
        without the ending.
    method : key of the method, e.g. ``gradcam``.
    kind : ``region`` for masks, in which everything but zero is marked; ``heatmap`` for evidence.
    frame : the frame in which the maps live: the whole image where it is not named.
    """

    method: str = Field(min_length=1)
    files: str = Field(min_length=1)
    kind: Literal["region", "heatmap"] = "heatmap"
    frame: CropFrame | None = None

    @model_validator(mode="after")
    def _a_file_an_image(self) -> Self:
        if "{file}" not in self.files and "{stem}" not in self.files:
            raise ValueError("write {file} or {stem} where the image's name stands in `files`")
        return self


class ImportStudy(Section):
    """A study of imported runs. ``name`` is that of its folder and of the results' folder."""

    name: str
    title: str
    description: str
    images: Images | None = None
    labels: tuple[LabelRun, ...] = ()
    maps: tuple[MapRun, ...] = ()
    bootstrap: Annotated[int, Field(ge=100)] = 10_000
    seed: Seed = 0

    @model_validator(mode="after")
    def _runs(self) -> Self:
        listed_once(tuple(row.run for row in self.runs))
        if not self.runs:
            raise ValueError("name at least one run under [[labels]] or [[maps]]")
        if self.maps and self.images is None:
            raise ValueError("[[maps]] need the [images] that they explain")
        return self

    @property
    def runs(self) -> tuple[LabelRun | MapRun, ...]:
        return (*self.labels, *self.maps)


def is_import_study(project: Project, name: str) -> bool:
    """Whether a study's file is about imported runs; false where it cannot be read."""
    try:
        return _imports(toml_table(project.study_file(name)))
    except (OSError, ValueError):
        return False


def _imports(table: dict[str, Any]) -> bool:
    return bool({"labels", "maps"} & set(table)) and "classifiers" not in table


def load_import_study(project: Project, name: str) -> ImportStudy:
    """Read and validate ``data/studies/NAME/study.toml``. Raises ``StudyError``."""
    shown, table = study_table(project, name)
    if not _imports(table):
        raise StudyError(
            f"The study {name!r} is computed, and nothing is imported into it",
            f"Run `vitrine run --study {name}`, or name another study",
        )
    with validated(shown, "Mend the study file and import again", ImportStudy):
        return ImportStudy(name=name, **table)

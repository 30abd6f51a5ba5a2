"""Where the object is that an image's name says, and what is around it: outlines by hand."""

import os
from pathlib import PurePosixPath
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationInfo,
    model_validator,
)

from vitrine.data.images import Frame
from vitrine.errors import SourceError, wrong_values
from vitrine.files import toml_table
from vitrine.project import Project

_Share = Annotated[float, Field(ge=0, le=1)]

Outline = Annotated[tuple[tuple[_Share, _Share], ...], Field(min_length=3)]
"""A polygon: x and y of its points as shares of the frame it was drawn in."""


class Outlines(BaseModel):
    """The objects of one image.

    outlines : one or more polygons; none where the object cannot be seen.
    area : the share of the frame that they cover, as stated in the file.
    resize, crop : the frame they were drawn in, as in ``Preprocessing``.
    """

    model_config = ConfigDict(frozen=True)

    outlines: tuple[Outline, ...]
    area: float
    resize: int
    crop: int

    @model_validator(mode="before")
    @classmethod
    def _in_the_frame_of_its_file(cls, row: Any, info: ValidationInfo) -> Any:
        return row | info.context if isinstance(row, dict) and info.context else row

    def in_frame(
        self, frame: Frame, image_size: tuple[int, int]
    ) -> tuple[npt.NDArray[np.float64], ...]:
        """The polygons ``[points, 2]`` as x and y in pixels of ``frame``, whichever network's.

        image_size : height and width of the image in pixels. What a frame does not show lies
        below 0 or above its size.
        """
        side = self.crop / self.resize * min(image_size)
        corner = [(extent - side) / 2 for extent in reversed(image_size)]
        top, left, height, width = frame.box
        scale = np.array([frame.size[1] / width, frame.size[0] / height])
        return tuple(
            (np.array(outline) * side + np.array(corner) - np.array([left, top])) * scale
            for outline in self.outlines
        )


class Regions(BaseModel):
    """The parts of one image's frame.

    named : the regions that were outlined, by what they show.
    object, rest : what the object that ``load_outlines`` knows is called, and what neither it nor a
        region covers; empty where there is no such part.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    named: dict[str, Outlines] = Field(alias="regions")
    object: str
    rest: str


def load_outlines(project: Project, source: str) -> dict[str, Outlines]:
    """The outlines for a source's images, by file name without its ending; ``{}`` without any.

    They lie in ``data/objects/SOURCE.toml``. Raises ``SourceError`` for a file that is damaged, an
    outline of fewer than three points, or a point outside the frame.
    """
    return _load(project, f"{source}.toml", Outlines)


def load_regions(project: Project, source: str) -> dict[str, Regions]:
    """The regions of a source's images, by file name without its ending; ``{}`` without any.

    They lie in ``data/objects/SOURCE.regions.toml``. Raises ``SourceError`` as ``load_outlines``.
    """
    return _load(project, f"{source}.regions.toml", Regions)


_Row = TypeVar("_Row", Outlines, Regions)


def _load(project: Project, file: str, model: type[_Row]) -> dict[str, _Row]:
    path = project.root / "data" / "objects" / file
    if not os.path.lexists(path):
        return {}
    try:
        table = toml_table(path)
        frame = {key: table.get(key) for key in ("resize", "crop")}
        rows = TypeAdapter(dict[str, model])  # type: ignore[valid-type]
        return rows.validate_python(table.get("images"), context=frame)
    except (OSError, ValueError) as error:
        raise SourceError(
            f"The outlines in {path} cannot be read ({wrong_values(error)})",
            "Restore the file from the repository, or correct it: an outline is a list of three or "
            "more pairs of x and y, each a share of the frame from 0 to 1",
        ) from error


def outlines_of(project: Project, source: str, file: str) -> Outlines | None:
    """The outlines for one image file of a source; ``None`` where nobody drew any."""
    return load_outlines(project, source).get(PurePosixPath(file).stem)


def regions_of(project: Project, source: str, file: str) -> Regions | None:
    """The regions of one image file of a source; ``None`` where nobody drew any."""
    return load_regions(project, source).get(PurePosixPath(file).stem)

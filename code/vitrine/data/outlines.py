"""Where the object is that an image's name says, and what is around it: outlines by hand."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from vitrine.data.images import Frame
from vitrine.errors import SourceError
from vitrine.files import toml_table
from vitrine.project import Project

Outline = npt.NDArray[np.float64]
"""``float64 [points, 2]``: x and y as shares of the frame it was drawn in."""


@dataclass(frozen=True)
class Outlines:
    """The objects of one image.

    outlines : one or more polygons; none where the object cannot be seen.
    area : the share of the frame that they cover, as stated in the file.
    resize, crop : the frame they were drawn in, as in ``Preprocessing``.
    note : what a reader should know; mostly empty.
    """

    outlines: tuple[Outline, ...]
    area: float
    resize: int
    crop: int
    note: str

    def in_frame(self, frame: Frame, image_size: tuple[int, int]) -> tuple[Outline, ...]:
        """The polygons as x and y in pixels of ``frame``, whichever network's it is.

        image_size : height and width of the image in pixels. What a frame does not show lies
        below 0 or above its size.
        """
        side = self.crop / self.resize * min(image_size)
        corner = [(extent - side) / 2 for extent in reversed(image_size)]
        top, left, height, width = frame.box
        scale = np.array([frame.size[1] / width, frame.size[0] / height])
        return tuple(
            (outline * side + np.array(corner) - np.array([left, top])) * scale
            for outline in self.outlines
        )


@dataclass(frozen=True)
class Regions:
    """The parts of one image's frame.

    named : the regions that were outlined, by what they show.
    object, rest : what the object that ``load_outlines`` knows is called, and what neither it nor a
        region covers; empty where there is no such part.
    """

    named: dict[str, Outlines]
    object: str
    rest: str


def load_outlines(project: Project, source: str) -> dict[str, Outlines]:
    """The outlines for a source's images, by file name without its ending; ``{}`` without any.

    They lie in ``data/objects/SOURCE.toml``. Raises ``SourceError`` for a file that is damaged, an
    outline of fewer than three points, or a point outside the frame.
    """
    return _load(project, f"{source}.toml", _outlines)


def load_regions(project: Project, source: str) -> dict[str, Regions]:
    """The regions of a source's images, by file name without its ending; ``{}`` without any.

    They lie in ``data/objects/SOURCE.regions.toml``. Raises ``SourceError`` as ``load_outlines``.
    """
    return _load(project, f"{source}.regions.toml", _regions)


Row = TypeVar("Row")


def _load(
    project: Project, file: str, read: Callable[[Path, str, Any, Any], Row]
) -> dict[str, Row]:
    path = project.root / "data" / "objects" / file
    if not os.path.lexists(path):
        return {}
    try:
        table = toml_table(path)
        return {name: read(path, name, row, table) for name, row in table["images"].items()}
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"the key {error} is missing" if isinstance(error, KeyError) else error
        raise SourceError(
            f"The outlines in {path} cannot be read ({said})",
            "Restore the file from the repository",
        ) from error


def outlines_of(project: Project, source: str, file: str) -> Outlines | None:
    """The outlines for one image file of a source; ``None`` where nobody drew any."""
    return load_outlines(project, source).get(PurePosixPath(file).stem)


def regions_of(project: Project, source: str, file: str) -> Regions | None:
    """The regions of one image file of a source; ``None`` where nobody drew any."""
    return load_regions(project, source).get(PurePosixPath(file).stem)


def _outlines(path: Path, name: str, row: Any, table: Any) -> Outlines:
    return Outlines(
        tuple(_outline(path, name, points) for points in row["outlines"]),
        float(row["area"]),
        int(table["resize"]),
        int(table["crop"]),
        str(row.get("note", "")),
    )


def _regions(path: Path, name: str, row: Any, table: Any) -> Regions:
    named = {
        region: _outlines(path, f"{name} ({region})", found, table)
        for region, found in row["regions"].items()
    }
    return Regions(named, str(row["object"]), str(row["rest"]))


def _outline(path: Path, name: str, points: Any) -> Outline:
    outline = np.array(points, dtype=np.float64)
    if outline.ndim != 2 or outline.shape[1] != 2 or len(outline) < 3:
        raise SourceError(
            f"An outline of {name} in {path} is not a list of three or more pairs of x and y",
            "Correct it",
        )
    if outline.min() < 0 or outline.max() > 1:
        raise SourceError(
            f"An outline of {name} in {path} has a point outside its frame",
            "Give points as shares of the frame, from 0 to 1",
        )
    return outline

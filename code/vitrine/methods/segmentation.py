"""Superpixels: the pieces of a picture that LIME shows or hides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from skimage import segmentation

from vitrine import study
from vitrine.errors import StudyError
from vitrine.inputs.pictures import Pixels
from vitrine.study import suggestion

Segments = npt.NDArray[np.int16]
Labels = npt.NDArray[np.int64]

MOST = np.iinfo(np.int16).max + 1
"""More superpixels than this are not numbered, and not explained within a lifetime either."""


class Parameters(Protocol):
    """The parameters of a segmentation; ``method`` is a row of ``SEGMENTATIONS``."""

    @property
    def method(self) -> str: ...


@dataclass(frozen=True)
class Slic:
    """k-means in colour and place (Achanta et al., 2012).

    pieces : about how many superpixels. compactness : weight of place against colour.
    sigma : width of the Gaussian that smoothes first, in pixels.
    """

    pieces: int = 50
    compactness: float = 10.0
    sigma: float = 1.0
    method: str = "slic"


@dataclass(frozen=True)
class Felzenszwalb:
    """Pieces of a minimum spanning tree (Felzenszwalb and Huttenlocher, 2004).

    scale : larger means larger pieces. sigma : width of the Gaussian that smoothes first, in
    pixels. least : pixels of the smallest piece.
    """

    scale: float = 100.0
    sigma: float = 0.5
    least: int = 150
    method: str = "felzenszwalb"


@dataclass(frozen=True)
class Grid:
    """Rectangles that know nothing of the picture: what the other methods are to be better than."""

    rows: int = 7
    columns: int = 7
    method: str = "grid"


def _quickshift(crop: Pixels, parameters: study.Segmentation, seed: int) -> Labels:
    # The seed is passed here because the one that `lime` is given does not reach it.
    return np.asarray(
        segmentation.quickshift(  # type: ignore[no-untyped-call]
            crop,
            kernel_size=parameters.kernel_size,
            max_dist=parameters.max_dist,
            ratio=parameters.ratio,
            rng=seed,
        )
    )


def _slic(crop: Pixels, parameters: Slic, _seed: int) -> Labels:
    return np.asarray(
        segmentation.slic(
            crop,
            n_segments=parameters.pieces,
            compactness=parameters.compactness,
            sigma=parameters.sigma,
            start_label=0,
        )
    )


def _felzenszwalb(crop: Pixels, parameters: Felzenszwalb, _seed: int) -> Labels:
    return np.asarray(
        segmentation.felzenszwalb(
            crop, scale=parameters.scale, sigma=parameters.sigma, min_size=parameters.least
        )
    )


def _grid(crop: Pixels, parameters: Grid, _seed: int) -> Labels:
    height, width = crop.shape[:2]
    rows = np.arange(height) * parameters.rows // height
    columns = np.arange(width) * parameters.columns // width
    return np.asarray(rows[:, None] * parameters.columns + columns)


@dataclass(frozen=True)
class SegmentationMethod:
    """A row of ``SEGMENTATIONS``: the paper's key, whether a seed matters, the parameters' type."""

    title: str
    paper: str
    seeded: bool
    parameters: type[Any]
    segment: Callable[[Pixels, Any, int], Labels]


SEGMENTATIONS: dict[str, SegmentationMethod] = {
    "quickshift": SegmentationMethod(
        "Quickshift", "vedaldi2008", True, study.Segmentation, _quickshift
    ),
    "slic": SegmentationMethod("SLIC", "achanta2012", False, Slic, _slic),
    "felzenszwalb": SegmentationMethod(
        "Felzenszwalb", "felzenszwalb2004", False, Felzenszwalb, _felzenszwalb
    ),
    "grid": SegmentationMethod("Regular grid", "", False, Grid, _grid),
}


def pick_segmentation(name: str) -> SegmentationMethod:
    """The row of ``SEGMENTATIONS`` called ``name``. Raises ``StudyError``."""
    if name not in SEGMENTATIONS:
        raise StudyError(
            f"There is no segmentation {name!r}",
            suggestion(name, sorted(SEGMENTATIONS), "The segmentations are"),
        )
    return SEGMENTATIONS[name]


def superpixels(crop: Pixels, parameters: Parameters, seed: int) -> Segments:
    """The superpixels of a crop ``uint8 [h, w, 3]`` as ``int16 [h, w]``, numbered from 0.

    As in scikit-image, in CIELAB where the method uses colour. Raises ``StudyError`` for an unknown
    method, and when there are fewer than two superpixels or more than 32,768.
    """
    labels = pick_segmentation(parameters.method).segment(crop, parameters, seed)
    names, numbered = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise StudyError(
            "The segmentation found one superpixel, so there is nothing to compare",
            _REMEDIES[parameters.method],
        )
    if len(names) > MOST:
        raise StudyError(
            f"The segmentation found {len(names)} superpixels, more than {MOST}",
            "Change the parameters of lime.segmentation in the study file",
        )
    return numbered.reshape(labels.shape).astype(np.int16)


_REMEDIES = {
    "quickshift": "Lower lime.segmentation.kernel_size or max_dist in the study file",
    "slic": "Raise the pieces or lower the compactness of the segmentation",
    "felzenszwalb": "Lower the scale or the least size of the segmentation",
    "grid": "Ask for at least two rows or columns",
}

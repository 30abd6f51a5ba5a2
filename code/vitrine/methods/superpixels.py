"""Superpixels: the pieces of an image that LIME shows or hides."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from skimage import segmentation

from vitrine.data.images import Pixels
from vitrine.errors import StudyError
from vitrine.study import lime as lime_section

Segments = npt.NDArray[np.int16]
_Labels = npt.NDArray[np.int64]

_MOST = np.iinfo(np.int16).max + 1
"""More superpixels than this are not numbered, and not explained within a lifetime either."""


def _grid(crop: Pixels, rows: int, columns: int) -> _Labels:
    height, width = crop.shape[:2]
    row, column = np.arange(height) * rows // height, np.arange(width) * columns // width
    return np.asarray(row[:, None] * columns + column)


@dataclass(frozen=True)
class SegmentationMethod:
    """A row of ``SEGMENTATIONS``: a title, the paper's key, and the function.

    Its parameters are the model of the same name in ``vitrine.study``, whose fields have the names
    of the arguments of scikit-image's function.

    remedy : what to do where it finds one superpixel.
    drawn : whether it takes a seed, as ``rng``; the one that ``lime`` is given does not reach it.
    """

    title: str
    paper: str
    segment: Callable[..., _Labels]
    remedy: str
    drawn: bool = False


SEGMENTATIONS: dict[str, SegmentationMethod] = {
    "quickshift": SegmentationMethod(
        "Quickshift",
        "vedaldi2008",
        segmentation.quickshift,
        "Lower kernel_size or max_dist",
        drawn=True,
    ),
    "slic": SegmentationMethod(
        "SLIC",
        "achanta2012",
        partial(segmentation.slic, start_label=0),
        "Raise n_segments or lower compactness",
    ),
    "felzenszwalb": SegmentationMethod(
        "Felzenszwalb", "felzenszwalb2004", segmentation.felzenszwalb, "Lower scale or min_size"
    ),
    "grid": SegmentationMethod("Regular grid", "", _grid, "Ask for at least two rows or columns"),
}


def superpixels(crop: Pixels, parameters: lime_section.Segmentation, seed: int) -> Segments:
    """The superpixels of a crop ``uint8 [h, w, 3]`` as ``int16 [h, w]``, numbered from 0.

    As in scikit-image, in CIELAB where the method uses colour. Raises ``StudyError`` when there
    are fewer than two superpixels or more than 32,768.
    """
    row = SEGMENTATIONS[parameters.method]
    given = parameters.model_dump(exclude={"method"}) | ({"rng": seed} if row.drawn else {})
    labels = row.segment(crop, **given)
    names, numbered = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise StudyError(
            "The segmentation found one superpixel, so there is nothing to compare",
            f"{row.remedy} of lime.segmentation in the study file",
        )
    if len(names) > _MOST:
        raise StudyError(
            f"The segmentation found {len(names)} superpixels, more than {_MOST}",
            "Change the parameters of lime.segmentation in the study file",
        )
    return numbered.reshape(labels.shape).astype(np.int16)


KEPT = {"positive": True, "both signs": False}
"""Which superpixels are kept, and whether those that speak against the class are left out."""


def top_superpixels(
    weights: npt.NDArray[np.float64], count: int, *, positive_only: bool = True
) -> list[int]:
    """The indices of the weights that are greatest in size, strongest first.

    With ``positive_only`` those that speak against the class are left out, as in the library's
    ``get_image_and_mask``; fewer than ``count`` are then found if fewer are positive.

    >>> top_superpixels(np.array([0.1, -0.9, 0.3, 0.0]), 3)
    [2, 0]
    """
    order = np.argsort(-np.abs(weights), kind="stable")
    kept = [int(index) for index in order if weights[index] > 0 or not positive_only]
    return kept[:count]

"""The overlap of two maps as Balwani and Kaharova (2024) computed it: whatever is not zero counts.

Both maps are brought to the size of the larger one, bilinearly and without regard to the frames in
which they live, and a pixel belongs to a region when its value is not zero. Such regions can cover
almost everything; the function says how much they do.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vitrine.methods.heatmap import resized

_NOTHING = 1e-6
"""Weights of one and minus one that cancel leave a rest of rounding, which is not evidence."""


@dataclass(frozen=True)
class Overlap:
    """iou : of the two regions. first, second : the share of the pixels that each covers."""

    iou: float
    first: float
    second: float

    @property
    def chance(self) -> float:
        """The IoU of two independent regions of these shares."""
        both = self.first * self.second
        return both / (self.first + self.second - both)


def nonzero_overlap(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> Overlap:
    """The overlap of what is not zero in two maps ``[h, w]`` of any two sizes.

    Raises ``ValueError`` when neither map marks anything.
    """
    size = max(first.shape, second.shape, key=lambda shape: shape[0] * shape[1])
    one, two = (_marked(values, size) for values in (first, second))
    union = (one | two).sum()
    if union == 0:
        raise ValueError("neither map marks anything")
    return Overlap(float((one & two).sum() / union), float(one.mean()), float(two.mean()))


def _marked(values: npt.NDArray[np.floating], size: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    if values.shape == size:
        return np.asarray(values != 0)
    return np.asarray(np.abs(resized(values, (size[0], size[1]))) > _NOTHING)

"""The heatmap: what every explanation of a picture is turned into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vitrine.errors import FrameError
from vitrine.inputs.pictures import Frame

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Heatmap:
    """How much each pixel of a frame speaks for a class.

    values : ``float32 [h, w]`` in the frame's own pixels. Signed maps have weights below zero for
        what speaks against the class; unsigned ones are never below zero.
    method : the method's key, e.g. ``"gradcam"``.
    target : index of the explained class.
    seconds : wall-clock time of the computation.
    """

    values: Values
    frame: Frame
    signed: bool
    method: str
    target: int
    seconds: float

    def __post_init__(self) -> None:
        if self.values.shape != self.frame.size:
            raise FrameError(
                f"A map of {self.method} has the shape {self.values.shape}, "
                f"its frame {self.frame.size}"
            )
        if not np.isfinite(self.values).all():
            raise FrameError(f"A map of {self.method} holds values that are not finite")

    @property
    def is_blank(self) -> bool:
        """Whether the map says nothing: the same value everywhere."""
        return bool(np.ptp(self.values) == 0)

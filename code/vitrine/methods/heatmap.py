"""The heatmap: what every explanation of an image is turned into."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrine.arrays import Values
from vitrine.data.images import Frame
from vitrine.errors import FrameError, NotApplicable


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
    def is_constant(self) -> bool:
        """Whether the map says nothing: the same value everywhere."""
        return bool(np.ptp(self.values) == 0)

    def facts(self) -> dict[str, Any]:
        """All but the values, as JSON can hold it."""
        return {
            "frame": frame_facts(self.frame),
            "target": self.target,
            "signed": self.signed,
            "seconds": self.seconds,
        }


def frame_facts(frame: Frame) -> dict[str, Any]:
    """A frame as JSON can hold it."""
    return {"image": frame.image, "box": list(frame.box), "size": list(frame.size)}


def frame_from(facts: dict[str, Any]) -> Frame:
    """The frame of ``frame_facts``."""
    top, left, height, width = facts["box"]
    return Frame(facts["image"], (top, left, height, width), (facts["size"][0], facts["size"][1]))


def heatmap_from(arrays: dict[str, np.ndarray], facts: dict[str, Any], method: str) -> Heatmap:
    """The heatmap that was stored: values of feature maps, of superpixels or of pixels.

    Which of them is said by the arrays that are there. Raises ``NotApplicable`` where the reason
    was stored why there is none.
    """
    if "reason" in facts:
        raise NotApplicable(facts["reason"])
    frame = frame_from(facts["frame"])
    if "segments" in arrays:
        values = arrays["weights"][arrays["segments"]].astype(np.float32)
    elif "evidence" in arrays:
        values = upsample(arrays["evidence"], frame.size)
    else:
        values = arrays["values"].astype(np.float32) * np.float32(facts["scale"])
    return Heatmap(
        values, frame, bool(facts["signed"]), method, int(facts["target"]), float(facts["seconds"])
    )


def upsample(evidence: npt.NDArray[np.floating], size: tuple[int, int]) -> Values:
    """A map of feature-map size ``[h', w']`` as a map ``float32 [h, w]`` from 0 to 1.

    Clipped at zero, scaled, enlarged bilinearly and scaled again, as the library ``grad-cam`` does;
    without positive evidence it is zero everywhere.
    """
    positive = _from_nought_to_one(np.clip(np.asarray(evidence, dtype=np.float64), 0, None))
    large = resized(positive, size)
    return _from_nought_to_one(np.clip(large, 0, None)).astype(np.float32)


def _from_nought_to_one(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = values - values.min()
    return np.asarray(above / (1e-7 + above.max()))


def resized(values: npt.NDArray[np.floating], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """A map at another size, as OpenCV's ``INTER_LINEAR`` does it: nothing is averaged.

    Pixel centres lie half a pixel from the edge, and the edge goes on.
    """
    down, across = (
        _weights((np.arange(large) + 0.5) * small / large - 0.5, small)
        for small, large in zip(values.shape, size, strict=True)
    )
    return np.asarray(down @ np.asarray(values, np.float64) @ across.T)


def _weights(places: npt.NDArray[np.float64], small: int) -> npt.NDArray[np.float64]:
    """How much each of ``small`` pixels gives to places between them: ``[places, small]``."""
    distance = np.abs(np.clip(places, 0, small - 1)[:, None] - np.arange(small))
    return np.asarray(np.clip(1 - distance, 0, None))


def resample_to(values: npt.NDArray[np.floating], own: Frame, other: Frame) -> Values:
    """A map ``[h, w]`` of the frame ``own`` in another frame of the same image, bilinearly.

    Raises ``FrameError`` where ``other`` shows what ``own`` does not, or another image.
    """
    if own.image != other.image:
        raise FrameError(f"A map of {own.image} cannot be warped to a frame of {other.image}")
    sides = []
    for axis in (0, 1):
        start, length = own.box[axis], own.box[axis + 2]
        first, extent = other.box[axis], other.box[axis + 2]
        if first < start - 1e-6 or first + extent > start + length + 1e-6:
            raise FrameError(
                f"The frame {own} does not show all that {other} does",
                "Compare the part they share",
            )
        size = values.shape[axis]
        centres = first + (np.arange(other.size[axis]) + 0.5) * extent / other.size[axis]
        sides.append(_weights((centres - start) * size / length - 0.5, size))
    down, across = sides
    return np.asarray(down @ np.asarray(values, np.float64) @ across.T, dtype=np.float32)

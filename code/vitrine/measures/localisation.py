"""How much of a map lies on the object that the image's name says."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt
from skimage.draw import polygon2mask

from vitrine.data.images import Frame
from vitrine.data.outlines import Outlines, Regions

Mask = npt.NDArray[np.bool_]


POINTING_TOLERANCE = 15 / 224
"""How far from an object a maximum may lie to point at it, of a frame's side (Zhang et al., 2018).

About half a cell of the feature maps that most networks end with.
"""


def object_mask(outlines: Sequence[npt.NDArray[np.floating]], size: tuple[int, int]) -> Mask:
    """The pixels ``bool [h, w]`` whose centre lies inside one of the polygons.

    outlines : each ``[points, 2]``, x and y in pixels from the top left corner of the frame.
    """
    mask = np.zeros(size, dtype=bool)
    for outline in outlines:
        # The centre of the first pixel is at 0.5 here and at 0 in scikit-image.
        mask |= polygon2mask(size, outline[:, ::-1] - 0.5)  # type: ignore[no-untyped-call]
    return mask


def parts_of_frame(
    regions: Regions, shown: Outlines | None, frame: Frame, image_size: tuple[int, int]
) -> dict[str, Mask]:
    """The parts of a frame ``bool [h, w]``, each pixel in exactly one of them, by name.

    shown : the object's outlines, where the image has any. image_size : height and width.

    The object has its pixels first, then the regions in their order; what is left is the rest.
    Parts without a name, or without a pixel, are not listed.
    """

    def mask(outlines: Outlines) -> Mask:
        return object_mask(outlines.in_frame(frame, image_size), frame.size)

    everything = np.ones(frame.size, dtype=bool)
    masks = [(regions.object, mask(shown) if shown else ~everything)]
    masks += [(name, mask(outlines)) for name, outlines in regions.named.items()]
    masks.append((regions.rest, everything))
    parts: dict[str, Mask] = {}
    left = everything
    for name, found in masks:
        if name and (found & left).any():
            parts[name] = found & left
            left = left & ~found
    return parts


def share_inside(values: npt.NDArray[np.floating], mask: Mask) -> float:
    """The share of a map's positive weight that lies inside ``mask``, from 0 to 1.

    Relevance mass accuracy (Arras, Osman and Samek, 2022); a map that knows nothing of the object
    has about the mask's share of the frame. ``nan`` without positive weight, and for a mask that is
    empty or covers everything.
    """
    weights = np.clip(np.asarray(values, dtype=np.float64), 0, None)
    total = weights.sum()
    if total == 0 or not mask.any() or mask.all():
        return float("nan")
    return float(weights[mask].sum() / total)


def gain_inside(values: npt.NDArray[np.floating], mask: Mask) -> float:
    """``share_inside`` over the mask's share of the frame: 1 for a map that knows nothing of it.

    Images with small and large objects can be averaged by this, but not by the share alone.
    """
    return share_inside(values, mask) / float(mask.mean()) if mask.any() else float("nan")


def near(mask: Mask) -> Mask:
    """The pixels at which a maximum points at ``mask``: within ``POINTING_TOLERANCE`` of it.

    Their share of the frame is how often a random place does. None for an empty mask.
    """
    if not mask.any():
        return mask
    return np.asarray(distance_transform_edt(~mask) <= POINTING_TOLERANCE * max(mask.shape))


def points_at(values: npt.NDArray[np.floating], mask: Mask) -> float:
    """Whether a map's maximum points at ``mask``: 1 or 0.

    The pointing game (Zhang et al., 2018). ``nan`` for a map that is the same everywhere, and for
    an empty mask.
    """
    if not np.ptp(values) or not mask.any():
        return float("nan")
    return float(near(mask).flat[int(np.argmax(values))])

"""Where thumbnails and names beside the points of a chart do not hide each other."""

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.float64]

_SIDES = [(0, 1), (0, -1), (1, 0), (-1, 0), (0.6, 1), (-0.6, 1), (0.6, -1), (-0.6, -1), (1, 1),
          (-1, 1), (1, -1), (-1, -1)]  # fmt: skip
_DISTANCES = (1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 3.5)


def offsets(
    points: Positions, sizes: Positions, room: tuple[float, float], radius: float = 0.0
) -> Positions:
    """How far the middle of each box lies from its point so that no two boxes overlap.

    points, sizes : of points and of their boxes, ``float64 [n, 2]``, in pixels. room : width and
        height that the boxes stay in. radius : of points that no box may cover; with 0, boxes
        cover their own point where they can.

    Greedy, in the order of the points: each box takes the nearest place that is free, or the
    nearest of all where none is. Returns ``float64 [n, 2]``.
    """
    placed: list[Positions] = []
    found = np.zeros_like(points)
    marks = _boxes(points, np.full_like(points, 2 * radius)) if radius else points[:0].repeat(2, 1)
    for index, (point, size) in enumerate(zip(points, sizes, strict=True)):
        reach = size / 2 + radius + (1 if radius else 0)
        steps = [d * reach * side for d in _DISTANCES for side in np.array(_SIDES)]
        steps = steps if radius else [np.zeros(2), *steps]
        taken = np.array([*marks, *placed])
        free = (step for step in steps if _is_free(point + step, size, taken, room))
        found[index] = next(free, steps[0])
        placed.append(_boxes(point[None] + found[index], size[None])[0])
    return found


def _boxes(middles: Positions, sizes: Positions) -> Positions:
    """``left, top, right, bottom`` of boxes around their middles."""
    return np.hstack([middles - sizes / 2, middles + sizes / 2])


def _is_free(
    middle: Positions, size: Positions, taken: Positions, room: tuple[float, float]
) -> bool:
    low, high = middle - size / 2, middle + size / 2
    if (low < 0).any() or (high > np.array(room)).any():
        return False
    if not len(taken):
        return True
    apart = (taken[:, :2] >= high).any(axis=1) | (taken[:, 2:] <= low).any(axis=1)
    return bool(apart.all())

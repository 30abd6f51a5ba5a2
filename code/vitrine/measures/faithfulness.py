"""Whether a network's prediction changes where an explanation says that it should."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from vitrine.arrays import Inputs, Values

Scores = Callable[[Inputs], npt.NDArray[np.floating]]
"""The explained class's score ``[n]`` for a batch: a probability, or a logit."""


@dataclass(frozen=True)
class Curve:
    """The class's score while pixels are taken away, or shown, in the order of a map.

    shares : ``float64 [steps + 1]``, share of the pixels that are done, from 0 to 1.
    scores : ``float64 [steps + 1]``.
    """

    shares: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]

    @property
    def area(self) -> float:
        """The area under the curve, by trapezia: the mean score over all shares."""
        return float(np.trapezoid(self.scores, self.shares))


# --- what pixels are replaced by -----------------------------------------------------------------


def _mean(inputs: Inputs) -> Inputs:
    """The mean of each channel over the image."""
    return np.broadcast_to(inputs.mean(axis=(2, 3), keepdims=True), inputs.shape).copy()


def _blurred(inputs: Inputs) -> Inputs:
    """The image under a Gaussian whose deviation is 1/22 of its side, 10 pixels of 224."""
    width = inputs.shape[-1] / 22.4
    return np.asarray(gaussian_filter(inputs, (0, 0, width, width)), dtype=np.float32)


REPLACEMENTS: dict[str, Callable[[Inputs], Inputs]] = {"blurred": _blurred, "mean": _mean}
"""What stands in the place of a pixel that is taken away."""


# --- curves --------------------------------------------------------------------------------------


def order(values: Values) -> npt.NDArray[np.int64]:
    """The pixels ``[h · w]`` of a map ``[h, w]``, strongest first.

    Pixels of equal weight, such as those of one superpixel, are ordered by a fixed random draw and
    not by their place: from top to bottom, ties would follow the image.
    """
    flat = np.asarray(values).ravel()
    draw = np.random.default_rng(0).permutation(flat.size)
    return np.lexsort((draw, -flat))


def changed(
    scores: Scores,
    inputs: Inputs,
    values: Values,
    *,
    insert: bool,
    replacement: str,
    steps: int,
    batch: int,
) -> Curve:
    """The score while the strongest pixels are taken away first (Petsiuk et al., 2018).

    inputs : ``float32 [1, 3, h, w]``. values : ``[h, w]``. replacement : a key of
    ``REPLACEMENTS``. A faithful map makes the score fall early: a lower area is better.

    insert : the other way, from nothing to the whole image: a higher area is better.
    """
    without = REPLACEMENTS[replacement](inputs)
    start, end = (without, inputs) if insert else (inputs, without)
    place = np.argsort(order(values)).reshape(start.shape[2:])  # in the order, of each pixel
    done = np.round(np.linspace(0, place.size, steps + 1)).astype(np.int64)
    found = [
        scores(np.where(place < some[:, None, None, None], end, start))
        for some in np.split(done, range(batch, len(done), batch))
    ]
    return Curve(done / place.size, np.concatenate(found).astype(np.float64))


deletion, insertion = partial(changed, insert=False), partial(changed, insert=True)

CURVES: dict[str, Callable[..., Curve]] = {"deletion": deletion, "insertion": insertion}
"""Both orders in which an image is changed."""


# --- infidelity ----------------------------------------------------------------------------------


def squares(inputs: Inputs, seed: int, samples: int, side: int) -> Inputs:
    """Perturbations ``[samples, 3, h, w]`` that set a random square of an input to zero, seeded.

    Subtracted from the input ``[1, 3, h, w]``, as ``losses`` does, each leaves zero, the mean
    colour, in a square of ``side`` pixels, which is "square removal" in Yeh et al. (2019).
    """
    generator = np.random.default_rng(seed)
    height, width = inputs.shape[2:]
    removed = np.zeros((samples, *inputs.shape[1:]), dtype=np.float32)
    corners = generator.integers(0, (height - side + 1, width - side + 1), size=(samples, 2))
    for row, (top, left) in zip(removed, corners, strict=True):
        place = (slice(None), slice(top, top + side), slice(left, left + side))
        row[place] = inputs[0][place]
    return removed


def losses(
    scores: Scores, inputs: Inputs, perturbations: Inputs, *, batch: int
) -> npt.NDArray[np.float64]:
    """f(x) - f(x - δ) for each perturbation: ``float64 [samples]``.

    inputs : ``float32 [1, 3, h, w]``. perturbations : ``[samples, 3, h, w]``, see ``squares``.
    They do not depend on the explanation, so one image's serve for all methods.
    """
    after = [
        scores(inputs - some)
        for some in np.split(perturbations, range(batch, len(perturbations), batch))
    ]
    return float(scores(inputs)[0]) - np.concatenate(after).astype(np.float64)


def normalized_infidelity(
    values: Values, places: npt.NDArray[np.bool_], lost: npt.NDArray[np.float64]
) -> float:
    """The share of the losses' squares that a map's weight at the same places does not tell.

    values : ``[h, w]``. places : ``bool [samples, h, w]``, where each perturbation changed the
    image. lost : ``[samples]``, what the score lost by it.

    The infidelity (Yeh et al., 2019) of the perturbations "here or not", with the best factor of
    the map that is not below zero, over that of a map that says nothing: 0 where the map foretells
    each loss, 1 where it knows nothing of them or the reverse. ``nan`` where it has no weight at
    any of the places.
    """
    weights = np.asarray(values, dtype=np.float64).ravel()
    claimed = places.reshape(len(places), -1).astype(np.float64) @ weights
    lengths = float(np.linalg.norm(claimed) * np.linalg.norm(lost))
    if lengths == 0:
        return float("nan")
    return 1 - max(float(claimed @ lost) / lengths, 0.0) ** 2

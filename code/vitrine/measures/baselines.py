"""Maps that see no network: what an explanation has to be better than."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from skimage.color import rgb2gray
from skimage.filters import sobel

Values = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Baseline:
    """A row of ``BASELINES``: a map of a crop ``uint8 [h, w, 3]`` from nothing but that and a seed.

    draws : whether the map depends on the seed.
    """

    title: str
    draw: Callable[[Pixels, int], Values]
    draws: bool = False


def _random(crop: Pixels, seed: int) -> Values:
    """Each pixel by itself, uniformly from 0 to 1."""
    return np.random.default_rng(seed).random(crop.shape[:2], dtype=np.float32)


def _edges(crop: Pixels, _seed: int) -> Values:
    """The size of the brightness's gradient, by Sobel's filter."""
    brightness = rgb2gray(crop)
    return np.asarray(sobel(brightness), dtype=np.float32)  # type: ignore[no-untyped-call]


BASELINES: dict[str, Baseline] = {
    "random": Baseline("Random weights", _random, draws=True),
    "edges": Baseline("Edges of the picture", _edges),
}

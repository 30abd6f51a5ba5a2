"""Maps that see no network: what an explanation has to be better than."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from skimage.color import rgb2gray
from skimage.filters import sobel

from vitrine import study as studies
from vitrine.arrays import Inputs, Maps, Values
from vitrine.data.images import Pixels
from vitrine.methods.heatmap import Heatmap
from vitrine.methods.method import Explain, Method, Query, Stored

if TYPE_CHECKING:
    from vitrine.models.architecture import Architecture


@dataclass(frozen=True)
class Baseline(Method):
    """A row of ``BASELINES``: a map of a crop ``uint8 [h, w, 3]`` from that and a seed alone."""

    draw: Callable[[Pixels, int], Values]
    part = "measures"

    def cost(self, study: studies.Study, architecture: Architecture, *, again: bool = False) -> int:
        return 0

    def explain(self, query: Query) -> Stored:
        start = perf_counter()
        values = self.draw(query.crop, query.parameters.seed)
        heatmap = Heatmap(
            values, query.frame, self.signed, query.method, query.target, perf_counter() - start
        )
        return {"values": values}, heatmap.facts() | {"scale": 1.0}

    def repeated(self, query: Query) -> AbstractContextManager[Explain]:
        seeds = count(query.parameters.seed + 1)
        preprocessing = query.classifier.preprocessing
        mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)

        def explain(inputs: Inputs) -> dict[str, Maps]:
            pixels = np.clip(inputs.transpose(0, 2, 3, 1) * std + mean, 0, 255) / 255
            drawn = [self.draw(each, next(seeds)) for each in pixels]
            return {query.method: np.stack(drawn)[:, None].astype(np.float32)}

        return nullcontext(explain)

    def redrawn(self, query: Query, inputs: Inputs) -> Values:
        return self.draw(query.crop, query.parameters.seed)


def _random(crop: Pixels, seed: int) -> Values:
    """Each pixel by itself, uniformly from 0 to 1."""
    return np.random.default_rng(seed).random(crop.shape[:2], dtype=np.float32)


def _edges(crop: Pixels, _seed: int) -> Values:
    """The size of the brightness's gradient, by Sobel's filter."""
    brightness = rgb2gray(crop)
    return np.asarray(sobel(brightness), dtype=np.float32)  # type: ignore[no-untyped-call]


BASELINES: dict[str, Baseline] = {
    "random": Baseline("Random weights", _random, stochastic=True),
    "edges": Baseline("Edges of the image", _edges),
}

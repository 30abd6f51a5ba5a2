"""LIME for pictures: a linear model of the network around one picture, over its superpixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from lime import lime_image
from skimage.segmentation import quickshift

from vitrine import study
from vitrine.errors import StudyError
from vitrine.inputs.classifiers import Classifier
from vitrine.inputs.pictures import Frame, Pixels
from vitrine.methods.heatmap import Heatmap

REVISION = 1
"""Raised whenever this module computes something else from the same parameters."""

Segments = npt.NDArray[np.int16]

Progress = Callable[[int], None]
"""Called with the number of forward passes just done."""


@dataclass(frozen=True)
class LimeExplanation:
    """What LIME says about one class of one picture.

    segments : ``int16 [h, w]``, the superpixel of each pixel, numbered from 0.
    weights : ``float64 [superpixels]``, the linear model's coefficient of each superpixel: what
        the class gains in probability when that superpixel is shown instead of its mean colour.
    intercept, r_squared, local_prediction : of that linear model; R² is weighted by the kernel.
    seconds : wall-clock time of sampling and fitting, without the segmentation.
    """

    segments: Segments
    weights: npt.NDArray[np.float64]
    intercept: float
    r_squared: float
    local_prediction: float
    frame: Frame
    target: int
    seconds: float

    @property
    def heatmap(self) -> Heatmap:
        """Each pixel with the weight of its superpixel; signed."""
        values = self.weights[self.segments].astype(np.float32)
        return Heatmap(values, self.frame, True, "lime", self.target, self.seconds)

    def strongest(self, count: int, *, positive_only: bool = True) -> list[int]:
        """The superpixels of greatest weight, by absolute value, strongest first.

        With ``positive_only`` those that speak against the class are left out, as in the library's
        ``get_image_and_mask``.
        """
        order = np.argsort(-np.abs(self.weights), kind="stable")
        kept = [int(index) for index in order if self.weights[index] > 0 or not positive_only]
        return kept[:count]


def superpixels(crop: Pixels, parameters: study.Segmentation, seed: int) -> Segments:
    """The superpixels of a crop ``uint8 [h, w, 3]`` as ``int16 [h, w]``, numbered from 0.

    Quickshift in CIELAB as in scikit-image. The seed is passed to it here because the one that
    ``lime`` is given does not reach it. Raises ``StudyError`` when there are fewer than two.
    """
    segments: npt.NDArray[np.int64] = quickshift(  # type: ignore[no-untyped-call]
        crop,
        kernel_size=parameters.kernel_size,
        max_dist=parameters.max_dist,
        ratio=parameters.ratio,
        rng=seed,
    )
    found = int(segments.max()) + 1
    if found < 2:
        raise StudyError(
            "The segmentation found one superpixel, so there is nothing to compare",
            "Lower lime.segmentation.kernel_size or max_dist in the study file",
        )
    return segments.astype(np.int16)


@contextmanager
def _without_bar() -> Iterator[None]:
    """The library draws a progress bar of its own for every picture; ours covers the study."""
    bar = lime_image.tqdm
    lime_image.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        lime_image.tqdm = bar


def explain(
    classifier: Classifier,
    crop: Pixels,
    frame: Frame,
    target: int,
    parameters: study.Lime,
    segments: Segments,
    progress: Progress = lambda _: None,
) -> LimeExplanation:
    """Explain ``target`` with the library ``lime`` (Ribeiro, Singh and Guestrin, 2016).

    ``parameters.samples`` pictures are made by replacing random superpixels by their mean colour;
    a ridge regression on which superpixels were shown, weighted by an exponential kernel of the
    cosine distance, predicts the class probability. Seeded: the same arguments give the same
    weights to the last digit on the same machine.
    """
    start = time.perf_counter()

    def probabilities(crops: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        found = classifier.probabilities(crops)
        progress(len(crops))
        return found

    explainer = lime_image.LimeImageExplainer(
        kernel_width=parameters.kernel_width,
        random_state=np.random.RandomState(parameters.seed),
    )
    with _without_bar():
        explanation = explainer.explain_instance(
            crop,
            probabilities,
            labels=(target,),
            top_labels=None,
            num_samples=parameters.samples,
            batch_size=parameters.batch,
            segmentation_fn=lambda _: segments,
        )
    weights = np.zeros(int(segments.max()) + 1)
    for superpixel, weight in explanation.local_exp[target]:
        weights[superpixel] = weight
    return LimeExplanation(
        segments=segments,
        weights=weights,
        intercept=float(explanation.intercept[target]),
        r_squared=float(explanation.score),
        local_prediction=float(np.ravel(explanation.local_pred)[0]),
        frame=frame,
        target=target,
        seconds=time.perf_counter() - start,
    )

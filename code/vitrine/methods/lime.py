"""LIME for images: a linear model of the network around one image, over its superpixels."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lime.lime_base import LimeBase
from sklearn.metrics import pairwise_distances  # type: ignore[import-untyped]

from vitrine import study
from vitrine.arrays import Inputs, Maps
from vitrine.methods.heatmap import frame_facts
from vitrine.methods.method import Explain, Method, Query, Stored, speed_of
from vitrine.methods.perturbation import (
    MaskedImage,
    Shown,
    draw,
    fidelities,
    mask,
    sample_probabilities,
)
from vitrine.methods.superpixels import KEPT, Segments, superpixels, top_superpixels
from vitrine.models.architecture import Architecture
from vitrine.models.classifier import Classifier, Probabilities
from vitrine.models.inference import InferenceOptions, OnPasses
from vitrine.study import lime as lime_section

REVISION = 1
"""Raised whenever this module computes something else from the same parameters."""


@dataclass(frozen=True)
class LinearModel:
    """A ridge regression on a neighbourhood.

    weights : ``float64 [superpixels]``, the linear model's coefficient of each superpixel: what
        the class gains in probability when that superpixel is shown instead of its mean colour.
    intercept, r_squared, local_prediction : of that linear model; R² is weighted by the kernel.
    reason : why the fit means nothing, in which case R² and local prediction are ``nan``; mostly
        empty.
    """

    weights: npt.NDArray[np.float64]
    intercept: float
    r_squared: float
    local_prediction: float
    reason: str = ""


@dataclass(frozen=True)
class Neighbourhood:
    """The perturbed images around one, and what the network says of them.

    shown : ``int64 [samples, superpixels]``, 1 where one is shown; the first row shows all.
    probabilities : ``float32 [samples]``, of the explained class.
    """

    shown: Shown
    probabilities: Probabilities


@dataclass(frozen=True)
class LimeMethod(Method):
    """The row of ``LIME_METHODS``."""

    def section(self, study: study.Study, *, again: bool = False) -> Any:
        if again and study.lime and study.measures:
            return study.lime.model_copy(update={"samples": study.measures.lime_samples})
        return study.lime

    def cost(self, study: study.Study, architecture: Architecture, *, again: bool = False) -> int:
        return int(self.section(study, again=again).samples)

    def parameters(self, study: study.Study, layer: str | None, variant: str) -> dict[str, Any]:
        assert study.lime is not None
        own = {"kernel_width", "seed", "segmentation", "samples", "features"}
        found = study.lime.model_dump(include=own)
        return found | {"speed": speed_of(study), "revision": self.revision}

    def fewer_samples(self, study: study.Study) -> int | bool:
        return study.measures.lime_samples if study.measures else False

    def explain(self, query: Query) -> Stored:
        wanted: lime_section.Lime = query.parameters
        segments = superpixels(query.crop, wanted.segmentation, wanted.seed)
        start = time.perf_counter()
        masked = mask(query.classifier, query.crop, segments, query.target)
        found = explain_by_lime(query.classifier, masked, wanted, query.progress, query.settings)
        seconds = time.perf_counter() - start
        sets = [
            top_superpixels(found.weights, wanted.features, positive_only=positive)
            for positive in KEPT.values()
        ]
        kept = fidelities(query.classifier, masked, sets, query.settings)
        facts = {
            "frame": frame_facts(query.frame),
            "target": query.target,
            "signed": self.signed,
            "seconds": seconds,
            "layer": "",
            "intercept": found.intercept,
            "r_squared": found.r_squared,
            "local_prediction": found.local_prediction,
            "passes": wanted.samples,
            "fidelity": {
                rule: {"p_kept": one.p_kept, "p_removed": one.p_removed, "superpixels": len(chosen)}
                for rule, one, chosen in zip(KEPT, kept, sets, strict=True)
            },
            "settings": query.settings.facts(),
        }
        if found.reason:
            facts["fit_reason"] = found.reason
        return {"segments": segments, "weights": found.weights}, facts

    def repeated(self, query: Query) -> AbstractContextManager[Explain]:
        """With the superpixels and draws of the image itself, so only the predictions change."""
        wanted: lime_section.Lime = query.parameters
        segments = superpixels(query.crop, wanted.segmentation, wanted.seed)

        def explain(inputs: Inputs) -> dict[str, Maps]:
            batch = torch.from_numpy(inputs).to(query.classifier.device)
            masked = [
                MaskedImage(one, _mean_colours(one, segments), segments, query.target)
                for one in torch.split(batch, 1)
            ]
            how = (query.progress, query.settings)
            around = neighbourhoods(query.classifier, masked, wanted, *how)
            models = [linear_model(each, wanted.kernel_width) for each in around]
            maps = np.stack([model.weights[segments][None] for model in models])
            return {query.method: maps.astype(np.float32)}

        return nullcontext(explain)


LIME_METHODS: dict[str, LimeMethod] = {
    "lime": LimeMethod(
        "LIME", paper="ribeiro2016", revision=REVISION, stochastic=True, signed=True
    ),
}


def _mean_colours(image: torch.Tensor, segments: Segments) -> torch.Tensor:
    """The input ``[1, 3, h, w]`` with each superpixel in its mean colour, not rounded."""
    labels = torch.from_numpy(segments.astype(np.int64)).to(image.device).flatten()
    pixels = image[0].flatten(1)  # [3, h · w]
    sums = torch.zeros(3, int(labels.max()) + 1, device=image.device).index_add(1, labels, pixels)
    means = sums / torch.bincount(labels)
    return means[:, labels].reshape(image.shape)


def explain_by_lime(
    classifier: Classifier,
    masked: MaskedImage,
    parameters: lime_section.Lime,
    progress: OnPasses = lambda _: None,
    settings: InferenceOptions | None = None,
) -> LinearModel:
    """Explain the class of an image by LIME (Ribeiro, Singh and Guestrin, 2016).

    ``parameters.samples`` images are made by replacing random superpixels by their mean colour;
    a ridge regression on which superpixels were shown, weighted by an exponential kernel of the
    cosine distance, predicts the class probability. Seeded: the same arguments give the same
    weights to the last digit on the same machine, and those of the library ``lime`` in the same
    batches.

    settings : how the passes are run; the plain network with ``parameters.batch`` by default.
    """
    (around,) = neighbourhoods(classifier, [masked], parameters, progress, settings)
    return linear_model(around, parameters.kernel_width)


def neighbourhoods(
    classifier: Classifier,
    masked: Sequence[MaskedImage],
    parameters: lime_section.Lime,
    progress: OnPasses = lambda _: None,
    settings: InferenceOptions | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Neighbourhood]:
    """Draw the perturbed images around each image and ask the network about its class of them.

    All share batches and preparations.

    seeds : one for each image; ``parameters.seed`` for all by default.
    """
    shown = [
        draw(parameters.samples, image.count, seed)
        for image, seed in zip(masked, seeds or [parameters.seed] * len(masked), strict=True)
    ]
    settings = settings or InferenceOptions(batch=parameters.batch)
    found = sample_probabilities(classifier, masked, shown, settings, progress)
    return [Neighbourhood(*pair) for pair in zip(shown, found, strict=True)]


def pooled(parts: Sequence[Neighbourhood], samples: int) -> list[Neighbourhood]:
    """Independent neighbourhoods of so many samples, from those of several seeds.

    Perturbed images are drawn independently of each other, so the first ``samples`` of each seed
    are one run, and where a seed has fewer, those of several seeds together are. The whole image,
    which every seed asks about first, is in each run once, as in the library.
    """
    if samples <= min(len(part.shown) for part in parts):
        return [Neighbourhood(p.shown[:samples], p.probabilities[:samples]) for p in parts]
    shown = np.concatenate([part.shown[1:] for part in parts])
    probabilities = np.concatenate([part.probabilities[1:] for part in parts])
    runs = []
    for start in range(0, len(shown) - samples + 2, samples - 1):
        rows = slice(start, start + samples - 1)
        runs.append(
            Neighbourhood(
                np.concatenate([parts[0].shown[:1], shown[rows]]),
                np.concatenate([parts[0].probabilities[:1], probabilities[rows]]),
            )
        )
    return runs


def linear_model(
    neighbourhood: Neighbourhood, kernel_width: float, samples: int | None = None
) -> LinearModel:
    """The library's linear model of a neighbourhood, or of its first ``samples`` only.

    The first samples are those that a run with fewer samples draws, so one neighbourhood tells how
    an explanation depends on their number. A model with more coefficients than samples that carry
    weight fits whatever they say, so R² and local prediction are missing, with the reason; as they
    are where all samples have one probability, of which no superpixel has a part.
    """
    shown, probabilities = neighbourhood.shown[:samples], neighbourhood.probabilities[:samples]
    distances = pairwise_distances(shown, shown[:1], metric="cosine").ravel()
    base = LimeBase(partial(_kernel, kernel_width))
    intercept, pairs, r_squared, local = base.explain_instance_with_data(
        shown, probabilities[:, None], distances, 0, shown.shape[1] + 7
    )
    weights = np.zeros(shown.shape[1])
    for superpixel, weight in pairs if np.ptp(probabilities) else ():
        weights[superpixel] = weight
    model = LinearModel(weights, float(intercept), float(r_squared), float(np.ravel(local)[0]))
    return _judged(model, shown, kernel_width)


def _kernel(width: float, distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.sqrt(np.exp(-(distance**2) / width**2)))


def _judged(model: LinearModel, shown: Shown, kernel_width: float) -> LinearModel:
    """The model, without what a fit cannot tell that has less to fit than it has coefficients.

    Samples of unequal weight w are worth ``(Σ w)² / Σ w²`` of equal weight (Kish, 1965).
    """
    samples, superpixels = shown.shape
    weights = _kernel(kernel_width, pairwise_distances(shown, shown[:1], metric="cosine").ravel())
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    if effective > superpixels and model.weights.any():
        return model
    if effective > superpixels:
        reason = "the network gives all perturbed images one probability"
    elif samples <= superpixels:
        reason = f"{samples} samples cannot tell {superpixels} superpixels apart"
    else:
        reason = (
            f"the kernel of width {kernel_width:g} leaves {samples} samples the weight of "
            f"{effective:.1f}, which cannot tell {superpixels} superpixels apart"
        )
    return replace(model, r_squared=np.nan, local_prediction=np.nan, reason=reason)

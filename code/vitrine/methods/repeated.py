"""Any method as a function of the network's input, to explain a picture's perturbed copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitrine import study
from vitrine.errors import StudyError
from vitrine.inputs.classifiers import Classifier, untouched
from vitrine.inputs.speed import PLAIN, Settings
from vitrine.methods import attribution, cam, lime
from vitrine.methods.evidence import Progress, Question
from vitrine.methods.heatmap import enlarged
from vitrine.methods.perturbation import Veil, answers, draw
from vitrine.methods.scoring import Inputs
from vitrine.methods.segmentation import Segments

Maps = npt.NDArray[np.float32]
"""``float32 [n, c, h, w]``: attributions of each colour channel, or one map where ``c`` is 1."""


@dataclass(frozen=True)
class Asked:
    """What is explained again and again, and how.

    layer : of class activation maps; the last convolutional one by default.
    lime : LIME's parameters, and ``segments`` the superpixels of the unperturbed picture.
    seed : of the methods that draw.
    """

    classifier: Classifier
    target: int
    layer: str | None = None
    attribution: attribution.Parameters = field(default_factory=attribution.Parameters)
    lime: study.Lime | None = None
    segments: Segments | None = None
    settings: Settings = PLAIN
    progress: Progress = lambda _: None


@contextmanager
def repeated(method: str, asked: Asked) -> Iterator[Callable[[Inputs], dict[str, Maps]]]:
    """A function that gives maps of inputs ``float32 [n, 3, h, w]`` by method.

    The method that is asked for is among them, and any other that comes of the same passes.

    Attribution methods give each colour channel's attributions, the others one map, and class
    activation maps are scaled to a greatest value of 1, as they are shown. LIME keeps the
    superpixels and the draws of the picture itself, so that only the network's answers change.
    Raises ``StudyError`` for an unknown method and ``NotApplicable`` as the method does.
    """
    classifier = asked.classifier
    if method in attribution.ATTRIBUTION_METHODS:
        how = (asked.target, asked.attribution, asked.progress, asked.settings)
        with attribution.explaining_together(classifier, method, *how) as explain:
            yield lambda inputs: {
                name: found.cpu().numpy()
                for name, found in explain(torch.from_numpy(inputs).to(classifier.device)).items()
            }
    elif method == "lime":
        yield lambda inputs: {
            "lime": _lime_maps(asked, torch.from_numpy(inputs).to(classifier.device))
        }
    else:
        row = cam.pick_cam_method(method)
        layer = asked.layer or classifier.last_convolution
        settings = asked.settings if row.passes_a_channel else PLAIN

        def one(batch: Tensor) -> Maps:
            asked_for = Question(classifier, batch, asked.target, layer, settings, asked.progress)
            with untouched(classifier.network):
                values = row.fast(asked_for).values
            finite = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
            return enlarged(finite, (batch.shape[2], batch.shape[3]))[None]

        def explain_each(inputs: Inputs) -> dict[str, Maps]:
            batch = torch.from_numpy(inputs).to(classifier.device)
            return {method: np.stack([one(each) for each in torch.split(batch, 1)])}

        yield explain_each


def _lime_maps(asked: Asked, batch: Tensor) -> Maps:
    if asked.lime is None or asked.segments is None:
        raise StudyError("LIME needs its parameters and superpixels", "Give Asked both")
    segments = asked.segments
    shown = draw(asked.lime.samples, int(segments.max()) + 1, asked.lime.seed)
    veils = [Veil(one[None], _mean_colours(one[None], segments), segments) for one in batch]
    with untouched(asked.classifier.network):
        found = answers(
            asked.classifier,
            veils,
            [shown] * len(veils),
            [asked.target] * len(veils),
            asked.settings,
            asked.progress,
        )
    models = [
        lime.fit(lime.Neighbourhood(shown, probabilities), asked.lime.kernel_width)
        for probabilities in found
    ]
    return np.stack([model.weights[segments][None] for model in models]).astype(np.float32)


def _mean_colours(picture: Tensor, segments: Segments) -> Tensor:
    """The input ``[1, 3, h, w]`` with each superpixel in its mean colour, not rounded."""
    labels = torch.from_numpy(segments.astype(np.int64)).to(picture.device).flatten()
    pixels = picture[0].flatten(1)  # [3, h · w]
    sums = torch.zeros(3, int(labels.max()) + 1, device=picture.device).index_add(1, labels, pixels)
    means = sums / torch.bincount(labels)
    return means[:, labels].reshape(picture.shape)

"""LIME, ours against the library lime: ``python bench/lime_images.py``.

The same superpixels, samples and network; one process a measurement, ours and the library's in
turn. "whole" is the explanation, "bfloat16" the same through OpenVINO in this precision, where it
is installed, with the rank correlation of the weights with the library's and how many of its ten
best superpixels are the same; "building" is the perturbed images alone: the library's as arrays of
pixels, ours as the network's normalised input.
"""

import math
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lime.lime_image

sys.path += [str(Path(__file__).parent), str(Path(__file__).resolve().parent.parent / "tests")]

import numpy as np
from measure import Measured, Sheet, ask, beside, fastest, in_turn, measured, network, options
from scipy.stats import spearmanr

import libraries
from vitrine.methods.lime import explain_by_lime
from vitrine.methods.perturbation import draw, mask
from vitrine.methods.superpixels import superpixels
from vitrine.models import engine
from vitrine.models.inference import InferenceOptions
from vitrine.study.lime import Lime, Quickshift


def one(
    name: str, side: int, part: str, samples: int, settings: InferenceOptions, way: str
) -> Measured:
    """Measure one explanation or its images; ``way`` is ``ours`` or ``library``."""
    if part == "bfloat16":
        engine.PRECISION, engine.TOLERANCE = "bf16", math.inf
    classifier, crop, _, target = network(name, side)
    segments = superpixels(crop, Quickshift(), seed=0)
    count = int(segments.max()) + 1

    def whole(samples: int = samples) -> tuple[np.ndarray, dict[str, Any]]:
        asked = Lime(samples=samples, batch=10)  # the library's own batch
        if way == "library":
            found = libraries.explain(classifier, crop, target, asked, segments)
        else:
            masked = mask(classifier, crop, segments, target)
            found = explain_by_lime(classifier, masked, asked, settings=settings)
        return found.weights, {"superpixels": count}

    def building() -> tuple[np.ndarray, dict[str, Any]]:
        if way == "ours":
            prepared, shown = mask(classifier, crop, segments, target), draw(samples, count, 0)
            for start in range(0, len(shown), 16):
                prepared.images(shown[start : start + 16])
        else:
            lime.lime_image.LimeImageExplainer(random_state=0).explain_instance(
                crop,
                lambda crops: np.zeros((len(crops), 1)),
                labels=(),
                top_labels=None,
                num_samples=samples,
                segmentation_fn=lambda _: segments,
            )
        return np.zeros(2), {"superpixels": count}

    if part == "building":
        return measured(building)
    # The first passes of a process prepare what later ones use; they belong to neither.
    whole(20)
    return measured(whole)


def compare(
    name: str, side: int, settings: InferenceOptions, samples: int, runs: int
) -> Iterator[dict[str, object]]:
    """A row of each part."""
    for part in ("whole", *["bfloat16"] * engine.installed(), "building"):
        fast = {"engine": "openvino"} if part == "bfloat16" else {}
        chosen = settings.model_copy(update=fast)
        asks = [
            partial(ask, one, name, side, part, samples, chosen, w) for w in ("library", "ours")
        ]
        library, ours = in_turn(runs, *asks)
        rho, best = ranks(library.values, ours.values) if part != "building" else ("", "")
        yield {
            "part": part,
            "superpixels": ours.facts["superpixels"],
            **beside("lime", library, ours),
            "max diff": f"{np.abs(library.values - ours.values).max():.1e}",
            "rank correlation": rho,
            "ten best": best,
        }


def ranks(one: np.ndarray, other: np.ndarray) -> tuple[str, int]:
    """Spearman's correlation of two images' weights, and how many of their ten best are shared."""
    best = [set(np.argsort(-weights)[:10].tolist()) for weights in (one, other)]
    return f"{spearmanr(one, other).statistic:.4f}", len(best[0] & best[1])


def main() -> None:
    parser = options("LIME, ours against the library")
    parser.add_argument("--samples", type=int, default=1000)
    given = parser.parse_args()
    sheet = Sheet(given.save, "lime")
    for name in given.networks:
        best = ask(fastest, name, given.side)
        rows = compare(name, given.side, best, given.samples, given.runs)
        sheet.table(f"{name}: {best.facts()}", rows)


if __name__ == "__main__":
    main()

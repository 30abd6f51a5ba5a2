"""LIME, ours against the library lime: ``python bench/lime_images.py``.

The same superpixels, samples and network; one process a measurement, ours and the library's in
turn. "whole" is the explanation, "bfloat16" the same through OpenVINO in this precision, where it
is installed, with the rank correlation of the weights with the library's and how many of its ten
best superpixels are the same; "building" is the perturbed images alone: the library's as arrays of
pixels, ours as the network's normalised input.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import lime.lime_image

sys.path += [str(Path(__file__).parent), str(Path(__file__).resolve().parent.parent / "tests")]

import numpy as np
from measure import Measured, Sheet, ask, in_turn, network, options, settings_of, tell
from scipy.stats import spearmanr

import libraries
from vitrine.methods.lime import explain
from vitrine.methods.perturbation import draw, mask
from vitrine.methods.superpixels import superpixels
from vitrine.models import engine
from vitrine.models.inference import InferenceOptions
from vitrine.study.lime import Lime, Quickshift


def one(name: str, part: str, way: str, side: str, samples: str, settings: str) -> None:
    """Measure one explanation or its images; ``way`` is ``ours`` or ``library``."""
    if part == "bfloat16":
        engine.PRECISION, engine.TOLERANCE = "bf16", math.inf
    classifier, crop, frame, target = network(name, int(side))
    segments = superpixels(crop, Quickshift(), seed=0)
    # The library's own batch is 10 images.
    parameters = Lime(samples=int(samples), batch=10)
    chosen = InferenceOptions(**json.loads(settings))

    def whole(asked: Lime = parameters) -> tuple[np.ndarray, dict[str, Any]]:
        found = (
            libraries.explain(classifier, crop, target, asked, segments)
            if way == "library"
            else explain(classifier, crop, frame, target, asked, segments, settings=chosen)
        )
        return found.weights, {"superpixels": len(found.weights)}

    def building() -> tuple[np.ndarray, dict[str, Any]]:
        count = int(segments.max()) + 1
        if way == "ours":
            prepared, shown = mask(classifier, crop, segments, target), draw(int(samples), count, 0)
            for start in range(0, len(shown), 16):
                prepared.images(shown[start : start + 16])
        else:
            lime.lime_image.LimeImageExplainer(random_state=0).explain_instance(
                crop,
                lambda crops: np.zeros((len(crops), 1)),
                labels=(),
                top_labels=None,
                num_samples=int(samples),
                segmentation_fn=lambda _: segments,
            )
        return np.zeros(2), {"superpixels": count}

    if part != "building":
        # The first passes of a process prepare what later ones use; they belong to neither.
        whole(Lime(samples=20, batch=10))
    tell(building if part == "building" else whole)


def compare(sheet: Sheet, name: str, samples: int, runs: int, side: int) -> None:
    """A row of each part."""
    fastest = ask(__file__, "settings", name, str(side)).facts
    sheet.head(
        f"{name}: {fastest}",
        "part",
        "superpixels",
        "lime s",
        "ours s",
        "ratio",
        "lime MB",
        "ours MB",
        "max diff",
        "rank correlation",
        "ten best",
    )
    for part in ("whole", *["bfloat16"] * engine.installed(), "building"):

        def run(way: str, part: str = part) -> Measured:
            settings = fastest | ({"engine": "openvino"} if part == "bfloat16" else {})
            return ask(__file__, name, part, way, str(side), str(samples), json.dumps(settings))

        asks = (lambda: run("library"), lambda: run("ours"))
        (library, theirs), (mine, seconds) = in_turn(runs, *asks)
        sheet.row(
            part,
            mine.facts["superpixels"],
            f"{theirs:.2f}",
            f"{seconds:.2f}",
            f"{theirs / seconds:.2f}",
            f"{library.megabytes:.0f}",
            f"{mine.megabytes:.0f}",
            f"{np.abs(library.values - mine.values).max():.1e}",
            *(ranks(library.values, mine.values) if part != "building" else ("", "")),
        )


def ranks(one: np.ndarray, other: np.ndarray) -> tuple[str, int]:
    """Spearman's correlation of two images' weights, and how many of their ten best are shared."""
    best = [set(np.argsort(-weights)[:10].tolist()) for weights in (one, other)]
    return f"{spearmanr(one, other).statistic:.4f}", len(best[0] & best[1])


def main() -> None:
    parser = options("LIME, ours against the library")
    parser.add_argument("--samples", type=int, default=1000)
    given = parser.parse_args()
    if given.one and given.one[0] == "settings":
        settings_of(*given.one[1:])
    elif given.one:
        one(*given.one)
    else:
        sheet = Sheet(given.save, "lime")
        for name in given.networks:
            compare(sheet, name, given.samples, given.runs, given.side)


if __name__ == "__main__":
    main()

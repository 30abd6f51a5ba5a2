"""Soft WPMI beside its authors' code, and the memory of a dissection.

    python bench/dissection.py --reference PATH [--images 1000 10000] [--save FILE]
    python bench/dissection.py --memory

PATH is a clone of https://github.com/Trustworthy-ML-Lab/CLIP-dissect. One process a measurement,
ours and theirs in turn; memory is the greatest resident size beside the inputs.
"""

import contextlib
import importlib.util
import io
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from measure import ROOT, Measured, Sheet, ask, beside, in_turn, measured, options
from torch import Tensor

UNITS, CONCEPTS, DIMENSIONS = 1000, 20_000, 384
CHECKED_UNITS = 8
"""Units whose similarities are compared with double precision; labels are, of all units."""


def main() -> None:
    parser = options("Soft WPMI, ours against its authors'")
    parser.add_argument("--reference", type=Path, help="a clone of the authors' code")
    parser.add_argument("--images", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--memory", action="store_true", help="peak memory of whole dissections")
    given = parser.parse_args()
    if given.memory:
        peaks = [ask(dissected, images).megabytes for images in (1000, 8000)]
        print(f"1,000 images {peaks[0]:.0f} MB, 8,000 images {peaks[1]:.0f} MB beside the start")
    elif given.reference:
        rows = (compare(images, given.reference, given.runs) for images in given.images)
        Sheet(given.save).table("soft WPMI", rows)
    else:
        parser.error("name the authors' code by --reference, or ask for --memory")


def compare(images: int, reference: Path, runs: int) -> dict[str, object]:
    """A row: both, their errors against double precision, and how many labels are the same."""
    run = partial(ask, one, images, reference)
    theirs, ours = in_turn(runs, partial(run, "reference"), partial(run, "ours"))
    exact = run("exact")

    def error(found: Measured) -> float:
        return float(np.abs(found.values - exact.values).max())

    same = np.mean(np.array(ours.facts["labels"]) == np.array(theirs.facts["labels"]))
    return {
        "images": images,
        **beside("reference", theirs, ours),
        "reference error": f"{error(theirs):.2e}",
        "ours error": f"{error(ours):.2e}",
        "same labels": f"{same:.3f}",
    }


def one(images: int, reference: Path, what: str) -> Measured:
    """Measure ``ours`` or the ``reference``, or compute what is ``exact``."""
    activations, matches = _inputs(images)
    # Importing is no part of the measurement.
    if what == "ours":
        sys.path.append(str(ROOT / "tests"))
        from oracles import similarities
        from vitrine.methods.dissection.similarity import Matches

        compute: Callable[[], Tensor] = lambda: similarities(  # noqa: E731
            "soft_wpmi", activations, Matches(matches)
        )
    elif what == "reference":
        module = _module(reference / "similarity.py")
        compute = lambda: module.soft_wpmi(matches, activations, device="cpu")  # noqa: E731
    else:
        compute = lambda: _exact(activations, matches)  # noqa: E731

    def work() -> tuple[np.ndarray, dict[str, Any]]:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = compute()
        values = found[:CHECKED_UNITS].double().numpy()
        return values, {"labels": found.argmax(dim=1).tolist()}

    return measured(work)


def _inputs(images: int) -> tuple[Tensor, Tensor]:
    """Activations ``[images, units]`` and matches ``[images, concepts]`` like those of CLIP."""
    generator = torch.Generator().manual_seed(0)
    activations = torch.rand(images, UNITS, generator=generator)
    matches = torch.randn(images, CONCEPTS, generator=generator)
    return activations, matches.mul_(0.03).add_(0.2)


def _exact(activations: Tensor, matches: Tensor) -> Tensor:
    """Soft WPMI in double precision, as the paper prints it."""
    sums = torch.cat([(10 * part.double()).logsumexp(dim=1) for part in torch.split(matches, 500)])
    p = (0.998 - torch.arange(100, dtype=torch.float64) / 100 * (0.998 - 0.97))[:, None]
    order = activations.argsort(dim=0, descending=True, stable=True)[:100]
    logs = []
    for unit in range(activations.shape[1]):
        top = order[:, unit]
        softmax = (10 * matches[top].double() - sums[top, None]).exp()
        logs.append((1 + p * (softmax - 1) + 1e-7).log().sum(dim=0))
    whole = torch.stack(logs)
    return whole - (whole.logsumexp(dim=0) - math.log(len(whole)))


def _module(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("reference", path)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def dissected(images: int) -> Measured:
    """The default dissection over images of noise; only its memory is of interest.

    The images are small, which changes nothing but the time and the feature maps of a batch.
    """
    from vitrine.data.images import Image
    from vitrine.methods.dissection import activations as dissection
    from vitrine.methods.dissection import labels as concept_labels
    from vitrine.methods.dissection.similarity import Matches, pick_similarity
    from vitrine.models.registry import load_classifier
    from vitrine.project import Project

    network = load_classifier(Project(ROOT), "efficientnet_lite0", "random")
    preprocessing = replace(network.preprocessing, resize=64, crop=64)
    network = replace(network, preprocessing=preprocessing)
    generator = np.random.default_rng(0)

    def noise() -> Iterator[tuple[int, Image]]:
        for place in range(images):
            yield place, Image("", "", generator.integers(0, 255, (64, 64, 3), dtype=np.uint8))

    def work() -> tuple[np.ndarray, dict[str, Any]]:
        kept = dissection.collect(network, network.stages, noise(), "mean", keep=100, batch=16)
        embeddings = torch.nn.functional.normalize(torch.randn(images, DIMENSIONS))
        texts = torch.nn.functional.normalize(torch.randn(CONCEPTS, DIMENSIONS))
        given = (Matches(embeddings, texts), pick_similarity("soft_wpmi"))
        for activations in kept.values():
            concept_labels.label(activations, *given)
        return np.zeros(1), {}

    return measured(work)


if __name__ == "__main__":
    main()

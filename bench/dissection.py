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
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from measure import ROOT, Measured, Sheet, ask, in_turn, options, tell
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
    if given.one:
        one(given.one[0], int(given.one[1]), *map(Path, given.one[2:]))
    elif given.memory:
        peaks = [ask(__file__, "dissect", str(images)).megabytes for images in (1000, 8000)]
        print(f"1,000 images {peaks[0]:.0f} MB, 8,000 images {peaks[1]:.0f} MB beside the start")
    elif given.reference:
        sheet = Sheet(given.save)
        sheet.head("soft WPMI", *COLUMNS)
        for images in given.images:
            compare(sheet, images, given.reference, given.runs)
    else:
        parser.error("name the authors' code by --reference, or ask for --memory")


COLUMNS = (
    "images",
    "reference s",
    "ours s",
    "ratio",
    "reference MB",
    "ours MB",
    "reference error",
    "ours error",
    "same labels",
)


def compare(sheet: Sheet, images: int, reference: Path, runs: int) -> None:
    """A row: both, their errors against double precision, and how many labels are the same."""

    def run(what: str) -> Callable[[], Measured]:
        return lambda: ask(__file__, what, str(images), str(reference))

    (theirs, long), (ours, short) = in_turn(runs, run("reference"), run("ours"))
    exact = run("exact")()

    def error(found: Measured) -> float:
        return float(np.abs(found.values - exact.values).max())

    same = np.mean(np.array(ours.facts["labels"]) == np.array(theirs.facts["labels"]))
    sheet.row(
        images,
        f"{long:.2f}",
        f"{short:.2f}",
        f"{long / short:.1f}",
        f"{theirs.megabytes:.0f}",
        f"{ours.megabytes:.0f}",
        f"{error(theirs):.2e}",
        f"{error(ours):.2e}",
        f"{same:.3f}",
    )


def one(what: str, images: int, reference: Path = Path()) -> None:
    """Measure ``ours`` or the ``reference``, compute what is ``exact``, or ``dissect``."""
    if what == "dissect":
        tell(lambda: (np.zeros(1), _dissect(images)))
        return
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

    tell(work)


def _inputs(images: int) -> tuple[Tensor, Tensor]:
    """Activations ``[images, units]`` and matches ``[images, concepts]`` like those of CLIP."""
    generator = torch.Generator().manual_seed(0)
    activations = torch.rand(images, UNITS, generator=generator)
    matches = torch.randn(images, CONCEPTS, generator=generator)
    return activations, matches.mul_(0.03).add_(0.2)


def _exact(activations: Tensor, matches: Tensor) -> Tensor:
    """Soft WPMI in double precision, as the paper prints it."""
    sums = torch.cat([(10 * part.double()).logsumexp(dim=1) for part in matches.split(500)])
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


def _dissect(images: int) -> dict[str, Any]:
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

    kept = dissection.collect(network, network.stages, noise(), "mean", keep=100, batch=16)
    embeddings = torch.nn.functional.normalize(torch.randn(images, DIMENSIONS))
    texts = torch.nn.functional.normalize(torch.randn(CONCEPTS, DIMENSIONS))
    given = (Matches(embeddings, texts), pick_similarity("soft_wpmi"))
    for activations in kept.values():
        concept_labels.label(activations, *given)
    return {}


if __name__ == "__main__":
    main()

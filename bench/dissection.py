"""How fast, how exact and how small: soft WPMI beside its authors' code, and a dissection.

    python bench/dissection.py [--reference PATH] [--images 1000 10000] [--memory]

PATH is a clone of https://github.com/Trustworthy-ML-Lab/CLIP-dissect; without it only our own
figures are printed. Every measurement runs in a process of its own, so that none sees
the memory or the warm caches of another; memory is the greatest resident size beside the inputs.
Processor seconds, the sum over all threads, say more than seconds where the machine is shared.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

UNITS, CONCEPTS, DIMENSIONS = 1000, 20_000, 384
CHECKED_UNITS = 8
"""Units whose similarities are compared with double precision; labels are, of all units."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--reference", type=Path, help="a clone of the authors' code")
    parser.add_argument("--images", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--memory", action="store_true", help="peak memory of whole dissections")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(
            json.dumps(_worker(given.worker[0], int(given.worker[1]), Path(given.worker[2]), given))
        )
        return
    print(f"soft WPMI, {UNITS} units × {CONCEPTS} concepts, {torch.get_num_threads()} threads")
    for images in given.images:
        _compare(images, given.reference)
    if given.memory:
        _memory()


def _compare(images: int, reference: Path | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ours = _run("ours", images, folder, reference)
        theirs = _run("reference", images, folder, reference) if reference else None
        exact = _run("exact", images, folder, reference)
    print(
        f"\n{images:5d} images       seconds   processor   MB beside inputs"
        "   error against float64   labels of float64"
    )
    for name, found in (("vitrine", ours), ("reference", theirs)):
        if found:
            error = np.abs(np.array(found["values"]) - np.array(exact["values"])).max()
            same = np.mean(np.array(found["labels"]) == np.array(exact["labels"]))
            print(
                f"  {name:18s} {found['seconds']:8.2f} {found['processor']:11.2f} "
                f"{found['megabytes']:18.0f} {error:23.2e} {same:19.1%}"
            )
    if theirs:
        same = np.mean(np.array(ours["labels"]) == np.array(theirs["labels"]))
        ratio = theirs["seconds"] / ours["seconds"]
        processor = theirs["processor"] / ours["processor"]
        print(
            f"  {ratio:.1f} times as fast ({processor:.1f} by processor seconds); "
            f"{same:.1%} of the labels are the same"
        )


def _run(what: str, images: int, folder: str, reference: Path | None) -> dict[str, Any]:
    command = [sys.executable, __file__, "--worker", what, str(images), folder]
    if reference:
        command += ["--reference", str(reference)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        sys.exit(answer.stderr)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def _worker(what: str, images: int, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    if what == "dissect":
        return _dissect(images, folder)
    activations, matches = _inputs(images)
    if what == "exact":
        found = _exact(activations, matches)
        return {
            "labels": found.argmax(dim=1).tolist(),
            "values": found[:CHECKED_UNITS].tolist(),
        }
    # Importing is no part of the measurement.
    if what == "ours":
        from vitrine.methods.dissection.similarity import Matches, similarities

        before, start, processor = _resident(), time.perf_counter(), time.process_time()
        found = similarities("soft_wpmi", activations, Matches(matches))
    else:
        module = _module(given.reference / "similarity.py")
        before, start, processor = _resident(), time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = module.soft_wpmi(matches, activations, device="cpu")
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "processor": time.process_time() - processor,
        "megabytes": _peak() - before,
        "labels": found.argmax(dim=1).tolist(),
        "values": found[:CHECKED_UNITS].double().tolist(),
    }


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


# --- the memory of a dissection ------------------------------------------------------------------


def _memory() -> None:
    print("\ndissection of a random EfficientNet-Lite0     images   peak MB")
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for images in (1000, 8000):
            peaks.append(_run("dissect", images, folder, None)["megabytes"])
            print(f"{'':45s} {images:8d} {peaks[-1]:9.0f}")
    print(f"  {peaks[1] / peaks[0] - 1:+.1%}")


def _dissect(images: int, folder: Path) -> dict[str, Any]:
    """The default dissection over images of noise; only its memory is of interest.

    The images are small, which changes nothing but the time and the feature maps of a batch.
    """
    from vitrine.data.images import Image
    from vitrine.methods.dissection import activations as dissection
    from vitrine.methods.dissection import labels as concept_labels
    from vitrine.methods.dissection.similarity import parameters_of, pick_similarity
    from vitrine.models.registry import load_classifier
    from vitrine.project import Project

    network = load_classifier(Project(folder), "efficientnet_lite0", "random")
    preprocessing = replace(network.preprocessing, resize=64, crop=64)
    network = replace(network, preprocessing=preprocessing)
    generator = np.random.default_rng(0)

    def noise() -> Iterator[tuple[int, Image]]:
        for place in range(images):
            yield place, Image("", "", generator.integers(0, 255, (64, 64, 3), dtype=np.uint8))

    kept = dissection.collect(network, network.stages, noise(), "mean", keep=100, batch=16)
    embeddings = torch.nn.functional.normalize(torch.randn(images, DIMENSIONS))
    texts = torch.nn.functional.normalize(torch.randn(CONCEPTS, DIMENSIONS))
    row, parameters = pick_similarity("soft_wpmi"), parameters_of("soft_wpmi", {})
    for activations in kept.values():
        concept_labels.label(activations, embeddings, texts, row, parameters)
    return {"megabytes": _peak()}


def _resident() -> float:
    """The memory that this process has now, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _peak() -> float:
    """The greatest memory that this process had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()

"""What the benchmarks share: each measurement in a process of its own, ours and theirs in turn."""

import argparse
import contextlib
import csv
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from vitrine.arrays import Values
from vitrine.data.images import Frame, Image, Pixels
from vitrine.models import engine
from vitrine.models.classifier import Classifier
from vitrine.models.inference import InferenceOptions, fastest_options
from vitrine.models.registry import load_classifier
from vitrine.project import Project

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = {"resnet50": "random", "efficientnet_lite0": "pretrained"}

Found = TypeVar("Found")


@dataclass(frozen=True)
class Measured:
    """One run: seconds, extra peak memory in megabytes, and what was computed."""

    seconds: float
    megabytes: float
    values: Values
    facts: dict[str, Any]


def network(name: str, side: int = 0) -> tuple[Classifier, Pixels, Frame, int]:
    """A network with an image of coloured patches and its predicted class.

    With ``side`` the network sees a smaller image, to try the benchmark out.
    """
    classifier = load_classifier(Project(ROOT), name, weights=NETWORKS[name])
    if side:
        smaller = replace(classifier.preprocessing, resize=side, crop=side)
        classifier = replace(classifier, preprocessing=smaller)
    generator = np.random.default_rng(1)
    coarse = generator.integers(0, 255, (9, 9, 3), dtype=np.uint8)
    noise = generator.integers(0, 40, (360, 360, 3), dtype=np.uint8)
    pixels = np.kron(coarse, np.ones((40, 40, 1), dtype=np.uint8)) // 2 + noise
    image = Image("patches", "", pixels)
    crop = classifier.crop(image)
    target = int(classifier.probabilities(crop[None])[0].argmax())
    return classifier, crop, classifier.frame(image), target


def measured(work: Callable[[], tuple[npt.ArrayLike, dict[str, Any]]]) -> Measured:
    """Run ``work`` once, in this process, and say what it took."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    values, facts = work()
    seconds = time.perf_counter() - start
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return Measured(seconds, extra, np.asarray(values, dtype=np.float64).ravel(), facts)


def ask(function: Callable[..., Found], *arguments: object) -> Found:
    """What a function of a script gives in a process of its own, which prints nothing here."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(_quiet, function, *arguments).result()


def _quiet(function: Callable[..., Found], *arguments: object) -> Found:
    with contextlib.redirect_stdout(sys.stderr):
        return function(*arguments)


def fastest(name: str, side: int) -> InferenceOptions:
    """The fastest settings of a network."""
    return fastest_options(network(name, side)[0])


def in_turn(runs: int, *asks: Callable[[], Measured]) -> list[Measured]:
    """Each measurement ``runs`` times, in turn, so that other load falls on all of them alike.

    The last run of each with the median of its seconds.
    """
    rounds = [[ask() for ask in asks] for _ in range(runs)]
    columns = zip(*rounds, strict=True)
    return [replace(each[-1], seconds=median(run.seconds for run in each)) for each in columns]


def beside(title: str, theirs: Measured, ours: Measured) -> dict[str, str]:
    """What a library called ``title`` takes beside ours, as columns of a table."""
    return {
        f"{title} s": f"{theirs.seconds:.3f}",
        "ours s": f"{ours.seconds:.3f}",
        "ratio": f"{theirs.seconds / ours.seconds:.2f}",
        f"{title} MB": f"{theirs.megabytes:.0f}",
        "ours MB": f"{ours.megabytes:.0f}",
    }


def options(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=3, help="rounds of ours and theirs in turn")
    parser.add_argument("--side", type=int, default=0, help="pixels of the input, 0 for its own")
    parser.add_argument("--save", type=Path, help="a CSV file for the table, beside printing it")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    return parser


class Sheet:
    """A Markdown table that is printed row by row, and kept as CSV where ``path`` says.

    The file's first line, a comment, says when and with what it was measured.

    packages : those whose versions matter.
    """

    def __init__(self, path: Path | None, *packages: str) -> None:
        self.path = path
        self.lines: list[list[str]] = []
        named = dict.fromkeys(["torch", *packages, *["openvino"] * engine.installed()])
        known = ", ".join(f"{name} {version(name)}" for name in named)
        self.measured = f"{date.today()}, {os.cpu_count()} cores of {_processor()}, {known}"
        print(self.measured)

    def table(self, title: str, rows: Iterable[dict[str, object]], of: str = "network") -> None:
        """Add rows of the same columns; ``title`` is the network, or what else they are of."""
        print(f"\n{title}\n")
        for number, row in enumerate(rows):
            if number == 0:
                self.lines = self.lines or [[of, *row]]
                _print([*row])
                _print(["---"] * len(row))
            texts = [str(cell) for cell in row.values()]
            _print(texts)
            self.lines.append([title.split(":")[0], *texts])
            if self.path:
                with self.path.open("w", encoding="utf-8", newline="") as file:
                    file.write(f"# {self.measured}\n")
                    csv.writer(file, lineterminator="\n").writerows(self.lines)


def _processor() -> str:
    """What the system calls the processor."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def _print(cells: Sequence[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)

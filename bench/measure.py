"""What the benchmarks share: each measurement in a process of its own, ours and theirs in turn."""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from vitrine.data.images import Frame, Image, Pixels
from vitrine.models import engine
from vitrine.models.classifier import Classifier
from vitrine.models.inference import fastest_options
from vitrine.models.registry import load_classifier
from vitrine.project import Project

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = {"resnet50": "random", "efficientnet_lite0": "pretrained"}


@dataclass(frozen=True)
class Measured:
    """One run: seconds, extra peak memory in megabytes, and what was computed."""

    seconds: float
    megabytes: float
    values: np.ndarray
    facts: dict[str, Any]


def network(name: str, side: int | None = None) -> tuple[Classifier, Pixels, Frame, int]:
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


def tell(work: Callable[[], tuple[np.ndarray, dict[str, Any]]]) -> None:
    """Run ``work`` once, in this process, and print what it took as one line of JSON."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    values, facts = work()
    seconds = time.perf_counter() - start
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps([seconds, extra, np.asarray(values).ravel().tolist(), facts]))


def ask(script: str, *arguments: str) -> Measured:
    """Run ``script`` with these arguments in a process of its own and read what it tells."""
    command = [sys.executable, script, "--one", *arguments]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, extra, values, facts = json.loads(answer.stdout.splitlines()[-1])
    return Measured(seconds, extra, np.asarray(values), facts)


def settings_of(name: str, side: str) -> None:
    """Measure the fastest settings of a network in a process of its own."""
    classifier, *_ = network(name, int(side))
    tell(lambda: (np.zeros(1), fastest_options(classifier).facts()))


def in_turn(runs: int, *asks: Callable[[], Measured]) -> list[tuple[Measured, float]]:
    """Each measurement ``runs`` times, in turn, so that other load falls on all of them alike.

    The last run of each with the median of its seconds.
    """
    rounds = [[ask() for ask in asks] for _ in range(runs)]
    columns = zip(*rounds, strict=True)
    return [(column[-1], median(each.seconds for each in column)) for column in columns]


def options(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
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

    def head(self, title: str, *cells: str, of: str = "network") -> None:
        """Begin a table of these columns; ``title`` is the network, or what else it is of."""
        print(f"\n{title}\n")
        self.first = title.split(":")[0]
        self.lines = self.lines or [[of, *cells]]
        _print(cells)
        _print(["---"] * len(cells))

    def row(self, *cells: object) -> None:
        texts = [str(cell) for cell in cells]
        _print(texts)
        self.lines.append([self.first, *texts])
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

"""A dissection's pass of a probing set by one process and by several workers.

The probing set is made of the sample images by seeded crops and flips, so that it can be as large
as one likes. Each row is two runs, of few images and of many, each in a process of its own with one
thread a worker: `images/s` is what the difference takes, `ideal` that of one process times the
workers, as far as there are cores, and `beside s` is all that does not grow with the images:
starting workers, loading the network, the labels. `MB` is the greatest memory of a process.

    python bench/workers.py --save data/bench/workers.csv
    python bench/workers.py --images 1000 50000 --pixels 160 --workers 2 --save data/bench/many.csv
"""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import torch
from measure import ROOT, Measured, Sheet, ask, measured, options
from PIL import Image

from vitrine.data import sources
from vitrine.experiments.run import run
from vitrine.experiments.workers import Workers
from vitrine.project import Project
from vitrine.study import load_study

SOURCE = "imagenet-sample-images"

STUDY = """
title = "bench"
description = "A probing set of any size."
classifiers = [{ name = "efficientnet_lite0" }]

[images]
source = "imagenet-sample-images"
files = ["n02007558_flamingo.JPEG"]

[dissection]
classifiers = [{ name = "efficientnet_lite0" }]
concepts = "words.txt"
images = { folder = "probing" }
null_draws = 300
parameters = { top_k = 20 }

[dissection.encoder]
name = "conse"
probabilities = "true"
"""


def make(folder: Path, count: int, pixels: int) -> Project:
    """A project whose probing set has so many images, with at most so many pixels a side."""
    project, own = Project(ROOT), Project(folder)
    (folder / "_quarto.yml").write_text("project:\n  type: book\n", encoding="utf-8")
    own.study_file("bench").parent.mkdir(parents=True)
    own.study_file("bench").write_text(STUDY, encoding="utf-8")
    shutil.copy(ROOT / "data" / "sources.toml", folder / "data")
    shutil.copytree(ROOT / "data" / "registries", folder / "data" / "registries")
    files = sorted(sources.pick_source(project, SOURCE).digests)
    words = [file.split("_", 1)[1].split(".")[0].replace("_", " ") for file in files[:200]]
    (folder / "words.txt").write_text("\n".join(words), encoding="utf-8")
    (folder / "probing").mkdir()
    generator = np.random.default_rng(0)
    for place in range(count):
        file = files[place % len(files)]
        image = Image.open(sources.fetch(project, SOURCE, [file])[file]).convert("RGB")
        left, top = generator.uniform(0, 0.2, 2) * image.size
        right, bottom = np.array(image.size) * generator.uniform(0.8, 1, 2)
        cut = image.crop((int(left), int(top), int(right), int(bottom)))
        turned = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if place % 2 else cut
        turned.thumbnail((pixels, pixels))
        stem = file.rsplit(".", 1)[0]
        turned.save(folder / "probing" / f"{stem}_{place:06d}.jpg", quality=90)
    return own


def one(project: Project, workers: int) -> Measured:
    """One run, with the greatest memory of a process."""
    torch.set_num_threads(max(1, workers))  # which workers share
    shutil.rmtree(project.results, ignore_errors=True)
    greatest, over = [0.0], threading.Event()

    def look() -> None:
        own = psutil.Process()
        while not over.wait(0.2):
            for process in own.children(recursive=True) if workers else [own]:
                try:
                    greatest[0] = max(greatest[0], process.memory_info().rss / 2**20)
                except psutil.Error:
                    continue

    threading.Thread(target=look, daemon=True).start()

    def work() -> tuple[np.ndarray, dict[str, float]]:
        hired = Workers(workers) if workers else None
        run(project, load_study(project, "bench"), "cpu", workers=hired)
        over.set()
        return np.zeros(1), {"megabytes": greatest[0]}

    return measured(work)


def compare(few: int, many: int, workers: list[int], pixels: int) -> Iterator[dict[str, object]]:
    """A row a number of workers; 0 is one process without any."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        projects = [make(Path(first), few, pixels), make(Path(second), many, pixels)]
        alone = 0.0
        ask(one, projects[0], 0)  # what is kept in caches is there for all
        for count in workers:
            small, large = (ask(one, project, count) for project in projects)
            rate = (many - few) / (large.seconds - small.seconds)
            alone = alone or (rate if count < 2 else float("nan"))
            ideal = alone * min(max(count, 1), os.cpu_count() or 1)
            yield {
                "workers": count,
                "images/s": f"{rate:.1f}",
                "ideal": f"{ideal:.1f}",
                "beside s": f"{large.seconds - many / rate:.1f}",
                f"MB, {few} images": f"{small.facts['megabytes']:.0f}",
                f"MB, {many} images": f"{large.facts['megabytes']:.0f}",
            }


def main() -> None:
    parser = options("Several workers")
    parser.add_argument("--images", type=int, nargs=2, default=[200, 1000])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--pixels", type=int, default=10_000, help="of a side of the images")
    given = parser.parse_args()
    few, many = given.images
    rows = compare(few, many, given.workers, given.pixels)
    Sheet(given.save, "distributed").table("efficientnet_lite0", rows)


if __name__ == "__main__":
    main()

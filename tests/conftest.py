"""What the tests share: a project in a temporary folder, the mirror, tiny images and networks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from browser import Visit, Visits, find_browser
from vitrine.project import Project

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from vitrine.experiments.base import Progress
    from vitrine.report.study_report import StudyReport

ROOT = Path(__file__).resolve().parent.parent
MIRROR = Path(os.environ.get("VITRINE_MIRROR") or ROOT.parent / "shared" / "mirror").resolve()
LITE = "efficientnet_lite0"
TEN = "EliSchwartz/imagenet-sample-images/bc69043e2862758a1906c6a24a792bb28c6bb2ff"

# A busy machine is no failure: no test asserts a time.
settings.register_profile("vitrine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("vitrine")

SLOW = (
    "test_matrix",
    "test_assignment",
    "test_cli",
    "test_evaluation",
    "test_experiments",
    "test_freeze",
    "test_import",
    "test_maps",
    "test_methods",
    "test_networks_of_others",
    "test_own",
    "test_pipeline",
    "test_public_networks",
    "test_render",
    "test_site",
    "test_viewer",
    "test_workers",
)
"""Tests that compute studies, render books or need a browser; `make test-fast` leaves them out.

The longest come first, so that of several processes none is left with one of them at the end.
"""

HEAVY = {"browser", "done"}
"""Fixtures that need a browser or compute a study: what asks for one is slow, in any module."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Modules of which all is slow are not even imported where nothing slow is wanted."""
    return (config.option.markexpr == "not slow" and collection_path.stem in SLOW) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(SLOW)}
    items.sort(key=lambda item: place.get(item.path.stem, len(SLOW)))
    for item in items:
        if item.path.stem in place or HEAVY & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The mirror of outside files; tests that need it are skipped where it is not."""
    if not (MIRROR / TEN).is_dir():
        pytest.skip(f"no mirror of the outside files at {MIRROR} (set VITRINE_MIRROR)")
    return MIRROR


@pytest.fixture
def mirrored(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mirror, which downloads come from."""
    monkeypatch.setenv("VITRINE_MIRROR", str(mirror))
    return mirror


@pytest.fixture(autouse=True)
def _no_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test says itself whether there is a mirror and where the cache is."""
    for name in ("VITRINE_MIRROR", "VITRINE_CACHE", "VITRINE_PROJECT", "QUARTO_EXECUTE_INFO"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for the whole session: a second one would not start beside it."""
    from playwright.sync_api import sync_playwright

    path = find_browser()
    if path is None:
        pytest.skip("no browser for the page tests (python tests/browser.py installs one)")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield found
        found.close()


@pytest.fixture
def visits(browser: Browser) -> Iterator[Visits]:
    """Opens tabs of a width, and other options of a context; nothing may go wrong in them."""
    tabs: list[Visit] = []

    def visit(width: int = 1280, **options: Any) -> Visit:
        tabs.append(Visit(browser, width, **options))
        return tabs[-1]

    yield visit
    for tab in tabs:
        tab.context.close()
    assert [trouble for tab in tabs for trouble in tab.troubles] == []


@pytest.fixture
def visit(visits: Visits) -> Visit:
    """A tab."""
    return visits()


@pytest.fixture(scope="module")
def small_crops() -> Iterator[None]:
    """EfficientNet-Lite0 sees 96 pixels in place of 224, in modules without `done`: a fifth of the
    work a pass."""
    from vitrine.models.registry import CLASSIFIERS

    row = CLASSIFIERS[LITE]
    seen = replace(row.preprocessing, resize=104, crop=96)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CLASSIFIERS, LITE, replace(row, preprocessing=seen))
        yield


def new_project(folder: Path) -> Project:
    """An empty project with this repository's sources."""
    (folder / "_quarto.yml").write_text("project:\n  type: book\n", encoding="utf-8")
    (folder / "data" / "studies").mkdir(parents=True)
    shutil.copy(ROOT / "data" / "sources.toml", folder / "data")
    shutil.copytree(ROOT / "data" / "registries", folder / "data" / "registries")
    return Project(folder)


def write_study(project: Project, name: str, text: str) -> None:
    """Write a study's file into its folder."""
    path = project.study_file(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def change_study(project: Project, old: str, new: str) -> None:
    """Replace a text in the file of the study ``tiny``."""
    path = project.study_file("tiny")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path from there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def vitrine(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    return subprocess.run(
        [sys.executable, "-c", "from vitrine.cli import main; main()", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "1000"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def counting() -> tuple[Progress, list[tuple[int, int, int]], list[int]]:
    """A progress that notes what a run plans (passes and tasks to do, tasks done) and passes."""
    from vitrine.experiments.base import Progress

    planned: list[tuple[int, int, int]] = []
    passes: list[int] = []
    told = Progress(plan=lambda *found: planned.append(found), advance=passes.append)
    return told, planned, passes


class Evil:
    """Pickles to a call of a function with arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path)


STUDY = """
title = "tiny"
description = "Two images, a random network."
classifiers = [{ name = "efficientnet_lite0", weights = "random" }]

[images]
folder = "images"
files = ["n00000001_red_square.png", "n00000002_noise.png"]

[cam]
methods = ["gradcam"]

[speed]
batch = 8

[lime]
samples = 24

[agreement]
share = 0.2
shares = [0.1, 0.2]
bootstrap = 100
"""

MEASURES = """
[measures]
curve_steps = 2
infidelity_squares = 4
infidelity_side = 20
perturbations = 1
stages = 2
seeds = 2
lime_samples = 30
seed = 1
batch = 4
"""
"""As little of each measure as there can be of the studies here."""


def new_tiny(folder: Path, study: str = STUDY) -> Project:
    """A project with the study ``tiny``: two small images and a randomly initialised network."""
    project = new_project(folder)
    images = folder / "images"
    images.mkdir()
    square = np.full((96, 128, 3), 200, dtype=np.uint8)
    square[24:72, 40:88] = (200, 20, 20)
    noise = np.random.default_rng(0).integers(0, 255, (120, 90, 3), dtype=np.uint8)
    Image.fromarray(square).save(images / "n00000001_red_square.png")
    Image.fromarray(noise).save(images / "n00000002_noise.png")
    write_study(project, "tiny", study)
    return project


@pytest.fixture
def tiny(tmp_path: Path) -> Project:
    """``new_tiny``, not run yet."""
    return new_tiny(tmp_path)


@pytest.fixture(scope="session")
def _run_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    from vitrine.experiments.run import run
    from vitrine.study import load_study

    project = new_tiny(tmp_path_factory.mktemp("run"))
    run(project, load_study(project, "tiny"))
    return project


@pytest.fixture
def done(_run_once: Project, tmp_path: Path) -> Project:
    """``tiny`` with its results, in a copy of the test's own."""
    shutil.copytree(_run_once.root, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


@pytest.fixture
def embedded(
    root: Path, mirrored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StudyReport:
    """The committed study ``embedded``, with images of the mirror and a cache of the test's own."""
    from vitrine.report import open_study

    monkeypatch.setenv("VITRINE_PROJECT", str(root))
    monkeypatch.setenv("VITRINE_CACHE", str(tmp_path / "cache"))
    return open_study("embedded")


@pytest.fixture
def image_file(tmp_path: Path) -> Callable[..., Path]:
    """Saves an image under a name and returns its path."""

    def save(image: Image.Image, name: str, **options: object) -> Path:
        path = tmp_path / name
        image.save(path, **options)  # type: ignore[arg-type]
        return path

    return save


def tell_page(folder: Path, name: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a page be executed for a format, as Quarto tells its kernels."""
    document, identifier = str(folder / f"{name}.qmd"), {"target-format": target}
    told = {"document-path": document, "format": {"identifier": identifier}}
    (folder / "info.json").write_text(json.dumps(told))
    monkeypatch.setenv("QUARTO_EXECUTE_INFO", str(folder / "info.json"))


SPOILED: dict[str, Callable[[Path, bytes], object]] = {
    "UTF-16": lambda path, content: path.write_bytes(content.decode().encode("utf-16")),
    "Latin-1": lambda path, content: path.write_bytes("# é\n".encode("latin-1") + content),
    "empty": lambda path, content: path.write_bytes(b""),
    "binary": lambda path, content: path.write_bytes(bytes(range(256))),
    "half": lambda path, content: path.write_bytes(content[: len(content) // 2]),
    "deep": lambda path, content: path.write_bytes(b"x = " + b"[" * 5000),
    "a folder": lambda path, content: path.mkdir(),
    "a loop": lambda path, content: path.symlink_to(path.name),
    "a link to nothing": lambda path, content: path.symlink_to("nothing"),
}
"""What may have happened to a file of text, by a name for it."""


@pytest.fixture(params=list(SPOILED))
def spoil(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    """Spoils a file in one of the ways of ``SPOILED``."""

    def spoiled(path: Path) -> None:
        content = path.read_bytes()
        path.unlink()
        SPOILED[request.param](path, content)

    return spoiled

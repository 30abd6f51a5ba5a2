"""What the tests share: a project in a temporary folder, the mirror, tiny pictures and networks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrine.project import Project

ROOT = Path(__file__).resolve().parent.parent
MIRROR = Path(os.environ.get("VITRINE_MIRROR") or ROOT.parent / "shared" / "mirror").resolve()
TEN = "EliSchwartz/imagenet-sample-images/bc69043e2862758a1906c6a24a792bb28c6bb2ff"


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


@pytest.fixture(autouse=True)
def _no_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test says itself whether there is a mirror and where the cache is."""
    for name in ("VITRINE_MIRROR", "VITRINE_CACHE", "VITRINE_PROJECT", "QUARTO_EXECUTE_INFO"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project with this repository's sources."""
    (tmp_path / "_quarto.yml").write_text("project:\n  type: book\n", encoding="utf-8")
    (tmp_path / "data" / "studies").mkdir(parents=True)
    shutil.copy(ROOT / "data" / "sources.toml", tmp_path / "data")
    shutil.copytree(ROOT / "data" / "registries", tmp_path / "data" / "registries")
    return Project(tmp_path)


STUDY = """
title = "tiny"
description = "Two pictures, a random network."
classifiers = [{ name = "efficientnet_lite0", weights = "random" }]

[pictures]
folder = "pictures"
files = ["n00000001_red_square.png", "n00000002_noise.png"]

[cam]
methods = ["gradcam"]

[speed]
batch = 8

[lime]
samples = 24

[comparison]
share = 0.2
shares = [0.1, 0.2]
bootstrap = 100
"""


@pytest.fixture
def tiny(project: Project) -> Project:
    """A project with the study ``tiny``: two small pictures and a randomly initialised network."""
    folder = project.root / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(0)
    square = np.full((96, 128, 3), 200, dtype=np.uint8)
    square[24:72, 40:88] = (200, 20, 20)
    noise = generator.integers(0, 255, (120, 90, 3), dtype=np.uint8)
    Image.fromarray(square).save(folder / "n00000001_red_square.png")
    Image.fromarray(noise).save(folder / "n00000002_noise.png")
    (project.studies / "tiny.toml").write_text(STUDY, encoding="utf-8")
    return project


@pytest.fixture
def picture_file(tmp_path: Path) -> Callable[..., Path]:
    """Saves an image under a name and returns its path."""

    def save(image: Image.Image, name: str, **options: object) -> Path:
        path = tmp_path / name
        image.save(path, **options)  # type: ignore[arg-type]
        return path

    return save


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

"""Files from outside: where they come from, and how they are brought in safely.

``data/sources.toml`` names every file with its SHA-256. Downloads go through pooch: into a unique
temporary file in the cache's own folder, verified, then moved into place; a cached file whose
digest is wrong is fetched again, one whose digest is right is never fetched twice.

``VITRINE_MIRROR`` names a folder that stands in for the network. A file of
``https://raw.githubusercontent.com/OWNER/REPO/COMMIT/PATH`` lies there as
``OWNER/REPO/COMMIT/PATH``; any other ``https://HOST/PATH`` as ``HOST/PATH``. Digests are checked
just the same.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pooch
import requests

from vitrine.errors import SourceError
from vitrine.project import Project
from vitrine.study import suggestion

PIN = "pin"
"""The digest of a file whose owner publishes none: pinned at its first download."""

RETRIES = 3
_RAW_GITHUB = "raw.githubusercontent.com"

Report = Callable[[str], None]
"""Called with the name of each file once it is present and verified."""


@dataclass(frozen=True)
class Source:
    """One owner's files: a base URL and the SHA-256 of each file below it."""

    name: str
    title: str
    owner: str
    url: str
    licence: str
    used_for: str
    digests: dict[str, str]


def load_sources(project: Project) -> dict[str, Source]:
    """The sources of ``data/sources.toml`` by name. Raises ``SourceError``."""
    path = project.data / "sources.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: _source(path, name, row) for name, row in table.items()}
    except OSError as error:
        raise SourceError(f"{project.relative(path)} cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, KeyError, ValueError) as error:
        raise SourceError(
            f"{project.relative(path)} is not a valid list of sources: {error}"
        ) from error


def _source(path: Path, name: str, row: dict[str, Any]) -> Source:
    digests = dict(row.get("files", {}))
    if "registry" in row:
        for line in (path.parent / row["registry"]).read_text(encoding="utf-8").splitlines():
            file, _, digest = line.rpartition(" ")
            digests[file] = digest
    texts = {key: row[key] for key in ("title", "owner", "url", "licence", "used_for")}
    return Source(name=name, digests=digests, **texts)


def pick_source(project: Project, name: str) -> Source:
    """The source called ``name``. Raises ``SourceError`` listing those there are."""
    sources = load_sources(project)
    if name not in sources:
        raise SourceError(
            f"There is no source {name!r} in data/sources.toml",
            suggestion(name, sorted(sources), "The sources are"),
        )
    return sources[name]


def cached_path(project: Project, source: Source, file: str) -> Path:
    """Where ``file`` of ``source`` lies once it is fetched."""
    return project.cache / source.name / file


def is_intact(project: Project, source: Source, file: str) -> bool | None:
    """Whether the cached file has its digest; ``None`` when it is not cached."""
    path = cached_path(project, source, file)
    if not path.is_file():
        return None
    expected = _expected_digest(project, source, file)
    return expected is not None and pooch.file_hash(str(path)) == expected


def fetch(
    project: Project, source_name: str, files: Iterable[str], report: Report = lambda _: None
) -> dict[str, Path]:
    """Bring ``files`` of a source into the cache and return their paths by name.

    A file that is cached and intact is not touched. Raises ``SourceError`` for a file that the
    source does not list, a digest that does not match, an unreachable network or mirror, and a
    cache that cannot be written. What was fetched before the error stays.
    """
    source = pick_source(project, source_name)
    wanted = list(files)
    for file in wanted:
        if file not in source.digests:
            raise SourceError(
                f"The source {source.name!r} has no file {file!r}",
                suggestion(
                    file,
                    sorted(source.digests)[:2000],
                    "Its files are listed in data/sources.toml:",
                )[:300],
            )
    paths = {}
    for file in wanted:
        paths[file] = _fetch_one(project, source, file)
        report(file)
    return paths


def fetch_one(project: Project, source_name: str, file: str) -> Path:
    """Bring one file of a source into the cache and return its path. Raises ``SourceError``."""
    return fetch(project, source_name, [file])[file]


def _fetch_one(project: Project, source: Source, file: str) -> Path:
    folder = project.cache / source.name
    expected = _expected_digest(project, source, file)
    pooch.get_logger().setLevel(logging.ERROR)
    keeper = pooch.create(
        path=folder,
        base_url=source.url,
        registry={file: f"sha256:{expected}" if expected else None},
        retry_if_failed=0 if _mirror() else RETRIES,
    )
    try:
        path = Path(keeper.fetch(file, downloader=_from_mirror if _mirror() else None))
    except ValueError as error:
        raise SourceError(
            f"{source.url}{file} does not have the SHA-256 that data/sources.toml gives",
            "Nothing was kept. Try again later, and if it stays so, ask the owner what changed",
        ) from error
    except requests.RequestException as error:
        raise SourceError(
            f"{source.url}{file} cannot be downloaded ({type(error).__name__})",
            "Connect to the network, or set VITRINE_MIRROR to a folder that holds the files",
        ) from error
    except OSError as error:
        raise SourceError(
            f"The cache folder {folder} cannot be written ({error.strerror or error})",
            "Give yourself the right to write there, or set VITRINE_CACHE to another folder",
        ) from error
    if expected is None:
        _pin(project, source, file, pooch.file_hash(str(path)))
    return path


def mirror_path(url: str, mirror: Path) -> Path:
    """Where the file behind ``url`` lies in a mirror folder."""
    parts = urlsplit(url)
    path = unquote(parts.path).lstrip("/")
    return mirror / path if parts.netloc == _RAW_GITHUB else mirror / parts.netloc / path


def _mirror() -> Path | None:
    named = os.environ.get("VITRINE_MIRROR")
    if not named:
        return None
    folder = Path(named)
    if not folder.is_dir():
        raise SourceError(
            f"VITRINE_MIRROR names {named}, which is not a folder",
            "Set it to the folder that holds OWNER/REPO/COMMIT/PATH, or unset it",
        )
    return folder


def _from_mirror(url: str, output_file: str | Any, _keeper: Any) -> None:
    """A pooch downloader that copies from the mirror."""
    mirror = _mirror()
    assert mirror is not None
    path = mirror_path(url, mirror)
    if not path.is_file():
        raise SourceError(
            f"The mirror {mirror} does not hold {url}",
            f"Put the file at {path}, or unset VITRINE_MIRROR to download it",
        )
    if hasattr(output_file, "write"):
        with path.open("rb") as stream:
            shutil.copyfileobj(stream, output_file)
    else:
        shutil.copyfile(path, output_file)


def _expected_digest(project: Project, source: Source, file: str) -> str | None:
    """The SHA-256 of a file: from the sources, or from the pin of its first download."""
    digest = source.digests[file]
    return _pins(project).get(f"{source.name}/{file}") if digest == PIN else digest


def _pins(project: Project) -> dict[str, str]:
    path = project.data / "pins.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise SourceError(
            f"{project.relative(path)} is damaged", "Restore it from version control"
        ) from error


def _pin(project: Project, source: Source, file: str, digest: str) -> None:
    pins = _pins(project) | {f"{source.name}/{file}": digest}
    path = project.data / "pins.json"
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(pins, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

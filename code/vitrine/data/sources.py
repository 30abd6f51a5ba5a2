"""Files from outside: where they come from, and how they are brought in safely.

``data/sources.toml`` names every file with its SHA-256. Downloads go through pooch: into a unique
temporary file in the cache's own folder, verified, then moved into place; a cached file whose
digest is wrong is fetched again, one whose digest is right is never fetched twice.

``VITRINE_MIRROR`` names a folder that stands in for the network. A file of
``https://raw.githubusercontent.com/OWNER/REPO/COMMIT/PATH`` lies there as
``OWNER/REPO/COMMIT/PATH``; any other ``https://HOST/PATH`` as ``HOST/PATH``. Digests are checked
just the same.
"""

import logging
import os
import re
import shutil
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pooch
import requests

from vitrine.errors import MANY, FileMissing, Missing, SourceError, suggestion, unwritten
from vitrine.project import Project

PIN = "pin"
"""The digest of a file whose owner publishes none: pinned at its first download."""

_SHA256 = re.compile(r"[0-9a-f]{64}")

RETRIES = 3
_WRITABLE = "Give yourself the right to write there, or set VITRINE_CACHE to another folder"
_RAW_GITHUB = "raw.githubusercontent.com"

Report = Callable[[str], None]
"""Called with the name of each file once it is present and verified."""


@dataclass(frozen=True)
class Source:
    """One owner's files: a base URL and the SHA-256 of each file below it.

    brings : the networks, encoders and concept lists whose files these are, by their keys.
    """

    name: str
    title: str
    owner: str
    url: str
    licence: str
    used_for: str
    digests: dict[str, str]
    brings: tuple[str, ...] = ()


def load_sources(project: Project) -> dict[str, Source]:
    """The sources of ``data/sources.toml`` by name. Raises ``SourceError``."""
    path = project.data / "sources.toml"
    shown = project.relative(path)
    try:
        table = tomllib.loads(_text(project, path))
    except tomllib.TOMLDecodeError as error:
        raise SourceError(f"{shown} is not valid TOML: {error}", _RESTORE) from error
    return {name: _source(project, f"{shown}: [{name}]", name, row) for name, row in table.items()}


def _text(project: Project, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceError(
            f"{project.relative(path)} cannot be read ({error.strerror})", _RESTORE
        ) from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{project.relative(path)} is not UTF-8 text", _RESTORE) from error


_RESTORE = "Correct it, or restore it from version control"
_TEXTS = ("title", "owner", "url", "licence", "used_for")


def _source(project: Project, where: str, name: str, row: object) -> Source:
    """A table of ``data/sources.toml``, checked; ``where`` names it in errors."""
    if not isinstance(row, dict):
        raise SourceError(
            f"{where} is {row!r} and not a table", f"Write a source with {', '.join(_TEXTS)}"
        )
    for key in _TEXTS:
        if not isinstance(row.get(key), str):
            problem = "is not a text" if key in row else "is missing"
            raise SourceError(f"{where}: the key `{key}` {problem}", _RESTORE)
    if not re.fullmatch(r"https?://\S+/", row["url"]):
        raise SourceError(
            f"{where}: the url {row['url']!r} is no folder on the web",
            "Write an address that begins with https:// and ends with /",
        )
    digests, origin = row.get("files", {}), where
    if not isinstance(digests, dict):
        raise SourceError(f"{where}: `files` is not a table", 'Write "FILE" = "SHA-256" below it')
    if "registry" in row:
        registry = project.data / str(row["registry"])
        lines = _text(project, registry).splitlines()
        pairs = [line.rpartition(" ") for line in lines if line.strip()]
        digests = digests | {file: digest for file, _, digest in pairs}
        origin = f"{where} and {project.relative(registry)}"
    for file, digest in digests.items():
        if digest != PIN and not _SHA256.fullmatch(str(digest)):
            raise SourceError(
                f"{origin}: {digest!r} is no SHA-256 of the file {file!r}",
                f'Write 64 digits from 0 to f, or "{PIN}" where the owner publishes none',
            )
    brings = tuple(row.get("brings", ()))
    return Source(name=name, digests=digests, brings=brings, **{key: row[key] for key in _TEXTS})


def pick_source(project: Project, name: str) -> Source:
    """The source called ``name``. Raises ``SourceError`` listing those there are."""
    sources = load_sources(project)
    if name not in sources:
        raise SourceError(
            f"There is no source {name!r} in data/sources.toml",
            suggestion(name, sorted(sources), "The sources are"),
        )
    return sources[name]


def is_intact(project: Project, source: Source, file: str) -> bool | None:
    """Whether the cached file has its digest; ``None`` when it is not cached."""
    path = project.cache / source.name / file
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
    cache that cannot be written; ``FileMissing`` with all files that the mirror lacks. What was
    fetched before the error stays.
    """
    source = pick_source(project, source_name)
    wanted = list(files)
    for file in wanted:
        if file not in source.digests:
            raise SourceError(
                f"The source {source.name!r} has no file {file!r}",
                suggestion(file, sorted(source.digests), "Its files are"),
            )
    if remedy := _only_cached.get():
        _stop_if_not_cached(project, source, wanted, remedy)
    paths, missing = {}, Missing()
    for file in wanted:
        with missing.noted():
            paths[file] = _fetch_one(project, source, file)
            report(file)
    missing.stop()
    return paths


_only_cached: ContextVar[str] = ContextVar("only_cached", default="")


@contextmanager
def only_cached(remedy: str) -> Iterator[None]:
    """Inside, nothing is brought: what is not cached and intact is missing, with this remedy."""
    token = _only_cached.set(remedy)
    try:
        yield
    finally:
        _only_cached.reset(token)


def _stop_if_not_cached(project: Project, source: Source, files: list[str], remedy: str) -> None:
    """Raises ``FileMissing`` with all of ``files`` that are not in the cache, or not intact."""
    states = {file: is_intact(project, source, file) for file in files}
    if all(states.values()):
        return
    if len(files) > MANY and not any(states.values()):
        named = f"all {len(files):,} files"
    else:
        lacking = [(file, state) for file, state in states.items() if not state]
        named = ", ".join(file + " (damaged)" * (state is False) for file, state in lacking)
    raise FileMissing(f"not in the cache: {named} of {source.name}", remedy)


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
        retry_if_failed=0 if mirror_folder() else RETRIES,
    )
    try:
        path = Path(keeper.fetch(file, downloader=_from_mirror if mirror_folder() else None))
    except requests.HTTPError as error:
        raise _answered(source, file, error) from error
    except requests.RequestException as error:
        raise SourceError(
            f"{source.url}{file} cannot be downloaded ({type(error).__name__})",
            "Connect to the network, or set VITRINE_MIRROR to a folder that holds the files",
        ) from error
    except ValueError as error:
        raise _another(source, file) from error
    except OSError as error:
        raise SourceError(
            f"The cache folder {folder} cannot be written ({error.strerror or error})",
            unwritten(error, _WRITABLE),
        ) from error
    if expected is None:
        _pin(project, source, file, pooch.file_hash(str(path)))
    return path


def _answered(source: Source, file: str, error: requests.HTTPError) -> SourceError:
    """The owner's server was reached, and does not give the file."""
    assert error.response is not None  # as it always is where a status was the error
    status = error.response.status_code
    problem = f"{source.url}{file} cannot be downloaded: its server answers {status}"
    if status in (404, 410):
        return SourceError(
            f"{problem}, there is no such file",
            "Correct the source's url in data/sources.toml if its owner moved the file, or set "
            "VITRINE_MIRROR to a folder that holds it",
        )
    return SourceError(
        f"{problem} ({error.response.reason})",
        "Try again later, or set VITRINE_MIRROR to a folder that holds the file",
    )


def _another(source: Source, file: str) -> SourceError:
    """What came is not the file that was expected."""
    url, mirror = f"{source.url}{file}", mirror_folder()
    pinned = source.digests[file] == PIN
    noted = f"data/pins/{source.name}/{file}" if pinned else "data/sources.toml"
    if mirror:
        return SourceError(
            f"{mirror_path(url, mirror)} does not have the SHA-256 that {noted} gives",
            f"Nothing was kept. Replace it in the mirror by {url}, or unset VITRINE_MIRROR",
        )
    return SourceError(
        f"{url} does not have the SHA-256 that {noted} gives",
        "Nothing was kept. Try again later, and if it stays so, ask the owner what changed",
    )


def mirror_path(url: str, mirror: Path) -> Path:
    """Where the file behind ``url`` lies in a mirror folder."""
    parts = urlsplit(url)
    path = unquote(parts.path).lstrip("/")
    return mirror / path if parts.netloc == _RAW_GITHUB else mirror / parts.netloc / path


def mirror_folder() -> Path | None:
    """The folder that stands in for the network. Raises ``SourceError`` if it is none."""
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


def _from_mirror(url: str, output_file: str, _keeper: Any) -> None:
    """A pooch downloader that copies from the mirror."""
    mirror = mirror_folder()
    assert mirror is not None
    path = mirror_path(url, mirror)
    if not path.is_file():
        raise FileMissing(
            f"{path} does not exist: the mirror does not hold {url}",
            "Put it there, or unset VITRINE_MIRROR to download it",
        )
    shutil.copyfile(path, output_file)


def _expected_digest(project: Project, source: Source, file: str) -> str | None:
    """The SHA-256 of a file: from the sources, or from the pin of its first download."""
    digest = source.digests[file]
    path = _pin_path(project, source, file)
    if digest != PIN or not path.is_file():
        return None if digest == PIN else digest
    pin = _text(project, path).strip()
    if not _SHA256.fullmatch(pin):
        raise SourceError(f"{project.relative(path)} is damaged", "Restore it from version control")
    return pin


def _pin_path(project: Project, source: Source, file: str) -> Path:
    return project.data / "pins" / source.name / file


def _pin(project: Project, source: Source, file: str, digest: str) -> None:
    """Note the digest of a first download; another process may have noted one just now."""
    path = _pin_path(project, source, file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as stream:
            stream.write(f"{digest}\n")
    except FileExistsError:
        if _expected_digest(project, source, file) != digest:
            raise _another(source, file) from None
    except OSError as error:
        raise SourceError(
            f"{project.relative(path)} cannot be written ({error.strerror or error})",
            unwritten(error, "Give yourself the right to write there, and fetch again"),
        ) from error

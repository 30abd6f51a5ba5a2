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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import pooch
import requests
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationInfo, model_validator

from vitrine.errors import (
    MANY,
    FileMissing,
    Missing,
    SourceError,
    pick,
    suggestion,
    wrong_values,
)
from vitrine.files import RIGHT_TO_CACHE, toml_table, writing
from vitrine.project import Project

PIN = "pin"
"""The digest of a file whose owner publishes none: pinned at its first download."""

_SHA256 = "[0-9a-f]{64}"

RETRIES = 3
_RAW_GITHUB = "raw.githubusercontent.com"

Report = Callable[[str], None]
"""Called with the name of each file once it is present and verified."""


class Source(BaseModel):
    """One owner's files: a base URL and the SHA-256 of each file below it.

    brings : the networks, encoders and concept lists whose files these are, by their keys.
    """

    model_config = ConfigDict(frozen=True)

    name: str = ""
    title: str
    owner: str
    url: Annotated[str, Field(pattern=r"^https?://\S+/$")]
    licence: str
    used_for: str
    digests: dict[str, Annotated[str, Field(pattern=rf"^({_SHA256}|{PIN})$")]] = Field(
        default_factory=dict, alias="files"
    )
    brings: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _with_its_registry(cls, row: Any, info: ValidationInfo) -> Any:
        if not isinstance(row, dict) or "registry" not in row:
            return row
        registry = (info.context or Path()) / str(row["registry"])
        lines = registry.read_text(encoding="utf-8-sig").splitlines()
        pairs = [line.rpartition(" ") for line in lines if line.strip()]
        return row | {"files": row.get("files", {}) | {file: digest for file, _, digest in pairs}}


def load_sources(project: Project) -> dict[str, Source]:
    """The sources of ``data/sources.toml`` by name. Raises ``SourceError``."""
    path = project.data / "sources.toml"
    try:
        rows = TypeAdapter(dict[str, Source]).validate_python(
            toml_table(path), context=project.data
        )
    except OSError as error:
        shown = project.relative(Path(error.filename))
        raise SourceError(f"{shown} cannot be read ({error.strerror})", _RESTORE) from error
    except (ValueError, TypeError) as error:
        raise SourceError(
            f"{project.relative(path)} cannot be read: {wrong_values(error)}",
            f"{_RESTORE}. A source has title, owner, licence, used_for and a url that ends with /; "
            f'its `files` have a SHA-256 each, or "{PIN}" where the owner publishes none',
        ) from error
    return {name: row.model_copy(update={"name": name}) for name, row in rows.items()}


_RESTORE = "Correct it, or restore it from version control"


def pick_source(project: Project, name: str) -> Source:
    """The source called ``name``. Raises ``SourceError`` listing those there are."""
    kinds = "sources of data/sources.toml"
    return pick(load_sources(project), name, "source", kinds, SourceError)


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
    folder, mirror = project.cache / source.name, mirror_folder()
    expected = _expected_digest(project, source, file)
    pooch.get_logger().setLevel(logging.ERROR)
    keeper = pooch.create(
        path=folder,
        base_url=source.url,
        registry={file: f"sha256:{expected}" if expected else None},
        retry_if_failed=0 if mirror else RETRIES,
    )
    with writing(f"The cache folder {folder}", RIGHT_TO_CACHE):
        try:
            downloader = partial(_from_mirror, mirror) if mirror else None
            path = Path(keeper.fetch(file, downloader=downloader))
        except requests.RequestException as error:
            raise _not_given(f"{source.url}{file} cannot be downloaded", error) from error
        except ValueError as error:
            raise _another(source, file) from error
    if expected is None:
        _pin(project, source, file, pooch.file_hash(str(path)))
    return path


def _not_given(problem: str, error: requests.RequestException) -> SourceError:
    """Why no file came: the owner's server was not reached, or does not give it."""
    answer = error.response
    if answer is None:
        why, remedy = f" ({type(error).__name__})", "Connect to the network"
    elif answer.status_code in (404, 410):
        why = f": its server answers {answer.status_code}, there is no such file"
        remedy = "Correct the source's url in data/sources.toml if its owner moved the file"
    else:
        why = f": its server answers {answer.status_code} ({answer.reason})"
        remedy = "Try again later"
    return SourceError(
        f"{problem}{why}", f"{remedy}, or set VITRINE_MIRROR to a folder that holds the file"
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


def _from_mirror(mirror: Path, url: str, output_file: str, _keeper: Any) -> None:
    """A pooch downloader that copies from the mirror."""
    path = mirror_path(url, mirror)
    try:
        path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise FileMissing(
            f"{path} does not exist: the mirror does not hold {url}",
            "Put it there, or unset VITRINE_MIRROR to download it",
        ) from error
    except OSError as error:  # not of the cache, which is written
        raise SourceError(
            f"{path} cannot be read ({error.strerror})",
            "Give yourself the right to read it, or unset VITRINE_MIRROR to download it",
        ) from error
    shutil.copyfile(path, output_file)


def _expected_digest(project: Project, source: Source, file: str) -> str | None:
    """The SHA-256 of a file: from the sources, or from the pin of its first download."""
    digest = source.digests[file]
    path = _pin_path(project, source, file)
    if digest != PIN or not path.is_file():
        return None if digest == PIN else digest
    pin = ""
    with suppress(OSError, UnicodeDecodeError):
        pin = path.read_text(encoding="utf-8-sig").strip()
    if not re.fullmatch(_SHA256, pin):
        raise SourceError(
            f"{project.relative(path)} is damaged or cannot be read",
            "Restore it from version control",
        )
    return pin


def _pin_path(project: Project, source: Source, file: str) -> Path:
    return project.data / "pins" / source.name / file


def _pin(project: Project, source: Source, file: str, digest: str) -> None:
    """Note the digest of a first download; another process may have noted one just now."""
    path = _pin_path(project, source, file)
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as stream:
                stream.write(f"{digest}\n")
        except FileExistsError:
            if _expected_digest(project, source, file) != digest:
                raise _another(source, file) from None

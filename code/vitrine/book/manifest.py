"""The manifest of the freeze: what each frozen chapter was made of, as sha256 sums."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

import vitrine
from vitrine.book.chapter import Chapter
from vitrine.book.config import BOOK
from vitrine.book.execute import Trace
from vitrine.files import sha256, write_atomically
from vitrine.project import LISTED, Project

MANIFEST = "vitrine.json"

# Raised whenever the same chapter and data would be frozen differently by newer code in book/.
VERSION = 2

_PACKAGE = Path(vitrine.__file__).resolve().parent
# Names of inputs in the package where it is installed outside of the project.
_OUTSIDE = "package:"


@dataclass(frozen=True)
class FrozenChapter:
    """One chapter in one format: digest of its options, and file → sha256.

    ``inputs`` are paths from the project's root. One that ends in / is a folder of data whose list
    of names was read; one whose sum is None did not exist when the chapter looked for it. Of
    ``_quarto.yml`` it is the list of chapters that counts: the package reads nothing else there.
    ``outputs`` are paths from the chapter's frozen folder.
    """

    options: str
    inputs: Mapping[str, str | None]
    outputs: Mapping[str, str]


@dataclass
class Manifest:
    """``chapters``: chapter → format → entry; ``assets``: file → sha256; ``study``: its name."""

    chapters: dict[str, dict[str, FrozenChapter]] = field(default_factory=dict)
    assets: dict[str, str] = field(default_factory=dict)
    study: str = ""

    @classmethod
    def read(cls, project: Project) -> "Manifest | None":
        """The manifest of a project, or None when there is none that can be used."""
        try:
            noted = json.loads((project.freeze / MANIFEST).read_text(encoding="utf-8"))
            if noted.pop("version") == VERSION:
                return TypeAdapter(cls).validate_python(noted)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        return None

    def write(self, project: Project) -> None:
        """Write the manifest in one step, sorted, so that an unchanged freeze is the same file.

        Raises ``Unwritten`` when it cannot be written.
        """
        text = json.dumps(asdict(self) | {"version": VERSION}, indent=1, sort_keys=True) + "\n"
        write_atomically(project.freeze / MANIFEST, text.encode())


def inputs_of(project: Project, chapter: Chapter, trace: Trace) -> dict[str, str | None]:
    """The files of the project that an execution depends on, with their sums.

    The chapter; the files it opened, the folders of data it listed, the modules it imported, as far
    as they belong to the project (or to this package). Files fetched into the cache are left out:
    their sums stand in the project's own files.
    """
    found = {chapter.name: sha256(chapter.path)}
    # What is not of the project wherever it lies: this Python, and the cache.
    foreign = [os.path.realpath(sys.prefix), os.path.realpath(project.cache)]
    root = os.path.realpath(project.root)
    for file in trace.opened:
        path = Path(file)
        name = _name_inside(root, foreign, os.path.realpath(file))
        is_data = name is not None and name.startswith("data/")
        if name is not None and not path.is_dir() and (path.is_file() or is_data):
            found[name] = _sum(name, path)
    for folder in trace.listed:
        name = _name_inside(root, foreign, os.path.realpath(folder))
        if name is not None and f"{name}/".startswith("data/"):
            found[f"{name}/"] = _listing(project, Path(folder))
    for file in trace.modules:
        real = os.path.realpath(file)
        name = _name_inside(root, foreign, real)
        if name is None and _is_in(str(_PACKAGE), real):
            name = _OUTSIDE + Path(real).relative_to(_PACKAGE).as_posix()
        if name is not None:
            found[name] = sha256(Path(real))
    return dict(sorted(found.items()))


def stale_input(project: Project, entry: FrozenChapter) -> str | None:
    """What an entry depends on and is not as it was, in words, or None."""
    for name, before in entry.inputs.items():
        path = project.root / name
        if name.endswith("/"):
            if _listing(project, path) != before:
                return f"files in {name} came or went"
            continue
        if name.startswith(_OUTSIDE):
            path = _PACKAGE / name.removeprefix(_OUTSIDE)
        now = _sum(name, path)
        if now != before:
            shown = name.replace(_OUTSIDE, f"{_PACKAGE.name}/")
            problem = "appeared" if before is None else "is gone" if now is None else "changed"
            return f"{shown} {problem}"
    return None


def _sum(name: str, path: Path) -> str | None:
    """The sum of what counts of a file."""
    if name != BOOK:
        return sha256(path)
    listed = (found[0] for found in LISTED.finditer(path.read_text(encoding="utf-8")))
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()


def _listing(project: Project, folder: Path) -> str | None:
    """The sum of the names in a folder, hidden ones and the cache left out."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return None
    cache = project.cache.resolve()
    kept = [n for n in names if not n.startswith(".") and (folder / n).resolve() != cache]
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()


def _name_inside(root: str, foreign: Sequence[str], real: str) -> str | None:
    """The name from the root of a file that counts as part of the project, or None.

    All paths are real ones: there are thousands of them, which are compared as texts.
    """
    if not _is_in(root, real) or any(_is_in(folder, real) for folder in foreign):
        return None
    parts = Path(real).relative_to(root).parts
    if not parts or parts[0] in ("_site", "_freeze") or "__pycache__" in parts:
        return None
    if any(part.startswith(".") for part in parts):
        return None
    if parts[0] != "data" and any(part.endswith("_files") for part in parts[:-1]):
        return None  # figures of the page itself
    return "/".join(parts)


def _is_in(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)

"""Files: read as text, written whole or not at all, and held by the digests of their bytes."""

import errno
import hashlib
import os
import tomllib
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vitrine.errors import Unwritten

RIGHT = "Give yourself the right to write there"
RIGHT_TO_CACHE = f"{RIGHT}, or set VITRINE_CACHE to another folder"


def sha256_of(name: str, content: bytes) -> str:
    """The SHA-256 digest of a file's bytes; of a table's, with the line ends that it was written
    with, as a checkout may have put others in their place."""
    if name.endswith(".csv"):
        content = content.replace(b"\r\n", b"\n")
    return hashlib.sha256(content).hexdigest()


def digests_of(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    """The digests of files, by their paths below ``folder``."""
    found = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: sha256_of(name, found[name].read_bytes()) for name in sorted(found)}


def changed_files(folder: Path, digests: dict[str, str]) -> list[str]:
    """Which files have not the digest that they should have, or cannot be read."""
    changed = []
    for name, digest in digests.items():
        try:
            if sha256_of(name, (folder / name).read_bytes()) == digest:
                continue
        except OSError:
            pass
        changed.append(name)
    return changed


@contextmanager
def writing(what: Path | str, remedy: str = RIGHT) -> Iterator[None]:
    """Say what could not be written or removed, and what to do. Raises ``Unwritten``.

    remedy : where the disk is not full.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        where = f": {error.filename}" if error.filename else ""
        raise Unwritten(
            f"{what} cannot be written ({error.strerror or error}{where})",
            f"{'Make room on that disk' if full else remedy}, and run the same command again: what "
            "was done before is kept",
        ) from error


def write_atomically(path: Path, content: bytes, remedy: str = RIGHT) -> None:
    """Write a file under a temporary name in its folder, then move it into place.

    A process that is stopped leaves the file as it was, or whole. Raises ``Unwritten``.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    with writing(path, remedy):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def toml_table(path: Path) -> dict[str, Any]:
    """The table of a TOML file, with or without a byte-order mark.

    Raises ``OSError``, ``UnicodeDecodeError`` and ``tomllib.TOMLDecodeError``.
    """
    text = path.read_bytes().decode("utf-8-sig")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise tomllib.TOMLDecodeError("its values are nested too deeply") from error

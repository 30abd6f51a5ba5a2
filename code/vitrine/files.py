"""Files: read as text, written whole or not at all, and held by the digests of their bytes."""

import hashlib
import os
import tomllib
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vitrine.errors import SourceError, unwritten


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


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name in its folder, then move it into place.

    A process that is stopped leaves the file as it was, or whole. Raises ``OSError``.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_into_cache(path: Path, content: bytes) -> None:
    """Write a file of the cache likewise. Raises ``SourceError`` where it cannot be written."""
    try:
        write_atomically(path, content)
    except OSError as error:
        raise SourceError(
            f"The cache folder {path.parent} cannot be written ({error.strerror})",
            unwritten(
                error,
                "Give yourself the right to write there, or set VITRINE_CACHE to another folder",
            ),
        ) from error


def toml_table(path: Path) -> dict[str, Any]:
    """The table of a TOML file, with or without a byte-order mark.

    Raises ``OSError``, ``UnicodeDecodeError`` and ``tomllib.TOMLDecodeError``.
    """
    text = path.read_bytes().decode("utf-8-sig")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise tomllib.TOMLDecodeError("its values are nested too deeply") from error

"""Files: read as text, written whole or not at all, and held by the digests of their bytes."""

import errno
import hashlib
import os
import tomllib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vitrine.errors import Unwritten

RIGHT = "Give yourself the right to write there"
RIGHT_TO_CACHE = f"{RIGHT}, or set VITRINE_CACHE to another folder"


_TEXT = {".qmd", ".md", ".py", ".csv", ".json", ".toml", ".yml", ".yaml", ".txt", ".bib", ".svg"}
"""Files whose line ends a checkout may have changed."""


def sha256_of(name: str, content: bytes) -> str:
    """The SHA-256 digest of a file's bytes; of a text's with LF line ends, as it was written."""
    if Path(name).suffix in _TEXT:
        content = content.replace(b"\r\n", b"\n")
    return hashlib.sha256(content).hexdigest()


def sha256(path: Path) -> str | None:
    """The digest of a file, or None when it is not there to read."""
    try:
        return sha256_of(path.name, path.read_bytes())
    except OSError:
        return None


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

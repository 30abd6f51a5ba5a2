"""Tar files of images, such as WebDataset writes: unpacked into the cache once."""

import hashlib
import re
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

from PIL import Image as PilImage

from vitrine.data.images import IMAGE_FORMATS
from vitrine.errors import StudyError
from vitrine.project import Project

_SHARD = re.compile(r"(.+?\.(?:tar|tar\.gz|tgz))(?:/(.+))?")


def members(project: Project, folder: Path, file: str) -> list[str]:
    """A file of a folder; of a tar file its images, each as ``"shard.tar/image.jpg"``."""
    found = _SHARD.fullmatch(file)
    if not found or found[2] or not (folder / file).is_file():
        return [file]
    images = unpacked(project, folder / file)
    inner = (path.relative_to(images).as_posix() for path in images.rglob("*") if path.is_file())
    return [f"{file}/{name}" for name in sorted(inner)]


def path_of(project: Project, folder: Path, file: str) -> Path:
    """Where a file of a folder, or an image of a tar file in it, lies."""
    found = _SHARD.fullmatch(file)
    if found and found[2] and (folder / found[1]).is_file():
        return unpacked(project, folder / found[1]) / found[2]
    return folder / file


def unpacked(project: Project, shard: Path) -> Path:
    """The folder with the images of a tar file, unpacked when it is first asked for.

    What is beside them, such as labels, and hidden files stay where they are; a tar file that
    changes is unpacked anew. Raises ``StudyError`` for one that is damaged or names a file outside
    its folder, and where reading or writing fails.
    """
    stat = shard.stat()
    known = f"{shard} {stat.st_size} {stat.st_mtime_ns}"
    home = project.cache / "shards" / hashlib.sha256(known.encode()).hexdigest()
    if home.is_dir():
        return home
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as scratch, tarfile.open(shard) as tar:
            whole = Path(scratch) / "images"
            whole.mkdir()
            tar.extractall(whole, [one for one in tar if _is_image(one)], filter="data")
            try:
                whole.rename(home)
            except OSError:
                if not home.is_dir():  # else another process was faster
                    raise
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise StudyError(
            f"The tar file {shard} cannot be unpacked into {home.parent} ({error})",
            "Make it anew, or unpack its images into the folder yourself",
        ) from error
    return home


def _is_image(member: tarfile.TarInfo) -> bool:
    path = PurePosixPath(member.name)
    hidden = any(part.startswith(".") and part not in (".", "..") for part in path.parts)
    kind = PilImage.registered_extensions().get(path.suffix.lower())
    return member.isfile() and not hidden and kind in IMAGE_FORMATS

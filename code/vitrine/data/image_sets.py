"""Sets of images: all of a source or a folder, or those that are named or listed."""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vitrine.data import shards, sources
from vitrine.data.images import decode, existing
from vitrine.errors import ImageError, StudyError
from vitrine.files import RIGHT_TO_CACHE, write_atomically
from vitrine.project import Project
from vitrine.study import sections


def files_of(project: Project, images: sections.ProbingSet, key: str) -> tuple[str, ...]:
    """The files of a set, sorted unless they are named or listed. Raises ``StudyError``.

    key : of the set in the study file, for the reader of an error. Of a folder or a list, files
        that are no image, or a damaged one, are left out.
    """
    if images.files:
        return images.files
    if images.source is not None:
        return tuple(sorted(sources.pick_source(project, images.source).digests))
    files, bad = _in_folder(project, images, key), left_out(project, images, key)
    found = tuple(file for file in files if file not in bad)
    if not found:
        raise StudyError(
            f"Of the {len(files)} files named by {key}.folder, none can be read as an image: "
            f"{next(iter(bad.values()))}",
            "Put images there, or correct the name in the study file",
        )
    return found


def left_out(project: Project, images: sections.ProbingSet, key: str) -> dict[str, str]:
    """The files of a folder or a list that cannot be decoded, and why.

    Each is decoded once; what was found is kept in the cache, by their names, sizes and times.
    """
    if images.files or images.folder is None:
        return {}
    paths = paths_of(project, images, _in_folder(project, images, key))
    known = [
        (file, (found := path.stat()).st_size, found.st_mtime_ns) for file, path in paths.items()
    ]
    digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()
    cached = project.cache / "unreadable" / f"{digest}.json"
    try:
        return dict(json.loads(cached.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        pass  # not looked at yet
    bad = unreadable(paths)
    write_atomically(cached, json.dumps(bad).encode(), RIGHT_TO_CACHE)
    return bad


def unreadable(paths: Mapping[str, Path]) -> dict[str, str]:
    """Which of some files cannot be decoded as an image, and why."""
    with ThreadPoolExecutor() as threads:
        reasons = zip(paths, threads.map(_why_unreadable, paths.values()), strict=True)
        return {file: why for file, why in reasons if why}


def _why_unreadable(path: Path) -> str:
    """Why a file cannot be read as an image; empty for one that can."""
    try:
        decode(path)
    except ImageError as error:
        return error.problem
    return ""


def _in_folder(project: Project, images: sections.ProbingSet, key: str) -> tuple[str, ...]:
    """The files of a folder at any depth, without hidden ones, or those of a list in its order.

    In place of a tar file stand its images.
    """
    folder = project.path(str(images.folder))
    if images.file_list is not None:
        try:
            lines = project.path(images.file_list).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise StudyError(
                f"The list {images.file_list!r}, named by {key}.file_list, cannot be read",
                "Write one file a line, as its path in the folder",
            ) from error
        found = [line.strip() for line in lines if line.strip()]
    else:
        found = files_below(folder)
    if not found:
        raise StudyError(
            f"The folder {images.folder!r}, named by {key}.folder, has no files",
            "Put images there, or correct the name in the study file",
        )
    each = (name for file in found for name in shards.members(project, folder, file))
    return tuple(dict.fromkeys(each))


def files_below(folder: Path) -> list[str]:
    """The files of a folder at any depth, without hidden ones, sorted, as paths from it."""
    inner = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in inner if not any(p[0] == "." for p in path.parts))


def paths_of(
    project: Project,
    images: sections.Images | sections.ProbingSet,
    files: tuple[str, ...],
    report: sources.Report = lambda _: None,
) -> dict[str, Path]:
    """The paths of a set's files by name: fetched from their source, or in their folder."""
    if images.source is not None:
        return sources.fetch(project, images.source, files, report)
    folder = project.path(str(images.folder))
    return existing({file: shards.path_of(project, folder, file) for file in files})

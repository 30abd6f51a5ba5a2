"""Sets of images: all of a source or a folder, or those that are named."""

from __future__ import annotations

from pathlib import Path

from vitrine.data import sources
from vitrine.data.images import in_folder
from vitrine.errors import StudyError
from vitrine.project import Project
from vitrine.study import sections


def files_of(project: Project, images: sections.ProbingSet, key: str) -> tuple[str, ...]:
    """The files of a set, sorted unless they are named. Raises ``StudyError``.

    key : of the set in the study file, for the reader of an error.
    """
    if images.files:
        return images.files
    if images.source is not None:
        return tuple(sorted(sources.pick_source(project, images.source).digests))
    folder = project.path(str(images.folder))
    within = folder.iterdir() if folder.is_dir() else ()
    found = sorted(path.name for path in within if path.is_file() and path.name[0] != ".")
    if not found:
        raise StudyError(
            f"The folder {images.folder!r}, named by {key}.folder, has no files",
            "Put images there, or correct the name in the study file",
        )
    return tuple(found)


def paths_of(
    project: Project,
    images: sections.Images | sections.ProbingSet,
    files: tuple[str, ...],
    report: sources.Report = lambda _: None,
) -> dict[str, Path]:
    """The paths of a set's files by name: fetched from their source, or in their folder."""
    if images.source is not None:
        return sources.fetch(project, images.source, files, report)
    return in_folder(project.path(str(images.folder)), files)

"""``vitrine freeze``: executed chapters in Quarto's freeze format, and whether they still hold.

``_freeze/<chapter>/execute-results/{html,typ}.json`` and the figures beside them are what Quarto
itself would write. Quarto decides by the chapter's text alone whether they still hold; the
manifest ``_freeze/vitrine.json`` (which Quarto does not look at) records everything else that a
chapter was made of: the study it shows, the results it read, the code and the options it ran with.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from vitrine.book.cells import Job
from vitrine.book.chapter import execute_options, read_chapter, read_text, read_yaml
from vitrine.book.config import BOOK, chapter_names, read_config
from vitrine.book.document import check_constructs
from vitrine.book.execute import Kernel, Trace, execute
from vitrine.book.frozen import FIGURE_FOLDERS, RESULT_FILES, freeze_folder, read_frozen
from vitrine.book.manifest import MANIFEST, FrozenChapter, Manifest, inputs_of, stale_input
from vitrine.book.study import VARIABLES, book_text, shown_study, write_study
from vitrine.book.vega import VEGA, write_vega
from vitrine.errors import ChapterError
from vitrine.files import sha256, write_atomically, writing
from vitrine.project import Project

FORMATS = ("html", "typst")
PROCESSES = 2  # at a time: each takes a core while it imports

OnChapter = Callable[[int, int, str], None]


@dataclass(frozen=True)
class FreezeReport:
    """What ``freeze`` did: chapters executed, chapters still current, and the study they show."""

    executed: tuple[str, ...]
    current: tuple[str, ...]
    study: str


@dataclass(frozen=True)
class Stale:
    """Something frozen that no longer holds, and why, in words."""

    chapter: str
    reason: str

    def __str__(self) -> str:
        return f"{self.chapter}: {self.reason}"


Result = tuple[Job, str, Trace]
"""A job, the Markdown that came of it, and what its execution read."""


def freeze(
    project: Project,
    formats: Sequence[str] = FORMATS,
    progress: OnChapter | None = None,
    force: bool = False,
    study: str = "",
) -> FreezeReport:
    """Execute the chapters of the book whose freeze no longer holds, and freeze them.

    formats : of "html" and "typst".
    progress : called with (executions done, executions in all, what was just done).
    force : execute also what is current.
    study : what the report is to show from now on; it is written into ``_variables.yml``.

    A chapter is replaced as a whole or not at all, and so is the book where it shows another study
    than before. Raises ``ChapterError`` when chapters cannot be frozen, after the others were, and
    ``StudyNotRun`` and ``Unwritten`` at once, since all would say the same.
    """
    project = Project(project.root.resolve())
    study = study or shown_study(project)
    text = book_text(project, study)
    config = read_yaml(text, BOOK)
    names = chapter_names(config)
    known = Manifest.read(project)
    manifest = known or Manifest()
    is_other = known is None or study != known.study
    errors: list[ChapterError] = []
    by_chapter: dict[str, list[Job]] = {}
    for name in names:
        with _collected(errors):
            by_chapter[name] = _jobs(project, config, name, formats)
    jobs = [
        job
        for read in by_chapter.values()
        for job in read
        if force or is_other or _stale_reason(project, manifest, job)
    ]
    done: list[str] = []
    with _figures_cleared(jobs):
        results = _executed(project, jobs, study, progress, errors)
        if is_other:
            results = iter(list(results))  # all, or nothing
            _raise(errors)
            manifest = Manifest({name: {} for name in manifest.chapters}, manifest.assets, study)
        # Before what was read is recorded: a chapter may have read the book.
        if study != shown_study(project):
            write_study(project, study)
        if text != read_text(project.root / BOOK, BOOK):
            write_atomically(project.root / BOOK, text.encode())
        for chapter in results:
            _write_chapter(project, manifest, chapter)
            done.append(chapter[0][0].chapter.name)
    cell_less = [name for name, read in by_chapter.items() if not read]
    _forget(project, manifest, [n for n in manifest.chapters if n in cell_less or n not in names])
    write_vega(project, unchanged=sha256(project.root / VEGA) == manifest.assets.get(VEGA, ""))
    manifest.assets = {VEGA: sha256(project.root / VEGA) or ""}
    manifest.write(project)
    _raise(errors)
    return FreezeReport(tuple(done), tuple(n for n in by_chapter if n not in done), study)


def check(project: Project, formats: Sequence[str] = FORMATS) -> list[Stale]:
    """What of the freeze no longer holds, each chapter once, in the book's order."""
    project = Project(project.root.resolve())
    config = read_config(project)
    manifest = Manifest.read(project)
    if manifest is None:
        exists = (project.freeze / MANIFEST).exists()
        problem = "is damaged, or of another version" if exists else "does not exist"
        return [Stale(f"_freeze/{MANIFEST}", f"{problem}, so nothing is known to be current")]
    study = shown_study(project)
    if study != manifest.study:
        told = f"names the study {study or '(none)'}, and {manifest.study or 'none'} is frozen"
        return [Stale(VARIABLES, told)]
    if book_text(project, study) != read_text(project.root / BOOK, BOOK):
        return [Stale(BOOK, "lists other chapters than the study has")]
    stale: list[Stale] = []
    names = chapter_names(config)
    for name in names:
        try:
            jobs = _jobs(project, config, name, formats)
            reason = next(filter(None, (_stale_reason(project, manifest, j) for j in jobs)), None)
        except ChapterError as error:
            reason = error.problem
        stale += [Stale(name, reason)] if reason else []
    stale += [Stale(n, "no longer in the book") for n in manifest.chapters if n not in names]
    if sha256(project.root / VEGA) != manifest.assets.get(VEGA, ""):
        stale.append(Stale(VEGA, "changed" if (project.root / VEGA).is_file() else "is gone"))
    return stale


def _jobs(
    project: Project, config: Mapping[str, Any], name: str, formats: Sequence[str]
) -> list[Job]:
    """What there is to execute of a chapter. Raises ``ChapterError`` where it cannot be read."""
    chapter = read_chapter(project, project.root / name)
    return [
        Job(chapter, target, execute_options(config, chapter.front_matter, name, target))
        for target in (formats if chapter.executable else ())
    ]


def _stale_reason(project: Project, manifest: Manifest, job: Job) -> str | None:
    """Why a chapter has to be executed for a format, or None when its freeze holds."""
    try:
        read_frozen(project, job.chapter, job.target)
    except ChapterError as error:
        return error.problem
    entry = manifest.chapters.get(job.chapter.name, {}).get(job.target)
    if entry is None:
        return "frozen by Quarto, so what it read is not known"
    home, outputs = freeze_folder(project, job.chapter.name), _outputs(project, job)
    for name in sorted(outputs.keys() | entry.outputs.keys()):
        if outputs.get(name) != entry.outputs.get(name):
            if name == RESULT_FILES[job.target]:
                return "frozen by Quarto since"
            problem = "changed" if name in outputs else "is gone"
            return f"{project.relative(home / name)} {problem}"
    if entry.options != job.digest:
        return "the options it is executed with changed"
    return stale_input(project, entry)


def _executed(
    project: Project,
    jobs: Sequence[Job],
    study: str,
    progress: OnChapter | None,
    errors: list[ChapterError],
) -> Iterator[list[Result]]:
    """Execute all jobs, ``PROCESSES`` at a time; the chapters of which every format succeeded."""
    done = 0
    pool = ThreadPoolExecutor(max_workers=PROCESSES)
    waiting: dict[str, list[tuple[Job, Future[tuple[str, Trace]]]]] = {}
    for job in jobs:
        future = pool.submit(execute, project, job, study)
        waiting.setdefault(job.chapter.name, []).append((job, future))
    try:
        for name, futures in waiting.items():
            results: list[Result] = []
            for job, future in futures:
                with _collected(errors):
                    markdown, trace = future.result()
                    # What the bundled renderer does not know is said now, not when it is published.
                    check_constructs(project, job.chapter, markdown, job.target)
                    results.append((job, markdown, trace))
                done += 1
                if progress:
                    progress(done, len(jobs), f"{name} ({job.target})")
            if len(results) == len(futures):
                yield results
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        while not all(future.done() for futures in waiting.values() for _, future in futures):
            Kernel.end_all()  # nobody waits for their cells
            time.sleep(0.02)
        raise
    pool.shutdown()


def _write_chapter(project: Project, manifest: Manifest, results: Sequence[Result]) -> None:
    """Put a chapter's results in place of the frozen ones, as Quarto freezes them; record them.

    Cut off in between, it leaves a chapter that ``check`` calls changed and ``freeze`` mends.
    """
    chapter = results[0][0].chapter
    home = freeze_folder(project, chapter.name)
    entries = manifest.chapters.setdefault(chapter.name, {})
    for job, markdown, trace in results:
        is_page, figures = job.target == "html", FIGURE_FOLDERS[job.target]
        result: dict[str, Any] = {
            "engine": "jupyter",
            "markdown": markdown,
            # What Quarto moves or deletes after it rendered the format. It names the whole folder
            # for HTML, but must not for Typst: that would delete the figures of the pages.
            "supporting": [chapter.files_folder.name + ("" if is_page else f"/{figures}")],
            "filters": [],
        } | ({"includes": {}} if is_page else {})
        text = json.dumps({"hash": chapter.hash, "result": result}, indent=2, ensure_ascii=False)
        with writing(home):
            write_atomically(home / RESULT_FILES[job.target], text.encode())
            shutil.rmtree(home / figures, ignore_errors=True)
            written = chapter.files_folder / figures
            if written.is_dir() and any(written.iterdir()):
                shutil.move(written, home / figures)
        inputs = inputs_of(project, chapter, trace)
        entries[job.target] = FrozenChapter(job.digest, inputs, _outputs(project, job))
    manifest.write(project)


def _forget(project: Project, manifest: Manifest, names: Sequence[str]) -> None:
    """Drop chapters that left the book or have no cells, and what was frozen for them."""
    for name in names:
        del manifest.chapters[name]
        home = freeze_folder(project, name)
        for part in ("execute-results", *FIGURE_FOLDERS.values()):
            shutil.rmtree(home / part, ignore_errors=True)
        with suppress(OSError):  # not empty: another chapter lies below it
            home.rmdir()


def _outputs(project: Project, job: Job) -> dict[str, str]:
    """sha256 of the frozen files of one format, by path from the chapter's frozen folder."""
    home = freeze_folder(project, job.chapter.name)
    files = [home / RESULT_FILES[job.target], *(home / FIGURE_FOLDERS[job.target]).rglob("*")]
    digests = {path.relative_to(home).as_posix(): sha256(path) for path in files if path.is_file()}
    return {name: digest for name, digest in digests.items() if digest is not None}


@contextmanager
def _figures_cleared(jobs: Sequence[Job]) -> Iterator[None]:
    """No figures beside the chapters, neither of an execution that was cut off nor of this one."""

    def clear() -> None:
        for job in jobs:
            figures = job.chapter.path.parent / job.figures
            shutil.rmtree(figures, ignore_errors=True)
            with suppress(OSError):  # not empty, or never made
                figures.parent.rmdir()

    clear()
    try:
        yield
    finally:
        clear()


@contextmanager
def _collected(errors: list[ChapterError]) -> Iterator[None]:
    """Keep an error of one chapter until the others are done."""
    try:
        yield
    except ChapterError as error:
        errors.append(error)


def _raise(errors: Sequence[ChapterError]) -> None:
    distinct = list({str(error): error for error in errors}.values())
    if len(distinct) == 1:
        raise distinct[0]
    if distinct:
        listed = "\n".join(f"  {error}" for error in distinct)
        raise ChapterError(
            f"{len(distinct)} errors kept chapters from being frozen:\n{listed}\n"
            "What was frozen for these chapters before is unchanged",
            "Correct them and run `vitrine freeze` again",
        )

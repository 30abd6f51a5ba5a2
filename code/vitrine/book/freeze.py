"""``vitrine freeze``: executed chapters in Quarto's freeze format, and whether they still hold.

``_freeze/<chapter>/execute-results/{html,typ}.json`` and the figures beside them are what Quarto
itself would write. Quarto decides by the chapter's text alone whether they still hold; the
manifest ``_freeze/vitrine.json`` (which Quarto does not look at) records everything else that a
chapter was made of: the results it read, the code it ran, the options it ran with.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from vitrine.book.chapter import Chapter, execute_options, read_chapter
from vitrine.book.document import check_constructs
from vitrine.book.execute import Executed, Process, clear_figures, execute
from vitrine.book.frozen import FIGURE_FOLDERS, RESULT_FILES
from vitrine.book.manifest import MANIFEST, Entry, Manifest, inputs_of, sha256, stale_input
from vitrine.book.vega import VEGA, write_vega
from vitrine.errors import ChapterError
from vitrine.project import Project

FORMATS = ("html", "typst")
PROCESSES = 2  # at a time: each takes a core while it imports

Progress = Callable[[int, int, str], None]
Job = tuple[Chapter, str]


@dataclass(frozen=True)
class FreezeReport:
    """What ``freeze`` did: chapters executed, and chapters that were still current."""

    executed: tuple[str, ...]
    current: tuple[str, ...]


@dataclass(frozen=True)
class Stale:
    """Something frozen that no longer holds, and why, in words."""

    chapter: str
    reason: str

    def __str__(self) -> str:
        return f"{self.chapter}: {self.reason}"


def freeze(
    project: Project,
    chapters: Iterable[str | Path] | None = None,
    formats: Sequence[str] = FORMATS,
    progress: Progress | None = None,
    force: bool = False,
) -> FreezeReport:
    """Execute the chapters of the book whose freeze no longer holds, and freeze them.

    Parameters
    ----------
    chapters : paths from the project's root; all chapters of ``_quarto.yml`` by default.
    formats : of "html" and "typst".
    progress : called with (executions done, executions in all, what was just done).
    force : execute also what is current.

    A chapter is replaced as a whole or not at all. Raises ``ChapterError`` when chapters cannot be
    frozen, after the others were, and ``StudyNotRun`` at once, since all would say the same.
    """
    project = Project(project.root.resolve())
    config = _read_config(project)
    book = _book_chapters(config)
    selected = book if chapters is None else _selected(project, book, chapters)
    manifest = Manifest.read(project) or Manifest({}, {})
    errors: list[ChapterError] = []
    read = _read_chapters(project, config, selected, errors)
    jobs = [
        (chapter, target)
        for chapter in read
        for target in (formats if chapter.executable else ())
        if force or _stale_reason(project, manifest, config, chapter, target)
    ]
    done = _freeze_jobs(project, config, manifest, jobs, progress, errors)
    _forget(project, manifest, [chapter.name for chapter in read if not chapter.executable])
    _forget(project, manifest, [name for name in manifest.chapters if name not in book])
    _write_vega(project, manifest)
    manifest.write(project)
    _raise(errors)
    current = tuple(chapter.name for chapter in read if chapter.name not in done)
    return FreezeReport(tuple(done), current)


def check(project: Project, formats: Sequence[str] = FORMATS) -> list[Stale]:
    """What of the freeze no longer holds, each chapter once, in the book's order."""
    project = Project(project.root.resolve())
    config = _read_config(project)
    manifest = Manifest.read(project)
    stale: list[Stale] = []
    if manifest is None:
        exists = (project.freeze / MANIFEST).exists()
        problem = "is damaged, or of another version" if exists else "does not exist"
        return [Stale(f"_freeze/{MANIFEST}", f"{problem}, so nothing is known to be current")]
    names = _book_chapters(config)
    for name in names:
        errors: list[ChapterError] = []
        chapters = _read_chapters(project, config, [name], errors)
        stale.extend(Stale(name, error.problem) for error in errors)
        reasons = [
            _stale_reason(project, manifest, config, chapter, target)
            for chapter in chapters
            for target in (formats if chapter.executable else ())
        ]
        stale.extend(Stale(name, reason) for reason in dict.fromkeys(reasons) if reason)
    stale += [Stale(n, "no longer in the book") for n in manifest.chapters if n not in names]
    if sha256(project.root / VEGA) != manifest.assets.get(VEGA, ""):
        problem = "changed" if (project.root / VEGA).is_file() else "is gone"
        stale.append(Stale(VEGA, problem))
    return stale


def _stale_reason(
    project: Project, manifest: Manifest, config: Mapping[str, Any], chapter: Chapter, target: str
) -> str | None:
    """Why a chapter has to be executed for ``target``, or None when its freeze holds."""
    home = _home(project, chapter)
    result = home / "execute-results" / RESULT_FILES[target]
    entry = manifest.chapters.get(chapter.name, {}).get(target)
    if not result.is_file():
        return "not frozen" if entry is None else f"{project.relative(result)} is gone"
    try:
        hash_ = json.loads(result.read_text(encoding="utf-8"))["hash"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{project.relative(result)} is damaged"
    if hash_ != chapter.hash:
        return f"{chapter.name} changed"
    if entry is None:
        return "frozen by Quarto, so what it read is not known"
    outputs = _outputs(home, target)
    name = f"execute-results/{RESULT_FILES[target]}"
    if outputs[name] != entry.outputs.get(name):
        return "frozen by Quarto since"
    for name in sorted(outputs.keys() | entry.outputs.keys()):
        if outputs.get(name) != entry.outputs.get(name):
            problem = "changed" if name in outputs else "is gone"
            return f"{project.relative(home / name)} {problem}"
    if entry.options != _digest(_options(config, chapter, target)):
        return "the options it is executed with changed"
    return stale_input(project, entry)


def _freeze_jobs(
    project: Project,
    config: Mapping[str, Any],
    manifest: Manifest,
    jobs: Sequence[Job],
    progress: Progress | None,
    errors: list[ChapterError],
) -> list[str]:
    """Execute all jobs, ``PROCESSES`` at a time, and freeze each chapter; the names frozen."""
    for chapter, target in jobs:
        clear_figures(chapter, target)  # of an execution that was cut off
    running = _Running()
    frozen: list[str] = []
    pool = ThreadPoolExecutor(max_workers=PROCESSES)
    try:
        waiting: dict[str, list[tuple[Job, Future[Executed]]]] = {}
        for chapter, target in jobs:
            options = _options(config, chapter, target)
            future = pool.submit(execute, project, chapter, target, options, running.add)
            waiting.setdefault(chapter.name, []).append(((chapter, target), future))
        done = 0
        for name, futures in waiting.items():
            results: list[Executed] = []
            for (_, target), future in futures:
                with _collected(errors):
                    executed = future.result()
                    # What the bundled renderer does not know is said now, not when it is published.
                    check_constructs(project, name, executed.markdown, target)
                    results.append(executed)
                done += 1
                if progress:
                    progress(done, len(jobs), f"{name} ({target})")
            if len(results) == len(futures):
                with _collected(errors):
                    _write_chapter(project, config, manifest, results)
                    frozen.append(name)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        running.stop()
        raise
    finally:
        pool.shutdown()
        for chapter, target in jobs:
            clear_figures(chapter, target)
    return frozen


class _Running:
    """The processes at work, so that an interruption need not wait for their cells."""

    def __init__(self) -> None:
        self.processes: list[Process] = []
        self.stopped = False

    def add(self, process: Process) -> None:
        self.processes.append(process)
        if self.stopped:
            process.kill()

    def stop(self) -> None:
        self.stopped = True
        for process in self.processes:
            process.kill()


def _write_chapter(
    project: Project, config: Mapping[str, Any], manifest: Manifest, results: Sequence[Executed]
) -> None:
    """Write a chapter's results beside the frozen ones, put them in their place, and record them.

    Cut off in between, it leaves a chapter that ``check`` calls changed and ``freeze`` mends.
    """
    chapter = results[0].chapter
    home = _home(project, chapter)
    try:
        home.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".", dir=home) as folder:
            for executed in results:
                _write_result(executed, Path(folder))
            for executed in results:
                figures = FIGURE_FOLDERS[executed.target]
                shutil.rmtree(home / figures, ignore_errors=True)
                for part in (figures, f"execute-results/{RESULT_FILES[executed.target]}"):
                    if (Path(folder) / part).exists():
                        (home / part).parent.mkdir(exist_ok=True)
                        (Path(folder) / part).replace(home / part)
        entries = manifest.chapters.setdefault(chapter.name, {})
        for executed in results:
            target = executed.target
            entries[target] = Entry(
                options=_digest(_options(config, chapter, target)),
                inputs=inputs_of(project, chapter, executed.trace),
                outputs=_outputs(home, target),
            )
        manifest.write(project)
    except OSError as error:
        raise ChapterError(
            f"{chapter.name} cannot be frozen into {project.relative(home)} ({error.strerror})",
            "Check that the folder can be written and the disk has room",
        ) from None


def _write_result(executed: Executed, folder: Path) -> None:
    """One format of a chapter as Quarto freezes it: the JSON and the folder of figures."""
    chapter, target = executed.chapter, executed.target
    figures = FIGURE_FOLDERS[target]
    result: dict[str, Any] = {
        "engine": "jupyter",
        "markdown": executed.markdown,
        # What Quarto moves or deletes after it rendered the format. It names the whole folder for
        # HTML, but must not for Typst: that would delete the figures of the pages.
        "supporting": [f"{chapter.stem}_files" + ("" if target == "html" else f"/{figures}")],
        "filters": [],
    }
    if target == "html":
        result["includes"] = {}
    path = folder / "execute-results" / RESULT_FILES[target]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"hash": chapter.hash, "result": result}, indent=2, ensure_ascii=False)
    path.write_bytes(text.encode())
    written = chapter.files_folder / figures
    if written.is_dir() and any(written.iterdir()):
        shutil.move(written, folder / figures)


def _forget(project: Project, manifest: Manifest, names: Sequence[str]) -> None:
    """Drop chapters that left the book or have no cells, and what was frozen for them."""
    for name in [name for name in names if name in manifest.chapters]:
        del manifest.chapters[name]
        home = project.freeze / PurePosixPath(name).with_suffix("")
        for part in ("execute-results", *FIGURE_FOLDERS.values()):
            shutil.rmtree(home / part, ignore_errors=True)
        with suppress(OSError):  # not empty: another chapter lies below it
            home.rmdir()


def _write_vega(project: Project, manifest: Manifest) -> None:
    digest = sha256(project.root / VEGA)
    if write_vega(project, unchanged=digest is not None and digest == manifest.assets.get(VEGA)):
        digest = sha256(project.root / VEGA)
    manifest.assets = {VEGA: digest or ""}


def _home(project: Project, chapter: Chapter) -> Path:
    return project.freeze / PurePosixPath(chapter.name).with_suffix("")


def _outputs(home: Path, target: str) -> dict[str, str]:
    """sha256 of the frozen files of one format, by path from the chapter's frozen folder."""
    files = [home / "execute-results" / RESULT_FILES[target]]
    files += sorted((home / FIGURE_FOLDERS[target]).rglob("*"))
    digests = {path.relative_to(home).as_posix(): sha256(path) for path in files if path.is_file()}
    return {name: digest for name, digest in digests.items() if digest is not None}


def _options(config: Mapping[str, Any], chapter: Chapter, target: str) -> dict[str, Any]:
    return execute_options(config, chapter.front_matter, chapter.name, target)


def _digest(options: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()


def _read_config(project: Project) -> dict[str, Any]:
    path = project.root / "_quarto.yml"
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        problem = getattr(error, "problem", None) or getattr(error, "strerror", None) or error
        mark = getattr(error, "problem_mark", None)
        where = f"_quarto.yml:{mark.line + 1}" if mark else "_quarto.yml"
        raise ChapterError(f"{where} cannot be read ({problem})", "Correct the file") from None
    if not isinstance(config, dict):
        raise ChapterError("_quarto.yml holds no keys", "Restore the file")
    return config


def _book_chapters(config: Mapping[str, Any]) -> list[str]:
    """The ``.qmd`` files of the book in their order, those of parts and appendices too."""
    book = config.get("book")
    found: list[str] = []

    def collect(entries: object) -> None:
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict):
                collect([entry.get("part"), entry.get("file"), entry.get("href")])
                collect(entry.get("chapters"))
            elif isinstance(entry, str) and entry.endswith(".qmd"):
                found.append(PurePosixPath(entry).as_posix())

    if isinstance(book, dict):
        collect(book.get("chapters"))
        collect(book.get("appendices"))
    if not found:
        raise ChapterError(
            "_quarto.yml lists no chapters", "List the .qmd files under book: chapters:"
        )
    return list(dict.fromkeys(found))


def _selected(project: Project, book: Sequence[str], chapters: Iterable[str | Path]) -> list[str]:
    names = []
    for chapter in chapters:
        path = Path(chapter)
        name = project.relative(path) if path.is_absolute() else path.as_posix()
        if name not in book:
            raise ChapterError(
                f"{name} is not a chapter of the book", f"Name one of {', '.join(book)}"
            )
        names.append(name)
    return [name for name in book if name in names]


def _read_chapters(
    project: Project, config: Mapping[str, Any], names: Sequence[str], errors: list[ChapterError]
) -> list[Chapter]:
    """The chapters that can be read and whose options are valid; the others go to ``errors``."""
    chapters = []
    for name in names:
        with _collected(errors):
            chapter = read_chapter(project, project.root / name)
            for target in FORMATS:
                _options(config, chapter, target)
            chapters.append(chapter)
    return chapters


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
            "Correct them and run `vitrine freeze` again; the other chapters are frozen",
        )

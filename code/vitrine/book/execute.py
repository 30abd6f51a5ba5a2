"""Executes a chapter for one output format: cells and inline expressions in, Markdown out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrine.book.cells import Page, cell_markdown, prose_markdown
from vitrine.book.chapter import Cell, Chapter, Prose
from vitrine.book.frozen import FIGURE_FOLDERS
from vitrine.errors import ChapterError, StudyNotRun, VitrineError
from vitrine.project import Project

Process = subprocess.Popen[str]

KERNEL = Path(__file__).with_name("kernel.py")


@dataclass(frozen=True)
class Trace:
    """What a chapter read: absolute paths of files opened, folders listed, modules' files.

    ``torch`` says where torch was imported ("file:line"), or is empty.
    """

    opened: list[str]
    listed: list[str]
    modules: list[str]
    torch: str


@dataclass(frozen=True)
class Executed:
    """A chapter executed for ``target``: its Markdown, and what it read."""

    chapter: Chapter
    target: str
    markdown: str
    trace: Trace


def execute(
    project: Project,
    chapter: Chapter,
    target: str,
    options: Mapping[str, Any],
    study: str = "",
    started: Callable[[Process], None] = lambda process: None,
) -> Executed:
    """Execute ``chapter`` for ``target`` ("html" or "typst") in a process of its own.

    The process works in the chapter's folder, as under Quarto, and ``study`` is what the report
    shows. Figures lie afterwards in ``<chapter>_files/figure-<target>`` beside the chapter; whoever
    calls takes them from there. ``started`` receives the process: another thread may end it.

    Raises ``ChapterError`` naming file and line when a cell or an inline expression raises, when
    an output cannot be shown, when the process ends early, and when anything imported torch;
    ``StudyNotRun`` where a chapter reads a study that was never run.
    """
    figures = f"{chapter.path.stem}_files/{FIGURE_FOLDERS[target]}"
    page = Page(chapter.name, target, options, figures)
    order = {
        "steps": [_step(block, page) for block in chapter.blocks],
        "matplotlib": {
            "figure.figsize": [options["fig-width"], options["fig-height"]],
            "svg.hashsalt": "vitrine",  # element names that are the same in every run
        },
    }
    with tempfile.TemporaryDirectory(prefix="vitrine-") as scratch:
        environment = _environment(project, chapter, target, Path(scratch))
        environment["VITRINE_STUDY"] = study
        reply = _run(chapter, order, environment, Path(scratch), started)
    if reply["failure"]:
        block = chapter.blocks[len(reply["outputs"])]
        raise _failed(project, chapter.name, block, reply["failure"])
    trace = Trace(**reply["trace"])
    _refuse_torch(project, chapter, trace)
    markdown = "".join(
        cell_markdown(block, outputs, page)
        if isinstance(block, Cell)
        else prose_markdown(block, outputs, page)
        for block, outputs in zip(chapter.blocks, reply["outputs"], strict=True)
    )
    for name, content in page.images.items():
        path = chapter.path.parent / figures / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Executed(chapter, target, markdown, trace)


def _run(
    chapter: Chapter,
    order: Mapping[str, Any],
    environment: Mapping[str, str],
    scratch: Path,
    started: Callable[[Process], None],
) -> dict[str, Any]:
    """What the process of ``kernel.py`` replies to an order."""
    reply = scratch / "reply.json"
    with (scratch / "log").open("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", str(KERNEL)],
            cwd=chapter.path.parent,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=log,  # what the process itself prints is not the chapter's
            stderr=log,
            text=True,
        )
        try:
            started(process)
            process.communicate(json.dumps({**order, "reply": str(reply)}))
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        said = [line for line in log.read().split("\n") if line.strip()]
    try:
        replied: dict[str, Any] = json.loads(reply.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        reason = f" ({said[-1]})" if said else ""
        raise ChapterError(
            f"{chapter.name}: Python ended{reason} while the chapter was executed",
            "See what its cells do that can end Python (memory, exit), and freeze again",
        ) from None
    return replied


def _step(block: Prose | Cell, page: Page) -> tuple[Any, ...]:
    """A block of a chapter in an order's form."""
    if isinstance(block, Prose):
        return "inline", [expression for expression, _ in block.expressions()]
    return ("cell", block.code) if page.shows(block, "eval") and block.code else ("inline", [])


def _failed(
    project: Project, name: str, block: Prose | Cell, failure: Mapping[str, Any]
) -> VitrineError:
    """What a cell raised, at its place; an error of ours has said what to do by itself."""
    kinds, message, number = failure["kinds"], failure["message"].strip(), failure["line"]
    if StudyNotRun.__name__ in kinds:
        return StudyNotRun(message, "Then run `vitrine freeze` again")
    if isinstance(block, Cell):
        place = f"{name}:{block.line + (number or 1) - 1}"
        remedy = "Correct the cell, or the results it reads, and freeze again"
    else:
        expression, line = block.expressions()[number - 1]
        place = f"{name}:{line}: `{expression.strip()}`"
        remedy = "Correct the inline expression, or the cell that prepares it, and freeze again"
    if VitrineError.__name__ in kinds and message:
        said, remedy = message, "Then run `vitrine freeze` again"
    else:
        text = message.split("\n")[0]
        text = text if len(text) <= 300 else text[:299] + "…"
        said = f"{kinds[0]}: {text}" if text else kinds[0]
        # The innermost calls outside of the cell, the last of which raised.
        calls = [
            f"{project.relative(Path(file))}:{line} in {name}"
            for file, line, name in failure["calls"][-3:]
            if Path(file).is_file()
        ]
        if calls:
            said = f"{said.removesuffix('.')} (through {', '.join(calls)})"
    return ChapterError(f"{place}: {said}", remedy)


def clear_figures(chapter: Chapter, target: str) -> None:
    """Remove the figures that an execution for ``target`` left beside the chapter."""
    shutil.rmtree(chapter.files_folder / FIGURE_FOLDERS[target], ignore_errors=True)
    if chapter.files_folder.is_dir() and not any(chapter.files_folder.iterdir()):
        chapter.files_folder.rmdir()


def _environment(project: Project, chapter: Chapter, target: str, scratch: Path) -> dict[str, str]:
    """What Quarto tells a chapter's code through the environment, as far as the package asks."""
    told = {
        "document-path": str(chapter.path),
        "format": {"identifier": {"target-format": target}, "pandoc": {"to": target}},
    }
    path = scratch / "execute-info.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    return {
        "QUARTO_EXECUTE_INFO": str(path),
        "VITRINE_PROJECT": str(project.root),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": "0",  # Matplotlib dates its images with it
        "IPYTHONDIR": str(scratch / "ipython"),
    }


def _refuse_torch(project: Project, chapter: Chapter, trace: Trace) -> None:
    if not trace.torch:
        return
    file, _, line = trace.torch.rpartition(":")
    where = f"{project.relative(Path(file))}:{line}" if file else trace.torch
    raise ChapterError(
        f"{chapter.name}: executing the chapter imported torch (in {where})",
        "Compute in `vitrine run` and read the stored results: the site builds without torch",
    )

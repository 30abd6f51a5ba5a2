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

from vitrine.book.cells import Page, cell_markdown, prose_markdown, write_pictures
from vitrine.book.chapter import INLINE, Cell, Chapter, Line, Prose
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
    started: Callable[[Process], None] = lambda process: None,
) -> Executed:
    """Execute ``chapter`` for ``target`` ("html" or "typst") in a process of its own.

    The process works in the chapter's folder, as under Quarto. Figures lie afterwards in
    ``<chapter>_files/figure-<target>`` beside the chapter; whoever calls takes them from there.
    ``started`` receives the process, so that another thread can end it.

    Raises ``ChapterError`` naming file and line when a cell or an inline expression raises, when
    an output cannot be shown, when the process ends early, and when anything imported torch;
    ``StudyNotRun`` where a chapter reads a study that was never run.
    """
    figures = f"{chapter.stem}_files/{FIGURE_FOLDERS[target]}"
    page = Page(target, options, figures)
    order = {
        "steps": [_step(block, page) for block in chapter.blocks],
        "matplotlib": _matplotlib_settings(options),
    }
    with tempfile.TemporaryDirectory(prefix="vitrine-") as scratch:
        environment = _environment(project, chapter, target, options, Path(scratch))
        reply = _run(chapter, order, environment, Path(scratch), started)
    if reply["failure"]:
        raise _failed(project, chapter.blocks[len(reply["outputs"])], reply["failure"])
    trace = Trace(**reply["trace"])
    _refuse_torch(project, chapter, trace)
    parts = []
    for block, outputs in zip(chapter.blocks, reply["outputs"], strict=True):
        if isinstance(block, Cell):
            parts.append(cell_markdown(block, outputs, page))
        else:
            expressions = [expression for expression, _ in _inline(block)]
            values = dict(zip(expressions, outputs, strict=True))
            parts.append(prose_markdown(block, values, page))
    try:
        write_pictures(page, chapter.path.parent / figures)
    except OSError as error:
        raise ChapterError(
            f"{chapter.name}: its figures cannot be written ({error.strerror})",
            "Check that the chapter's folder can be written and the disk has room",
        ) from None
    return Executed(chapter, target, "".join(parts), trace)


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
        return "inline", [expression for expression, _ in _inline(block)]
    if not block.options.get("eval", page.options["eval"]) or not block.code.strip():
        return "inline", []
    return "cell", block.code, bool(block.options.get("error", page.options["error"]))


def _inline(prose: Prose) -> list[tuple[str, Line]]:
    """The inline expressions of a stretch of prose, in order, and where they stand."""
    if prose.raw:
        return []
    lines = zip(prose.source, prose.lines, strict=True)
    return [(match[2], line) for text, line in lines for match in INLINE.finditer(text)]


def _failed(project: Project, block: Prose | Cell, failure: Mapping[str, Any]) -> VitrineError:
    """What a cell raised, at its place; an error of ours has said what to do by itself."""
    kinds, message, number = failure["kinds"], failure["message"].strip(), failure["line"]
    if StudyNotRun.__name__ in kinds:
        return StudyNotRun(message, "Then run `vitrine freeze` again")
    if isinstance(block, Cell):
        place = block.place(number)
        remedy = "Correct the cell, or the results it reads, and freeze again"
    else:
        expression, line = _inline(block)[number - 1]
        place = f"{line.place}: `{expression.strip()}`"
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


def _matplotlib_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": str(options["fig-format"]),
        "rc": {
            "figure.figsize": [float(options["fig-width"]), float(options["fig-height"])],
            "figure.dpi": float(options["fig-dpi"]),
            "savefig.dpi": "figure",
            "svg.hashsalt": "vitrine",  # element names that are the same in every run
        },
    }


def clear_figures(chapter: Chapter, target: str) -> None:
    """Remove the figures that an execution for ``target`` left beside the chapter."""
    shutil.rmtree(chapter.files_folder / FIGURE_FOLDERS[target], ignore_errors=True)
    if chapter.files_folder.is_dir() and not any(chapter.files_folder.iterdir()):
        chapter.files_folder.rmdir()


def _environment(
    project: Project,
    chapter: Chapter,
    target: str,
    options: Mapping[str, Any],
    scratch: Path,
) -> dict[str, str]:
    """What Quarto tells a chapter's code through the environment."""
    name = {"html": "HTML", "typst": "Typst"}[target]
    information = {
        "document-path": str(chapter.path),
        "format": {
            "identifier": {
                "display-name": name,
                "target-format": target,
                "base-format": target,
            },
            "execute": dict(options),
            "pandoc": {"to": target},
            "metadata": chapter.front_matter,
        },
    }
    path = scratch / "execute-info.json"
    path.write_text(json.dumps(information, default=str), encoding="utf-8")
    retina = options["fig-format"] == "retina"
    return {
        "QUARTO_EXECUTE_INFO": str(path),
        "QUARTO_PROJECT_ROOT": str(project.root),
        "QUARTO_PROJECT_DIR": str(project.root),
        "QUARTO_DOCUMENT_PATH": str(chapter.path.parent),
        "QUARTO_DOCUMENT_FILE": chapter.path.name,
        "QUARTO_FIG_WIDTH": str(options["fig-width"]),
        "QUARTO_FIG_HEIGHT": str(options["fig-height"]),
        "QUARTO_FIG_DPI": str(options["fig-dpi"] * (2 if retina else 1)),
        "QUARTO_FIG_FORMAT": "png" if retina else str(options["fig-format"]),
        "VITRINE_PROJECT": str(project.root),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": "0",  # Matplotlib dates its pictures with it
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

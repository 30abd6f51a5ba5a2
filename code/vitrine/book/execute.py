"""Executes a chapter for one output format: cells and inline expressions in, Markdown out."""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vitrine.book.cells import Job, cell_markdown, prose_markdown
from vitrine.book.chapter import Cell, Prose
from vitrine.errors import ChapterError, StudyNotRun, VitrineError
from vitrine.project import Project

KERNEL = Path(__file__).with_name("kernel.py")

ENVIRONMENT = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYTHONHASHSEED": "0",
    "SOURCE_DATE_EPOCH": "0",  # Matplotlib dates its images with it
}
"""The same for every chapter, so that it is the same page in every execution."""


@dataclass(frozen=True)
class Trace:
    """What a chapter read: absolute paths of files opened, folders listed, modules' files."""

    opened: list[str]
    listed: list[str]
    modules: list[str]


def execute(project: Project, job: Job, study: str) -> tuple[str, Trace]:
    """Execute a chapter for one format in a process of its own.

    Returns its Markdown, and what it read. The process works in the chapter's folder, as under
    Quarto, and ``study`` is what the report shows. Figures lie afterwards in
    ``<chapter>_files/figure-<target>`` beside the chapter; whoever calls takes them from there.

    Raises ``ChapterError`` naming file and line when a cell or an inline expression raises, when
    an output cannot be shown, and when the process ends early; ``StudyNotRun`` where a chapter
    reads a study that was never run.
    """
    chapter, options = job.chapter, job.options
    order = {
        "steps": [_step(block, job) for block in chapter.blocks],
        "matplotlib": {
            "figure.figsize": [options["fig-width"], options["fig-height"]],
            "svg.hashsalt": "vitrine",  # element names that are the same in every run
        },
        "report": "vitrine" in chapter.text,
        "folder": str(chapter.path.parent),
    }
    with tempfile.TemporaryDirectory(prefix="vitrine-") as scratch:
        told = _environment(project, job, Path(scratch)) | {"VITRINE_STUDY": study}
        order["environment"] = {**os.environ, **ENVIRONMENT, **told}
        reply = _run(chapter.name, order, Path(scratch))
    if reply["failure"]:
        block = chapter.blocks[len(reply["outputs"])]
        raise _failed(project, chapter.name, block, reply["failure"])
    trace = Trace(**reply["trace"])
    markdown = "".join(
        cell_markdown(block, outputs, job)
        if isinstance(block, Cell)
        else prose_markdown(block, outputs, job)
        for block, outputs in zip(chapter.blocks, reply["outputs"], strict=True)
    )
    for name, content in job.images.items():
        path = chapter.path.parent / job.figures / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return markdown, trace


class Kernel:
    """A process of ``kernel.py`` with those that it forks, one at a time."""

    _all: ClassVar[list["Kernel"]] = []
    _idle: ClassVar[list["Kernel"]] = []

    def __init__(self) -> None:
        self._killed = False
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(KERNEL)],
            env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._all.append(self)

    @classmethod
    def take(cls) -> "Kernel":
        """One that has nothing to do."""
        with suppress(IndexError):
            while (kernel := cls._idle.pop())._killed:
                pass
            return kernel
        return cls()

    @classmethod
    def end_all(cls) -> None:
        """End every one, also those that other threads follow."""
        while cls._all:
            cls._all.pop().end()

    def follow(self, order: Mapping[str, Any]) -> None:
        """Return when the chapter's process has ended, by itself or by ``end``."""
        assert self._process.stdin and self._process.stdout
        is_idle = False
        try:
            with suppress(BrokenPipeError):
                print(json.dumps(order), file=self._process.stdin, flush=True)
                is_idle = bool(self._process.stdout.readline())
        finally:
            if is_idle:
                self._idle.append(self)
            else:
                self.end()

    def end(self) -> None:
        """Kill it with the chapter's process, and wait until it is gone."""
        self._killed = True
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


atexit.register(Kernel.end_all)


def _run(name: str, order: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """What the process of a chapter replies to an order."""
    reply, log = scratch / "reply.json", scratch / "log"
    Kernel.take().follow({**order, "reply": str(reply), "log": str(log)})
    try:
        replied: dict[str, Any] = json.loads(reply.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        said = [line for line in text.split("\n") if line.strip()]
        reason = f" ({said[-1]})" if said else ""
        raise ChapterError(
            f"{name}: Python ended{reason} while the chapter was executed",
            "See what its cells do that can end Python (memory, exit), and freeze again",
        ) from None
    return replied


def _step(block: Prose | Cell, job: Job) -> tuple[Any, ...]:
    """A block of a chapter in an order's form."""
    if isinstance(block, Prose):
        return "inline", [expression for expression, _ in block.expressions()]
    return ("cell", block.code) if job.shows(block, "eval") and block.code else ("inline", [])


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


def _environment(project: Project, job: Job, scratch: Path) -> dict[str, str]:
    """What Quarto tells a chapter's code through the environment, as far as the package asks."""
    told = {
        "document-path": str(job.chapter.path),
        "format": {"identifier": {"target-format": job.target}, "pandoc": {"to": job.target}},
    }
    path = scratch / "execute-info.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    return {
        "QUARTO_EXECUTE_INFO": str(path),
        "VITRINE_PROJECT": str(project.root),
        "IPYTHONDIR": str(scratch / "ipython"),
    }

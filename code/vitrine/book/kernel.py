"""A process that executes chapters: IPython, and a note of everything that a chapter reads.

``execute.py`` starts this file by its path (``python -P kernel.py``), so that it loads nothing of
the package that a chapter does not load itself. It reads orders from the standard input, one a
line as JSON. Each chapter has a process of its own, a fork that has the ``LIBRARIES`` imported
already; a line on the standard output says that it ended. What came of it is in the file that the
order names:

order : ``steps`` (``["cell", code]`` or ``["inline", expressions]``, in the chapter's
    order), ``matplotlib`` (rcParams of figures), ``report`` (whether the chapter imports the
    package), ``folder`` (to work in), ``environment``, ``log`` and ``reply`` (paths).
reply : ``outputs`` (a list a step: nbformat's dictionaries, or ``{mime: value}`` an
    expression), ``trace`` (see ``execute.Trace``) and, where a step raised, ``failure``.
"""

import base64
import contextlib
import gc
import importlib
import io
import json
import os
import sys
import traceback
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config

FORKS = sys.platform == "linux"
"""Elsewhere the libraries of a process may not be used after a fork: one process a chapter."""

LIBRARIES = (
    "IPython.core.magics",
    "PIL.JpegImagePlugin",
    "PIL.WebPImagePlugin",
    "altair",
    "matplotlib",
    "pandas",
    "pydantic",
    "scipy.stats",
    "skimage.morphology",
    "skimage.segmentation",
    "vl_convert",
)
"""What the package's report imports: seconds of work, the same for every chapter."""

OUTPUTS: list[dict[str, Any]] = []  # of the cell that runs
RAISED: list[BaseException] = []


class Stream(io.TextIOBase):
    """Stands for sys.stdout or sys.stderr: prints that follow each other are one output."""

    encoding = "utf-8"

    def __init__(self, name: str) -> None:
        self.name = name

    def write(self, text: str) -> int:
        last = OUTPUTS[-1] if OUTPUTS else {}
        if text and last.get("name") == self.name:
            last["text"] += text
        elif text:
            OUTPUTS.append({"output_type": "stream", "name": self.name, "text": text})
        return len(text)


class Publisher(DisplayPublisher):
    """Receives what ``display`` and Matplotlib show."""

    def publish(self, data: Any, metadata: Any = None, *_: Any, **__: Any) -> None:
        OUTPUTS.append(
            {"output_type": "display_data", "data": dict(data), "metadata": metadata or {}}
        )


class Hook(DisplayHook):
    """Receives the value of a cell's last expression."""

    def __call__(self, result: Any = None) -> None:
        hook: Any = self  # IPython's own methods have no types
        hook.fill_exec_result(result)
        if result is not None and not hook.quiet():
            data, metadata = hook.shell.display_formatter.format(result)
            hook.update_user_ns(result)
            count = hook.exec_result.execution_count
            shown = {"data": data, "metadata": metadata, "execution_count": count}
            OUTPUTS.append({"output_type": "execute_result", **shown})


class Shell(InteractiveShell):
    display_pub_class = Type(Publisher)
    displayhook_class = Type(Hook)

    def _showtraceback(self, kind: Any, error: Any, lines: list[str]) -> None:
        RAISED.append(error)


def start(rc: dict[str, Any]) -> Shell:
    """The shell, which has no history, reads no settings and prints no colours."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InlineBackend.figure_formats = {"svg"}
    config.InlineBackend.rc = rc
    sys.path.insert(0, "")  # modules beside the chapter
    shell: Shell = Shell.instance(config=config, colors="nocolor")
    sys.stdout, sys.stderr = Stream("stdout"), Stream("stderr")
    return shell


def run_cell(shell: Shell, code: str) -> tuple[list[Any], dict[str, Any] | None]:
    """The outputs of a cell, or what it raised."""
    OUTPUTS.clear()
    RAISED.clear()
    shell.run_cell(code, store_history=True)  # type: ignore[no-untyped-call]
    return list(OUTPUTS), failure(RAISED[0]) if RAISED else None


def evaluate(shell: Shell, expressions: list[str]) -> tuple[list[Any], dict[str, Any] | None]:
    """What each expression displays; a scalar of NumPy as the number that it is."""
    formatter = shell.display_formatter
    assert formatter is not None
    shown = []
    for number, expression in enumerate(expressions, start=1):
        OUTPUTS.clear()
        RAISED.clear()
        try:
            value = eval(expression.strip(), shell.user_global_ns, shell.user_ns)
            if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
                value = value.item()
            data, _ = formatter.format(value)  # type: ignore[no-untyped-call]
        except Exception as error:
            RAISED.insert(0, error)
        if RAISED:
            return [], {**failure(RAISED[0]), "line": number}
        shown.append(data)
    return shown, None


def failure(error: BaseException) -> dict[str, Any]:
    """An exception in words: its cell's line, its last line and the calls that led to it."""
    names = [kind.__name__ for kind in type(error).__mro__]
    frames = traceback.extract_tb(error.__traceback__)
    in_cells = [frame for frame in frames if "ipython-input" in frame.filename]
    first = in_cells[0].filename if in_cells else ""
    within = frames[frames.index(in_cells[0]) :] if in_cells else []
    lines = [frame.lineno for frame in in_cells if frame.filename == first]
    if isinstance(error, SyntaxError) and not in_cells:
        lines = [error.lineno]
    return {
        "kinds": names,
        "message": str(error),
        "line": lines[-1] if lines else None,
        "calls": [(f.filename, f.lineno, f.name) for f in within if f not in in_cells],
    }


class NoTorch:
    """Stops an import of torch, first of those that look for modules."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "torch":
            raise ModuleNotFoundError(
                "a chapter imports no torch, without which the site is built: compute in "
                "`vitrine run`, and read the stored results here"
            )


class Watch:
    """An audit hook that notes the files opened and the folders listed."""

    def __init__(self) -> None:
        self.opened: dict[str, None] = {}
        self.listed: dict[str, None] = {}

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        with contextlib.suppress(Exception):  # a lost note must not fail the chapter's own call
            self.note(event, arguments)

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if isinstance(mode, str):
                is_read = not set(mode) & set("wax")
            else:
                is_read = not (flags or 0) & (os.O_WRONLY | os.O_CREAT)
            if is_read and not isinstance(path, int):
                self.opened[os.path.abspath(os.fsdecode(path))] = None
        elif event in ("os.listdir", "os.scandir") and not isinstance(arguments[0], int):
            self.listed[os.path.abspath(os.fsdecode(arguments[0] or "."))] = None

    def noted(self) -> dict[str, Any]:
        files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        return {
            "opened": sorted(self.opened),
            "listed": sorted(self.listed),
            "modules": sorted({file for file in files if isinstance(file, str)}),
        }


def execute_order(order: dict[str, Any]) -> None:
    """Execute a chapter and write what came of it."""
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT)
    for stream, opened in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
        os.dup2(opened, stream)  # what the process itself prints is not the chapter's
    shell = start(order["matplotlib"])
    watch = Watch()
    sys.addaudithook(watch)
    sys.meta_path.insert(0, NoTorch)
    outputs, failed = [], None
    for kind, *step in order["steps"]:
        shown, failed = run_cell(shell, *step) if kind == "cell" else evaluate(shell, *step)
        if failed:
            break
        outputs.append(shown)
    reply = {"outputs": outputs, "failure": failed, "trace": watch.noted()}
    with open(order["reply"], "w", encoding="utf-8") as file:
        # Images that an object gives as bytes travel as text.
        json.dump(reply, file, default=lambda image: base64.b64encode(image).decode())


def main() -> None:
    while line := sys.stdin.readline():
        order = json.loads(line)
        if FORKS and order["report"]:
            for library in LIBRARIES:
                importlib.import_module(library)
            gc.freeze()  # a fork need not look through what it cannot free
        if not (FORKS and os.fork()):
            return execute_order(order)
        os.wait()
        os.write(1, b"\n")


if __name__ == "__main__":
    main()

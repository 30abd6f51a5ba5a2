"""A Python kernel that executes one chapter and notes what the chapter depends on."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from vitrine.errors import VitrineError

T = TypeVar("T")

_OWN = {VitrineError.__name__} | {kind.__name__ for kind in VitrineError.__subclasses__()}

_FRAME = re.compile(r"Cell In\[(\d+)\], line (\d+)")


class CellFailed(Exception):
    """A cell raised: ``line`` is its failing line (from 1) or None, ``message`` the last line.

    ``says_what_to_do`` where the error is one of ours, whose message ends with its remedy.
    """

    def __init__(
        self, message: str, line: int | None = None, *, says_what_to_do: bool = False
    ) -> None:
        super().__init__(message)
        self.message, self.line, self.says_what_to_do = message, line, says_what_to_do


class KernelDied(Exception):
    """The kernel's process ended while it was needed."""


@dataclass(frozen=True)
class Trace:
    """What a kernel read: absolute paths of files opened, folders listed, modules' files.

    ``torch`` says where torch was imported ("file:line"), or is empty.
    """

    opened: tuple[str, ...]
    listed: tuple[str, ...]
    modules: tuple[str, ...]
    torch: str


class Kernel:
    """A kernel of the running Python in ``folder``; a context manager that always ends it.

    ``environment`` is added to the process's own. The kernel reads no settings of the person who
    runs it, prints no colours and hashes, dates and draws the same in every run.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], options: Mapping[str, Any]
    ) -> None:
        self.folder, self.environment, self.options = folder, dict(environment), options
        self.is_over = False

    def __enter__(self) -> Self:
        self.scratch = tempfile.TemporaryDirectory(prefix="vitrine-", ignore_cleanup_errors=True)
        self.loop = asyncio.new_event_loop()
        self.client = _client(self.folder, Path(self.scratch.name))
        log = Path(self.scratch.name) / "kernel.log"
        try:
            with log.open("wb") as output:  # what the process itself prints is not the chapter's
                environment = self._environment()
                launch = {"env": environment, "stdout": output, "stderr": output}
                self._wait(self.client.async_start_new_kernel(**launch))
            self._wait(self.client.async_start_new_kernel_client())
            self._run(_call(_prepare, _matplotlib_settings(self.options)))
        except (RuntimeError, OSError, CellFailed, KernelDied) as error:
            said = log.read_text(encoding="utf-8", errors="replace").split("\n")
            reason = next((line for line in reversed(said) if line.strip()), str(error))
            self.__exit__(None, None, None)
            raise KernelDied(f"the kernel did not start ({reason})") from error
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.is_over = True
        with suppress(RuntimeError):  # it never started
            self._wait(self.client._async_cleanup_kernel())
        self.loop.close()
        self.scratch.cleanup()

    def run(self, code: str, may_fail: bool = False) -> list[dict[str, Any]]:
        """Execute a cell; its outputs in nbformat's form, neighbouring prints joined.

        Raises ``CellFailed`` when it raises and not ``may_fail``, ``KernelDied`` when the process
        ends.
        """
        return self._run(code, may_fail, keep=True)

    def evaluate(self, expressions: Sequence[str]) -> list[dict[str, Any]]:
        """What each expression displays, in order, as ``{"data": {mime: value}}``.

        Raises ``CellFailed`` whose ``line`` is the number (from 1) of the expression that raised.
        """
        named = {str(number): text for number, text in enumerate(expressions)}
        assert self.client.kc is not None  # since __enter__
        request = self.client.kc.execute("", user_expressions=named)
        try:
            reply = self._wait(self.client.async_wait_for_reply(request))
        except DeadKernelError:
            raise KernelDied("the kernel ended") from None
        content = (reply or {}).get("content", {})
        results = [content.get("user_expressions", {}).get(key, {}) for key in named]
        for number, result in enumerate(results, start=1):
            if result.get("status") != "ok":
                name, value = result.get("ename", "Error"), result.get("evalue", "")
                raise _told(name, value, number)
        return results

    def trace(self) -> Trace:
        """What the kernel has read so far."""
        path = Path(self.scratch.name) / "trace.json"
        self._run(_call(_report, str(path)))
        noted = json.loads(path.read_text(encoding="utf-8"))
        torch = noted.pop("torch")
        read = {name: tuple(sorted(paths)) for name, paths in noted.items()}
        return Trace(**read, torch=torch[0] if torch else "")

    def kill(self) -> None:
        """End the process at once, from any thread; what waits for it raises ``KernelDied``."""
        provisioner = getattr(self.client.km, "provisioner", None)
        pid = getattr(provisioner, "pid", None)
        if pid and not self.is_over:
            with suppress(ProcessLookupError):
                os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    def _wait(self, step: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(step)

    def _environment(self) -> dict[str, str]:
        settings = Path(self.scratch.name) / "ipython"
        return {
            **os.environ,
            "PYTHONHASHSEED": "0",
            "SOURCE_DATE_EPOCH": "0",  # Matplotlib dates its pictures with it
            "IPYTHONDIR": str(settings),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            **self.environment,
        }

    def _run(self, code: str, may_fail: bool = False, keep: bool = False) -> list[dict[str, Any]]:
        cell = nbformat.v4.new_code_cell(code)  # type: ignore[no-untyped-call]
        if may_fail:
            cell.metadata["tags"] = ["raises-exception"]
        self.client.nb.cells = [cell]  # where nbclient files away what it executed
        try:
            self._wait(self.client.async_execute_cell(cell, 0, store_history=keep))
        except CellExecutionError as error:
            raise _failure(error.ename, error.evalue, error.traceback) from None
        except DeadKernelError:
            raise KernelDied("the kernel ended") from None
        outputs = _joined_streams(cell.outputs)
        for output in outputs:
            # An object whose display raises leaves an error without failing the cell.
            if output["output_type"] == "error" and not may_fail:
                trace = "\n".join(output["traceback"])
                raise _failure(output["ename"], output["evalue"], trace)
        return outputs


class _ThisPython(KernelSpecManager):
    """Knows one kernel: the Python that runs vitrine, whatever else is installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        launch = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        quiet = ["--log-level=ERROR", "--HistoryManager.enabled=False"]
        return KernelSpec(argv=launch + quiet, display_name="Python 3", language="python")


def _client(folder: Path, scratch: Path) -> NotebookClient:
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisPython())
    manager.connection_file = str(scratch / "kernel.json")
    if os.name == "posix":
        # Sockets in a private folder instead of open ports on this machine.
        manager.transport = "ipc"
        manager.ip = str(scratch / "kernel")
    client = NotebookClient(
        nbformat.v4.new_notebook(),  # type: ignore[no-untyped-call]
        km=manager,
        resources={"metadata": {"path": str(folder)}},
        timeout=None,
        record_timing=False,
        allow_errors=False,
    )
    client.ipython_hist_file = ""
    return client


def _call(function: Callable[..., None], *arguments: object) -> str:
    """Source that defines ``function`` in the kernel, calls it and forgets it again."""
    name = function.__name__
    values = ", ".join(map(repr, arguments))
    source = f"from __future__ import annotations\n{inspect.getsource(function)}"
    return f"{source}\n{name}({values})\ndel annotations, {name}\n"


def _matplotlib_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": str(options["fig-format"]),
        "rc": {
            "figure.figsize": [
                float(options["fig-width"]),
                float(options["fig-height"]),
            ],
            "figure.dpi": float(options["fig-dpi"]),
            "savefig.dpi": "figure",
            "svg.hashsalt": "vitrine",  # element names that are the same in every run
        },
    }


def _prepare(figures: dict[str, Any]) -> None:
    """Runs in the kernel before a chapter: watch what it reads, and set how figures are drawn."""
    import contextlib
    import os
    import sys
    import traceback

    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    shell.run_line_magic("colors", "nocolor")
    # Read by Matplotlib's backend when a chapter first imports it, not before.
    shell.config.InlineBackend.figure_formats = {figures["format"]}
    shell.config.InlineBackend.rc = figures["rc"]
    opened: dict[str, None] = {}
    listed: dict[str, None] = {}
    torch: list[str] = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if isinstance(mode, str):
                is_read = not set(mode) & set("wax")
            else:
                is_read = not (flags or 0) & (os.O_WRONLY | os.O_CREAT)
            if is_read and not isinstance(path, int):
                opened[os.path.abspath(os.fsdecode(path))] = None
        elif event in ("os.listdir", "os.scandir") and not isinstance(arguments[0], int):
            listed[os.path.abspath(os.fsdecode(arguments[0] or "."))] = None
        elif event == "import" and arguments[0] == "torch":
            stack = [frame for frame in traceback.extract_stack() if "importlib" not in frame[0]]
            torch.append(f"{stack[-3].filename}:{stack[-3].lineno}")

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        with contextlib.suppress(Exception):  # a lost note must not fail the chapter's own call
            note(event, arguments)

    sys.__dict__["_vitrine_noted"] = {
        "opened": opened,
        "listed": listed,
        "torch": torch,
    }
    sys.addaudithook(watch)


def _report(path: str) -> None:
    """Runs in the kernel after a chapter: write down what it read."""
    import json
    import sys

    noted = {name: list(notes) for name, notes in sys.__dict__["_vitrine_noted"].items()}
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    noted["modules"] = [file for file in files if isinstance(file, str)]
    if "torch" in sys.modules:
        noted["torch"].append("an unknown place")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(noted, file)


def _failure(name: str, value: str, trace: str) -> CellFailed:
    frames = _FRAME.findall(trace)
    # The outermost frame is in the failing cell; the last one there is the line that failed.
    lines = [int(line) for cell, line in frames if cell == frames[0][0]]
    if name == "NoneType":  # how IPython names what an object's own display method raised
        name, value = "", trace.strip().rsplit("\n", 1)[-1]
    return _told(name, value, lines[-1] if lines else None)


def _told(name: str, value: str, line: int | None) -> CellFailed:
    if name in _OWN and value.strip():
        return CellFailed(value.strip(), line, says_what_to_do=True)
    return CellFailed(_one_line(name, value), line)


def _one_line(name: str, value: str) -> str:
    """The last line of an exception, shortened to what fits a message."""
    text = value.strip().splitlines()[0] if value.strip() else ""
    text = text if len(text) <= 300 else text[:299] + "…"
    return f"{name}: {text}" if name and text else name or text


def _joined_streams(outputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Outputs as plain dictionaries; prints that follow each other on one stream are one."""
    joined: list[dict[str, Any]] = []
    for output in outputs:
        plain: dict[str, Any] = json.loads(json.dumps(output))
        last = joined[-1] if joined else {}
        is_stream = plain["output_type"] == "stream" == last.get("output_type")
        if is_stream and plain["name"] == last["name"]:
            last["text"] += plain["text"]
        else:
            joined.append(plain)
    return joined

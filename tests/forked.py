"""Chapters executed in processes that have imported the report already, for tests of many books."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vitrine.book import kernel
from vitrine.book.chapter import Chapter
from vitrine.errors import ChapterError

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["forked", "altair", "pandas", "vl_convert", "vitrine.report", "vitrine.report.findings"]
)


def run(
    chapter: Chapter,
    order: Mapping[str, Any],
    environment: Mapping[str, str],
    scratch: Path,
    started: Callable[..., None],
) -> dict[str, Any]:
    """What ``kernel.py`` replies, in place of ``vitrine.book.execute._run``."""
    reply = scratch / "reply.json"
    process = FORKS.Process(
        target=_kernel,
        args=(str(chapter.path.parent), dict(environment), {**order, "reply": str(reply)}),
    )
    process.start()
    process.join()
    if not reply.is_file():
        raise ChapterError(f"{chapter.name}: Python ended with {process.exitcode}")
    return dict(json.loads(reply.read_text(encoding="utf-8")))


def _kernel(folder: str, environment: dict[str, str], order: dict[str, Any]) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    sys.path[:] = [path for path in sys.path if not path.endswith("tests")]
    sys.stdin = io.StringIO(json.dumps(order))
    kernel.main()

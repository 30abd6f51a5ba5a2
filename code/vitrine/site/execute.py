"""Executes a chapter for one output format: cells and inline expressions in, Markdown out."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitrine.errors import ChapterError
from vitrine.project import Project
from vitrine.site.cells import (
    MimeBundle,
    Page,
    cell_markdown,
    prose_markdown,
    write_pictures,
)
from vitrine.site.chapter import INLINE, Cell, Chapter, Prose
from vitrine.site.frozen import FIGURE_FOLDERS
from vitrine.site.kernel import CellFailed, Kernel, KernelDied, Trace


@dataclass(frozen=True)
class Executed:
    """A chapter executed for ``target``: its Markdown, and what its kernel read."""

    chapter: Chapter
    target: str
    markdown: str
    trace: Trace


def execute(
    project: Project,
    chapter: Chapter,
    target: str,
    options: Mapping[str, Any],
    started: Callable[[Kernel], None] = lambda kernel: None,
) -> Executed:
    """Execute ``chapter`` for ``target`` ("html" or "typst") in a kernel of its own.

    The kernel works in the chapter's folder, as under Quarto. Figures lie afterwards in
    ``<chapter>_files/figure-<target>`` beside the chapter; whoever calls takes them from there.
    ``started`` receives the kernel, so that another thread can end it.

    Raises ``ChapterError`` naming file and line when a cell or an inline expression raises, when
    an output cannot be shown, when the kernel ends early, and when anything imported torch.
    """
    figures = f"{chapter.stem}_files/{FIGURE_FOLDERS[target]}"
    page = Page(target, options, figures)
    with tempfile.TemporaryDirectory(prefix="vitrine-") as scratch:
        environment = _environment(project, chapter, target, options, Path(scratch))
        try:
            with Kernel(chapter.path.parent, environment, options) as kernel:
                started(kernel)
                markdown = "".join(_block(kernel, block, page) for block in chapter.blocks)
                trace = kernel.trace()
        except KernelDied as error:
            raise ChapterError(
                f"{chapter.name}: {error} while the chapter was executed for {target}",
                "See what its cells do that can end Python (memory, exit), and freeze again",
            ) from None
    _refuse_torch(project, chapter, trace)
    try:
        write_pictures(page, chapter.path.parent / figures)
    except OSError as error:
        raise ChapterError(
            f"{chapter.name}: its figures cannot be written ({error.strerror})",
            "Check that the chapter's folder can be written and the disk has room",
        ) from None
    return Executed(chapter, target, markdown, trace)


def clear_figures(chapter: Chapter, target: str) -> None:
    """Remove the figures that an execution for ``target`` left beside the chapter."""
    shutil.rmtree(chapter.files_folder / FIGURE_FOLDERS[target], ignore_errors=True)
    if chapter.files_folder.is_dir() and not any(chapter.files_folder.iterdir()):
        chapter.files_folder.rmdir()


def _block(kernel: Kernel, block: Prose | Cell, page: Page) -> str:
    if isinstance(block, Prose):
        return prose_markdown(block, _inline_values(kernel, block), page)
    is_run = block.options.get("eval", page.options["eval"])
    may_fail = bool(block.options.get("error", page.options["error"]))
    try:
        outputs = kernel.run(block.code, may_fail) if is_run and block.code.strip() else []
    except CellFailed as error:
        raise _failed(
            block.place(error.line),
            error,
            "Correct the cell, or the results it reads, and freeze again",
        ) from None
    return cell_markdown(block, outputs, page)


def _inline_values(kernel: Kernel, prose: Prose) -> dict[str, MimeBundle]:
    """What each inline expression of a stretch of prose displays, evaluated in order."""
    if prose.raw:
        return {}
    found = [
        (match[2], line)
        for text, line in zip(prose.source, prose.lines, strict=True)
        for match in INLINE.finditer(text)
    ]
    if not found:
        return {}
    expressions = [expression for expression, _ in found]
    try:
        results = kernel.evaluate(expressions)
    except CellFailed as error:
        number = (error.line or 1) - 1
        raise _failed(
            f"{found[number][1].place}: `{expressions[number].strip()}`",
            error,
            "Correct the inline expression, or the cell that prepares it, and freeze again",
        ) from None
    return dict(zip(expressions, results, strict=True))


def _failed(place: str, error: CellFailed, remedy: str) -> ChapterError:
    """What a cell raised, at its place; an error of ours has said what to do by itself."""
    said = error.message.removesuffix(".") if not error.message.endswith("..") else error.message
    if error.says_what_to_do:
        remedy = "Then run `vitrine freeze` again"
    return ChapterError(f"{place}: {said}", remedy)


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

"""A chapter as its author wrote it: where things stand in it, and what is wrong on which line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NoReturn

from vitrine.errors import ChapterError
from vitrine.project import Project
from vitrine.site import marked
from vitrine.site.chapter import Chapter, Prose, read_chapter
from vitrine.site.marked import Marked

# Keys of a chapter's front matter. The second group concerns only how its cells are executed.
FRONT_MATTER = (
    "title",
    "subtitle",
    "description",
    "abstract",
    "keywords",
    "toc",
    "toc-depth",
    "code-fold",
    "code-summary",
)
EXECUTION_KEYS = ("execute",)

SHORTCODES = ("pagebreak", "meta", "include")

_FENCE = re.compile(r"^\s*(?:>\s*)*(`{3,}|~{3,})(.*)$")
_INLINE_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_RAW = re.compile(r"(?:`|[`~]{3,}\s*)\{=([^}\s]*)\}")
RAW_FORMATS = ("html", "typst")
_SHORTCODE = re.compile(r"\{\{<\s*(\S+)")
_INCLUDE = re.compile(r"^\s*\{\{<\s*include\s+(\S+)\s*>\}\}\s*$")


@dataclass(frozen=True)
class Line:
    """One line of a chapter's files, and whether it is inside a fenced code block."""

    file: str
    number: int
    text: str
    in_code: bool


@dataclass(frozen=True)
class Qmd:
    """A chapter's source.

    ``chapter`` is the parsed file; ``front`` its front matter with lines; ``lines`` the lines of
    the file and, after them, those of the files that it includes.
    """

    chapter: Chapter
    front: Marked
    lines: tuple[Line, ...]

    @property
    def name(self) -> str:
        """The path from the project's root, ``chapters/lime.qmd``."""
        return self.chapter.name

    @property
    def folder(self) -> PurePosixPath:
        return PurePosixPath(self.name).parent

    @property
    def stem(self) -> str:
        return self.chapter.stem

    @property
    def markdown(self) -> str:
        """The text of a chapter without cells, with its includes in place."""
        proses = [block for block in self.chapter.blocks if isinstance(block, Prose)]
        return "\n\n".join("".join(prose.source) for prose in proses) + "\n"

    def find(self, pattern: str) -> str | None:
        """``file:line`` where a regular expression first matches, in prose rather than in code."""
        expression = re.compile(pattern)
        for in_code in (False, True):
            for line in self.lines:
                if line.in_code == in_code and expression.search(line.text):
                    return f"{line.file}:{line.number}"
        return None

    def refuse(self, problem: str, remedy: str, pattern: str = "", cell: str = "") -> NoReturn:
        """Raise ``ChapterError`` at the line that matches ``pattern``.

        What only the output of a cell contains has no line: the error then names the cell.
        """
        where = self.find(pattern) if pattern else None
        if where is None and cell:
            line = self.find(rf"^#\|\s*label:\s*[\"']?{re.escape(cell)}[\"']?\s*$")
            where = f"{line or self.name} (output of the cell {cell})"
        raise ChapterError(f"{where or self.name}: {problem}", remedy)


def read_qmd(project: Project, name: str) -> Qmd:
    """Read a chapter and check what can be checked before it is executed or parsed.

    Raises ``ChapterError`` with file and line for unknown front matter and shortcodes, beside
    what ``read_chapter`` refuses.
    """
    chapter = read_chapter(project, project.root / name)
    lines: list[Line] = []
    for path in dict.fromkeys((chapter.path, *chapter.included)):
        lines += scan(project.relative(path), path.read_text(encoding="utf-8"))
    qmd = Qmd(chapter, _front_matter(name, lines), tuple(lines))
    _check_front_matter(qmd)
    _check_shortcodes(qmd)
    _check_raw_formats(qmd)
    return qmd


def scan(file: str, text: str) -> Iterator[Line]:
    """The lines of ``text``; fences themselves count as code."""
    fence = ""
    for number, line in enumerate(text.splitlines(), start=1):
        found = _FENCE.match(line)
        if fence:
            yield Line(file, number, line, True)
            if found and found.group(1).startswith(fence) and not found.group(2).strip():
                fence = ""
        elif found and not (found.group(1)[0] == "`" and "`" in found.group(2)):
            fence = found.group(1)
            yield Line(file, number, line, True)
        else:
            yield Line(file, number, line, False)


def _front_matter(name: str, lines: list[Line]) -> Marked:
    """The front matter of the chapter's own file; ``read_chapter`` has checked that it ends."""
    if not lines or lines[0].text.rstrip() != "---":
        return Marked(name)
    inside = []
    for line in lines[1:]:
        if line.text.rstrip() in ("---", "..."):
            break
        inside.append(line.text)
    return marked.load("\n".join(inside), name, first_line=2)


def _check_front_matter(qmd: Qmd) -> None:
    for key in qmd.front.data:
        if str(key) not in (*FRONT_MATTER, *EXECUTION_KEYS):
            raise ChapterError(
                f"{qmd.front.where(str(key))}: unknown front matter key {key}",
                "Remove it; known are " + ", ".join((*FRONT_MATTER, *EXECUTION_KEYS)),
            )


def _check_shortcodes(qmd: Qmd) -> None:
    for line in qmd.lines:
        if line.in_code:
            continue
        for found in _SHORTCODE.finditer(_INLINE_CODE.sub("", line.text)):
            name = found.group(1)
            where = f"{line.file}:{line.number}"
            if name not in SHORTCODES:
                raise ChapterError(
                    f"{where}: unknown shortcode {name}",
                    "Remove it; known are " + ", ".join(SHORTCODES),
                )
            if name == "include" and not _INCLUDE.match(line.text):
                raise ChapterError(
                    f"{where}: an include stands on a line of its own, with one file name",
                    "Write {{< include file >}} alone on the line",
                )


def _check_raw_formats(qmd: Qmd) -> None:
    for line in qmd.lines:
        for name in _RAW.findall(line.text):
            if name not in RAW_FORMATS:
                raise ChapterError(
                    f"{line.file}:{line.number}: raw {name} is not supported",
                    "Use {=html} and {=typst}",
                )

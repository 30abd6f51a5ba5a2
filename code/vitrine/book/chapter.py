"""A chapter as Quarto's Jupyter engine reads it: front matter, prose and Python cells.

The rules (what opens and closes a cell, where ``#|`` options end, which blank lines count) are
those of Quarto 1.7 to 1.9, so that the frozen Markdown made from these parts is the Markdown that
Quarto would have frozen. What Quarto would pass over in silence (an option it does not know, a
cell that never ends) stops here with the file and the line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Any

import yaml

from vitrine.errors import ChapterError
from vitrine.project import Project

# Every cell option that a chapter may use, and what its value must be.
CELL_OPTIONS: Mapping[str, str] = {
    "label": "label",
    "echo": "flag",
    "eval": "flag",
    "include": "flag",
    "output": "flag or asis",
    "warning": "flag",
    "error": "flag",
    "fig-cap": "texts",
    "fig-subcap": "texts or flag",
    "fig-alt": "texts",
    "tbl-cap": "text",
    "code-fold": "flag or show",
    "code-summary": "text",
    "column": "text",
    "classes": "text",
    "layout-ncol": "number",
}

_KINDS = {
    "flag": "true or false",
    "text": "a text",
    "texts": "a text or a list of texts",
    "number": "a whole number above 0",
    "label": "a name of letters, digits, - and _ that starts with a letter",
}

# Where a chapter or _quarto.yml says nothing, Quarto executes like this (figures in inches).
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "html": {"fig-width": 7, "fig-height": 5, "fig-format": "retina", "fig-dpi": 96},
    "typst": {"fig-width": 5.5, "fig-height": 3.5, "fig-format": "svg", "fig-dpi": 96},
}
_EXECUTE_DEFAULTS = {
    "eval": True,
    "echo": True,
    "output": True,
    "warning": True,
    "error": False,
    "include": True,
}
# Keys below ``execute:`` that steer Quarto itself and leave no trace in the frozen Markdown.
_QUARTO_ONLY = {"freeze", "enabled", "cache", "daemon", "keep-md", "keep-ipynb"}

INLINE = re.compile(r"(^|[^`])`\{python\}[ \t]([^`]+)`")

_FENCE = re.compile(r"^\s*```")
_CELL_START = re.compile(r"^(\s*)(```+)\s*\{python( *[ ,].*)?\}\s*$")
_OTHER_CELL = re.compile(r"^\s*```+\s*\{(r|julia|bash|sh|sql|perl|ruby|python\.[\w.]+)\b.*\}\s*$")
_YAML_RULE = re.compile(r"^---\s*$")
_OPTION = re.compile(r"^#\s*\| ?")
_INCLUDE = re.compile(r"^\s*\{\{< include\s+(\"[^\"]+\"|'[^']+'|\S+)\s+>\}\}\s*$")
_LABEL = re.compile(r"^[A-Za-z][A-Za-z0-9_.:-]*$")


@dataclass(frozen=True)
class Line:
    """One line of a chapter (without its line end) and where it was written."""

    text: str
    file: str
    number: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.number}"


@dataclass(frozen=True)
class Prose:
    """Markdown between cells. ``raw`` is a YAML block, whose inline expressions stay as they are.

    ``source`` holds lines that end in a line feed, except perhaps the last.
    """

    source: list[str]
    lines: list[Line]
    raw: bool = False


@dataclass(frozen=True)
class Cell:
    """A Python cell: ``options`` from its ``#|`` lines, ``source`` the code below them.

    ``position`` counts the cells of the chapter from 1; ``start`` is the opening fence and
    ``lines`` are the lines of ``source``.
    """

    position: int
    indent: str
    options: dict[str, Any]
    source: list[str]
    lines: list[Line]
    start: Line

    @property
    def label(self) -> str:
        return str(self.options.get("label", ""))

    @property
    def code(self) -> str:
        return "".join(self.source)

    def place(self, line: int | None = None) -> str:
        """``file:line`` of the code's line ``line`` (counted from 1), or of the whole cell."""
        if line is None or not self.lines:
            return self.lines[0].place if self.lines else self.start.place
        return self.lines[max(0, min(line, len(self.lines)) - 1)].place


@dataclass(frozen=True)
class Chapter:
    """A parsed chapter.

    ``name`` is the path from the project's root (``chapters/lime.qmd``), ``hash`` Quarto's own
    (MD5 of the file with LF line ends), ``included`` the files that ``{{< include >}}`` brought in.
    """

    path: Path
    name: str
    hash: str
    front_matter: dict[str, Any]
    blocks: list[Prose | Cell]
    included: list[Path] = field(default_factory=list)

    @property
    def cells(self) -> list[Cell]:
        return [block for block in self.blocks if isinstance(block, Cell)]

    @property
    def stem(self) -> str:
        return self.path.stem

    @property
    def files_folder(self) -> Path:
        """Where figures lie while the chapter is executed, as under Quarto."""
        return self.path.parent / f"{self.stem}_files"

    @property
    def executable(self) -> bool:
        """Whether the chapter has cells; Quarto reads one without them as plain Markdown."""
        return bool(self.cells)


def read_chapter(project: Project, path: Path) -> Chapter:
    """Parse the ``.qmd`` file ``path``.

    Raises ``ChapterError`` (with file and line) when it cannot be read, when a cell never ends,
    has an option that is not supported or a label twice, or is in another language than Python.
    """
    name = project.relative(path)
    text = _read_text(path, name)
    included: list[Path] = []
    lines = _expand_includes(project, path, text, name, included, [path.resolve()])
    blocks = _Splitter(lines).blocks()
    chapter = Chapter(
        path=path,
        name=name,
        hash=md5(text.encode(), usedforsecurity=False).hexdigest(),
        front_matter=_front_matter(lines),
        blocks=blocks,
        included=included,
    )
    _check_labels(chapter)
    _check_engine(chapter)
    return chapter


def execute_options(
    config: Mapping[str, Any], front_matter: Mapping[str, Any], name: str, target: str
) -> dict[str, Any]:
    """How the chapter ``name`` is executed for ``target`` ("html" or "typst").

    Quarto's defaults, overruled by ``execute:`` and ``format: <target>:`` of ``_quarto.yml``
    (``config``), overruled by the same keys of the chapter. Raises ``ChapterError`` on a key below
    ``execute:`` that is not supported.
    """
    options = {**_EXECUTE_DEFAULTS, **DEFAULTS[target]}
    for where, source in (("_quarto.yml", config), (name, front_matter)):
        execute = source.get("execute") or {}
        if not isinstance(execute, dict):
            raise ChapterError(
                f"{where}: execute must be a mapping", "Write execute: as key: value"
            )
        unknown = sorted(set(map(str, execute)) - set(options) - _QUARTO_ONLY)
        if unknown:
            raise ChapterError(
                f"{where}: execute has the unknown key {unknown[0]!r}",
                f"Use one of {', '.join(sorted(options))}",
            )
        formats = source.get("format")
        own = formats.get(target) if isinstance(formats, dict) else None
        for level in (execute, own if isinstance(own, dict) else {}):
            for key in [key for key in level if key in options]:
                options[key] = _checked_execution(where, key, level[key])
    return options


def _checked_execution(where: str, key: str, value: Any) -> Any:
    """The value of an execution option, if it is one that the option can have."""
    if key == "fig-format":
        is_valid = value in ("retina", "png", "svg", "jpeg")
    elif key.startswith("fig-"):
        is_valid = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    else:
        is_valid = isinstance(value, bool) or (key == "output" and value == "asis")
    if is_valid:
        return value
    wanted = {"fig-format": "retina, png, svg or jpeg", "output": "true, false or asis"}
    number = "a number above 0" if key.startswith("fig-") else "true or false"
    raise ChapterError(
        f"{where}: the execution option {key} is {value!r}", f"It must be {wanted.get(key, number)}"
    )


class _Splitter:
    """Cuts a chapter's lines into prose and cells, line by line, by Quarto's rules."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines
        self.found: list[Prose | Cell] = []
        self.buffer: list[Line] = []
        self.cells = 0

    def blocks(self) -> list[Prose | Cell]:
        in_yaml = in_code = False
        start: Line | None = None
        indent, end = "", re.compile("")
        for index, line in enumerate(self.lines):
            text = line.text
            opening = _CELL_START.match(text)
            if start is None and not in_code and self._is_yaml_rule(index):
                if not in_yaml:
                    self._flush_prose()
                self.buffer.append(line)
                if in_yaml:
                    self._flush_prose(raw=True)
                in_yaml = not in_yaml
            elif start is None and opening:
                self._flush_prose()
                start, indent = line, opening[1]
                end = re.compile(f"^{indent}{opening[2]}\\s*$")
            elif start is not None and end.match(text):
                self._flush_cell(start, indent)
                start = None
            else:
                if start is None and _FENCE.match(text):
                    _refuse_other_language(line)
                    in_code = True  # as in Quarto, to the end: it only keeps --- from being YAML
                self.buffer.append(line)
        if start is not None:
            raise ChapterError(
                f"{start.place}: the Python cell that opens here never ends",
                "Close it with as many backticks as it opens with, at the same indentation",
            )
        self._flush_prose()
        return self.found

    def _is_yaml_rule(self, index: int) -> bool:
        """A --- that opens or closes a YAML block: one before a blank line is a rule."""
        if not _YAML_RULE.match(self.lines[index].text):
            return False
        return index + 1 >= len(self.lines) or self.lines[index + 1].text.strip() != ""

    def _take(self) -> list[Line]:
        """The buffered lines without one blank line at either end; empties the buffer."""
        lines, self.buffer = self.buffer, []
        if lines and lines[0].text == "":
            lines = lines[1:]
        if lines and lines[-1].text == "":
            lines = lines[:-1]
        return lines

    def _flush_prose(self, raw: bool = False) -> None:
        source, lines = _sourced(self._take(), "")
        if source:
            self.found.append(Prose(source, lines, raw))

    def _flush_cell(self, start: Line, indent: str) -> None:
        lines = self._take()
        if not any(line.text.strip() for line in lines):
            return  # as in Quarto, an empty cell is no cell
        count = 0
        dedented = [line.text.replace(indent, "", 1) for line in lines]
        while count < len(lines) and _OPTION.match(dedented[count]):
            count += 1
        options = _cell_options(lines[:count], dedented[:count])
        self.cells += 1
        source, kept = _sourced(lines[count:], indent)
        self.found.append(Cell(self.cells, indent, options, source, kept, start))


def _sourced(lines: list[Line], indent: str) -> tuple[list[str], list[Line]]:
    """Lines as notebook source (with line ends except on the last), blank ends trimmed."""
    source = [line.text.replace(indent, "", 1) if indent else line.text for line in lines]
    source = [text + "\n" for text in source[:-1]] + source[-1:]
    first = next((i for i, text in enumerate(source) if text.strip()), len(source))
    last = next((i for i in range(len(source), 0, -1) if source[i - 1].strip()), 0)
    return source[first:last], lines[first:last]


def _cell_options(lines: list[Line], texts: list[str]) -> dict[str, Any]:
    """The checked options that the ``#|`` lines of a cell set, in the order written."""
    if not lines:
        return {}
    text = "\n".join(_OPTION.sub("", written, count=1) for written in texts)
    try:
        node = yaml.compose(text, Loader=_Loader)
        options = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = lines[min(mark.line, len(lines) - 1)] if mark else lines[0]
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise ChapterError(
            f"{line.place}: the cell option cannot be read ({problem})",
            "Write cell options as YAML, one `#| key: value` a line; quote texts with a colon",
        ) from None
    if not isinstance(options, dict) or not isinstance(node, yaml.MappingNode):
        raise ChapterError(
            f"{lines[0].place}: the cell options are not `key: value` pairs",
            "Write them as YAML, for example `#| echo: false`",
        )
    for key_node, _ in node.value:
        key, line = key_node.value, lines[min(key_node.start_mark.line, len(lines) - 1)]
        options[key] = _checked(key, options[key], line)
    return options


def _checked(key: str, value: Any, line: Line) -> Any:
    """The value of a cell option in the type that its row in CELL_OPTIONS names."""
    kind = CELL_OPTIONS.get(key)
    if kind is None:
        raise ChapterError(
            f"{line.place}: the cell option {key!r} is not known",
            f"Use one of {', '.join(CELL_OPTIONS)}",
        )
    if "flag" in kind and isinstance(value, bool):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and "text" in kind:
        value = str(value)
    if kind == "number" and isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if isinstance(value, str):
        value = " ".join(value.split("\n")).strip() if "text" in kind else value
        accepted = "text" in kind or value in kind.split(" or ")
        if accepted or (kind == "label" and _LABEL.match(value)):
            return value
    is_list = isinstance(value, list) and all(isinstance(text, str | int) for text in value)
    if "texts" in kind and is_list and value:
        return [str(text) for text in value]
    said = " or ".join(_KINDS.get(word, word) for word in kind.split(" or "))
    raise ChapterError(f"{line.place}: the cell option {key} is {value!r}", f"It must be {said}")


class _Loader(yaml.SafeLoader):
    """YAML as Quarto reads it: ``on`` and ``2024-01-01`` are texts, not truth and a date."""


_Loader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if not rule[0].endswith((":timestamp", ":bool"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool",
    re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"),
    list("tTfF"),
)


def _refuse_other_language(line: Line) -> None:
    other = _OTHER_CELL.match(line.text)
    if other:
        raise ChapterError(
            f"{line.place}: a cell in {other[1]} cannot be executed",
            "Write cells in Python, or show the code in a plain block (```" + other[1] + ")",
        )


def _check_labels(chapter: Chapter) -> None:
    seen: dict[str, Cell] = {}
    for cell in chapter.cells:
        if cell.label and cell.label in seen:
            raise ChapterError(
                f"{cell.start.place}: the label {cell.label!r} is taken by the cell at "
                f"{seen[cell.label].start.place}",
                "Give each cell its own label",
            )
        seen[cell.label] = cell


def _check_engine(chapter: Chapter) -> None:
    """Refuse what would make Quarto choose another engine or kernel than the one used here."""
    for key in ("jupyter", "engine", "server", "params", "knitr"):
        if key in chapter.front_matter:
            raise ChapterError(
                f"{chapter.name}:1: the front matter sets {key!r}, which is not supported",
                "Leave it out: chapters are executed by the Python that runs vitrine",
            )
    if chapter.executable:
        return
    for block in chapter.blocks:
        if isinstance(block, Prose) and not block.raw:
            for text, line in zip(block.source, block.lines, strict=True):
                if INLINE.search(text):
                    raise ChapterError(
                        f"{line.place}: an inline expression in a chapter without any Python cell",
                        "Add a cell (```{python}): without one Quarto executes nothing",
                    )


def _front_matter(lines: list[Line]) -> dict[str, Any]:
    """The YAML block at the top of a chapter, or {}."""
    if not lines or not _YAML_RULE.match(lines[0].text):
        return {}
    for index in range(1, len(lines)):
        if lines[index].text.rstrip() in ("---", "..."):
            text = "\n".join(line.text for line in lines[1:index])
            try:
                matter = yaml.load(text, Loader=_Loader)
            except yaml.YAMLError as error:
                mark = getattr(error, "problem_mark", None)
                line = lines[min(index, mark.line + 1)] if mark else lines[0]
                raise ChapterError(
                    f"{line.place}: the front matter cannot be read "
                    f"({getattr(error, 'problem', None) or 'not valid YAML'})",
                    "Write it as YAML, one `key: value` a line; quote texts with a colon",
                ) from None
            if matter is None:
                return {}
            if isinstance(matter, dict):
                return matter
            raise ChapterError(
                f"{lines[0].place}: the front matter is not a list of keys and values",
                "Write it as YAML, one `key: value` a line",
            )
    raise ChapterError(
        f"{lines[0].place}: the front matter never ends",
        "Close it with a line of three dashes",
    )


def _read_text(path: Path, name: str) -> str:
    """A file's text with LF line ends."""
    try:
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except FileNotFoundError:
        raise ChapterError(
            f"{name} does not exist", "Write the chapter, or take it out of _quarto.yml"
        ) from None
    except UnicodeDecodeError as error:
        raise ChapterError(
            f"{name} is not UTF-8 text (byte {error.start})",
            "Save it in the encoding UTF-8",
        ) from None
    except OSError as error:
        raise ChapterError(
            f"{name} cannot be read ({error.strerror})",
            "Check the file and its permissions",
        ) from None


def _expand_includes(
    project: Project,
    document: Path,
    text: str,
    name: str,
    found: list[Path],
    stack: list[Path],
) -> list[Line]:
    """The lines of ``text`` with each ``{{< include file >}}`` line replaced by the file's."""
    result: list[Line] = []
    for number, line in enumerate(text.split("\n"), start=1):
        include = _INCLUDE.match(line)
        if not include:
            result.append(Line(line, name, number))
            continue
        target = include[1].strip("\"'")
        path = project.root / target[1:] if target.startswith("/") else document.parent / target
        if path.resolve() in stack:
            raise ChapterError(
                f"{name}:{number}: {target} includes itself",
                "Take one of the includes out",
            )
        if not path.is_file():
            raise ChapterError(
                f"{name}:{number}: the included file {target} does not exist",
                "Write its path from the chapter's folder, or from the project's with a leading /",
            )
        inner = _read_text(path, project.relative(path))
        inner += "" if inner.endswith("\n") else "\n"  # Quarto leaves a blank line after it
        found.append(path)
        if len(stack) > 1:
            inner += "\n"  # and after an include within an include, one more
        result.extend(
            _expand_includes(
                project,
                document,
                inner,
                project.relative(path),
                found,
                [*stack, path.resolve()],
            )
        )
    return result

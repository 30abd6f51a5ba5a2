"""A chapter as Quarto's Jupyter engine reads it: front matter, prose and Python cells.

What opens and closes a cell and where its ``#|`` options end are Quarto's rules, so that the frozen
Markdown made from these parts is the Markdown that Quarto would have frozen. What Quarto would pass
over in silence (an option it does not know, a cell that never ends), and what is not supported
here, stops with the file and the line.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any

import yaml

from vitrine.errors import ChapterError
from vitrine.project import Project

Rule = tuple[Callable[[Any], bool], str]

_FLAG: Rule = (lambda value: isinstance(value, bool), "true or false")
_FLAGS = dict.fromkeys(("echo", "eval", "include", "output", "warning"), _FLAG)
_TEXT: Rule = (lambda value: isinstance(value, str), "a text (quote a number or a date)")
_TEXTS: Rule = (
    lambda value: all(isinstance(v, str) for v in (value if isinstance(value, list) else [value])),
    "a text or a list of texts",
)
_LABEL: Rule = (
    lambda value: re.fullmatch(r"[A-Za-z][A-Za-z0-9_.:-]*", str(value)) is not None,
    "a name of letters, digits, - and _ that starts with a letter",
)

# Every cell option that a chapter may use: what its value must be, as a test and in words.
CELL_OPTIONS: Mapping[str, Rule] = {
    "label": _LABEL,
    **_FLAGS,
    **dict.fromkeys(("fig-cap", "tbl-cap", "code-summary", "column"), _TEXT),
    **dict.fromkeys(("fig-subcap", "fig-alt"), _TEXTS),
    "code-fold": (lambda value: isinstance(value, bool) or value == "show", "true, false or show"),
    "layout-ncol": (lambda value: type(value) is int and value > 0, "a whole number above 0"),
}

# Keys of a chapter's front matter; the last two concern how its cells are executed.
FRONT_MATTER = (
    "title", "subtitle", "description", "abstract", "keywords", "toc", "toc-depth", "code-fold",
    "code-summary", "execute", "format",
)  # fmt: skip

_SIZE: Rule = (lambda value: type(value) in (int, float) and value > 0, "a number above 0")
_EXECUTION: Mapping[str, Rule] = {
    **_FLAGS,
    **dict.fromkeys(("fig-width", "fig-height"), _SIZE),
    "fig-format": (lambda value: value == "svg", "svg"),
}
# Keys below ``execute:`` that steer Quarto itself and leave no trace in the frozen Markdown.
_QUARTO_ONLY = ("freeze", "enabled", "cache", "daemon", "keep-md", "keep-ipynb")

INLINE = re.compile(r"(^|[^`])`\{python\}[ \t]([^`\n]+)`", re.MULTILINE)

_FRONT = re.compile(r"---[ \t]*\n(.*?\n)??(---|\.\.\.)[ \t]*(\n|\Z)", re.DOTALL)
_OPENING = re.compile(r"^([ \t]*)(```+)[ \t]*\{python\}[ \t]*\n", re.MULTILINE)
_OPTION = re.compile(r"#\s*\| ?")


@dataclass(frozen=True)
class Prose:
    """Markdown between cells, from line ``line`` on; ``raw`` is the front matter."""

    text: str
    line: int
    raw: bool = False

    def expressions(self) -> list[tuple[str, int]]:
        """The inline expressions, in order, and the lines where they stand."""
        found = () if self.raw else INLINE.finditer(self.text)
        return [(m[2], self.line + self.text.count("\n", 0, m.start(2))) for m in found]


@dataclass(frozen=True)
class Cell:
    """A Python cell: ``options`` from its ``#|`` lines, ``code`` below them, from line ``line`` on.

    ``position`` counts the cells of the chapter from 1.
    """

    position: int
    options: dict[str, Any]
    code: str
    line: int

    @property
    def label(self) -> str:
        return str(self.options.get("label", ""))


@dataclass(frozen=True)
class Chapter:
    """A parsed chapter: ``name`` is its path from the project's root, ``hash`` Quarto's own."""

    path: Path
    name: str
    text: str
    front_matter: dict[str, Any]
    blocks: list[Prose | Cell]

    @property
    def hash(self) -> str:
        """MD5 of the file with LF line ends."""
        return md5(self.text.encode(), usedforsecurity=False).hexdigest()

    @property
    def executable(self) -> bool:
        """Whether the chapter has cells; Quarto reads one without them as plain Markdown."""
        return any(isinstance(block, Cell) for block in self.blocks)

    @property
    def files_folder(self) -> Path:
        """Where images lie while the chapter is executed, as under Quarto."""
        return self.path.parent / f"{self.path.stem}_files"


def read_chapter(project: Project, path: Path) -> Chapter:
    """Parse the ``.qmd`` file ``path``.

    Raises ``ChapterError`` (with file and line) when it cannot be read, for an unknown key of the
    front matter, and when a cell never ends, is indented, has an option that is not supported or a
    label twice.
    """
    name = project.relative(path)
    text = read_text(path, name)
    blocks: list[Prose | Cell] = []
    front, matter, position = _FRONT.match(text), {}, 0
    if front:
        matter = read_yaml(front[1] or "", name, 2)
        blocks.append(Prose(front[0].rstrip(), 1, raw=True))
        position = front.end()
        for key in matter:
            if key not in FRONT_MATTER:
                line = next((n for n, t in enumerate(text.split("\n"), 1) if t.startswith(key)), 1)
                known = f"Remove it; known are {', '.join(FRONT_MATTER)}"
                raise ChapterError(f"{name}:{line}: unknown front matter key {key}", known)
    number, labels = 0, dict[str, int]()
    while opening := _OPENING.search(text, position):
        _add_prose(blocks, text, position, opening.start())
        start = 1 + text.count("\n", 0, opening.start())
        if opening[1]:
            raise ChapterError(
                f"{name}:{start}: the Python cell is indented", "Write it at the start of the line"
            )
        end = re.compile(rf"^{opening[2]}[ \t]*$", re.MULTILINE).search(text, opening.end())
        if not end:
            raise ChapterError(
                f"{name}:{start}: the Python cell that opens here never ends",
                "Close it with as many backticks as it opens with",
            )
        inner, position = text[opening.end() : end.start()], end.end() + 1
        if not inner.strip():
            continue  # as in Quarto, an empty cell is no cell
        number += 1
        cell = _cell(name, inner, start, number)
        if cell.label and labels.setdefault(cell.label, start) != start:
            raise ChapterError(
                f"{name}:{start}: the label {cell.label!r} is taken by the cell at "
                f"{name}:{labels[cell.label]}",
                "Give each cell its own label",
            )
        blocks.append(cell)
    _add_prose(blocks, text, position, len(text))
    return Chapter(path, name, text, matter, blocks)


def execute_options(
    config: Mapping[str, Any], front_matter: Mapping[str, Any], name: str, target: str
) -> dict[str, Any]:
    """How the chapter ``name`` is executed for ``target`` ("html" or "typst").

    Quarto's defaults, overruled by ``execute:`` and ``format: <target>:`` of ``_quarto.yml``
    (``config``), overruled by the same keys of the chapter. Raises ``ChapterError`` on a key below
    ``execute:`` that is not supported, and on a value that a key cannot have.
    """
    options: dict[str, Any] = dict.fromkeys(_EXECUTION, True)
    size = (7, 5) if target == "html" else (5.5, 3.5)  # of images, in inches
    options |= {"fig-width": size[0], "fig-height": size[1], "fig-format": "svg"}
    for where, source in (("_quarto.yml", config), (name, front_matter)):
        formats = source.get("format")
        own = formats.get(target) if isinstance(formats, dict) else None
        for level, values in (("execute", source.get("execute")), ("format", own)):
            for key, value in (values if isinstance(values, dict) else {}).items():
                if key in options:
                    options[key] = _checked(
                        where, f"execution option {key}", value, _EXECUTION[key]
                    )
                elif (level == "execute" and key not in _QUARTO_ONLY) or key.startswith("fig-"):
                    raise ChapterError(
                        f"{where}: {level} has the unknown key {key!r}",
                        f"Use one of {', '.join(sorted(options))}",
                    )
    return options


def read_text(path: Path, name: str) -> str:
    """A file's text with LF line ends; raises ``ChapterError`` when it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ChapterError(f"{name} cannot be read ({problem})", "Correct or restore it") from None


def read_yaml(text: str, name: str, first: int = 1) -> dict[str, Any]:
    """The keys and values of a text in YAML, which stands in a file from line ``first`` on."""
    try:
        values = yaml.safe_load(text)
        problem, line = "these are not keys and values", first
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = first + (min(mark.line, text.rstrip().count("\n")) if mark else 0)
        values, problem = "", getattr(error, "problem", None) or "not valid YAML"
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ChapterError(
            f"{name}:{line}: cannot be read ({problem})",
            "Write it as YAML, one `key: value` a line; quote texts with a colon",
        )
    return {str(key): value for key, value in values.items()}


def _add_prose(blocks: list[Prose | Cell], text: str, start: int, end: int) -> None:
    """Add the Markdown between two places, without the blank lines around it."""
    prose = text[start:end]
    blank = re.match(r"(?:[ \t]*\n)*", prose)
    first = blank.end() if blank else 0
    if prose[first:].strip():
        line = 1 + text.count("\n", 0, start + first)
        blocks.append(Prose(re.sub(r"(?:\n[ \t]*)+\Z", "", prose[first:]), line))


def _cell(name: str, inner: str, start: int, number: int) -> Cell:
    """The cell whose fence opens on line ``start``, its options checked."""
    lines = inner.split("\n")
    lead = 1 if not lines[0] else 0  # Quarto lets one blank line stand before the options
    count = next(i for i, line in enumerate(lines[lead:]) if not _OPTION.match(line))
    below = lead + count
    first = start + 1 + lead
    options = read_yaml("\n".join(_OPTION.sub("", t, 1) for t in lines[lead:below]), name, first)
    for key, value in options.items():
        at = next((i for i, t in enumerate(lines) if re.match(rf"#\s*\|\s*{key}\s*:", t)), lead)
        where = f"{name}:{start + 1 + at}"
        if key not in CELL_OPTIONS:
            known = f"Use one of {', '.join(CELL_OPTIONS)}"
            raise ChapterError(f"{where}: the cell option {key!r} is not known", known)
        options[key] = _checked(where, f"cell option {key}", value, CELL_OPTIONS[key])
    below += next((i for i, line in enumerate(lines[below:]) if line.strip()), 0)
    return Cell(number, options, "\n".join(lines[below:]).rstrip(), start + 1 + below)


def _checked(where: str, what: str, value: Any, rule: Rule) -> Any:
    """A value that follows its rule, texts on one line; raises ``ChapterError`` for any other."""
    if not rule[0](value):
        raise ChapterError(f"{where}: the {what} is {value!r}", f"It must be {rule[1]}")
    return " ".join(value.split("\n")).strip() if isinstance(value, str) else value

"""An executed cell as the Markdown that Quarto writes for it.

The shapes follow Quarto's Jupyter engine (1.7 to 1.9): a ``.cell`` div with the code, and in it one
``.cell-output`` div for each output. The differences are meant: terminal colours are left out, and
an output that a page cannot show without loading code from another host is an error.
"""

import json
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from vitrine.book.chapter import INLINE, Cell, Chapter, Prose
from vitrine.book.frozen import FIGURE_FOLDERS
from vitrine.errors import ChapterError

Output = Mapping[str, Any]

_EXTENSIONS = {"image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpeg"}
# In which form an output is shown, first choice first.
_FORMS = {
    "html": ("text/html", "text/markdown", *_EXTENSIONS, "text/plain"),
    "typst": ("text/markdown", *_EXTENSIONS, "text/plain"),
}
# Terminal colours, and the name that a warning gives to a cell, which carries a sum of its text.
_UNSTABLE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|(<ipython-input-[^>]*>)")
# What Python, NumPy and pandas print where there is no number.
_MISSING = re.compile(r"(?<![\w.])(?:nan|NaN|NaT|<NA>)(?!\w)")
# HTML that makes a page load something from another host.
_ELSEWHERE = re.compile(
    r"""\b(?:src|srcset|data|poster)\s*=\s*["']?\s*(?:https?:)?//"""
    r"""|<link\b[^>]*\bhref\s*=\s*["']?\s*(?:https?:)?//"""
    r"""|(?:url\(|@import)\s*["']?\s*(?:https?:)?//"""
    r"""|<script\b(?:(?!</script).)*?https?://""",
    re.IGNORECASE | re.DOTALL,
)
_MARKDOWN_SIGNS = re.compile(r"([\\`*_{}\[\]()>#+,\-.!])")


@dataclass(frozen=True)
class Job:
    """A chapter to be executed for ``target`` ("html" or "typst"), with its options.

    ``images`` collects file name → bytes for outputs that are images.
    """

    chapter: Chapter
    target: str
    options: Mapping[str, Any]
    images: dict[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return sha256(json.dumps(self.options, sort_keys=True).encode()).hexdigest()

    @property
    def figures(self) -> str:
        """The folder of figures as the Markdown names it, ``lime_files/figure-html``."""
        return f"{self.chapter.files_folder.name}/{FIGURE_FOLDERS[self.target]}"

    def shows(self, cell: Cell, part: str) -> bool:
        """Whether ``part`` (include, echo, eval, output or warning) of a cell is wanted."""
        return bool(cell.options.get(part, self.options[part]))


def prose_markdown(prose: Prose, values: Sequence[Mapping[str, Any]], job: Job) -> str:
    """Prose with its inline expressions replaced by what they display, in their order."""
    expressions = prose.expressions()
    shown = iter(
        _inline_value(value, expression.strip(), f"{job.chapter.name}:{line}", job.target)
        for value, (expression, line) in zip(values, expressions, strict=True)
    )
    text = prose.text if prose.raw else INLINE.sub(lambda m: m[1] + next(shown), prose.text)
    return text + "\n\n"


def cell_markdown(cell: Cell, outputs: Sequence[Output], job: Job) -> str:
    """A cell and the outputs that its execution gave (nbformat's output dictionaries).

    Raises ``ChapterError`` for an output that cannot be shown in the job's format.
    """
    place = f"{job.chapter.name}:{cell.line}"
    if not job.shows(cell, "include"):
        return "\n"
    if not job.shows(cell, "warning"):
        outputs = [output for output in outputs if output.get("name") != "stderr"]
    forms = [_form(output, job.target, place) for output in outputs]
    has_image = not _EXTENSIONS.keys().isdisjoint(forms)
    shown = [
        (output, form)
        for output, form in zip(outputs, forms, strict=True)
        if not (has_image and _is_leftover(output))
    ]
    if not job.shows(cell, "output"):
        shown = []
    if not cell.code and not shown:
        return "\n"
    displayed = [form for _, form in shown if form]
    labels_cell = len(displayed) != 1 or cell.label.startswith("tbl-")
    body = _code(cell) if job.shows(cell, "echo") else ""
    caption, captions = _captions(cell)
    number = 0
    for position, (output, form) in enumerate(shown, start=1):
        number += form is not None
        label = f"#{cell.label.lower()}" if cell.label and form else ""
        label += f"-{number}" if label and labels_cell else ""
        below = captions.pop(0) if captions and form else ""
        body += _output(cell, output, form, position, label, below, job)
    if not body:
        return "\n\n"
    end = f"\n{caption}\n" if caption else ""
    return f"::: {{{_attributes(cell, labels_cell, job.target)}}}\n{body}{end}:::\n\n\n"


def _attributes(cell: Cell, labels_cell: bool, target: str) -> str:
    """The attributes of a cell's div; a label that is not its output's is its own."""
    parts = []
    if cell.label and labels_cell:
        parts.append(f"#{cell.label.lower()}")
    elif target == "html":
        parts.append(f"#cell-{cell.label or cell.position}")
    parts.append(".cell")
    if "column" in cell.options:
        parts.append(f".column-{cell.options['column']}")
    for key in ("tbl-cap", "layout-ncol"):
        if key in cell.options:
            parts.append(f"{key}='{_quoted(cell.options[key])}'")
    return " ".join([*parts, f"execution_count={cell.position}"])


def _code(cell: Cell) -> str:
    ticks = _ticks(cell.code)
    told = {key: cell.options[key] for key in ("code-fold", "code-summary") if key in cell.options}
    words = {
        key: str(value).lower() if value in (True, False) else value for key, value in told.items()
    }
    attributes = "".join(f' {key}="{value}"' for key, value in words.items())
    return f"{ticks} {{.python .cell-code{attributes}}}\n{cell.code}\n{ticks}\n"


def _captions(cell: Cell) -> tuple[str, list[str]]:
    """The caption of the cell and those of its outputs."""
    caption, below = cell.options.get("fig-cap", ""), cell.options.get("fig-subcap")
    if not caption:
        return "", []
    if below is None:
        return "", [caption]
    return caption, [text.strip() for text in ([below] if isinstance(below, str) else below)]


def _output(
    cell: Cell,
    output: Output,
    form: str | None,
    position: int,
    label: str,
    caption: str,
    job: Job,
) -> str:
    """One output in its div; without a form it is what the cell printed."""
    parts = [".cell-output", f".cell-output-{'display' if form else output['name']}"]
    below = f"\n{caption}\n" if caption else ""
    if form in _EXTENSIONS:
        body = _image(cell, output, form, position, label, caption, job)
    else:
        if label and not label.startswith("#tbl-"):
            parts.insert(0, label)
        content = output["data"][form] if form else output["text"]
        if form == "text/markdown":
            parts.append(".cell-output-markdown")
            body = f"{content}\n{below}"
        else:
            body = _block(content, "{=html}" if form == "text/html" else "") + below
    if isinstance(output.get("execution_count"), int):
        parts.append(f"execution_count={output['execution_count']}")
    return f"\n::: {{{' '.join(parts)}}}\n{body}:::\n"


def _image(
    cell: Cell, output: Output, form: str, position: int, label: str, caption: str, job: Job
) -> str:
    """An image as Markdown; its bytes are left with the job."""
    stem = cell.label.replace(":", "-").lower() or f"cell-{cell.position + 1}"
    name = f"{stem}-output-{position}.{_EXTENSIONS[form]}"
    content = output["data"][form]
    job.images[name] = content.encode() if form == "image/svg+xml" else b64decode(content)
    sizes = dict(output.get("metadata", {}).get(form) or {})
    parts = [label, *(f"{key}={sizes[key]}" for key in ("width", "height") if sizes.get(key))]
    alt = cell.options.get("fig-alt")
    if isinstance(alt, list):
        alt = alt[position - 1] if position <= len(alt) else ""
    parts.append(f"fig-alt='{_quoted(alt)}'" if alt else "")
    return f"![{caption}]({job.figures}/{name}){{{' '.join(filter(None, parts))}}}\n"


def _form(output: Output, target: str, place: str) -> str | None:
    """The form in which a display output is shown; ``None`` for what was printed.

    Raises ``ChapterError`` for HTML that would load something from another host (no page does,
    whatever a library's own display would do), and where only a text stands for something else.
    """
    if output["output_type"] == "stream":
        return None
    data = output["data"]
    if _ELSEWHERE.search(data.get("text/html", "")):
        raise ChapterError(
            f"{place}: the output is HTML that a page would load from another host",
            "Show an Altair chart with vitrine.report.charts.chart, and anything else as an image",
        )
    form = next((form for form in _FORMS[target] if form in data), None)
    if form is None or (form == "text/plain" and len(data) > 1):
        raise ChapterError(
            f"{place}: the cell's output has no form that this format can show "
            f"({', '.join(sorted(data)) or 'nothing'})",
            "Show it as Markdown, an image or a text; a table through vitrine.report.tables",
        )
    return form


def _is_leftover(output: Output) -> bool:
    """Whether an output is only the text of what a plotting call returned."""
    if output["output_type"] != "execute_result" or list(output["data"]) != ["text/plain"]:
        return False
    return bool(re.fullmatch(r"[<(\[].*[>)\]]", output["data"]["text/plain"].strip()))


def _inline_value(data: Mapping[str, Any], expression: str, place: str, target: str) -> str:
    """What an inline expression displays, as Markdown; a text's own signs are escaped.

    Raises ``ChapterError`` for what prose cannot say: nothing, NaN or None, a line break.
    """
    form = _form({"output_type": "display_data", "data": data}, target, place)
    value = text = str(data[form or ""])
    is_quoted = form == "text/plain" and len(text) > 1 and text[0] in "'\"" and text[0] == text[-1]
    if is_quoted:
        text = text[1:-1]
        value = _MARKDOWN_SIGNS.sub(r"\\\1", text)
    elif form == "text/html":
        value = f"`{text}`{{=html}}"
    problem = ""
    if not text:
        problem = "an empty text; Quarto shows the code in its place"
    elif text == "None" or _MISSING.search(text):
        problem = f"{text}, which is no value"
    elif is_quoted and "\\" in text:
        problem = f"{text}, which has characters that Quarto would show as escape codes"
    if problem:
        raise ChapterError(
            f"{place}: the inline expression `{expression}` gives {problem}",
            "Say in words what is missing, or give IPython.display.Markdown(…) on one line",
        )
    return value


def _block(text: str, kind: str = "") -> str:
    """A text as it is, in a block, without what changes from run to run."""
    text = _UNSTABLE.sub(lambda m: "<cell>" if m[1] else "", text)
    ticks, end = _ticks(text), "" if text.endswith("\n") else "\n"
    return f"{ticks}{kind}\n{text}{end}{ticks}\n"


def _ticks(text: str) -> str:
    """A fence longer than any that the lines begin with."""
    found = re.findall(r"^\s*(`+)", text, re.MULTILINE)
    return "`" * max(3, *(len(ticks) + 1 for ticks in found), 3)


def _quoted(value: object) -> str:
    return str(value).replace("'", "\\'")

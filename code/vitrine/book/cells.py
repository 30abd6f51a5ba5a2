"""An executed cell as the Markdown that Quarto writes for it.

The shapes follow Quarto's Jupyter engine (1.7 to 1.9): a ``.cell`` div with the code, and in it one
``.cell-output`` div for each output. The differences are meant: terminal colours are left out, and
an output that a page cannot show without loading code from another host is an error.
"""

from __future__ import annotations

import json
import re
import struct
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vitrine.book.chapter import INLINE, Cell, Prose
from vitrine.errors import ChapterError

Output = Mapping[str, Any]
MimeBundle = Mapping[str, Any]

# In which form an output is shown, first choice first.
_IMAGES = ("image/svg+xml", "image/png", "image/jpeg")
_PRIORITY = {
    "html": ("text/html", "text/markdown", *_IMAGES, "text/plain"),
    "typst": ("text/markdown", *_IMAGES, "text/plain"),
}
_EXTENSIONS = {"image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpeg"}
# Forms for which Quarto makes the page load scripts from other hosts.
_REMOTE = (
    "application/javascript",
    "application/vnd.jupyter.widget-state+json",
    "application/vnd.jupyter.widget-view+json",
)
# Options that say how a cell is executed or shown; the others become attributes of its div.
_INTERNAL = {
    *(
        "eval",
        "echo",
        "warning",
        "error",
        "output",
        "include",
        "label",
        "classes",
        "column",
    ),
    *("fig-cap", "fig-subcap", "fig-alt", "code-fold", "code-summary"),
}
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
# The name that a warning gives to a cell carries a sum of its text.
_CELL_FILE = re.compile(r"<ipython-input-[^>]*>")
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


@dataclass
class Page:
    """What the Markdown of a chapter's cells needs to know, and the pictures it leaves behind.

    ``target`` is "html" or "typst"; ``options`` the chapter's execution options;
    ``figures`` the folder of figures as the Markdown names it (``lime_files/figure-html``).
    ``pictures`` collects file name → bytes for the outputs that are images.
    """

    target: str
    options: Mapping[str, Any]
    figures: str
    pictures: dict[str, bytes] = field(default_factory=dict)

    def shows(self, cell: Cell, part: str) -> bool:
        """Whether ``part`` (include, echo, output or warning) of a cell is shown."""
        if part == "warning" and self.options["output"] is False and cell.options.get("output"):
            return bool(cell.options.get("warning"))
        return bool(cell.options.get(part, self.options[part]))


def prose_markdown(prose: Prose, values: Mapping[str, MimeBundle], page: Page) -> str:
    """Prose with its inline expressions replaced by ``values``: expression → what it displays."""
    if prose.raw:
        return _closed(prose.source) + "\n"
    resolved = []
    for text, line in zip(prose.source, prose.lines, strict=True):

        def value(match: re.Match[str], place: str = line.place) -> str:
            return match[1] + _inline_value(values[match[2]], match[2].strip(), place, page)

        resolved.append(INLINE.sub(value, text))
    return _closed(resolved) + "\n"


def cell_markdown(cell: Cell, outputs: Sequence[Output], page: Page) -> str:
    """A cell and the outputs that its execution gave (nbformat's output dictionaries).

    Raises ``ChapterError`` for an output that cannot be shown in ``page.target``.
    """
    if not page.shows(cell, "include"):
        return "\n"
    if page.shows(cell, "output"):
        for output in filter(_is_display, outputs):
            _refuse_elsewhere(str(output["data"].get("text/html", "")), cell.place())
    have_image = any(_mime(output, page.target) in _IMAGES for output in outputs)
    shown = [
        _with_markdown_math(output)
        for output in outputs
        if not _is_hidden_warning(output, cell, page) and not _is_leftover(output, have_image)
    ]
    if not cell.source and not shown:
        return "\n"
    markdown = _Writer(cell, shown, page).markdown() + "\n"
    if cell.indent:
        # Quarto indents blank lines too, and puts one more line end before such a cell.
        markdown = "\n" + "\n".join(cell.indent + line for line in markdown.split("\n"))
    return markdown + "\n"


class _Writer:
    """The Markdown of one cell."""

    def __init__(self, cell: Cell, outputs: Sequence[Output], page: Page) -> None:
        self.cell, self.outputs, self.page = cell, outputs, page
        output = cell.options.get("output", page.options["output"])
        self.asis = output == "asis"
        self.label = f"#{cell.label.lower()}" if cell.label else ""
        self.labels_cell = bool(self.label) and self._labels_cell()
        self.cell_caption, self.captions = self._captions()
        self.is_captioned = bool(self.cell_caption or self.captions)

    def markdown(self) -> str:
        parts = []
        if self.page.shows(self.cell, "echo"):
            parts.append(self._code())
        if self.page.shows(self.cell, "output"):
            for number, output in enumerate(self.outputs, start=1):
                parts.append(self._output(output, number))
        body = "".join(parts)
        attributes, is_needed = self._attributes()
        if not body or (self.asis and not is_needed):
            return body
        caption = f"\n{self.cell_caption}\n" if self.cell_caption else ""
        return f"::: {{{attributes}}}\n{body}{caption}:::\n"

    def _labels_cell(self) -> bool:
        """Whether the label belongs to the cell's div rather than to its single output."""
        displayed = [output for output in self.outputs if _is_display(output)]
        if not self.page.shows(self.cell, "output") or not displayed:
            return True
        several = len(displayed) > 1 and not isinstance(self.cell.options.get("fig-cap"), list)
        return several or self.cell.label.startswith("tbl-")

    def _captions(self) -> tuple[str, list[str]]:
        """The caption of the cell and those of its outputs."""
        caption = self.cell.options.get("fig-cap")
        below = self.cell.options.get("fig-subcap")
        if isinstance(caption, list):
            return "", list(caption) if any(map(_is_display, self.outputs)) else []
        if not caption:
            return "", []
        if below is None:
            return "", [str(caption)]
        if isinstance(below, list):
            return str(caption), list(below)
        return str(caption), [""] if below is True else [str(below)]

    def _attributes(self) -> tuple[str, bool]:
        """The attributes of the cell's div, and whether they need a div even around raw output."""
        cell = self.cell
        parts = []
        if self.labels_cell:
            parts.append(self.label)
        elif self.page.target == "html":
            parts.append(f"#cell-{cell.label or cell.position}")
        parts.append(".cell")
        classes = [f".{name.lstrip('.')}" for name in str(cell.options.get("classes", "")).split()]
        if "column" in cell.options:
            classes.append(f".column-{cell.options['column']}")
        forwarded = [
            f"{key}='{_attribute(value)}'"
            for key, value in cell.options.items()
            if key not in _INTERNAL
        ]
        parts += [*classes, *forwarded, f"execution_count={cell.position}"]
        is_needed = self.labels_cell or bool(classes or forwarded) or self.is_captioned
        return " ".join(parts), is_needed

    def _code(self) -> str:
        ticks = _ticks(self.cell.source)
        attributes = "".join(
            f' {key}="{_javascript(self.cell.options[key])}"'
            for key in ("code-fold", "code-summary")
            if key in self.cell.options
        )
        return f"{ticks} {{.python .cell-code{attributes}}}\n{self.cell.code}\n{ticks}\n"

    def _output(self, output: Output, number: int) -> str:
        body = self._output_body(output, number)
        if self.asis:
            return body
        kind = output["output_type"]
        css = {"stream": output.get("name"), "error": "error"}.get(kind, "display")
        parts = [".cell-output", f".cell-output-{css}"]
        mime = _mime(output, self.page.target)
        is_named = self.label and not self.label.startswith("#tbl-")
        if is_named and _is_display(output) and mime not in _IMAGES:
            parts.insert(0, self._output_label(output))
        if mime == "text/markdown":
            parts.append(".cell-output-markdown")
        if isinstance(output.get("execution_count"), int):
            parts.append(f"execution_count={output['execution_count']}")
        return f"\n::: {{{' '.join(parts)}}}\n{body}:::\n"

    def _output_label(self, output: Output) -> str:
        if not (self.label and self.labels_cell):
            return self.label
        displayed = [other for other in self.outputs if _is_display(other)]
        return f"{self.label}-{1 + [id(other) for other in displayed].index(id(output))}"

    def _output_body(self, output: Output, number: int) -> str:
        kind = output["output_type"]
        if kind == "stream":
            if self.asis and output["name"] == "stdout":
                return str(output["text"])
            return _code_block(_plain(output["text"]))
        if kind == "error":
            error = f"{output['ename']}: {output['evalue']}"
            return _code_block(_plain("\n".join([error, *output["traceback"]])))
        caption = self.captions.pop(0).strip().replace("\n", " ") if self.captions else ""
        mime = _mime(output, self.page.target)
        if mime in _IMAGES:
            return self._image(output, mime, number, caption)
        below = f"\n{caption}\n" if caption else ""
        return self._display(output, mime) + below

    def _display(self, output: Output, mime: str | None) -> str:
        data = output["data"]
        if not data:
            return ""
        if mime == "text/markdown":
            return f"{data[mime]}\n"
        if mime == "text/html":
            return _code_block(str(data[mime]), "{=html}")
        if mime == "text/plain":
            if re.search(r"<table", str(data.get("text/html", "")), re.IGNORECASE):
                raise ChapterError(
                    f"{self.cell.place()}: the cell shows a table that only a web page can show",
                    "Show it through vitrine.report.tables, or as Markdown",
                )
            return _code_block(_plain(str(data[mime])))
        raise ChapterError(
            f"{self.cell.place()}: the cell's output has no form that a page can show on its own "
            f"({', '.join(sorted(data)) or 'nothing'})",
            "Show it as Markdown, a picture or a text",
        )

    def _image(self, output: Output, mime: str, number: int, caption: str) -> str:
        name = _file_name(self.cell, number) + "." + _EXTENSIONS[mime]
        content = str(output["data"][mime])
        is_text = mime == "image/svg+xml" and "<svg" in content
        picture = content.encode() if is_text else b64decode(content)
        self.page.pictures[name] = picture
        sizes = dict(output.get("metadata", {}).get(mime) or {})
        if mime == "image/png" and self.page.options["fig-format"] == "retina":
            sizes.update(_retina_size(picture, int(self.page.options["fig-dpi"])))
        parts = [self._output_label(output)] if self.label else []
        parts += [f"{key}={sizes[key]}" for key in ("width", "height") if sizes.get(key)]
        alt = self.cell.options.get("fig-alt")
        if isinstance(alt, list):
            alt = alt[number - 1] if number <= len(alt) else None
        if alt:
            parts.append(f"fig-alt='{_attribute(alt)}'")
        return f"![{caption}]({self.page.figures}/{name}){{{' '.join(parts)}}}\n"


def _refuse_elsewhere(html: str, place: str) -> None:
    """No page asks another host for anything, whatever a library's own display would do."""
    if _ELSEWHERE.search(html):
        raise ChapterError(
            f"{place}: the output is HTML that a page would load from another host",
            "Show an Altair chart with vitrine.report.charts.chart, and anything else as a picture",
        )


def _is_display(output: Output) -> bool:
    return output["output_type"] in ("display_data", "execute_result")


def _mime(output: Output, target: str) -> str | None:
    """The form in which a display output is shown, or None."""
    if not _is_display(output):
        return None
    data = output["data"]
    if target == "html" and any(mime in data for mime in _REMOTE):
        return None
    return next((mime for mime in _PRIORITY[target] if mime in data), None)


def _is_hidden_warning(output: Output, cell: Cell, page: Page) -> bool:
    is_stderr = output["output_type"] == "stream" and output["name"] == "stderr"
    return is_stderr and not page.shows(cell, "warning")


def _is_leftover(output: Output, have_image: bool) -> bool:
    """Whether an output is only the text of what a plotting call returned."""
    if output["output_type"] != "execute_result" or list(output["data"]) != ["text/plain"]:
        return False
    text = str(output["data"]["text/plain"])
    if have_image and "\n" not in text:
        return bool(re.match(r"^[<(\[].*?[>)\]]$", text.strip()))
    return text.startswith(("[<matplotlib", "<matplotlib", "<seaborn.", "<ggplot:"))


def _with_markdown_math(output: Output) -> Output:
    """LaTeX that is only a formula is Markdown as well."""
    if not _is_display(output) or "text/markdown" in output["data"]:
        return output
    latex = str(output["data"].get("text/latex", "")).strip()
    is_math = latex.startswith("$") and latex.endswith("$")
    if is_math or (latex.startswith("\\begin{") and "\\end{" in latex):
        return {**output, "data": {**output["data"], "text/markdown": latex}}
    return output


def _inline_value(result: MimeBundle, expression: str, place: str, page: Page) -> str:
    """What an inline expression displays, as Markdown; a text's own signs are escaped.

    Raises ``ChapterError`` for what prose cannot say: nothing, NaN or None, a line break.
    """
    data, problem, remedy = result["data"], "", ""
    mime = next((mime for mime in _PRIORITY[page.target] if mime in data), "text/plain")
    value = text = str(data.get(mime, ""))
    is_quoted = mime == "text/plain" and len(text) > 1 and text[0] in "'\"" and text[0] == text[-1]
    if is_quoted:
        text = text[1:-1]
        value = _MARKDOWN_SIGNS.sub(r"\\\1", text)
    if not text:
        problem = "gives an empty text"
        remedy = "Let it give some text; Quarto shows the code in its place otherwise"
    elif text == "None" or _MISSING.search(text):
        problem = f"gives {text}, which is no value"
        remedy = "Say in words what is missing, or correct what it reads"
    elif is_quoted and "\\" in text:
        problem = f"gives {text}, which has characters that Quarto would show as escape codes"
        remedy = "Give it as IPython.display.Markdown(...), without line breaks"
    elif mime == "text/html":
        _refuse_elsewhere(text, place)
        value = f"`{text}`{{=html}}"
    if problem:
        raise ChapterError(f"{place}: the inline expression `{expression}` {problem}", remedy)
    return value


def _retina_size(png: bytes, dpi: int) -> dict[str, int]:
    """Width and height in CSS pixels of a PNG drawn at twice ``dpi``; {} for any other."""
    width, height = struct.unpack(">II", png[16:24])
    position = 8
    while position + 8 <= len(png):
        length, kind = struct.unpack(">I4s", png[position : position + 8])
        if kind == b"pHYs":
            across, down, unit = struct.unpack(">IIB", png[position + 8 : position + 17])
            if unit == 1 and round(across * 0.0254) == round(down * 0.0254) == 2 * dpi:
                return {"width": int(width / 2 + 0.5), "height": int(height / 2 + 0.5)}
            return {}
        if kind == b"IDAT":
            return {}
        position += length + 12
    return {}


def _file_name(cell: Cell, number: int) -> str:
    """The stem of an output's file: from the label, or from the cell's place in the chapter."""
    name = cell.label.replace(":", "-").lower() if cell.label else f"cell-{cell.position + 1}"
    return f"{name}-output-{number}"


def _plain(text: str) -> str:
    """Terminal output without colours and without file names that change from run to run."""
    return _CELL_FILE.sub("<cell>", _ANSI.sub("", text))


def _code_block(text: str, kind: str = "") -> str:
    ticks = _ticks(text.splitlines())
    end = "" if text.endswith("\n") else "\n"
    return f"{ticks}{kind}\n{text}{end}{ticks}\n"


def _ticks(lines: Sequence[str]) -> str:
    """A fence longer than any that the lines begin with."""
    longest = max((len(m[0]) for m in map(re.compile(r"\s*`+").match, lines) if m), default=0)
    return "`" * max(3, longest + 1)


def _attribute(value: object) -> str:
    return _javascript(value).replace("'", "\\'")


def _javascript(value: object) -> str:
    """A value as JavaScript prints it: texts bare, the others as compact JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _closed(source: Sequence[str]) -> str:
    text = "".join(source)
    return text if text.endswith("\n") or not text else text + "\n"


def write_pictures(page: Page, folder: Path) -> None:
    """Write the images among a chapter's outputs into ``folder``."""
    for name, content in page.pictures.items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

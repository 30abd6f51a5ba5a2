"""Tables of a chapter: Markdown to read, and on the site a CSV file to take away."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
from IPython.display import Markdown

from vitrine.report.page import block, csv_link, fenced, this_page
from vitrine.report.text import number_cell, safe

Format = Callable[..., str] | int
"""How a cell is written: a function of its value, or the digits of a number."""


_ADDRESS = re.compile(r"(?<!\\)\]\([^)]*\)")
"""Where a link leads, which takes no room on the page."""


@dataclass(frozen=True)
class LinkedText:
    """A cell that leads somewhere; in the CSV file it is its address."""

    text: str
    address: str

    def __str__(self) -> str:
        return self.address


@dataclass(frozen=True)
class Citation:
    """A cell that cites the bibliography; in the CSV file it is its key."""

    key: str

    def __str__(self) -> str:
        return self.key


def table(
    frame: pd.DataFrame,
    name: str,
    headings: Mapping[str, str] | None = None,
    formats: Mapping[str, Format] | None = None,
    widest: int = 36,
) -> Markdown:
    """A pandas frame as a Markdown table.

    frame : one row a row, its index left out; all values are text from outside and are escaped.
    name : of the CSV file that the site offers, without ending. It holds the unrounded values.
    headings : what the header says instead of the column's name; the CSV keeps the names.
    formats : how the cells of a column are written. Numeric columns are set flush right.
    widest : letters beyond which a column of text gets no greater share of the width.
    """
    text = markdown_table(frame, headings or {}, formats or {}, widest)
    page = this_page()
    if not page.is_html:
        return block(text)
    return block(fenced(".vitrine-table", text, csv_link(page, name, frame)))


def markdown_table(
    frame: pd.DataFrame,
    headings: Mapping[str, str],
    formats: Mapping[str, Format],
    widest: int = 36,
) -> str:
    """A pandas frame as a pipe table; see ``table``."""
    header = [safe(headings.get(column, column)) for column in frame.columns]
    columns = [
        [_cell(value, formats.get(str(column))) for value in frame[column]] for column in frame
    ]
    rules = ["-" * _share(*each, widest) for each in zip(header, columns, strict=True)]
    for place, column in enumerate(frame.columns):
        if pd.api.types.is_numeric_dtype(frame[column]):
            rules[place] = f"{rules[place][:-1]}:"
    rows = [_line(list(row)) for row in zip(*columns, strict=True)]
    return "\n".join([_line(header), _line(rules), *rows])


def _share(head: str, column: list[str], widest: int) -> int:
    """How wide a column should be beside the others, in letters.

    Where lines are long Pandoc divides the width by the dashes below the header: a long text may
    wrap and takes no more than its share, a word may not and gets its length.
    """
    cells = [_ADDRESS.sub("", cell) for cell in (head, *column)]
    word = max(len(part) for cell in cells for part in [*cell.split(), ""])
    return max(word + 3, min(widest, max(map(len, cells))))


def _cell(value: object, how: Format | None) -> str:
    if value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, LinkedText):
        return f"[{safe(value.text)}]({value.address})"
    if isinstance(value, Citation):
        return f"@{value.key}"
    if isinstance(how, int):
        return number_cell(float(str(value)), how)
    return safe(value if how is None else how(value))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"

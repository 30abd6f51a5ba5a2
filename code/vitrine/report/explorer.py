"""An explorer: a table too long for a page, searchable and linkable on the site."""

import json
from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown

from vitrine.report.page import block, csv_link, data_file, fenced, raw_html, this_page
from vitrine.report.tables import markdown_table
from vitrine.report.text import safe_html

SHORT, PAPER = 12, 5
"""Rows that a reader without JavaScript sees of the table, and one with the PDF."""


def explorer(
    frame: pd.DataFrame,
    name: str,
    label: str,
    filters: tuple[str, ...],
    headings: Mapping[str, str],
    digits: Mapping[str, int],
) -> Markdown:
    """All rows of a pandas frame, to be searched, filtered, sorted and linked to.

    name : of the explorer in addresses (``#name?q=dog``) and of its files.
    label : what the table holds, for readers who do not see it.
    filters : columns for which the reader can choose one value.
    digits : after the decimal point, of the columns that hold numbers.

    Without JavaScript and on paper the first rows are shown; the site offers all as CSV.
    """
    page = this_page()
    rows_shown = SHORT if page.is_html else PAPER
    short = markdown_table(frame.head(rows_shown), headings, digits)
    rest = f"The first {min(rows_shown, len(frame))} of {len(frame):,} rows."
    if not page.is_html:
        return block(short, f"{rest} The site has all of them, to be searched.")
    data = {
        "columns": [
            {
                "title": headings.get(column, column),
                "kind": "number" if pd.api.types.is_numeric_dtype(frame[column]) else "text",
                "digits": digits.get(column, 0),
                "filter": column in filters,
            }
            for column in frame.columns
        ],
        "rows": json.loads(frame.to_json(orient="values", double_precision=6)),
    }
    source = data_file(page, name, data)
    told = f'data-name="{name}" data-source="{source}" data-label="{safe_html(label)}"'
    shown = (raw_html(f"<div hidden {told}></div>"), fenced(".vitrine-table", short, rest))
    download = csv_link(page, name, frame, "Download all rows as CSV")
    return block(fenced(".vitrine-explorer", *shown, download))

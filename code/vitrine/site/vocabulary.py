"""The constructs that chapters may use. What is not in these tables stops the rendering."""

from __future__ import annotations

import re

# Labels that are numbered, with what a reference to them reads.
FLOAT_NAMES = {"fig": "Figure", "tbl": "Table"}
REFERENCE = re.compile(r"^([Ff]ig|[Tt]bl|[Ss]ec)-.")
# Labels that Quarto numbers and this renderer does not.
UNSUPPORTED_LABEL = re.compile(
    r"^(lst|eq|thm|lem|cor|prp|cnj|def|exm|exr|sol|rem|alg|tip|nte|wrn|imp|cau|dia|vid|supp)-."
)

CALLOUTS = {
    "note": "Note",
    "tip": "Tip",
    "important": "Important",
    "warning": "Warning",
    "caution": "Caution",
}
APPEARANCES = ("default", "simple", "minimal")

COLUMNS = (
    "column-body",
    "column-page",
    "column-screen-inset",
    "column-screen",
    "column-margin",
    "aside",
)

# Classes of executed cells; they are kept in HTML.
CELL_PARTS = (
    "cell-output",
    "cell-output-display",
    "cell-output-markdown",
    "cell-output-stdout",
    "cell-output-stderr",
    "cell-output-error",
)

TEXT_SPANS = ("smallcaps", "underline", "mark")
HEADING_CLASSES = ("unnumbered", "unlisted")
CONDITIONS = ("when-format", "unless-format")
# What this renderer can make, and what `when-format` may say. Quarto counts "pdf" as LaTeX only,
# so content for "pdf" would appear in neither PDF: it is refused.
FORMATS = ("html", "typst")

DIV_ATTRIBUTES = ("layout-ncol", "layout", "fig-cap", "tbl-cap", "execution_count")
CALLOUT_ATTRIBUTES = ("title", "collapse", "appearance", "icon")
IMAGE_ATTRIBUTES = ("fig-alt", "alt", "width", "height", "fig-align")
LINK_ATTRIBUTES = ("download", "rel", "hreflang", "type")
CODE_ATTRIBUTES = ("code-fold", "code-summary")

# Content components of the report's own style sheet.
OWN_CLASS = re.compile(r"^vitrine-[a-z0-9-]+$")


def is_own(name: str) -> bool:
    """Whether a class belongs to the report's own components."""
    return OWN_CLASS.match(name) is not None


def float_kind(identifier: str) -> str:
    """``"fig"`` or ``"tbl"`` for an identifier that labels a figure or table, else ``""``."""
    kind = identifier.split("-", 1)[0]
    return kind if kind in FLOAT_NAMES and len(identifier) > len(kind) + 1 else ""

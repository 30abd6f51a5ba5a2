"""Numbers and names in sentences, and text from outside made safe.

What inline expressions of a chapter return is escaped by Quarto; what goes into the Markdown and
HTML that helpers write has to be escaped there, by ``safe`` and ``safe_html``.
"""

import html
import re
from collections.abc import Iterable

_MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~^$@&:'\"/=])")

COUNTING = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def safe(text: object) -> str:
    """Text from outside (labels, file names) in Markdown: every special character escaped.

    Line breaks become spaces, so that a label stays in its table cell.
    """
    return _MARKDOWN_SPECIAL.sub(r"\\\1", re.sub(r"\s+", " ", str(text)))


def as_printed(text: str) -> str:
    """A computed sentence with the apostrophe that the rest of the page has."""
    return text.replace("'", "\u2019")


def safe_attribute(text: object) -> str:
    """Text from outside in a quoted attribute of Markdown, as in ``{fig-alt="..."}``."""
    quoted = re.sub(r"\s+", " ", str(text)).replace("\\", "\\\\").replace('"', '\\"')
    # What ends a cell of a table, or opens code or a tag, is written as an entity.
    return re.sub(r"[&|`<]", lambda mark: f"&#{ord(mark[0])};", quoted)


def safe_html(text: object) -> str:
    """Text from outside in HTML, in an element or in a quoted attribute."""
    return html.escape(re.sub(r"\s+", " ", str(text)), quote=True)


def percent(value: float, digits: int = 0) -> str:
    """A share as per cent: ``percent(0.314)`` is ``"31%"``, and what would be 0% is ``"<1%"``."""
    if 0 < value < 0.5 * 10 ** (-digits - 2):
        return f"<{10**-digits:g}%"
    return f"{100 * value:.{digits}f}%"


def number(value: float, digits: int = 2) -> str:
    """A number with a true minus sign, and none before a zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def number_cell(value: float, digits: int = 2) -> str:
    """A number in a table: as ``number``, and "< 0.01" for what is above zero and would be 0.00."""
    is_small = value > 0 and round(value, digits) == 0
    return f"< {10.0**-digits:.{digits}f}" if is_small else number(value, digits)


def count(value: int) -> str:
    """A count in a sentence: words up to ten, digits above."""
    return COUNTING[value] if 0 <= value < len(COUNTING) else f"{value:,}"


def listing(names: Iterable[object]) -> str:
    """Names in a sentence: "a, b and c"."""
    parts = [str(name) for name in names]
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def slug(text: object) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", str(text).lower()).strip("-") or "unnamed"


def plural(value: int, noun: str) -> str:
    """A counted noun: "one image", "ten images", "no image"."""
    return f"{count(value)} {noun if value < 2 else noun + 's'}"


def part_of(value: int, whole: int, noun: str, several: str | None = None) -> str:
    """How many of a whole: "all ten images", "none of the ten images", "three of ten images".

    Each can stand behind a preposition; of one it is "the one image" or "no image".
    """
    many = several or f"{noun}s"
    if whole == 1:
        return f"the one {noun}" if value else f"no {noun}"
    if value == whole:
        return f"both {many}" if whole == 2 else f"all {count(whole)} {many}"
    if value == 0:
        return f"none of the {count(whole)} {many}"
    return f"{count(value)} of {count(whole)} {many}"


def trained_on(training_set: str) -> str:
    """What a network was trained on, as far as that is known: "trained on ImageNet"."""
    if training_set.startswith("none"):
        return "untrained (random weights)"
    return f"trained on {training_set}" if training_set else "training set not stated"


def p_text(p_value: float) -> str:
    """A p-value in a sentence: "p = 0.03", and "p < 0.001" for what would be 0.000."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.{2 if p_value >= 0.1 else 3}f}"


def p_cell(p_value: float) -> str:
    """A p-value in a table: "0.034", and "< 0.001" for what would be 0.000."""
    return "< 0.001" if p_value < 0.001 else number(p_value, 3)

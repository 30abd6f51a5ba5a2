"""Small tools for Pandoc's document trees."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import panflute as pf


def copied(elements: Iterable[Any]) -> list[Any]:
    """Deep copies of elements, without the document around them.

    An element knows its parent, so that a plain ``deepcopy`` would copy the whole document.
    """
    originals = list(elements)
    parents = [element.parent for element in originals]
    for element in originals:
        element.parent = None
    copies = copy.deepcopy(originals)
    for element, parent in zip(originals, parents, strict=True):
        element.parent = parent
    return copies


def text_of(inlines: Iterable[Any]) -> str:
    """Inline elements as plain text on one line; notes are left out."""

    def strip(element: Any, _doc: Any) -> Any:
        return [] if isinstance(element, pf.Note) else None

    plain = pf.Plain(*copied(inlines)).walk(strip)
    return " ".join(pf.stringify(plain).split())


def inlines_of(blocks: Sequence[Any]) -> list[Any]:
    """The inline elements of blocks such as a caption or title."""
    return [inline for block in blocks for inline in block.content]


def searchable(block: Any) -> str:
    """The words of a block on one line, as a reader would search for them.

    Notes and citations are left out, cells and paragraphs are kept apart by spaces.
    """
    words: list[str] = []

    def collect(element: Any, _doc: Any) -> None:
        if isinstance(element, (pf.Str, pf.Code, pf.Math)):
            words.append(element.text)
        elif isinstance(element, (pf.Space, pf.SoftBreak, pf.LineBreak, pf.Block, pf.TableCell)):
            words.append(" ")

    block.walk(collect, stop_if=lambda element: isinstance(element, (pf.Note, pf.Cite)))
    return " ".join("".join(words).split())

"""The report's special forms as Typst, in the functions that ``assets/report.typ`` defines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import panflute as pf

from vitrine.site import vocabulary as known
from vitrine.site.crossref import NBSP
from vitrine.site.document import Chapter, pdf_label
from vitrine.site.normal import CALLOUT, CODE, FLOAT, LAYOUT, PAGEBREAK, TABSET, is_form, parts
from vitrine.site.tree import inlines_of

_LENGTH = re.compile(r"^(\d+(?:\.\d+)?)(%|px|in|cm|mm|pt|em)?$")


def lower(blocks: Sequence[Any], chapter: Chapter) -> list[Any]:
    """A chapter's blocks as blocks that Pandoc can write as Typst, with labels of the book."""
    return _Lowering(chapter, _moving(blocks)).blocks(blocks)


def _moving(blocks: Sequence[Any]) -> set[str]:
    """The labels of figures that may leave their place to fill pages: drawings amid text.

    Tables and grids of pictures can be broken and stay; so does a figure in a section without text,
    whose heading would be left alone.
    """
    moving: set[str] = set()
    labels: list[str] = []
    has_text = False
    for block in [*blocks, pf.HorizontalRule()]:
        found: list[Any] = []
        if isinstance(block, (pf.Header, pf.HorizontalRule)):
            moving.update(labels if has_text else ())
            labels, has_text = [], False
            continue
        block.walk(lambda element, _doc, found=found: _note(element, found))
        if any(is_form(element, FLOAT) for element in found):
            if not any(isinstance(element, pf.Table) for element in found):
                labels += [e.attributes["label"] for e in found if e.attributes["kind"] == "fig"]
        else:
            has_text = True
    return moving


def _note(element: Any, found: list[Any]) -> None:
    if is_form(element, FLOAT) or isinstance(element, pf.Table):
        found.append(element)


def string(text: str) -> str:
    """A Typst string literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


class _Lowering:
    """One chapter; every identifier becomes a label that is unique in the book."""

    def __init__(self, chapter: Chapter, moving: set[str]) -> None:
        self.chapter = chapter
        self.moving = moving

    def blocks(self, blocks: Sequence[Any]) -> list[Any]:
        return [new for block in blocks for new in self.block(block)]

    def block(self, block: Any) -> list[Any]:
        forms: dict[str, Callable[[Any], list[Any]]] = {
            FLOAT: self.float,
            CALLOUT: self.callout,
            TABSET: self.tabset,
            LAYOUT: self.layout,
            CODE: lambda code: self.blocks(code.content),
            PAGEBREAK: lambda _block: [raw("#pagebreak(weak: true)")],
        }
        for form, lowered in forms.items():
            if is_form(block, form):
                return lowered(block)
        method: Callable[[Any], list[Any]] | None
        method = getattr(self, "block_" + type(block).__name__.lower(), None)
        return method(block) if method is not None else [block]

    def block_para(self, block: Any) -> list[Any]:
        if all(isinstance(e, (pf.Image, pf.Space, pf.SoftBreak)) for e in block.content):
            images = [e for e in block.content if isinstance(e, pf.Image)]
            return [raw(f"#picture({self.picture(image)})") for image in images]
        return [block.walk(self.inline)]

    block_plain = block_para
    block_lineblock = block_para

    def block_header(self, header: Any) -> list[Any]:
        """A heading that carries its number with it, so that Typst need not count."""
        number = numbering(header.attributes.get("number", ""))
        opening = f"#heading(level: {header.level}, {number})["
        closing = f"] {self.label(header.identifier)}"
        return [wrapped(opening, header.walk(self.inline).content, closing)]

    def block_codeblock(self, block: Any) -> list[Any]:
        block.identifier = ""
        return [block]

    def block_blockquote(self, block: Any) -> list[Any]:
        block.content = self.blocks(block.content)
        return [block]

    def block_bulletlist(self, block: Any) -> list[Any]:
        for item in block.content:
            item.content = self.blocks(item.content)
        return [block]

    block_orderedlist = block_bulletlist

    def block_definitionlist(self, block: Any) -> list[Any]:
        for item in block.content:
            item.term = pf.Plain(*item.term).walk(self.inline).content
            for definition in item.definitions:
                definition.content = self.blocks(definition.content)
        return [block]

    def block_table(self, block: Any) -> list[Any]:
        anchor, block.identifier = self.anchor(block.identifier), ""
        table = block.walk(self.inline)
        if list(block.head.content):
            return [*anchor, table]
        # Without a header it is an arrangement of pictures or words: no rules around it.
        return [*anchor, raw("#without-rules["), table, raw("]")]

    def block_div(self, div: Any) -> list[Any]:
        inside = self.blocks(div.content)
        if div.identifier == "refs" or "references" in div.classes:
            return [pf.Div(*inside, identifier="refs")]
        if {"aside", "column-margin"} & set(div.classes):
            inside = [raw("#margin-note["), *inside, raw("]")]
        return [*self.anchor(div.identifier), *inside]

    # Forms

    def float(self, block: Any) -> list[Any]:
        kind, part = block.attributes["kind"], block.attributes.get("part", "")
        content, caption = parts(block)
        text = inlines_of(caption)
        if part:
            number, function = f"({part})", "part-figure"
        else:
            number = f"{known.FLOAT_NAMES[kind]}{NBSP}{block.attributes['number']}"
            number, function = (f"{number}:" if text else number), "float-figure"
        moves = ", moves: true" if not part and block.attributes["label"] in self.moving else ""
        opening = self.inlines_in(
            f"#{function}(kind: {string(kind)}, number: {string(number)}{moves}, caption: [",
            text,
            "])[",
        )
        label = self.label(block.attributes["label"])
        return [opening, *self.blocks(content), raw(f"] {label}")]

    def callout(self, block: Any) -> list[Any]:
        title, body = parts(block)
        text = inlines_of(title) or [pf.Str(known.CALLOUTS[block.attributes["type"]])]
        simple = block.attributes["appearance"] != "default" and not title
        opening = self.inlines_in(
            f"#callout(kind: {string(block.attributes['type'])}, "
            f"titled: {'false' if simple else 'true'}, title: [",
            text,
            "])[",
        )
        return [*self.anchor(block.identifier), opening, *self.blocks(body), raw("]")]

    def tabset(self, block: Any) -> list[Any]:
        """Every tab in turn, each under its title."""
        out = self.anchor(block.identifier)
        for tab in block.content:
            title, body = parts(tab)
            out.append(self.inlines_in("#tab(title: [", inlines_of(title), "])["))
            out += [*self.blocks(body), raw("]")]
        return out

    def layout(self, block: Any) -> list[Any]:
        rows = json.loads(block.attributes["rows"])
        weights = "".join(
            "(" + "".join(f"{weight:g}fr, " for weight in row) + "), " for row in rows
        )
        out = [raw(f"#arranged(rows: ({weights}))[")]
        for count, cell in enumerate(block.content):
            out += [raw("][")] if count else []
            out += self.blocks(cell.content)
        return [*out, raw("]")]

    # Inlines

    def inline(self, element: Any, _doc: Any) -> Any:
        if isinstance(element, pf.Image):
            return pf.RawInline(f"#inline-picture({self.picture(element)});", format="typst")
        if isinstance(element, pf.Span):
            return self.span(element)
        if isinstance(element, pf.Code):
            element.identifier = ""
        if isinstance(element, pf.Note):
            element.content = self.blocks(element.content)
        return None

    def span(self, span: Any) -> Any:
        anchor = (
            [pf.RawInline(f"#[#metadata(none){self.label(span.identifier)}]", format="typst")]
            if span.identifier
            else []
        )
        span.identifier = ""
        if {"aside", "column-margin"} & set(span.classes):
            opening = pf.RawInline("#margin-note[", format="typst")
            return [*anchor, opening, *span.content, pf.RawInline("]", format="typst")]
        return [*anchor, span] if anchor else None

    def inlines_in(self, opening: str, inlines: Sequence[Any], closing: str) -> Any:
        return wrapped(opening, pf.Plain(*inlines).walk(self.inline).content, closing)

    def picture(self, image: Any) -> str:
        """The arguments of a picture function: path from the project's root, alt text, size."""
        arguments = [string("/" + image.url), f"alt: {string(image.attributes['alt'])}"]
        for key in ("width", "height"):
            if key in image.attributes:
                arguments.append(f"{key}: {self.length(key, image.attributes[key])}")
        return ", ".join(arguments)

    def length(self, key: str, written: str) -> str:
        """A length as Typst writes it; CSS pixels are 1/96 inch."""
        found = _LENGTH.match(written)
        if not found:
            self.chapter.qmd.refuse(
                f"a picture cannot have the {key} {written!r}",
                "Write a number with %, px, in, cm, mm, pt or em",
                rf"{key}\s*=\s*[\"']?{re.escape(written)}",
            )
        number, unit = float(found.group(1)), found.group(2) or "px"
        return f"{number * 0.75:g}pt" if unit == "px" else f"{number:g}{unit}"

    def anchor(self, identifier: str) -> list[Any]:
        if not identifier:
            return []
        return [raw(f"#[#metadata(none){self.label(identifier)}]")]

    def label(self, identifier: str) -> str:
        return f"<{pdf_label(self.chapter, identifier)}>" if identifier else ""


def numbering(number: str) -> str:
    """The argument of ``heading`` that gives it a number."""
    return f"numbering: (..) => {string(number)}" if number else "numbering: none"


def raw(text: str) -> Any:
    return pf.RawBlock(text, format="typst")


def wrapped(opening: str, inlines: Sequence[Any], closing: str) -> Any:
    """Inline elements between two pieces of markup, in one line."""
    return pf.Plain(
        pf.RawInline(opening, format="typst"), *inlines, pf.RawInline(closing, format="typst")
    )

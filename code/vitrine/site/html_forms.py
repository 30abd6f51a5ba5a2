"""The report's special forms as HTML, with the class names that Quarto's pages have."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import panflute as pf

from vitrine.site import vocabulary as known
from vitrine.site.crossref import NBSP
from vitrine.site.normal import CALLOUT, CODE, FLOAT, LAYOUT, PAGEBREAK, TABSET, is_form, parts
from vitrine.site.tree import inlines_of, text_of

_KIND_NAMES = {"fig": "figure", "tbl": "table"}


def lower(blocks: Sequence[Any]) -> list[Any]:
    """Blocks in the report's form as blocks that Pandoc can write as HTML."""
    return _Lowering().blocks(blocks)


class _Lowering:
    """One page; counts its tabsets, whose identifiers must differ."""

    def __init__(self) -> None:
        self.tabsets = 0

    def blocks(self, blocks: Sequence[Any]) -> list[Any]:
        return [new for block in blocks for new in self.block(block)]

    def block(self, block: Any) -> list[Any]:
        forms: dict[str, Callable[[Any], list[Any]]] = {
            FLOAT: self.float,
            CALLOUT: self.callout,
            TABSET: self.tabset,
            LAYOUT: self.layout,
            CODE: self.code,
            PAGEBREAK: lambda _block: [],
        }
        for form, method in forms.items():
            if is_form(block, form):
                return method(block)
        if isinstance(block, pf.Div):
            return [self.div(block)]
        if isinstance(block, pf.Header):
            return [_heading(block)]
        if isinstance(block, pf.Table):
            return [_accessible(block)]
        if isinstance(block, pf.BlockQuote):
            block.content = self.blocks(block.content)
        elif isinstance(block, (pf.BulletList, pf.OrderedList)):
            for item in block.content:
                item.content = self.blocks(item.content)
        elif isinstance(block, pf.DefinitionList):
            for item in block.content:
                for definition in item.definitions:
                    definition.content = self.blocks(definition.content)
        return [block]

    def div(self, div: Any) -> Any:
        attributes = {"role": "note"} if {"aside", "column-margin"} & set(div.classes) else {}
        return pf.Div(
            *self.blocks(div.content),
            identifier=div.identifier,
            classes=list(div.classes),
            attributes=attributes,
        )

    def float(self, block: Any) -> list[Any]:
        """A figure or table with its caption: below figures, above tables."""
        kind, label = block.attributes["kind"], block.attributes["label"]
        content, caption = parts(block)
        part = block.attributes.get("part", "")
        classes = ["quarto-float", f"quarto-{'subfloat' if part else 'float'}-{kind}"]
        classes += block.classes[1:]
        opening = f'<figure class="{escape(" ".join(classes))}" id="{escape(label)}">'
        text = _caption(block, caption)
        figcaption = _plain(
            f'<figcaption class="quarto-{"subfloat" if part else "float"}-caption '
            f'quarto-{"subfloat" if part else "float"}-{kind}">',
            text,
            "</figcaption>",
        )
        body = self.blocks(_unwrapped(content))
        inside = [figcaption, *body] if kind == "tbl" else [*body, figcaption]
        return [_raw(opening), *inside, _raw("</figure>")]

    def callout(self, block: Any) -> list[Any]:
        """A callout; one that collapses is a ``details`` element."""
        title, body = parts(block)
        kind, collapse = block.attributes["type"], block.attributes["collapse"]
        classes = ["callout", f"callout-{kind}", f"callout-style-{block.attributes['appearance']}"]
        classes += ["no-icon"] if block.attributes["icon"] == "false" else []
        classes += ["callout-titled"] if title else []
        classes += block.classes[1:]
        content = pf.Div(*self.blocks(body), classes=["callout-body-container", "callout-body"])
        if collapse:
            return _details(block, classes, title, content, kind)
        header = []
        if title:
            header = [
                _plain(
                    f'<div class="callout-header">{_icon()}<div class="callout-title-container">',
                    inlines_of(title),
                    "</div></div>",
                )
            ]
        elif block.attributes["icon"] == "true":
            header = [_raw(_icon())]
        attributes = {"role": "note"}
        if not title:
            attributes["aria-label"] = known.CALLOUTS[kind]
        return [
            pf.Div(
                *header,
                content,
                identifier=block.identifier,
                classes=classes,
                attributes=attributes,
            )
        ]

    def tabset(self, block: Any) -> list[Any]:
        """Tabs and panels; the script hides all panels but one, so all are there without it."""
        self.tabsets += 1
        name = f"tabset-{self.tabsets}"
        tabs = [parts(tab) for tab in block.content]
        buttons: list[Any] = [_raw('<ul class="nav nav-tabs" role="tablist">')]
        panels = []
        for count, (title, body) in enumerate(tabs, start=1):
            panel = f"{name}-{count}"
            active, chosen = (" active", "true") if count == 1 else ("", "false")
            buttons.append(
                _plain(
                    f'<li class="nav-item" role="presentation"><a class="nav-link{active}" '
                    f'id="{panel}-tab" href="#{panel}" role="tab" aria-controls="{panel}" '
                    f'aria-selected="{chosen}">',
                    inlines_of(title),
                    "</a></li>",
                )
            )
            panels.append(
                pf.Div(
                    *self.blocks(body),
                    identifier=panel,
                    classes=["tab-pane", *(["active"] if count == 1 else [])],
                    attributes={
                        "role": "tabpanel",
                        "aria-labelledby": f"{panel}-tab",
                        # Shown above the panel on paper and where no script runs.
                        "data-title": text_of(inlines_of(title)),
                    },
                )
            )
        return [
            pf.Div(
                *buttons,
                _raw("</ul>"),
                pf.Div(*panels, classes=["tab-content"]),
                identifier=block.identifier,
                classes=["panel-tabset", *block.classes[1:]],
                attributes={k: v for k, v in block.attributes.items() if k == "group"},
            )
        ]

    def layout(self, block: Any) -> list[Any]:
        """Parts side by side: a grid a row, with the column weights as a custom property."""
        rows = json.loads(block.attributes["rows"])
        cells = iter(list(block.content))
        lines = []
        for row in rows:
            inside = [
                pf.Div(*self.blocks(cell.content), classes=["quarto-layout-cell"])
                for _, cell in zip(row, cells, strict=False)
            ]
            weights = " ".join(f"minmax(0, {weight:g}fr)" for weight in row)
            lines.append(
                pf.Div(
                    *inside,
                    classes=["quarto-layout-row"],
                    attributes={"style": f"--columns: {len(row)}; --template: {weights}"},
                )
            )
        columns = max(map(len, rows))
        return [
            pf.Div(
                *lines,
                classes=["quarto-layout-panel"],
                attributes={"style": f"--columns: {columns}"},
            )
        ]

    def code(self, block: Any) -> list[Any]:
        """The code of a cell, folded away or not."""
        fold, summary = block.attributes["fold"], escape(block.attributes["summary"])
        if fold == "none":
            return list(block.content)
        opened = " open" if fold == "show" else ""
        opening = f'<details class="code-fold"{opened}><summary>{summary}</summary>'
        return [_raw(opening), *block.content, _raw("</details>")]


def _details(block: Any, classes: list[str], title: Any, content: Any, kind: str) -> list[Any]:
    opened = " open" if block.attributes["collapse"] == "false" else ""
    identifier = f' id="{escape(block.identifier)}"' if block.identifier else ""
    names = escape(" ".join(classes))
    return [
        _plain(
            f'<details class="{names}"{identifier}{opened}><summary class="callout-header">'
            f'{_icon()}<span class="callout-title-container">',
            inlines_of(title) or [pf.Str(known.CALLOUTS[kind])],
            "</span></summary>",
        ),
        content,
        _raw("</details>"),
    ]


def _icon() -> str:
    icon = '<i class="callout-icon"></i>'
    return f'<span class="callout-icon-container" aria-hidden="true">{icon}</span>'


def _caption(block: Any, caption: Sequence[Any]) -> list[Any]:
    """A caption with its number: "Figure 2.1: …", or "(a) …" for a part."""
    text = inlines_of(caption)
    part = block.attributes.get("part")
    name = known.FLOAT_NAMES[block.attributes["kind"]]
    number = f"({part})" if part else f"{name}{NBSP}{block.attributes['number']}"
    colon = ":" if text and not part else ""
    marked = pf.Span(pf.Str(number + colon), classes=["caption-number"])
    return [marked, pf.Space(), *text] if text else [marked]


def _heading(header: Any) -> Any:
    number = header.attributes.pop("number", "")
    if number:
        span = pf.Span(pf.Str(number), classes=["header-section-number"])
        header.content = [span, pf.Space(), *header.content]
    return header


def _accessible(table: Any) -> Any:
    """Say of header cells that they head a column."""
    for row in table.head.content:
        for cell in row.content:
            cell.attributes["scope"] = "col"
    return table


def _unwrapped(blocks: Sequence[Any]) -> list[Any]:
    """Output wrappers around the content of a float add nothing; a picture needs no paragraph."""
    out: list[Any] = []
    for block in blocks:
        if isinstance(block, pf.Para) and all(isinstance(e, pf.Image) for e in block.content):
            out.append(pf.Plain(*block.content))
        else:
            out.append(block)
    return out


def _raw(text: str) -> Any:
    return pf.RawBlock(text, format="html")


def _plain(opening: str, inlines: Sequence[Any], closing: str) -> Any:
    return pf.Plain(
        pf.RawInline(opening, format="html"), *inlines, pf.RawInline(closing, format="html")
    )

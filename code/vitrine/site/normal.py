"""From Pandoc's tree to the report's: every construct is recognised here, or refused.

The result is again a list of Pandoc blocks, in which floats, callouts, tabsets, layouts, folded
code and page breaks are ``Div`` elements whose first class is one of the names below. HTML and
Typst each turn these few into their own markup; nothing else has a special meaning any more.

====================  ===========================================================================
``=float``            a figure or table: attributes ``kind``, ``label``; two children, ``Div``s
                      with the content and with the caption (one ``Plain``)
``=callout``          attributes ``type``, ``collapse``, ``appearance``, ``icon``; two children,
                      ``Div``s with the title (one ``Plain``) and the body
``=tabset``           children are ``Div``s, each with two ``Div``s: title (one ``Plain``), body
``=layout``           attribute ``rows``: JSON list of rows of column weights; children: cells
``=code``             attributes ``fold`` (``none``, ``hide``, ``show``) and ``summary``; one
                      child, the code of an executed cell
``=pagebreak``        no children
====================  ===========================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import panflute as pf

from vitrine.site import vocabulary as known
from vitrine.site.pandoc import EXPLICIT_HTML
from vitrine.site.qmd import Qmd
from vitrine.site.tree import copied, inlines_of, searchable, text_of

FLOAT = "=float"
CALLOUT = "=callout"
TABSET = "=tabset"
LAYOUT = "=layout"
CODE = "=code"
PAGEBREAK = "=pagebreak"

_COMMENT = re.compile(r"^\s*<!--.*-->\s*$", re.DOTALL)


@dataclass(frozen=True)
class Settings:
    """What a chapter's constructs depend on beside their own text.

    ``target`` is ``"html"`` or ``"typst"``; ``texts`` holds parsed captions and titles by their
    Markdown; ``meta`` gives the inline elements of a key for ``{{< meta key >}}``, or ``None``.
    """

    target: str
    texts: Mapping[str, Sequence[Any]]
    meta: Callable[[str], Sequence[Any] | None]
    code_fold: str
    code_summary: str


def attribute_texts(doc: Any) -> list[str]:
    """The captions and titles in a document that stand in attributes and are Markdown."""
    found: list[str] = []

    def collect(element: Any, _doc: Any) -> None:
        if isinstance(element, pf.Div):
            found.extend(
                element.attributes[key]
                for key in ("title", "fig-cap", "tbl-cap")
                if element.attributes.get(key)
            )

    doc.walk(collect)
    return found


def normalise(blocks: Sequence[Any], qmd: Qmd, settings: Settings) -> list[Any]:
    """The report's tree of a chapter.

    Raises ``ChapterError`` with file and line at anything that is not in ``vocabulary``.
    """
    return _Normaliser(qmd, settings).blocks(blocks)


def is_form(block: Any, form: str) -> bool:
    """Whether a block is one of the special ``Div`` elements."""
    return isinstance(block, pf.Div) and block.classes[:1] == [form]


def parts(block: Any) -> tuple[list[Any], list[Any]]:
    """The contents of the two children of a float, callout or tab."""
    first, second = block.content
    return list(first.content), list(second.content)


class _Normaliser:
    """One chapter on its way; ``cell`` is the label of the cell whose output is being read."""

    def __init__(self, qmd: Qmd, settings: Settings) -> None:
        self.qmd = qmd
        self.settings = settings
        self.cell = ""

    # Blocks

    def blocks(self, blocks: Sequence[Any]) -> list[Any]:
        return [new for block in blocks for new in self.block(block)]

    def simple_blocks(self, blocks: Sequence[Any], place: str) -> list[Any]:
        """Blocks of a table cell or footnote, which cannot hold the special forms."""
        new = self.blocks(blocks)
        for block in new:
            if isinstance(block, (pf.Div, pf.Header)):
                self.refuse(
                    f"a {place} holds more than text, lists and code",
                    "Move figures, callouts and the like out of it",
                    re.escape(next(iter(searchable(block).split()), "")),
                )
        return new

    def block(self, block: Any) -> list[Any]:
        name = "block_" + type(block).__name__.lower()
        method: Callable[[Any], list[Any]] | None = getattr(self, name, None)
        if method is None:
            self.refuse(f"{type(block).__name__} blocks are not supported", "Remove it")
        new: list[Any] = method(block)
        return new

    def block_para(self, block: Any) -> list[Any]:
        if _shortcode(block) == ["pagebreak"]:
            return [pf.Div(classes=[PAGEBREAK])]
        block.content = self.inlines(block.content)
        return [block] if len(block.content) else []

    block_plain = block_para

    def block_header(self, block: Any) -> list[Any]:
        self.check_classes(block, known.HEADING_CLASSES, "heading class")
        self.check_attributes(block, ())
        self.check_label(block.identifier)
        block.content = self.inlines(block.content)
        return [block]

    def block_codeblock(self, block: Any) -> list[Any]:
        block.text = _unescape(block.text)
        cell_code = "cell-code" in block.classes
        classes = [name for name in block.classes if name != "cell-code"]
        if any(name.startswith("{") for name in block.classes):
            self.refuse(
                f"the cell {' '.join(block.classes)} was not executed",
                "Run `vitrine freeze`; included files cannot have cells",
                re.escape(block.classes[0]),
            )
        for name in classes[1:]:
            self.unknown(name, "code block class")
        self.check_attributes(block, known.CODE_ATTRIBUTES if cell_code else ())
        if not cell_code:
            return [block]
        fold, summary = self.fold(block)
        block.attributes.clear()
        return [pf.Div(block, classes=[CODE], attributes={"fold": fold, "summary": summary})]

    def fold(self, block: Any) -> tuple[str, str]:
        """How the code of a cell is folded in HTML, and what its summary says."""
        modes = {"false": "none", "true": "hide", "show": "show", "none": "none"}
        written = block.attributes.get("code-fold", "")
        if written and written not in modes:
            self.refuse(
                f"code-fold cannot be {written!r}", "Write true, false or show", "code-fold"
            )
        summary = block.attributes.get("code-summary") or self.settings.code_summary
        return modes[written] if written else self.settings.code_fold, summary

    def block_rawblock(self, block: Any) -> list[Any]:
        return self.raw(block)

    def raw(self, element: Any) -> list[Any]:
        """A raw block or inline: kept for its own format, left out for the other."""
        pattern = re.escape(element.text.strip().split("\n")[0][:60])
        if element.format == "html":
            if _COMMENT.match(element.text):
                return []
            self.refuse(
                f"the HTML {element.text.strip()[:40]!r} stands outside a raw block",
                "Put it in a ```{=html} block, and what the PDF shows in ```{=typst}",
                pattern,
            )
        if element.format == EXPLICIT_HTML:
            element.format = "html"
            element.text = _restore(element.text)
            return [element] if self.settings.target == "html" else []
        if element.format == "typst":
            return [element] if self.settings.target == "typst" else []
        self.refuse(f"raw {element.format} is not supported", "Use {=html} and {=typst}", pattern)

    def block_horizontalrule(self, block: Any) -> list[Any]:
        return [block]

    def block_lineblock(self, block: Any) -> list[Any]:
        for line in block.content:
            line.content = self.inlines(line.content)
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
            item.term = self.inlines(item.term)
            for definition in item.definitions:
                definition.content = self.blocks(definition.content)
        return [block]

    def block_table(self, block: Any) -> list[Any]:
        rows = [*block.head.content, *block.foot.content]
        for body in block.content:
            rows += [*body.head, *body.content]
        for row in rows:
            for cell in row.content:
                cell.content = self.simple_blocks(cell.content, "table")
        _tidy_table(block)
        self.check_label(block.identifier)
        caption = inlines_of(self.blocks(block.caption.content)) if block.caption else []
        kind = known.float_kind(block.identifier)
        block.caption = pf.Caption()
        if not kind:
            if caption:
                self.unlabelled(f"the table {text_of(caption)[:40]!r}", "{#tbl-…}", caption)
            return [block]
        label, block.identifier = block.identifier, ""
        return [_float(kind, label, [block], caption, [])]

    def block_figure(self, block: Any) -> list[Any]:
        caption = inlines_of(self.blocks(block.caption.content)) if block.caption else []
        self.check_label(block.identifier)
        alt = text_of(caption)
        _give_alt(block.content, alt)
        content = self.blocks(block.content)
        kind = known.float_kind(block.identifier)
        if kind:
            return [_float(kind, block.identifier, content, caption, [])]
        self.unlabelled(f"the picture with the caption {alt[:40]!r}", "{#fig-…}", caption)

    def unlabelled(self, what: str, label: str, caption: list[Any]) -> NoReturn:
        """Refuse a caption without a label: Quarto numbers it in the PDF, but not in HTML."""
        words = text_of(caption).split()
        self.refuse(
            f"{what} has a caption but no label",
            f'Give it one, {label}; a picture without a caption is ![](file){{fig-alt="…"}}',
            r"\W+".join(map(re.escape, words[:4])),
        )

    # Divs

    def block_div(self, div: Any) -> list[Any]:
        if {"content-visible", "content-hidden"} & set(div.classes):
            return self.blocks(div.content) if self.visible(div) else []
        self.check_label(div.identifier)
        callout = next((name for name in div.classes if name.startswith("callout")), "")
        if callout:
            return [self.callout(div, callout)]
        if "panel-tabset" in div.classes:
            return [self.tabset(div)]
        if "cell" in div.classes:
            return self.executed_cell(div)
        return self.plain_div(div)

    def visible(self, element: Any) -> bool:
        """Whether conditional content is for the format being made."""
        hidden = "content-hidden" in element.classes
        self.check_classes(element, ("content-visible", "content-hidden"), "class")
        self.check_attributes(element, known.CONDITIONS)
        if not element.attributes:
            self.refuse(
                "conditional content says no format",
                "Add when-format= or unless-format=",
                "content-hidden" if hidden else "content-visible",
            )
        holds = True
        for key, value in element.attributes.items():
            if value not in known.FORMATS:
                self.refuse(
                    f"{key} cannot be {value!r}",
                    'Write "html" or "typst" (the PDF is made with Typst)',
                    rf"{key}\s*=\s*[\"']?{re.escape(value)}",
                )
            applies = value == self.settings.target
            holds = holds and applies == (key == "when-format")
        return holds != hidden

    def callout(self, div: Any, name: str) -> Any:
        kind = name.removeprefix("callout-")
        if kind not in known.CALLOUTS:
            self.refuse(
                f"unknown callout type {kind}",
                "Use one of " + ", ".join(known.CALLOUTS),
                rf"callout-{re.escape(kind)}\b",
            )
        self.check_classes(div, (name, *known.COLUMNS), "class")
        self.check_attributes(div, known.CALLOUT_ATTRIBUTES)
        attributes = dict(div.attributes)
        appearance = attributes.get("appearance", "default")
        self.check_choice("appearance", appearance, known.APPEARANCES)
        self.check_choice("collapse", attributes.get("collapse", "true"), ("true", "false"))
        self.check_choice("icon", attributes.get("icon", "true"), ("true", "false"))
        title, body = self.callout_title(div, attributes)
        if not title and appearance == "default":
            title = [pf.Str(known.CALLOUTS[kind])]
        return pf.Div(
            pf.Div(pf.Plain(*title)) if title else pf.Div(),
            pf.Div(*self.blocks(body)),
            identifier=div.identifier,
            classes=[CALLOUT, *(c for c in div.classes if c in known.COLUMNS)],
            attributes={
                "type": kind,
                "collapse": attributes.get("collapse", ""),
                "appearance": "simple" if appearance == "minimal" else appearance,
                "icon": "false" if appearance == "minimal" else attributes.get("icon", "true"),
            },
        )

    def callout_title(self, div: Any, attributes: dict[str, str]) -> tuple[list[Any], list[Any]]:
        """A callout's title, from its attribute or its first heading, and what remains of it."""
        blocks = list(div.content)
        if attributes.get("title"):
            return self.text(attributes["title"]), blocks
        if blocks and isinstance(blocks[0], pf.Header):
            return self.inlines(blocks[0].content), blocks[1:]
        return [], blocks

    def tabset(self, div: Any) -> Any:
        self.check_classes(div, ("panel-tabset", *known.COLUMNS), "class")
        self.check_attributes(div, ("group",))
        first: Any = next(iter(div.content), None)
        if not isinstance(first, pf.Header):
            self.refuse("a tabset starts with a heading", "Give each tab a heading", "panel-tabset")
        tabs: list[tuple[Any, list[Any]]] = []
        for block in div.content:
            if isinstance(block, pf.Header) and block.level == first.level:
                self.check_classes(block, known.HEADING_CLASSES, "heading class")
                tabs.append((pf.Plain(*self.inlines(block.content)), []))
            else:
                tabs[-1][1].append(block)
        return pf.Div(
            *(pf.Div(pf.Div(title), pf.Div(*self.blocks(body))) for title, body in tabs),
            identifier=div.identifier,
            classes=[TABSET, *(c for c in div.classes if c in known.COLUMNS)],
            attributes={k: v for k, v in div.attributes.items() if k == "group"},
        )

    def executed_cell(self, div: Any) -> list[Any]:
        """An executed cell: its code stands before its output, never inside a float."""
        self.check_classes(div, ("cell", *known.COLUMNS), "cell class", own=True)
        self.check_attributes(div, known.DIV_ATTRIBUTES)
        outside, self.cell = self.cell, div.identifier.removeprefix("cell-") or self.cell
        code = [b for b in div.content if isinstance(b, pf.CodeBlock) and "cell-code" in b.classes]
        rest = [b for b in div.content if b not in code]
        columns = [name for name in div.classes if name in known.COLUMNS]
        classes = [name for name in div.classes if known.is_own(name)]
        kind = known.float_kind(div.identifier)
        if kind:
            output = [self.labelled(div, kind, rest, columns)]
        else:
            output = self.arrange(div, rest)
            output = [pf.Div(*output, classes=columns)] if columns and output else output
        self.cell = outside
        return [
            pf.Div(
                *self.blocks(code),
                *output,
                identifier="" if kind else div.identifier,
                classes=["cell", *classes],
            )
        ]

    def plain_div(self, div: Any) -> list[Any]:
        allowed = (*known.COLUMNS, *known.CELL_PARTS)
        self.check_classes(div, allowed, "class", own=True)
        self.check_attributes(div, known.DIV_ATTRIBUTES)
        outside = self.cell
        kind = known.float_kind(div.identifier)
        if kind and "cell-output" in div.classes:
            self.cell = div.identifier
        keep = [name for name in div.classes if name not in known.CELL_PARTS]
        if any(map(known.is_own, div.classes)):
            _unwrap_pictures(div)
        if kind:
            result = self.labelled(div, kind, list(div.content), keep)
        else:
            inside = self.arrange(div, list(div.content))
            if not div.identifier and not div.classes:
                return inside
            result = pf.Div(*inside, identifier=div.identifier, classes=list(div.classes))
        self.cell = outside
        return [result]

    def labelled(self, div: Any, kind: str, blocks: list[Any], classes: list[str]) -> Any:
        """A float from a labelled ``Div`` and what is inside it."""
        written = div.attributes.get(f"{kind}-cap", "")
        caption: list[Any] = []
        if written:
            caption = self.text(written)
        elif len(blocks) > 1 and isinstance(blocks[-1], pf.Para) and not _only_pictures(blocks[-1]):
            caption = self.inlines(blocks.pop().content)
        if len(blocks) == 1 and isinstance(blocks[0], (pf.Figure, pf.Table)):
            caption = caption or self.hoisted_caption(blocks[0])
            if isinstance(blocks[0], pf.Figure) and not blocks[0].identifier:
                # The picture of a labelled float: its text describes it, the float has the caption.
                blocks = list(blocks[0].content)
        if caption:
            alt = text_of(caption)
            _give_alt(blocks, alt)
        content = self.arrange(div, blocks)
        if not content:
            self.refuse(
                f"{div.identifier} is empty", "Give it content", rf"#{re.escape(div.identifier)}\b"
            )
        return _float(kind, div.identifier, content, caption, classes)

    def hoisted_caption(self, block: Any) -> list[Any]:
        """The caption of the only picture or table of a float, which becomes the float's own."""
        if block.identifier or not block.caption or not block.caption.content:
            return []
        caption = inlines_of(self.blocks(block.caption.content))
        if isinstance(block, pf.Table):
            block.caption = pf.Caption()
        return caption

    # Layouts

    def arrange(self, div: Any, blocks: list[Any]) -> list[Any]:
        """The blocks of a ``Div``, side by side where it has a layout."""
        if not {"layout", "layout-ncol"} & set(div.attributes):
            return self.blocks(blocks)
        cells = _layout_cells(self.blocks(blocks))
        rows = self.layout_rows(div, len(cells))
        return [
            pf.Div(
                *(pf.Div(*cell) for cell in cells),
                classes=[LAYOUT],
                attributes={"rows": json.dumps(rows)},
            )
        ]

    def layout_rows(self, div: Any, cells: int) -> list[list[float]]:
        """Column weights, row by row, for a number of cells."""
        if "layout-ncol" in div.attributes:
            written = div.attributes["layout-ncol"]
            if not re.fullmatch(r"[1-9]\d?", written):
                self.refuse(f"layout-ncol cannot be {written!r}", "Write a number", "layout-ncol")
            columns = int(written)
            return [[1.0] * columns for _ in range(-(-cells // columns))]
        rows = _parse_layout(div.attributes["layout"])
        if rows is None:
            self.refuse(
                f"layout cannot be {div.attributes['layout']!r}",
                'Write rows of positive column weights, like layout="[[1, 1], [2]]"',
                r"layout\s*=",
            )
        if sum(map(len, rows)) != cells:
            self.refuse(
                f"the layout has {sum(map(len, rows))} places for {cells} parts",
                "Give each part one place",
                r"layout\s*=",
            )
        return rows

    # Inlines

    def inlines(self, inlines: Sequence[Any]) -> list[Any]:
        elements = self.shortcodes(list(inlines))
        return [new for element in elements for new in self.inline(element)]

    def inline(self, element: Any) -> list[Any]:
        if isinstance(element, pf.RawInline):
            return self.raw(element)
        if isinstance(element, pf.Note):
            element.content = self.simple_blocks(element.content, "footnote")
        elif isinstance(element, (pf.Str, pf.Math)):
            element.text = _restore(element.text)
        elif isinstance(element, pf.Code):
            element.text = _unescape(element.text)
            self.check_inline_code(element)
        elif isinstance(element, pf.Span):
            return self.span(element)
        elif isinstance(element, pf.Image):
            self.picture(element)
        elif isinstance(element, pf.Cite):
            for citation in element.citations:
                citation.prefix = self.inlines(citation.prefix)
                citation.suffix = self.inlines(citation.suffix)
        elif isinstance(element, pf.Link):
            own = [name for name in element.classes if name in ("uri", "email")]
            self.check_classes(element, tuple(own), "class", own=True)
            self.check_attributes(element, known.LINK_ATTRIBUTES)
            element.content = self.inlines(element.content)
        elif hasattr(element, "content"):
            element.content = self.inlines(element.content)
        return [element]

    def check_inline_code(self, element: Any) -> None:
        if element.text.startswith("{python} ") or any(c.startswith("{") for c in element.classes):
            self.refuse(
                f"the inline expression {element.text!r} was not executed",
                "Run `vitrine freeze`; included files cannot have inline expressions",
                re.escape(element.text),
            )
        for name in element.classes[1:]:
            self.unknown(name, "code class")
        self.check_attributes(element, ())

    def span(self, span: Any) -> list[Any]:
        if {"content-visible", "content-hidden"} & set(span.classes):
            return self.inlines(span.content) if self.visible(span) else []
        self.check_classes(span, (*known.TEXT_SPANS, "aside", "column-margin"), "class", own=True)
        self.check_attributes(span, ())
        self.check_label(span.identifier)
        span.content = self.inlines(span.content)
        return [span]

    def picture(self, image: Any) -> None:
        self.check_classes(image, (), "class", own=True)
        self.check_attributes(image, known.IMAGE_ATTRIBUTES)
        attributes = dict(image.attributes)
        text = text_of(image.content)
        alt = attributes.get("fig-alt", attributes.get("alt", text))
        if not alt and not {"fig-alt", "alt"} & set(attributes):
            self.refuse(
                f"the picture {image.url} has no alternative text",
                'Write ![text](file) or add fig-alt="text" (fig-alt="" when it only decorates)',
                re.escape(image.url),
            )
        self.check_choice(
            "fig-align",
            attributes.get("fig-align", "center"),
            ("left", "center", "right", "default"),
        )
        image.content = []
        image.attributes.clear()
        image.attributes["alt"] = alt
        for key in ("width", "height"):
            if key in attributes:
                image.attributes[key] = attributes[key]

    def shortcodes(self, inlines: list[Any]) -> list[Any]:
        """Inlines with ``{{< meta key >}}`` replaced; any other shortcode is refused."""
        out: list[Any] = []
        rest = iter(inlines)
        for element in rest:
            text = element.text if isinstance(element, pf.Str) else ""
            if "{{<" not in text:
                out.append(element)
            else:
                out.extend(self.shortcode(text, rest))
        return out

    def shortcode(self, first: str, rest: Iterator[Any]) -> list[Any]:
        """What stands for one shortcode, reading its words from ``rest``."""
        before, opening, word = first.partition("{{<")
        words = [word] if word else []
        after: str | None = None
        for element in rest:
            if isinstance(element, pf.Str) and ">}}" in element.text:
                last, _, after = element.text.partition(">}}")
                words += [last] if last else []
                break
            if isinstance(element, pf.Str):
                words.append(element.text)
            elif not isinstance(element, (pf.Space, pf.SoftBreak)):
                break
        if after is None or len(words) != 2 or words[0] != "meta":
            self.refuse(
                f"the shortcode {opening} {' '.join(words)} cannot be read here",
                "Write {{< meta key >}} in a sentence, {{< pagebreak >}} in a paragraph of its own",
                r"\{\{<\s*" + re.escape(words[0] if words else ""),
            )
        value = self.settings.meta(words[1])
        if value is None:
            self.refuse(
                f"{{{{< meta {words[1]} >}}}} names a key that is not set",
                "Set it in the front matter, or correct its name",
                r"meta\s+" + re.escape(words[1]),
            )
        texts = [pf.Str(t) if t else None for t in (before, after)]
        return [e for e in (texts[0], *copied(value), texts[1]) if e is not None]

    # Checks

    def text(self, markdown: str) -> list[Any]:
        """A caption or title that stands in an attribute."""
        return self.inlines(copied(self.settings.texts[markdown]))

    def check_classes(
        self, element: Any, allowed: Sequence[str], what: str, own: bool = False
    ) -> None:
        for name in element.classes:
            if name not in allowed and not (own and known.is_own(name)):
                self.unknown(name, what)

    def unknown(self, name: str, what: str) -> None:
        self.refuse(
            f"unknown {what} {name}",
            "Remove it, or correct its name",
            rf"(?:^|[\s.{{:\"'\[]){re.escape(name)}(?:[\s}}.:\"',\]]|$)",
        )

    def check_attributes(self, element: Any, allowed: Sequence[str]) -> None:
        for key in element.attributes:
            if key not in allowed:
                self.refuse(
                    f"unknown attribute {key}",
                    "Remove it" + (f"; known here are {', '.join(allowed)}" if allowed else ""),
                    rf"(?:^|[\s{{]){re.escape(key)}\s*[=:]",
                )

    def check_choice(self, key: str, value: str, allowed: Sequence[str]) -> None:
        if value not in allowed:
            self.refuse(
                f"{key} cannot be {value!r}",
                "Write one of " + ", ".join(allowed),
                rf"{key}\s*=\s*[\"']?{re.escape(value)}",
            )

    def check_label(self, identifier: str) -> None:
        if known.UNSUPPORTED_LABEL.match(identifier):
            self.refuse(
                f"labels like {identifier} are not supported",
                "Number figures (fig-), tables (tbl-) and sections (sec-) only",
                rf"#{re.escape(identifier)}\b",
            )

    def refuse(self, problem: str, remedy: str, pattern: str = "") -> NoReturn:
        self.qmd.refuse(problem, remedy, pattern, self.cell)


def _float(
    kind: str, label: str, content: list[Any], caption: list[Any], classes: Sequence[str]
) -> Any:
    return pf.Div(
        pf.Div(*content),
        pf.Div(pf.Plain(*caption)),
        classes=[FLOAT, *classes],
        attributes={"kind": kind, "label": label},
    )


def _tidy_table(table: Any) -> None:
    """Drop an empty header, and column widths that Pandoc takes from the length of dashes."""
    if not any(list(cell.content) for row in table.head.content for cell in row.content):
        table.head = pf.TableHead()
    table.colspec = [(alignment, "ColWidthDefault") for alignment, _ in table.colspec]


def _layout_cells(blocks: list[Any]) -> list[list[Any]]:
    """The parts of a layout: outputs of cells are taken apart, headings go with what follows."""
    cells: list[list[Any]] = []
    heading: list[Any] = []
    for block in blocks:
        if isinstance(block, pf.Div) and block.classes[:1] in (["cell"], ["cell-output"]):
            cells += _layout_cells(list(block.content))
        elif isinstance(block, pf.Header):
            heading.append(block)
        else:
            cells.append([*heading, block])
            heading = []
    return [*cells, heading] if heading else cells


def _parse_layout(written: str) -> list[list[float]] | None:
    """``layout="[[1, 1], [2]]"`` as rows of weights; ``None`` when it is anything else."""
    try:
        rows = json.loads(written)
    except ValueError:
        return None
    if not isinstance(rows, list) or not rows:
        return None
    rows = rows if isinstance(rows[0], list) else [rows]
    for row in rows:
        if not isinstance(row, list) or not row:
            return None
        if not all(type(weight) in (int, float) and 0 < weight < 1000 for weight in row):
            return None
    return [[float(weight) for weight in row] for row in rows]


def _shortcode(block: Any) -> list[str]:
    """The words of a shortcode that fills a whole paragraph."""
    words = [e.text for e in block.content if isinstance(e, pf.Str)]
    plain = all(isinstance(e, (pf.Str, pf.Space)) for e in block.content)
    found = re.fullmatch(r"\{\{<\s*(.*?)\s*>\}\}", " ".join(words)) if plain else None
    return found.group(1).split() if found else []


def _only_pictures(block: Any) -> bool:
    return all(isinstance(e, (pf.Image, pf.Space, pf.SoftBreak)) for e in block.content)


def _unwrap_pictures(div: Any) -> None:
    """Make figures inside our own components plain pictures: the caption is that of the float."""

    def unwrap(element: Any, _doc: Any) -> Any:
        if isinstance(element, pf.Figure) and not element.identifier:
            return list(element.content)
        return None

    div.walk(unwrap)


def _give_alt(blocks: Any, alt: str) -> None:
    """Describe the pictures that have no alternative text by the caption around them."""

    def describe(element: Any, _doc: Any) -> None:
        if (
            isinstance(element, pf.Image)
            and alt
            and not {"fig-alt", "alt"} & set(element.attributes)
            and not list(element.content)
        ):
            element.attributes["alt"] = alt

    for block in blocks:
        block.walk(describe)


def _restore(text: str) -> str:
    return text.replace("{=" + EXPLICIT_HTML + "}", "{=html}")


def _unescape(text: str) -> str:
    """Code as it was written: ``{{{< x >}}}`` shows a shortcode instead of calling it."""
    return _restore(text).replace("{{{<", "{{<").replace(">}}}", ">}}")

"""Numbers for chapters, sections, figures and tables, and references to them, as in Quarto's books.

A numbered chapter is 1, 2, …; its sections are 2.1, 2.1.1, … and its figures and tables 2.1, 2.2,
… each counted on its own. In a chapter without a number sections have none, and figures and
tables count 1, 2, …; parts of a figure are (a), (b), ….
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import panflute as pf

from vitrine.errors import ChapterError
from vitrine.site import vocabulary as known
from vitrine.site.normal import FLOAT, is_form
from vitrine.site.qmd import Qmd

NBSP = "\u00a0"


@dataclass(frozen=True)
class Target:
    """Something that can be referred to: ``name`` is "Figure", ``number`` "2.1" or "2.1 (a)".

    A section without a number has ``""``; like in Quarto, it cannot be referred to.
    """

    chapter: int
    name: str
    number: str


@dataclass
class Registry:
    """Every label of the book, and where it was defined."""

    targets: dict[str, Target] = field(default_factory=dict)
    defined: dict[str, Qmd] = field(default_factory=dict)

    def add(self, label: str, target: Target, qmd: Qmd) -> None:
        """Raises ``ChapterError`` when the label is already taken."""
        if label in self.defined:
            pattern = _label_pattern(label)
            first = self.defined[label].find(pattern) or self.defined[label].name
            remedy = f"Rename one of them; the other one is at {first}"
            if self.defined[label] is qmd:
                places = [line for line in qmd.lines if _mentions(line.text, label)]
                where = places[-1] if places else None
                place = f"{where.file}:{where.number}" if where else qmd.name
                raise ChapterError(f"{place}: the label {label} is used twice", remedy)
            qmd.refuse(f"the label {label} is used twice in the book", remedy, pattern)
        self.defined[label] = qmd
        self.targets[label] = target


class Numbering:
    """Counts through one chapter and writes the numbers into its blocks.

    A numbered heading gets the attribute ``number``, a float ``number`` and, inside another
    float, ``part`` ("a", "b", …).
    """

    def __init__(
        self, registry: Registry, qmd: Qmd, index: int, number: int | None, depth: int
    ) -> None:
        self.registry = registry
        self.qmd = qmd
        self.index = index
        self.number = number
        self.depth = depth
        self.sections: list[int] = []
        self.floats: Counter[str] = Counter()

    def chapter(self, label: str) -> None:
        """Register the chapter itself under its ``sec-`` label."""
        if label.startswith("sec-"):
            target = Target(self.index, "Chapter", str(self.number or ""))
            self.registry.add(label, target, self.qmd)

    def blocks(self, blocks: Sequence[Any], parent: Any = None) -> None:
        """Number everything in ``blocks``, in reading order; ``parent`` is the float around."""
        for block in blocks:
            if isinstance(block, pf.Header):
                self._heading(block)
            elif is_form(block, FLOAT):
                if parent is None:
                    self._float(block)
                else:
                    self._part(block, parent)
            else:
                for child in _child_blocks(block):
                    self.blocks(child, parent)

    def _heading(self, header: Any) -> None:
        number = ""
        if self.number is not None and "unnumbered" not in header.classes:
            level = max(header.level - 2, 0)
            self.sections = [*self.sections, *[0] * (level + 1)][: level + 1]
            self.sections[level] += 1
            number = ".".join(map(str, [self.number, *self.sections]))
            if header.level <= self.depth:
                header.attributes["number"] = number
        if header.identifier.startswith("sec-"):
            target = Target(self.index, "Section", number)
            self.registry.add(header.identifier, target, self.qmd)

    def _float(self, block: Any) -> None:
        kind = block.attributes["kind"]
        self.floats[kind] += 1
        number = ".".join(str(n) for n in (self.number, self.floats[kind]) if n is not None)
        block.attributes["number"] = number
        target = Target(self.index, known.FLOAT_NAMES[kind], number)
        self.registry.add(block.attributes["label"], target, self.qmd)
        self.blocks(list(block.content), block)

    def _part(self, block: Any, parent: Any) -> None:
        """A float inside a float is one of its parts."""
        count = int(parent.attributes.get("parts", "0"))
        parent.attributes["parts"] = str(count + 1)
        letter = chr(ord("a") + count) if count < 26 else str(count + 1)
        block.attributes["part"] = letter
        name = known.FLOAT_NAMES[parent.attributes["kind"]]
        number = f"{parent.attributes['number']} ({letter})"
        self.registry.add(block.attributes["label"], Target(self.index, name, number), self.qmd)


def resolve(blocks: Sequence[Any], registry: Registry, qmd: Qmd, keys: set[str]) -> bool:
    """Turn references into links, and check citations; returns whether there are citations.

    A reference becomes a ``Link`` to ``#label`` with the class ``quarto-xref`` and, in the
    attribute ``chapter``, the index of the chapter that has it. Raises ``ChapterError`` for a
    reference or a citation key that does not exist.
    """
    cited = False

    def replace(element: Any, _doc: Any) -> Any:
        nonlocal cited
        if not isinstance(element, pf.Cite):
            return None
        references = [bool(known.REFERENCE.match(c.id)) for c in element.citations]
        if all(references):
            return _references(element, registry, qmd)
        if any(references):
            qmd.refuse(
                "a bracket mixes references and citations",
                "Write them in brackets of their own",
                "@" + element.citations[0].id,
            )
        for citation in element.citations:
            _check_citation(citation.id, keys, qmd)
        cited = True
        return None

    for block in blocks:
        block.walk(replace)
    return cited


def _check_citation(key: str, keys: set[str], qmd: Qmd) -> None:
    if key in keys:
        return
    if known.UNSUPPORTED_LABEL.match(key):
        qmd.refuse(
            f"references like @{key} are not supported",
            "Refer to figures (fig-), tables (tbl-) and sections (sec-)",
            _mention_pattern(key),
        )
    qmd.refuse(
        f"the citation key {key} is not in the bibliography",
        "Correct it, add the entry, or write `\\@` for a plain @",
        _mention_pattern(key),
    )


def _references(cite: Any, registry: Registry, qmd: Qmd) -> list[Any]:
    """The links for one bracket of references, or for one ``@label``."""
    out: list[Any] = []
    for position, citation in enumerate(cite.citations):
        if position:
            out += [pf.Str(","), pf.Space()]
        label = citation.id[0].lower() + citation.id[1:]
        target = registry.targets.get(label)
        if target is None:
            qmd.refuse(
                f"the reference @{citation.id} leads nowhere",
                "Correct it, or give the figure, table or section this label",
                _mention_pattern(citation.id),
            )
        if not target.number:
            qmd.refuse(
                f"@{citation.id} refers to a section without a number",
                f"Write a link, [its title](#{label}), or number the section",
                _mention_pattern(citation.id),
            )
        if list(citation.suffix):
            qmd.refuse(
                f"the text after @{citation.id} in its bracket would be lost under Quarto",
                "Close the bracket before it: [Figures @fig-a] and [-@fig-b]",
                _mention_pattern(citation.id),
            )
        out.append(_link(citation, label, target))
    return out


def _link(citation: Any, label: str, target: Target) -> Any:
    prefix = list(citation.prefix)
    if prefix:
        content = [*prefix, pf.Str(NBSP + target.number)]
    elif citation.mode == "SuppressAuthor":
        content = [pf.Str(target.number)]
    else:
        content = [pf.Str(target.name + NBSP + target.number)]
    return pf.Link(
        *content,
        url="#" + label,
        classes=["quarto-xref"],
        attributes={"chapter": str(target.chapter)},
    )


def _child_blocks(block: Any) -> list[list[Any]]:
    """The lists of blocks directly inside a block."""
    if isinstance(block, (pf.Div, pf.BlockQuote, pf.Figure)):
        return [list(block.content)]
    if isinstance(block, (pf.BulletList, pf.OrderedList)):
        return [list(item.content) for item in block.content]
    if isinstance(block, pf.DefinitionList):
        return [list(d.content) for item in block.content for d in item.definitions]
    return []


def _label_pattern(label: str) -> str:
    return rf"(?:#|label:\s*[\"']?){re.escape(label)}(?![\w-])"


def _mentions(text: str, label: str) -> bool:
    return re.search(_label_pattern(label), text) is not None


def _mention_pattern(key: str) -> str:
    return rf"@{{?{re.escape(key)}(?![\w-])"

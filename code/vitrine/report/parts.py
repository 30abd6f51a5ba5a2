"""Which parts a study has, and what a page says where it has not."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from IPython.display import Markdown, display

from vitrine.measures.registry import FAITHFULNESS, MPRT, SENSITIVITY, VALUES
from vitrine.project import chapters
from vitrine.report.findings.finding import Absent, Finding, absent
from vitrine.report.page import block, fenced, float_lines, this_page
from vitrine.report.text import listing, safe
from vitrine.store import explained_alike

if TYPE_CHECKING:
    from vitrine.report.study_report import StudyReport

SECTIONS = {
    "cam": ("class activation maps", "maps costs correlations"),
    "cam.layers": ("class activation maps at several layers", "variants"),
    "lime": ("LIME", "lime superpixels fidelity"),
    "lime.stability": ("LIME with several seeds", "stability repeats"),
    "lime.search": ("a search of LIME's parameters", "search"),
    "attribution": ("attribution methods", "attributions"),
    "measures": ("measures of the maps", "evaluation curves randomised sensitivities"),
    "agreement": ("a comparison of LIME and class activation maps", "agreement ious regions"),
    "large_sample": ("a large sample of images", "large_sample large_sample_iou"),
    "region_occlusion": ("regions to occlude", "region_occlusion"),
    "dissection": ("network dissection", "units layers concepts top_images classes"),
    "dissection.probing": ("probing sets of several sizes", "probing"),
}
"""The sections of a study file that may be missing: in words, and the tables that they make."""

_TRIALS = {"curves": FAITHFULNESS, "sensitivities": SENSITIVITY, "randomised": MPRT}
"""The tables of single trials: why they are empty stands with the measures read from these."""

_EMPTY = {
    "correlations": "This study has no second map to compare.",
    "agreement": "LIME has no other method's maps to compare with.",
    "ious": "This study has no second map to compare.",
    "classes": "No dissected layer has the classes of its network as its units.",
}
"""Why a table may be empty though the study asks for its section."""

_SECTION_OF = {table: key for key, (_, tables) in SECTIONS.items() for table in tables.split()}

_CHAPTERS = {
    "dissection": "[dissection](chapters/dissection.qmd)",
    "units": "[its units](chapters/units.qmd)",
    "lime": "[LIME](chapters/lime.qmd)",
    "cam": "[class activation maps](chapters/cam.qmd)",
    "comparison": "[the comparison](chapters/comparison.qmd)",
    "explorer": "[two maps of an image beside each other](chapters/explorer.qmd)",
    "attribution": "[attribution](chapters/attribution.qmd)",
    "measures": "[which explanation to believe](chapters/measures.qmd)",
    "published": "what [published runs](chapters/published.qmd) say",
    "replication": "whether the findings [hold on another network](chapters/replication.qmd)",
}
"""The chapters of a book, in words."""


def answers_assignment(study: StudyReport) -> bool:
    """Whether the report has all the chapters of the assignment."""
    return bool(study.provenance["study"].get("answers_assignment", True))


def chapters_of(study: StudyReport) -> list[str]:
    """The files of the chapters of a study's book."""
    project = study.store.project
    text = (project.root / "_quarto.yml").read_text(encoding="utf-8")
    has_others = len(explained_alike(project, study.store.study)) > 1
    return chapters(text, study.provenance["study"], has_others)


def chapters_line(study: StudyReport) -> Markdown:
    """Which chapters the book of a study has, as a sentence of links."""
    there = {Path(chapter).stem for chapter in chapters_of(study)}
    links = [link for chapter, link in _CHAPTERS.items() if chapter in there]
    return block(f"The chapters say more: {listing(links)}." if links else "")


def purpose(study: StudyReport) -> Markdown:
    """What the report is for: the assignment, or the questions that its chapters ask."""
    if not answers_assignment(study):
        return block(
            "The report asks of each image where the evidence for the network's prediction lies, "
            "how far methods agree on that, and which of them to believe."
        )
    return block(
        "An assignment on explainability asks for network dissection, LIME, class activation maps "
        "and their comparison on given images. This report answers it, and asks of attribution "
        "methods too which explanation to believe."
    )


_NEEDS = re.compile(r'\{[^{}]*\bneeds="([^"]*)"[^{}]*\}')
"""What a heading, a div or a span of a chapter needs of a study."""


def has_part(study: StudyReport, part: str) -> bool:
    """Whether a study has what ``needs="..."`` in a chapter names.

    part : a section of ``SECTIONS``, which must have a row in one of its tables; another key of
        the study file, such as ``"cam.second"``; ``"methods.lrp"``, a method; ``"extra_images"``,
        ``"outlines"``; ``"answers_assignment"``, and ``"own_study"`` for one that does not.
    """
    if part in ("answers_assignment", "own_study"):
        return answers_assignment(study) == (part == "answers_assignment")
    if part in ("extra_images", "outlines"):
        return bool(study.extra_images if part == "extra_images" else study.objects)
    if part.startswith("methods."):
        return part.partition(".")[2] in study.method_titles
    tables = SECTIONS[part][1].split() if part in SECTIONS else ()
    return _asks(study, part) and (not tables or any(study.has(table) for table in tables))


def _asks(study: StudyReport, part: str) -> bool:
    """Whether the study file has a section, or another key such as ``"cam.second"``."""
    section, _, key = part.rpartition(".")
    asked = study.parameters(section) if section else study.provenance["study"]
    return bool(asked.get(key))


def lacking(study: StudyReport, text: str) -> list[str]:
    """The parts that the text of a chapter needs somewhere and a study does not have."""
    needed = dict.fromkeys(re.findall(r"[^ /]+", " ".join(_NEEDS.findall(text))))
    return [part for part in needed if not has_part(study, part)]


def lacking_parts(study: StudyReport) -> Markdown:
    """At the head of a chapter: the parts that the study does not have, nothing if it has all.

    ``assets/left-out.lua`` reads their names here and leaves out of the page what needs them.
    """
    document = this_page().document
    text = document.read_text(encoding="utf-8") if document.is_file() else ""
    lacks = lacking(study, text)
    if not lacks:
        return block()
    named = [
        f"{SECTIONS[part][0]} (section [{part}])"
        for part in lacks
        if part in SECTIONS and part.partition(".")[0] not in set(lacks) - {part}
    ]
    said = f"Not part of this study, and so left out here: {listing(named)}."
    words = [safe(said)] if named else []
    return block(fenced(f'.vitrine-absent .vitrine-without parts="{" ".join(lacks)}"', *words))


def kept_floats(study: StudyReport, document: Path) -> dict[str, int]:
    """The figures and tables of a chapter that a study has, by label, with their lines."""
    lines = document.read_text(encoding="utf-8").splitlines() if document.is_file() else []
    left_out = _lines_left_out(lines, set(lacking(study, "\n".join(lines))))
    floats = float_lines(document)
    return {label: line for label, line in floats.items() if line not in left_out}


def _lines_left_out(lines: Collection[str], missing: Collection[str]) -> set[int]:
    """The numbers, from 1, of the lines that ``assets/left-out.lua`` leaves out."""

    def lacks(line: str) -> bool:
        needs = " ".join(_NEEDS.findall(line)).split()
        return any(all(part in missing for part in need.split("/")) for need in needs)

    out: set[int] = set()
    in_code, level, depth, divs = False, 0, 0, list[bool]()
    for number, line in enumerate(lines, start=1):
        if line.startswith("```"):
            in_code = not in_code
        elif not in_code and (heading := re.match(r"(#+) ", line)):
            # The heading of a callout does not end the section that the callout lies in.
            if not level or (len(heading[1]) <= level and len(divs) <= depth):
                level, depth = len(heading[1]) if lacks(line) else 0, len(divs)
        elif not in_code and line.startswith(":::"):
            if line.strip(": "):
                divs.append(lacks(line))
            elif divs:
                divs.pop()
                level = level if len(divs) >= depth else 0
        if level or any(divs):
            out.add(number)
    return out


def missing(study: StudyReport, *tables: str) -> Finding | None:
    """Why a page cannot show what needs these tables; ``None`` where the study has them all.

    tables : each with a row of the study's classifier; of ``"costs/attributions"`` one has to have
        one, and ``"maps"`` one of a class activation map, as LIME's are in that table as well.
    """
    for names in tables:
        table, *others = names.split("/")
        if any(_has_rows(study, one) for one in (table, *others)):
            continue
        section = _SECTION_OF.get(table)
        if section is None:
            return absent(f"This study has no table {table}.")
        part = SECTIONS[section][0].removeprefix("a ")
        if _asks(study, section) and table in study.store.tables():
            return absent(_why_empty(study, table) or f"No {part} came of this study.")
        return absent(f"This study has no {part} (section [{section}]).")
    return None


def _has_rows(study: StudyReport, table: str) -> bool:
    if table != "maps" or not study.has(table):
        return study.has(table)
    asked = study.parameters("cam").get("methods", ())
    return bool(study.table(table)["method"].isin(asked).any())


def _why_empty(study: StudyReport, table: str) -> str:
    """Why a table of a section that the study asks for has no row, ``""`` where nothing says it."""
    reasons: list[str] = []
    if table in ("maps", "costs"):
        asked = study.parameters("cam").get("methods", ())
        reasons = [study.why_no_map(method, image) for method in asked for image in study.images]
    elif table in _TRIALS and study.has("evaluation"):
        measures = [name for name, row in VALUES.items() if row.trial == _TRIALS[table]]
        rows = study.table("evaluation")
        reasons = list(rows.loc[rows["measure"].isin(measures), "reason"].fillna(""))
    told = [reason.rstrip(".") + "." for reason in dict.fromkeys(reasons) if reason]
    return " ".join(told[:3]) or _EMPTY.get(table, "")


Asking = TypeVar("Asking", bound=Callable[..., Finding])


def needs(*tables: str) -> Callable[[Asking], Asking]:
    """Ask a study for a finding only if it has these tables; another has none, and says why.

    So has one whose tables hold nothing that could decide, where the function raises ``Absent``.
    """

    def decorate(ask: Asking) -> Asking:
        @wraps(ask)
        def asked(study: StudyReport, *rest: Any) -> Finding:
            try:
                return missing(study, *tables) or ask(study, *rest)
            except Absent as reason:
                return absent(str(reason))

        return cast(Asking, asked)

    return decorate


def shows(study: StudyReport, *tables: str) -> Callable[[Callable[[], Any]], None]:
    """Run a function of a cell and show what it returns, or why the study has nothing to show.

    tables : what the function reads; each must have a row of the study's classifier.
    """

    def decorate(show: Callable[[], Any]) -> None:
        found = missing(study, *tables)
        display(show() if found is None else found)  # type: ignore[no-untyped-call]

    return decorate

"""Which parts a study has, and what a page says where it has not."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from IPython.display import Markdown, display

from vitrine.project import chapters
from vitrine.report.findings.finding import Absent, Finding, absent
from vitrine.report.page import block
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing
from vitrine.store import explained_alike

SECTIONS = {
    "cam": ("class activation maps", "correlations costs"),
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

_SECTION_OF = {
    table: section for section, (_, tables) in SECTIONS.items() for table in tables.split()
}

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
    return block(f"The chapters say more: {listing(links)}.")


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


def missing(study: StudyReport, *tables: str) -> Finding | None:
    """Why a page cannot show what needs these tables; ``None`` where the study has them all."""
    for table in tables:
        if study.has(table):
            continue
        section = _SECTION_OF.get(table)
        if section is None:
            return absent(f"This study has no table {table}.")
        part = SECTIONS[section][0].removeprefix("a ")
        return absent(f"This study has no {part} (section [{section}]).")
    return None


Ask = TypeVar("Ask", bound=Callable[..., Finding])


def needs(*tables: str) -> Callable[[Ask], Ask]:
    """Ask a study for a finding only if it has these tables; another has none, and says why.

    So has one whose tables hold nothing that could decide, where the function raises ``Absent``.
    """

    def decorate(ask: Ask) -> Ask:
        @wraps(ask)
        def asked(study: StudyReport, *rest: Any) -> Finding:
            try:
                return missing(study, *tables) or ask(study, *rest)
            except Absent as reason:
                return absent(str(reason))

        return cast(Ask, asked)

    return decorate


def shows(study: StudyReport, *tables: str) -> Callable[[Callable[[], Any]], None]:
    """Run a function of a cell and show what it returns, or why the study has nothing to show.

    tables : what the function reads; each must have a row of the study's classifier.

    >>> @shows(study, "stability")          # doctest: +SKIP
    ... def chart():
    ...     return charts.chart(...)
    """

    def decorate(show: Callable[[], Any]) -> None:
        found = missing(study, *tables)
        display(show() if found is None else found)  # type: ignore[no-untyped-call]

    return decorate

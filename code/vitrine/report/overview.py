"""What stands at the end of the book: a table of methods, a list of figures, how to cite it."""

import os
import re

import pandas as pd
import yaml
from IPython.display import Markdown

from vitrine.measures.registry import MEASURES
from vitrine.methods.baselines import BASELINES
from vitrine.methods.ideas import IDEAS
from vitrine.project import Project
from vitrine.report.page import block, this_page
from vitrine.report.parts import chapters_of, kept_floats, missing
from vitrine.report.scoreboard import marks, scoreboard
from vitrine.report.study_report import StudyReport
from vitrine.report.tables import Citation, table
from vitrine.report.text import listing, safe

_CAPTION = re.compile(r'(?:#\| (?:fig|tbl)-cap: "|: )(.+?)(?:"$| \{#|(?<=[^.]{3})[.:;](?= |"))')


def methods_table(study: StudyReport) -> Markdown:
    """Each method of a study that makes maps: idea, formula, paper, cost, and how it does."""
    verdicts = _verdicts(study)
    made = [study.table(name) for name in ("costs", "attributions") if study.has(name)]
    costs = pd.concat(made).groupby("method")[["passes", "seconds"]].median().dropna()
    passes, seconds = costs["passes"].map("{:,.0f}".format), costs["seconds"].map("{:.2g}".format)
    rows = [
        {
            "Method": row["title"],
            "Idea": IDEAS[name].idea,
            "Formula": IDEAS[name].formula,
            "Paper": Citation(row["paper"]) if row.get("paper") else "–",
            "Passes": passes.get(name, "–"),
            "Seconds": seconds.get(name, "–"),
            "Better than the baselines": verdicts.get((name, "better"), "–"),
            "Worse": verdicts.get((name, "worse"), "–"),
        }
        for row in study.provenance["methods"]
        if (name := row["name"]) in IDEAS
    ]
    return table(pd.DataFrame(rows), "methods", widest=44)


def _verdicts(study: StudyReport) -> dict[tuple[str, str], str]:
    """The titles of the measures by which a method stands in some way against both baselines.

    A measure that one of them meets by construction tells nothing of a method that beats the other.
    """
    if missing(study, "evaluation"):
        return {}
    told: dict[tuple[str, str], list[str]] = {}
    for (measure, method), standing in marks(scoreboard(study)).items():
        if {*MEASURES[measure].baselines} < {*BASELINES}:
            continue
        told.setdefault((method, standing), []).append(MEASURES[measure].title)
    return {key: listing(titles) for key, titles in told.items()}


def list_of_figures(study: StudyReport) -> Markdown:
    """All figures and tables of the book, by chapter, each with the start of its caption."""
    if not this_page().is_html:
        return block("The site lists all figures and tables, each with its source and its data.")
    parts = []
    for name in chapters_of(study):
        path = study.store.project.root / name
        lines = path.read_text(encoding="utf-8").splitlines()
        title = re.search(r'^(?:title: "|# )(.+?)(?:"| \{|$)', "\n".join(lines), re.MULTILINE)
        entries = [
            f"- @{label}: {_caption(lines[number - 2 : number + 3])}"
            for label, number in kept_floats(study, path).items()
        ]
        if entries and title:
            address = os.path.relpath(path, this_page().document.parent)
            parts += [f"**[{safe(title[1])}]({address})**", "\n".join(entries)]
    return block(*parts)


def _caption(lines: list[str]) -> str:
    """The beginning of a caption, up to where its first part ends; without citations."""
    found = next((said[1] for line in lines if (said := _CAPTION.match(line))), "")
    if found.count("(") > found.count(")"):
        found = found.rpartition(" (")[0]
    return re.sub(r" ?\[?-?@[\w-]+\]?", "", found)


def citation() -> Markdown:
    """How to cite the report, from CITATION.cff: as a sentence, and as BibTeX."""
    root = Project.find().root
    told = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    authors = " and ".join(
        each.get("name") or f"{each['given-names']} {each['family-names']}"
        for each in told["authors"]
    )
    fields = {
        "title": told["title"],
        "author": "{" + authors + "}" if len(told["authors"]) == 1 else authors,
        "version": str(told["version"]),
        "year": str(told.get("date-released", ""))[:4],
        "url": told.get("repository-code") or told.get("url") or "",
    }
    entry = "\n".join(f"  {key} = {{{value}}}," for key, value in fields.items() if value)
    sentence = f"{authors}: {told['title']}. Version {told['version']}. Licence {told['license']}."
    return block(safe(sentence), f"```bibtex\n@software{{vitrine,\n{entry}\n}}\n```")

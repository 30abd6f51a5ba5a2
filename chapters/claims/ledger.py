"""The ledger: every claim of the earlier reports with its verdict and what that rests on."""

from collections.abc import Callable, Mapping
from inspect import isfunction, signature

import pandas as pd
from IPython.display import Markdown

from claims import attribution, cam, comparison, dissection, lime
from claims.judgement import VERDICTS, Judgement
from vitrine.data.printed import published_figures
from vitrine.project import Project
from vitrine.report.findings import Finding
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.tables import LinkedText, table
from vitrine.report.text import count, listing

Judge = Callable[[StudyReport, PublishedReport], Judgement]

BY_CHAPTER: Mapping[str, Mapping[str, Judge]] = {
    module.__name__.rpartition(".")[2]: {
        name: judge
        for name, judge in vars(module).items()
        if isfunction(judge) and [*signature(judge).parameters] == ["study", "published"]
    }
    for module in (dissection, lime, cam, comparison, attribution)
}
"""What judges the claims about the subject of a chapter: its module's judges, by their names."""

JUDGES: dict[str, Judge] = {
    key: judge for judges in BY_CHAPTER.values() for key, judge in judges.items()
}
"""What judges each claim."""

REPORTS = {
    "sagimbayeva2024": "Sagimbayeva and Adhithya, 2024",
    "balwani2024": "Balwani and Kaharova, 2024",
    "rehman2025": "Rehman and Amir, 2025",
    "sharma2022": "Sharma, 2022",
}


def claims_of(project: Project) -> pd.DataFrame:
    """The claims of ``data/published/claims.csv``: source, chapter, key, claim, and the report."""
    claims = published_figures(project, "claims")
    return claims.assign(report=claims["source"].map(REPORTS))


def judged(study: StudyReport, published: PublishedReport) -> pd.DataFrame:
    """Every claim with its verdict and what it rests on (``why``)."""
    claims = claims_of(study.store.project)
    if set(claims["key"]) != set(JUDGES):
        odd = set(claims["key"]) ^ set(JUDGES)
        raise ValueError(f"these claims have no judge, or these judges no claim: {sorted(odd)}")
    found = [JUDGES[key](study, published) for key in claims["key"]]
    return claims.assign(verdict=[one.verdict for one in found], why=[one.text for one in found])


def verdicts(claims: pd.DataFrame) -> Finding:
    """How many of the judged claims have each verdict."""
    counted = claims["verdict"].value_counts()
    words = {
        "confirmed": ("is confirmed", "are confirmed"),
        "in part": ("holds in part", "hold in part"),
        "refuted": ("is refuted", "are refuted"),
        "not decidable": ("cannot be decided", "cannot be decided"),
    }
    said = [
        f"{count(int(counted[name]))} {words[name][int(counted[name] > 1)]}"
        for name in VERDICTS
        if name in counted
    ]
    return Finding(
        f"Of {len(claims)} claims of earlier reports {listing(said)}.",
        "",
        "described",
        ("the ledger", "#sec-published-ledger"),
    )


def ledger_table(claims: pd.DataFrame) -> Markdown:
    """All claims with their verdicts and a link to the chapter on their subject."""
    places = [LinkedText(chapter, f"{chapter}.qmd") for chapter in claims["chapter"]]
    shown = claims.assign(where=pd.Series(places, index=claims.index, dtype=object))
    headings = {
        "report": "Report",
        "claim": "Claim",
        "verdict": "Verdict",
        "why": "What it rests on",
        "where": "Chapter",
    }
    return table(shown[list(headings)], "ledger", widest=160, headings=headings)

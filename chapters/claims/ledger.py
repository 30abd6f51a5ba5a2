"""The ledger: every claim of the earlier reports with its verdict, its number and its place."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from IPython.display import Markdown

from claims import attribution, cam, comparison, dissection, lime
from claims.judgement import Judgement
from vitrine.data.printed import published_figures
from vitrine.project import Project
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.tables import Link, table

Judge = Callable[[StudyReport, PublishedReport], dict[str, Judgement]]

JUDGES: dict[str, Judge] = {
    "dissection": dissection.judge,
    "lime": lime.judge,
    "cam": cam.judge,
    "comparison": comparison.judge,
    "attribution": attribution.judge,
}
"""What judges the claims of a chapter, by their keys."""

CLAIMED_IN: dict[str, tuple[str, str]] = {
    "dissection": ("dissection.qmd", "sec-dissection-claims"),
    "lime": ("lime.qmd", "sec-lime-claims"),
    "cam": ("cam.qmd", "sec-cam-claims"),
    "comparison": ("comparison.qmd", "sec-comparison-claims"),
    "attribution": ("attribution.qmd", "sec-attribution-claims"),
}
"""Where the claims of a chapter are taken up: its file, and the section."""

REPORTS = {
    "sagimbayeva2024": "Sagimbayeva and Adhithya, 2024",
    "balwani2024": "Balwani and Kaharova, 2024",
    "rehman2025": "Rehman and Amir, 2025",
    "sharma2022": "Sharma, 2022",
}

_HEADINGS = {"report": "Report", "claim": "Claim", "words": "Verdict", "number": "Number"}


def claims_of(project: Project, chapter: str | None = None) -> pd.DataFrame:
    """The claims of ``data/published/claims.csv``: source, chapter, key, claim, and the report."""
    claims = published_figures(project, "claims")
    claims = claims.assign(report=claims["source"].map(REPORTS))
    return claims if chapter is None else claims[claims["chapter"] == chapter]


def judged(study: StudyReport, published: PublishedReport) -> pd.DataFrame:
    """Every claim with its verdict."""
    claims = claims_of(study.store.project)
    found: dict[str, Judgement] = {}
    for chapter, judge in JUDGES.items():
        verdicts = judge(study, published)
        known = set(claims.loc[claims["chapter"] == chapter, "key"])
        if set(verdicts) != known:
            raise ValueError(f"the claims of {chapter} are {known}, and judged are {set(verdicts)}")
        found |= verdicts
    rows = [found[key] for key in claims["key"]]
    return claims.assign(
        verdict=[row.verdict for row in rows],
        words=[row.words for row in rows],
        number=[row.number for row in rows],
    )


def claims_table(
    study: StudyReport, published: PublishedReport, chapter: str, name: str
) -> Markdown:
    """The claims of a chapter with their verdicts, as that chapter shows them."""
    verdicts = JUDGES[chapter](study, published)
    claims = claims_of(study.store.project, chapter)
    claims = claims.assign(
        words=[verdicts[key].words for key in claims["key"]],
        number=[verdicts[key].number for key in claims["key"]],
    )
    return table(claims[list(_HEADINGS)], name, headings=_HEADINGS)


def ledger_table(claims: pd.DataFrame) -> Markdown:
    """All claims with their verdicts and a link to where each is computed."""
    places = [link(chapter) for chapter in claims["chapter"]]
    shown = claims.assign(
        where=pd.Series(places, index=claims.index, dtype=object),
        why=[
            f"{words}. {number}" if number else words
            for words, number in zip(claims["words"], claims["number"], strict=True)
        ],
    )
    return table(
        shown[["report", "claim", "verdict", "why", "where"]],
        "ledger",
        widest=90,
        headings={
            "report": "Report",
            "claim": "Claim",
            "verdict": "Verdict",
            "why": "What it rests on",
            "where": "Computed in",
        },
    )


def link(chapter: str) -> Link:
    """A link to the section that takes up a chapter's claims."""
    file, section = CLAIMED_IN[chapter]
    return Link(chapter, f"{file}#{section}")

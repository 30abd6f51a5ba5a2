"""Findings about LIME: where its weight lies, how faithful it is, how far it repeats."""

from __future__ import annotations

import numpy as np

from vitrine.measures.difference import paired_difference
from vitrine.report.findings.finding import Finding, absent
from vitrine.report.findings.sentences import finding_of, span, spelt
from vitrine.report.parts import missing
from vitrine.report.study_report import StudyReport
from vitrine.report.text import part_of, percent, plural


def fit(study: StudyReport) -> Finding:
    """How much of the network's variation around an image the linear model tells."""
    if reason := missing(study, "lime"):
        return reason
    local = study.table("lime").set_index("image")
    r_squared = local["r_squared"].dropna()
    if r_squared.empty:
        return absent("LIME's linear model could be fitted to none of the images.")
    if (r_squared >= 0.9).all():
        headline = "LIME's linear model describes the network well around every image."
    elif (r_squared < 0.5).all():
        headline = "LIME's linear model misses most of what the network does around an image."
    else:
        headline = "LIME's linear model is a rough sketch of the network."
    over = int((local["local_prediction"] > 1).sum())
    return Finding(
        headline,
        f"Its weighted R² is {span(r_squared)} over {plural(len(r_squared), 'image')}. "
        f"It predicts a probability above 1 for {part_of(over, len(local), 'image')}.",
    )


def repeats(study: StudyReport) -> Finding:
    """Whether another seed gives the same superpixels."""
    if reason := missing(study, "stability"):
        return reason
    table = study.table("stability")
    samples = study.parameters("lime")["samples"]
    measured = table["samples"].unique()
    nearest = int(measured[np.abs(measured - samples).argmin()])
    rows = table[table["samples"] == nearest]
    jaccard = rows["jaccard"]
    gain = paired_difference((jaccard - rows["jaccard_chance"]).to_numpy())
    larger = (
        "LIME chooses the same superpixels with every seed."
        if jaccard.min() >= 0.95
        else "LIME repeats only in part."
    )
    return finding_of(
        gain,
        {
            "larger": larger,
            "smaller": "Two seeds of LIME share fewer superpixels than at random.",
            "undecided": "Two seeds of LIME share no more superpixels than at random.",
            "too few": f"Two seeds share {percent(jaccard.mean())} of LIME's chosen superpixels.",
        },
        f"At {nearest:,} samples two seeds share {percent(jaccard.mean())} of the chosen "
        f"superpixels (Jaccard index), at random {percent(rows['jaccard_chance'].mean())}. The difference "
        f"is {spelt(gain)}.",
    )

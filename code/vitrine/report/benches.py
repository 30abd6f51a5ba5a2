"""What the scripts of ``bench/`` measured, from the tables of ``data/bench``."""

from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from vitrine.report.page import block
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing, percent, safe

LARGE = 50_000
"""The images of a probing set on paper, as many as ImageNet's validation set has."""


def _file(study: StudyReport, name: str) -> Path:
    return study.store.project.root / "data" / "bench" / f"{name}.csv"


def table(study: StudyReport, name: str) -> pd.DataFrame:
    """One of the tables, as its script saved it."""
    return pd.read_csv(_file(study, name), comment="#")


def measured(study: StudyReport) -> Markdown:
    """When, on which machine and with which versions the tables were measured, as far as noted."""
    noted: dict[str, list[str]] = {}
    for path in sorted(_file(study, "*").parent.glob("*.csv")):
        first = path.read_text(encoding="utf-8").split("\n")[0]
        line = first.lstrip("# ") if first.startswith("#") else "date and machine not noted"
        noted.setdefault(line, []).append(f"`{path.name}`")
    return block(" ".join(f"{listing(names)}: {safe(line)}." for line, names in noted.items()))


def on_paper(study: StudyReport) -> Markdown:
    """Minutes for a large probing set with a core a worker, and where they go, in a sentence.

    What does not grow with the images is taken as it is with the most workers that were measured.
    """
    found = table(study, "workers")
    rate = float(found.loc[found["workers"] == 1, "images/s"].iloc[0])
    beside = float(found["beside s"].iloc[-1])
    minutes = {count: (LARGE / (rate * count) + beside) / 60 for count in (1, 4, 16, 64)}
    told = listing([f"{minutes[count]:.2g} with {count}" for count in (4, 16, 64)])
    passing = LARGE / (rate * 64) / (minutes[64] * 60)
    return block(
        f"By these figures, on paper and with a core a worker, {LARGE:,} images take "
        f"{minutes[1]:.2g} minutes with one worker, {told}. With 64 the workers pass images "
        f"in {percent(passing)} of the time; they start, load the network and label the units "
        "in the rest."
    )

"""What the scripts of ``bench/`` measured, from the tables of ``data/bench``."""

import re
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from vitrine.report.page import block
from vitrine.report.study_report import StudyReport
from vitrine.report.text import count, listing, percent, safe

_LARGE = 50_000
"""The images of a probing set on paper, as many as ImageNet's validation set has."""


def _file(study: StudyReport, name: str) -> Path:
    return study.store.project.root / "data" / "bench" / f"{name}.csv"


def bench_table(study: StudyReport, name: str) -> pd.DataFrame:
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


def on_paper(study: StudyReport, titles: dict[str, str]) -> Markdown:
    """Minutes for a large probing set with a core a worker, and where they go, in a sentence.

    What does not grow with the images is taken as it is with the most workers that were measured.
    """
    found = bench_table(study, "workers")
    rate = float(found.loc[found["workers"] == 1, "images/s"].iloc[0])
    beside = float(found["beside s"].iloc[-1])
    minutes = {many: (_LARGE / (rate * many) + beside) / 60 for many in (1, 4, 16, 64)}
    told = listing([f"{minutes[many]:.2g} with {many}" for many in (4, 16, 64)])
    passing = _LARGE / (rate * 64) / (minutes[64] * 60)
    return block(
        f"By these figures of {titles[found['network'].iloc[0]]}, on paper and with a core a "
        f"worker, {_LARGE:,} images take "
        f"{minutes[1]:.2g} minutes with one worker, {told}. With 64 the workers pass images "
        f"in {percent(passing)} of the time; they start, load the network and label the units "
        "in the rest."
    )


def large_set(study: StudyReport) -> Markdown:
    """What a pass of many small images took, and the greatest memory beside that of few."""
    row = bench_table(study, "many").iloc[-1]
    few, most = (re.sub(r"\D", "", name) for name in row.index[-2:])
    return block(
        f"{int(most):,} images of at most 160 pixels a side were measured with "
        f"{count(int(row['workers']))} workers, which pass {row['images/s']:.0f} of them a second; "
        f"a process takes {row.iloc[-1]:,.0f} MB at most, and {row.iloc[-2]:,.0f} MB with "
        f"{int(few):,} images."
    )


def whole_study(study: StudyReport) -> Markdown:
    """The minutes of a whole study from nothing, and of its longest parts, in a sentence."""
    *parts, whole = bench_table(study, "study").to_dict("records")
    longest = sorted(parts, key=lambda row: -row["minutes"])[:3]
    told = listing([f"{_words(row['experiment'])} {row['minutes']:.0f}" for row in longest])
    return block(
        f"The whole study `{whole['study']}`, from nothing and in one go by "
        f"{count(whole['workers'])} workers, took {whole['minutes']:.0f} minutes, of which {told}."
    )


def _words(name: str) -> str:
    """The name of an experiment's class as a reader would write it."""
    return (
        re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Experiment"))
        .lower()
        .replace("lime", "LIME")
    )

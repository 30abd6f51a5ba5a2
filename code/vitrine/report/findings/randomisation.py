"""Findings on maps of networks whose weights are randomised, block by block."""

import numpy as np
import pandas as pd

from vitrine.report.findings.finding import Absent, Finding, absent, absent_if
from vitrine.report.findings.measures import board_of
from vitrine.report.findings.sentences import bound
from vitrine.report.parts import needs
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing, number, part_of

LIKE, UNLIKE = 0.3, 0.1
"""Rank correlations from which, and below which, a map keeps or loses what it was."""

UNCHANGED = 0.999


def randomised(study: StudyReport) -> pd.DataFrame:
    """The mean rank correlation ``[method]`` at the first stage, and at the last with any signs.

    ``images`` : how many have maps to compare at the last.

    Raises ``Absent`` without one.
    """
    board, table = board_of(study), study.table("randomised")
    table = table[table["method"].isin(board.methods)]
    if table["rho"].isna().all():
        raise Absent("No map of a network with random weights could be compared.")
    # A method that takes many passes has fewer stages, of which the last is that of all.
    longest = table.groupby("method")["stage"].nunique().idxmax()
    blocks = table[table["method"] == longest].sort_values("stage")["block"].unique()
    last = _last_stage(table).groupby("method")
    found = pd.DataFrame(
        {
            "last": last[["rho", "rho_absolute"]].mean().max(axis=1),
            "images": last["rho"].count(),
        }
    )
    first = table[table["block"] == blocks[0]].groupby("method")["rho"].mean()
    found["first"] = first.reindex(found.index) if len(blocks) > 1 else np.nan
    return found.reindex([m for m in board.methods if m in found.index])


def _last_stage(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each method's last stage, the untrained network."""
    return table[table["stage"] == table.groupby("method")["stage"].transform("max")]


@needs("evaluation", "randomised")
def followers(study: StudyReport) -> Finding:
    """Which maps lose their likeness when the network is untrained, and which keep it."""
    found = randomised(study)
    last, titles = found["last"].dropna(), study.method_titles
    absent_if(last.empty, "No map of the untrained network could be compared.")
    few = found.index[found["images"] * 2 < found["images"].max()]
    last = last.drop(few, errors="ignore")
    lost, kept = last[last < UNLIKE], last[last > LIKE]
    headline = "No method's map keeps much of its pattern when the network is untrained."
    text = (
        "Counted is the greater of two means over the images, of the rank correlation with signs "
        "and without; the scoreboard takes the greater image by image, and 0 where it is negative."
    )
    if len(lost):
        lies = "lies" if len(lost) == 1 else "lie"
        text += f" Below {number(UNLIKE, 1)} {lies} {listing(titles[m] for m in lost.index)}."
    else:
        text += f" No method lies below {number(UNLIKE, 1)}."
    if len(kept):
        part = part_of(len(kept), len(last), "method")
        headline = f"For {part} the map keeps much of its pattern when the network is untrained."
        text += f" Above {number(LIKE, 1)}: {listing(titles[m] for m in kept.index)}."
    if len(few):
        text += f" Not counted, as most maps are blank there: {listing(titles[m] for m in few)}."
    return Finding(headline, text, "some" if len(kept) else "none")


@needs("evaluation", "randomised")
def blind_to_classifier(study: StudyReport) -> Finding:
    """Which maps stay when the classifier alone is random."""
    found = randomised(study)
    same = found.index[found["first"] >= UNCHANGED]
    if found["first"].dropna().empty:
        return absent("No map of a network with a random classifier could be compared.")
    if same.empty:
        text = "With random weights in the last block every method's map changes."
        return Finding("", text, "none")
    whose = listing(study.method_titles[m] for m in same)
    maps, do = ("map", "does") if len(same) == 1 else ("maps", "do")
    text = f"With random weights in the classifier alone the {maps} of {whose} {do} not change."
    return Finding("", text, "some")


@needs("evaluation", "randomised")
def scatter(study: StudyReport) -> Finding:
    """How far single images differ in the likeness with the untrained network's map."""
    found = randomised(study)
    table = study.table("randomised")
    last = _last_stage(table[table["method"].isin(found.index)])
    spread = last.groupby("method")["rho"].std().dropna().sort_values()
    absent_if(len(spread) < 2, "Too few images to say how far they differ.")
    least, most, titles = str(spread.index[0]), str(spread.index[-1]), study.method_titles
    return Finding(
        "",
        f"Over the images the rank correlation has a standard deviation of "
        f"{bound(spread[least])} ({titles[least]}) to {bound(spread[most])} ({titles[most]}).",
    )

"""Findings on maps of networks whose weights are randomised, block by block."""

import numpy as np
import pandas as pd

from vitrine.report.findings.finding import Finding, absent, absent_if
from vitrine.report.findings.measures import board_of
from vitrine.report.findings.sentences import bound
from vitrine.report.parts import needs
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing, number, part_of, plural

LIKE, UNLIKE = 0.3, 0.1
"""Rank correlations from which, and below which, a map keeps or loses what it was."""

UNCHANGED = 0.999


def randomised(study: StudyReport) -> pd.DataFrame:
    """The mean rank correlation ``[method]`` at the first stage, and at the last its size.

    Of two means, with signs and without, the greater: maps of one pattern, whichever way round,
    and unlike maps that are so by chance cancel out.

    ``images`` : how many have maps to compare at the last. Raises ``Absent`` without one.
    """
    board, table = board_of(study), study.table("randomised")
    table = table[table["method"].isin(board.methods)]
    none = table["rho"].isna().all()
    absent_if(none, "No map of a network with random weights could be compared.")
    # A method that takes many passes has fewer stages, of which the last is that of all.
    longest = table.groupby("method")["stage"].nunique().idxmax()
    blocks = table[table["method"] == longest].sort_values("stage")["block"].unique()
    last = _last_stage(table).groupby("method")
    means = last[["rho", "rho_absolute"]].mean().abs().max(axis=1)
    found = pd.DataFrame({"last": means, "images": last["rho"].count()})
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
    last = found["last"].dropna()
    absent_if(last.empty, "No map of the untrained network could be compared.")
    few = found.index[found["images"] * 2 < found["images"].max()]
    last = last.drop(few, errors="ignore")
    lost, kept, blank = (
        [_with_images(study, found, str(m)) for m in methods]
        for methods in (last.index[last < UNLIKE], last.index[last > LIKE], few)
    )
    whose, keeps = "No method's map", "keeps much of its pattern when the network is untrained."
    text = (
        "Counted is the greater size of two means over the images, of the rank correlation with "
        "signs and without; the scoreboard takes the greater image by image, and 0 where it is "
        "negative."
    )
    below = f"Below {number(UNLIKE, 1)} {'lies' if len(lost) == 1 else 'lie'} {listing(lost)}."
    text += f" {below}" if lost else f" No method lies below {number(UNLIKE, 1)}."
    if kept:
        whose = f"For {part_of(len(kept), len(last), 'method')} the map"
        text += f" Above {number(LIKE, 1)}: {listing(kept)}."
    if blank:
        text += f" Not counted, as most maps are blank there: {listing(blank)}."
    return Finding(f"{whose} {keeps}", text, "some" if kept else "none")


def _with_images(study: StudyReport, found: pd.DataFrame, method: str) -> str:
    """A method's title, with its number of images where others have more."""
    images, most = int(found["images"][method]), int(found["images"].max())
    title = study.method_titles[method]
    return f"{title} ({images} of {plural(most, 'image')})" if images < most else title


@needs("evaluation", "randomised")
def stages(study: StudyReport) -> Finding:
    """How many stages there are, and down to which block."""
    table = study.table("randomised")
    stages = table.groupby("method")["stage"].nunique()
    own = table[table["method"] == stages.idxmax()].sort_values("stage")
    blocks = list(dict.fromkeys(own["block"]))
    text = f"This study has {plural(len(blocks), 'stage')}: down to {', then to '.join(blocks)}"
    if fewer := int((stages < stages.max()).sum()):
        has = "that takes many passes has" if fewer == 1 else "that take many passes have"
        text += f"; {plural(fewer, 'method')} {has} fewer"
    return Finding("", f"{text}.")


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
    maps, do = ("map", "does") if len(same) == 1 else ("maps", "do")
    whose = f"the {maps} of {listing(study.method_titles[m] for m in same)}"
    text = f"With random weights in the classifier alone {whose} {do} not change."
    return Finding("", text, "some")


@needs("evaluation", "randomised")
def scatter(study: StudyReport) -> Finding:
    """How far single images differ in the likeness with the untrained network's map."""
    found, table = randomised(study), study.table("randomised")
    last = _last_stage(table[table["method"].isin(found.index)])
    spread = last.groupby("method")["rho"].std().dropna().sort_values()
    absent_if(len(spread) < 2, "Too few images to say how far they differ.")
    ends = [f"{bound(far)} ({study.method_titles[str(m)]})" for m, far in spread.items()]
    text = "Over the images the rank correlation has a standard deviation of"
    return Finding("", f"{text} {ends[0]} to {ends[-1]}.")

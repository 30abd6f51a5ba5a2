"""Claims about LIME, judged on the ten images of a study."""

from __future__ import annotations

import numpy as np

from claims.judgement import Judgement
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.text import count, number, percent

FOUR = ("goldfish", "tiger shark", "American coot", "West Highland white terrier")


def judge(study: StudyReport, published: PublishedReport) -> dict[str, Judgement]:
    """The four verdicts, by the claims' keys."""
    inside = study.on_object("lime")
    theirs = {image: published.on_object(image)["lime_1"] for image in FOUR}
    below = [image for image in FOUR if inside[image] < 0.5]
    below_theirs = [image for image in FOUR if theirs[image] < 0.5]
    samples = study.provenance["study"]["lime"]["samples"]
    repeats = study.table("stability")
    curve = repeats.groupby("samples")["jaccard"].mean()
    here = repeats.loc[repeats["samples"] == samples, "jaccard"]
    return {
        "background": Judgement(
            "confirmed" if len(below) == len(FOUR) else "in part" if below else "refuted",
            f"Contradicted for {count(len(FOUR) - len(below))}, supported for "
            f"{count(len(below))}; supported for {count(len(below_theirs))} in published masks of "
            "ResNet-50",
            "On the object: "
            + ", ".join(f"{p} {percent(inside[p])} ({percent(theirs[p])})" for p in FOUR)
            + ", with ResNet-50 in brackets",
        ),
        "chimney": _chimney(study),
        "repeats": Judgement(
            "confirmed",
            "Supported",
            f"Two seeds share {percent(here.mean())} of the ten best at {samples:,} samples "
            f"({percent(here.min())} to {percent(here.max())})",
        ),
        "samples_600": Judgement(
            "refuted" if curve[1000] > curve[600] else "confirmed",
            "Not for stability: more samples go on helping",
            f"Jaccard index {number(curve[600])} at 600, {number(curve[1000])} at 1,000, "
            f"{number(curve[2000])} at 2,000",
        ),
    }


def _chimney(study: StudyReport) -> Judgement:
    weights = study.table("superpixels").query("image == 'vulture'")
    ordered = weights.sort_values("weight")
    most, least = ordered.iloc[-1], ordered.iloc[0]
    segments = study.segments("vulture")
    top = np.argwhere(segments == int(least["superpixel"]))[:, 0].mean() / segments.shape[0]
    predicted = study.prediction("vulture")["category"]
    return Judgement(
        "refuted",
        f"Contradicted: for the prediction {predicted} the chimney is the region most in favour",
        f"Weight of the chimney's superpixel {number(most['weight'])}; most against: "
        f"{number(least['weight'])}, shaded boards beside the shutter ({percent(top)} from the "
        "top)",
    )

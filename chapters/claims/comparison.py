"""Claims about LIME beside Grad-CAM, judged by our network and by a published run's own masks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from claims.judgement import Judgement
from vitrine.data.printed import published_figures
from vitrine.measures.agreement import bootstrap_interval
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.text import number, percent

TWO = ("goldfish", "tiger shark")


def judge(study: StudyReport, published: PublishedReport) -> dict[str, Judgement]:
    """The five verdicts, by the claims' keys."""
    ious = published.table("ious").query("second == 'gradcam'")
    wide = ious.pivot(index="image", columns="first", values="iou")
    return {
        "cams_on_object": _on_object(study, published),
        "coot": _coot(study, published),
        "low_alike": _alike(study, ious.query("first == 'lime_1'").set_index("image")),
        "negative": _negative(study, wide["lime_2"] - wide["lime_1"], published),
        "simple_highest": _simple(study, wide["lime_1"]),
    }


def _on_object(study: StudyReport, published: PublishedReport) -> Judgement:
    lime, cam = study.on_object("lime"), study.on_object("gradcam")
    ours = {p: (cam[p], lime[p]) for p in TWO}
    theirs = {p: tuple(published.on_object(p)[["gradcam", "lime_1"]]) for p in TWO}
    holds = [cam_share > lime_share for cam_share, lime_share in (*ours.values(), *theirs.values())]

    def told(shares: dict[str, tuple[float, float]]) -> str:
        return ", ".join(f"{p} {percent(a)} and {percent(b)}" for p, (a, b) in shares.items())

    return Judgement(
        "confirmed" if all(holds) else "in part" if any(holds) else "refuted",
        f"Holds for {sum(holds)} of {len(holds)} pairs of an image and a network",
        f"On the object, Grad-CAM and LIME: here {told(ours)}; "
        f"in the masks of ResNet-50 {told(theirs)}",
    )


def _coot(study: StudyReport, published: PublishedReport) -> Judgement:
    methods = ("lime", "gradcam", "ablationcam", "scorecam")
    ours = [study.on_object(method)["American coot"] for method in methods]
    theirs = published.on_object("American coot")
    outside = 1 - max(*ours, *theirs)
    hidden = study.table("region_occlusion").query(
        "image == 'American coot' and region == 'the coots' and shown == 'rest'"
    )
    return Judgement(
        "confirmed" if outside > 0.5 else "refuted",
        "Supported: most of the weight lies beside the bird, with every method",
        f"On the bird: {percent(min(ours))} to {percent(max(ours))} of the weight here, "
        f"{percent(theirs.min())} to {percent(theirs.max())} with ResNet-50; without the birds the "
        f"prediction here keeps {percent(hidden['probability'].mean())} of "
        f"{percent(hidden['p_original'].mean())}",
    )


def _alike(study: StudyReport, pairs: pd.DataFrame) -> Judgement:
    gain = pairs["iou"] - pairs["iou_other_images"]
    best, worst = pairs["iou"].idxmax(), pairs["iou"].idxmin()
    above = int((gain > 0).sum())
    return Judgement(
        "refuted",
        "What was alike is the rule; at equal area the images differ",
        f"From {number(pairs['iou'].min())} ({worst}) to {number(pairs['iou'].max())} ({best}); "
        f"above the map of another image in {above} of {len(pairs)}; {_by_edges(study)}",
    )


def _by_edges(study: StudyReport) -> str:
    """What an image adds to the IoU, for those with fewer edges and those with more."""
    pairs = study.table("large_sample_iou").query("first == 'lime' and second == 'gradcam'")
    pairs = pairs.set_index("image")
    gain = pairs["iou"] - pairs["iou_other_images"]
    edges = study.table("large_sample").set_index("image")["edges"]
    few = edges <= edges.median()
    return (
        f"of {len(edges)} images here those with fewer edges are {number(gain[few].mean())} "
        f"above it, the others {number(gain[~few].mean())}"
    )


def _negative(study: StudyReport, change: pd.Series, published: PublishedReport) -> Judgement:
    asked = published.provenance["study"]
    low, high = bootstrap_interval(change.to_numpy(), asked["bootstrap"], asked["seed"])
    up, down = int((change > 0).sum()), int((change < 0).sum())
    consistent = low > 0 or high < 0
    both = study.table("ious").query("first == 'lime' and second == 'gradcam'")
    here = both.pivot(index="image", columns="rule", values="iou")
    ours = (here["lime2"] - here["lime1"]).round(9)
    return Judgement(
        "refuted" if consistent else "confirmed",
        "Supported, at equal area too" if not consistent else "Contradicted at equal area",
        f"With ResNet-50 up in {up}, down in {down}, unchanged in {len(change) - up - down}; mean "
        f"{number(change.mean(), 3)} (95% interval {number(low, 3)} to {number(high, 3)}); here up "
        f"in {int((ours > 0).sum())}, down in {int((ours < 0).sum())}",
    )


def _simple(study: StudyReport, theirs: pd.Series) -> Judgement:
    share = study.provenance["study"]["agreement"]["share"]
    pairs = study.table("agreement").query("first == 'lime' and second == 'gradcam'")
    ours = pairs[pairs["share"] == share].set_index("image")["iou"]
    figures = published_figures(study.store.project, "iou").query("source == 'rehman2025'")
    printed = figures[~figures["image"].str.startswith("mean")].set_index("image")["iou"]

    def places(values: pd.Series) -> str:
        ranks = values.rank(ascending=False)
        return f"{ranks['goldfish']:.0f} and {ranks['racer']:.0f}"

    everywhere = all(
        values.idxmax() == "goldfish" and values.idxmin() == "racer" for values in (ours, theirs)
    )
    rho = np.corrcoef(ours.rank(), theirs[ours.index].rank())[0, 1]
    return Judgement(
        "confirmed" if everywhere else "not decidable",
        "True of its own table; elsewhere goldfish and racer have other places",
        f"Places of goldfish and racer among {len(ours)}: {places(printed)} printed, "
        f"{places(ours)} here, {places(theirs)} in the masks of ResNet-50 "
        f"(rank correlation of the last two {number(rho)})",
    )

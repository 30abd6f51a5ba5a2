"""Claims about LIME beside Grad-CAM, judged by the study's network and by published masks."""

import numpy as np
import pandas as pd

from claims.evidence import THREE, beside_object, both, ious_of, lacking, network_of, pairs_of
from claims.judgement import Judgement, Outcome, Part, judgement
from vitrine.data.printed import published_figures
from vitrine.measures.association import Association, spearman
from vitrine.measures.difference import paired_difference
from vitrine.report.findings.sentences import rho_text, spelt
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing, number, percent

TWO = ("goldfish", "tiger shark")
LOW = 0.5
"""Agreement is low where less than half of two regions together is shared."""

SLIGHT = 0.05
"""A mean change of the IoU that lies within this of zero has no direction worth the name."""

WEAK = 0.3
"""A rank correlation that lies within this of zero makes no difference worth the name."""


def cams_on_object(study: StudyReport, published: PublishedReport) -> Judgement:
    """CAMs stay on the object where LIME takes in the background (two images)."""
    parts = []
    for network, shares in both(study, published, {"gradcam": "gradcam", "lime": "lime_1"}):
        own = shares.reindex(list(TWO)).dropna()
        if own.empty:
            parts.append(lacking(study, ("gradcam", "lime"), TWO))
            continue
        said = listing(
            f"{image} {percent(row['gradcam'])} against {percent(row['lime'])}"
            for image, row in own.iterrows()
        )
        outcomes = tuple(bool(value) for value in own["gradcam"] > own["lime"])
        parts.append(
            Part(f"{network}, weight on the object, Grad-CAM against LIME: {said}.", outcomes)
        )
    return judgement(*parts)


def coot(study: StudyReport, published: PublishedReport) -> Judgement:
    """On the American coot all methods lean on water and grass."""
    runs = {"lime": "lime_1"} | {method: method for method in THREE}
    return judgement(*beside_object(study, published, runs, ("American coot",), "the bird"))


def low_alike(study: StudyReport, published: PublishedReport) -> Judgement:
    """Agreement of LIME and Grad-CAM is low for simple and complex images alike."""
    theirs = _published_ious(published)["lime_1"]
    network = f"{network_of(published, 'lime_1')} (published masks)"
    return judgement(
        _low(study.title, ious_of(study)), _low(network, theirs.dropna()), _alike(study)
    )


def _published_ious(published: PublishedReport) -> pd.DataFrame:
    ious = published.table("ious")
    ious = ious[ious["second"] == "gradcam"]
    return ious.pivot(index="image", columns="first", values="iou")


def _low(network: str, ious: pd.Series) -> Part:
    if ious.empty:
        return Part("This study has no IoU of LIME and Grad-CAM.", half="low")
    return Part(
        f"{network}: the mean IoU at equal area is {number(ious.mean())} (low: below {LOW}).",
        (bool(ious.mean() < LOW),),
        "low",
    )


def _alike(study: StudyReport) -> Part:
    pairs = pairs_of(study, "large_sample_iou")
    if pairs.empty or not study.has("large_sample"):
        return Part("This study has no large sample to compare simple and complex images.")
    edges = study.table("large_sample").set_index("image")["edges"]
    ious = pairs.set_index("image")["iou"]
    found = spearman(edges.reindex(ious.index).to_numpy(float), ious.to_numpy(float))
    if np.isnan(found.rho):
        return Part("The large sample cannot tell simple from complex images.", half="alike")
    outcome = _no_relation(found)
    end = "" if outcome is not None else ", which leaves it undecided"
    return Part(
        f"Over {found.count} images the density of edges and the IoU have the rank correlation "
        f"{rho_text(found)}{end}.",
        (outcome,),
        "alike",
    )


def _no_relation(found: Association) -> Outcome:
    """Whether two measures do not go together; ``None`` where so few images cannot tell."""
    if found.low > -WEAK and found.high < WEAK:
        return True
    return False if found.p_value < 0.05 else None


def negative(study: StudyReport, published: PublishedReport) -> Judgement:
    """Adding negative superpixels changes the agreement in no consistent direction."""
    wide = _published_ious(published)
    network = f"{network_of(published, 'lime_1')} (published masks)"
    here, rows = pd.Series(dtype=float), pairs_of(study, "ious")
    if len(rows):
        own = rows.pivot(index="image", columns="rule", values="iou")
        if {"lime1", "lime2"} <= set(own):
            here = own["lime2"] - own["lime1"]
    return judgement(
        _no_direction(study.title, here), _no_direction(network, wide["lime_2"] - wide["lime_1"])
    )


def _no_direction(network: str, change: pd.Series) -> Part:
    change = change.astype(float).round(9).dropna()
    if change.empty:
        return Part("This study has no IoU with LIME's superpixels of either sign.")
    up, down = int((change > 0).sum()), int((change < 0).sum())
    mean = paired_difference(change.to_numpy(), comparisons=2)
    outcome: Outcome = False if mean.direction in ("larger", "smaller") else None
    if up and down and mean.low > -SLIGHT and mean.high < SLIGHT:
        outcome = True
    return Part(
        f"{network}: the IoU goes up in {up} and down in {down} of {len(change)} images; the mean "
        f"change is {spelt(mean, 3)}.",
        (outcome,),
    )


def simple_highest(study: StudyReport, published: PublishedReport) -> Judgement:
    """Agreement is highest on the goldfish and lowest on the racer."""
    figures = published_figures(study.store.project, "iou")
    printed = figures[
        (figures["source"] == "rehman2025") & ~figures["image"].str.startswith("mean")
    ].set_index("image")["iou"]
    theirs = _published_ious(published)["lime_1"].dropna()
    network = f"{network_of(published, 'lime_1')} (published masks)"
    return judgement(
        Part(f"{_places('Printed', printed)}", ()),
        _extremes(study.title, ious_of(study)),
        _extremes(network, theirs),
    )


def _places(whose: str, ious: pd.Series) -> str:
    ranks = ious.rank(ascending=False, method="min")
    said = listing(
        f"the {image} has place {ranks[image]:.0f}"
        for image in ("goldfish", "racer")
        if image in ranks
    )
    return f"{whose}: of {len(ious)} images, from the highest IoU, {said}."


def _extremes(network: str, ious: pd.Series) -> Part:
    known = [image for image in ("goldfish", "racer") if image in ious]
    if not known or len(ious) < 3:
        return Part(
            "This study has no IoU of LIME and Grad-CAM on images called goldfish and racer."
        )
    best = {"goldfish": ious.max(), "racer": ious.min()}
    return Part(_places(network, ious), tuple(bool(ious[i] == best[i]) for i in known))

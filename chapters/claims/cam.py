"""Claims about class activation maps, judged by the study's network and by published maps."""

import numpy as np
import pandas as pd

from claims.evidence import (
    THREE,
    beside_object,
    both,
    images_of,
    lacking,
    network_of,
    on_object,
    seconds_of,
    shares_told,
    titled,
)
from claims.judgement import Judgement, Outcome, Part, as_claimed, judgement
from vitrine.measures.difference import paired_difference
from vitrine.measures.localisation import share_inside
from vitrine.report import benches
from vitrine.report.findings.sentences import spelt
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing, number, percent

RUNS = {method: method for method in THREE}
FAR = 10
"""So many times as long is "far longer"."""

HARDLY = 0.05
"""A gain below so much of the weight is "hardly better"."""


def slow(study: StudyReport, published: PublishedReport) -> Judgement:
    """ScoreCAM and AblationCAM take far longer than Grad-CAM and are hardly better."""
    return judgement(_longer(study), *_hardly_better(study))


def _longer(study: StudyReport) -> Part:
    """By the library's seconds, whose methods the claim is about; this report's stand beside."""
    bench = benches.bench_table(study, "cam")
    library = bench[bench["network"] == "resnet50"].set_index("method")["library s"]
    theirs = library[["AblationCAM", "ScoreCAM"]] / library["Grad-CAM"]
    text = (
        f"On ResNet-50 the library grad-cam takes, of Grad-CAM's time, {_times(theirs)} "
        f"(far longer: over {FAR})."
    )
    seconds = seconds_of(study, "costs")
    others = [method for method in THREE[1:] if method in seconds]
    if others and seconds.get("gradcam", 0) > 0:
        ours = seconds[others].set_axis(titled(study, others)) / seconds["gradcam"]
        text += f" By this report's implementation: {_times(ours)}."
    return Part(text, tuple(bool(ratio > FAR) for ratio in theirs), "time")


def _times(ratios: pd.Series) -> str:
    return listing(f"{name} {number(ratio, 0)} times" for name, ratio in ratios.items())


def _hardly_better(study: StudyReport) -> list[Part]:
    base, found = on_object(study, "gradcam"), []
    for method in THREE[1:]:
        gain = paired_difference((on_object(study, method) - base).to_numpy(float), comparisons=2)
        if not gain.count:
            found.append(lacking(study, ("gradcam", method), half="gain"))
            continue
        name = titled(study, [method])[0]
        better: Outcome = (
            True if gain.high < HARDLY else False if gain.direction == "larger" else None
        )
        found.append(
            Part(
                f"{name}'s gain of weight on the object over Grad-CAM is {spelt(gain)}"
                f"{'' if better is not None else ': undecided'}.",
                (better,),
                "gain",
            )
        )
    return found


def orange(study: StudyReport, published: PublishedReport) -> Judgement:
    """Only on the orange is ScoreCAM more precise."""
    parts = []
    for network, shares in both(study, published, {m: m for m in ("gradcam", "scorecam")}):
        gain = (shares["scorecam"] - shares["gradcam"]).dropna()
        if "orange" not in gain:
            parts.append(lacking(study, ("gradcam", "scorecam"), ("orange",)))
            continue
        more = gain[gain > 0]
        others = len(more) - int("orange" in more)
        parts.append(
            Part(
                f"{network}: ScoreCAM has {'more' if 'orange' in more else 'no more'} weight on "
                f"the object than Grad-CAM on the orange (difference {number(gain['orange'])}), "
                f"and more on {others} of {len(gain) - 1} other images.",
                (list(more.index) == ["orange"],),
            )
        )
    return judgement(*parts)


def roof(study: StudyReport, published: PublishedReport) -> Judgement:
    """All three light up the roof, not the vulture."""
    image = "vulture"
    parts = beside_object(study, published, RUNS, (image,), "the birds", "bird")
    return judgement(*parts, _on_roof(study, image))


def _on_roof(study: StudyReport, image: str) -> Part:
    """The half that the roof is lit up, which needs its outline."""
    known = [method for method in THREE if image in images_of(study, method)]
    parts = study.parts(image) if known else {}
    roofs = {name: mask for name, mask in parts.items() if name in ("the house", "the roof")}
    if not roofs:
        return Part("Whether it is the roof cannot be told without its outline.", half="roof")
    mask = np.any(list(roofs.values()), axis=0)
    shares = {
        name: share_inside(study.heatmap(method, image).values, mask)
        for method, name in zip(known, titled(study, known), strict=True)
    }
    shares = {name: share for name, share in shares.items() if np.isfinite(share)}
    if not shares:
        return Part("Whether it is the roof cannot be told: the maps are blank.", half="roof")
    text = (
        f"{study.title}, weight on {listing(roofs)}, {percent(mask.mean())} of the frame: "
        f"{shares_told(shares)}."
    )
    return Part(text, tuple(share > 0.5 for share in shares.values()), "roof")


def scorecam_smooth(study: StudyReport, published: PublishedReport) -> Judgement:
    """ScoreCAM is smoother and marks less."""
    regions = published.table("regions").pivot(index="image", columns="run", values="area_half_max")
    network = f"{network_of(published, 'scorecam')} (published maps)"
    return judgement(
        _smoother(study),
        _marks_less(study.title, _areas(study)),
        _marks_less(network, regions),
    )


def _areas(study: StudyReport) -> pd.DataFrame:
    if not study.has("maps"):
        return pd.DataFrame()
    return study.table("maps").pivot(index="image", columns="method", values="area_half_max")


def _marks_less(network: str, areas: pd.DataFrame) -> Part:
    values = np.array([])
    if {"scorecam", "gradcam"} <= set(areas):
        values = (areas["scorecam"] - areas["gradcam"]).to_numpy(float)
    change = paired_difference(values, comparisons=2)
    if not change.count:
        return Part("This study has no two maps whose areas compare.", half="area")
    return Part(
        f"{network}: ScoreCAM's area above half its maximum less Grad-CAM's is {spelt(change)}.",
        (as_claimed(change, "smaller"),),
        "area",
    )


def _smoother(study: StudyReport) -> Part:
    images = [i for i in images_of(study, "scorecam") if i in images_of(study, "gradcam")]
    slopes = [
        _slope(study.heatmap("scorecam", i).values) - _slope(study.heatmap("gradcam", i).values)
        for i in images
    ]
    change = paired_difference(1e3 * np.array(slopes, dtype=float))
    if not change.count:
        return lacking(study, ("scorecam", "gradcam"), half="slope")
    return Part(
        f"{study.title}: ScoreCAM's mean slope less Grad-CAM's, in thousandths of the maximum a "
        f"pixel, is {spelt(change)}.",
        (as_claimed(change, "smaller"),),
        "slope",
    )


def _slope(values: np.ndarray) -> float:
    """How much neighbouring pixels differ on average, down and across, in parts of the maximum.

    ``nan`` for a map without positive weight.
    """
    greatest = float(np.max(values))
    if not greatest > 0:
        return float("nan")
    return float(sum(np.abs(np.diff(values, axis=axis)).mean() for axis in (0, 1))) / greatest


PRECISE = (
    ("ablationcam", "gradcam", "larger", "most"),
    ("ablationcam", "scorecam", "larger", "most"),
    ("scorecam", "gradcam", "smaller", "context"),
)


def ablationcam_precise(study: StudyReport, published: PublishedReport) -> Judgement:
    """AblationCAM is the most precise, ScoreCAM takes in more context."""
    parts = []
    for network, shares in both(study, published, RUNS):
        for first, second, direction, half in PRECISE:
            change = paired_difference(
                (shares[first] - shares[second]).to_numpy(float), comparisons=len(PRECISE)
            )
            one, other = titled(study, [first, second])
            if not change.count:
                parts.append(lacking(study, (first, second), half=half))
                continue
            outcome = as_claimed(change, "larger" if direction == "larger" else "smaller")
            parts.append(
                Part(
                    f"{network}: the weight on the object of {one} less that of {other} is "
                    f"{spelt(change)}.",
                    (outcome,),
                    half,
                )
            )
    return judgement(*parts)

"""Claims about class activation maps, judged on the ten images of a study."""

from __future__ import annotations

import numpy as np
import pandas as pd

from claims.judgement import Judgement
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.text import number, percent

THREE = ("gradcam", "ablationcam", "scorecam")


def judge(study: StudyReport, published: PublishedReport) -> dict[str, Judgement]:
    """The five verdicts, by the claims' keys."""
    inside = pd.DataFrame({method: study.on_object(method) for method in THREE})
    theirs = pd.DataFrame({image: published.on_object(image)[[*THREE]] for image in inside.index}).T
    return {
        "slow": _slow(study, inside),
        "orange": _orange(inside, theirs),
        "roof": _roof(study, inside.T["vulture"], theirs.T["vulture"]),
        "scorecam_smooth": _smooth(study, published),
        "ablationcam_precise": _precise(inside.mean(), theirs.mean()),
    }


def _orange(inside: pd.DataFrame, theirs: pd.DataFrame) -> Judgement:
    gain, their_gain = (table["scorecam"] - table["gradcam"] for table in (inside, theirs))
    best = gain.sort_values(ascending=False)
    return Judgement(
        "confirmed" if list(best[best > 0].index) == ["orange"] else "refuted",
        "Contradicted",
        f"{percent(inside['scorecam']['orange'])} against "
        f"{percent(inside['gradcam']['orange'])} on the oranges; the gain is greatest on the "
        f"{best.index[0]} ({100 * best.iloc[0]:.0f} points). In published maps of ResNet-50 it is "
        f"{number(100 * their_gain['orange'], 0)} points on the oranges",
    )


def _roof(study: StudyReport, here: pd.Series, theirs: pd.Series) -> Judgement:
    vulture = study.object_mask("vulture")
    area = 0.0 if vulture is None else float(vulture.mean())
    return Judgement(
        "confirmed" if max(here.max(), theirs.max()) < 0.5 else "refuted",
        "Supported as to the birds; what they light up is the chimney",
        f"On the birds: {_shares(here)} of the weight ({percent(area)} of the frame); "
        f"{_shares(theirs)} in published maps of ResNet-50",
    )


def _shares(values: pd.Series) -> str:
    return ", ".join(percent(value) for value in values)


def _precise(here: pd.Series, theirs: pd.Series) -> Judgement:
    holds = [
        found.idxmax() == "ablationcam" and found.idxmin() == "scorecam" for found in (here, theirs)
    ]
    return Judgement(
        "confirmed" if all(holds) else "in part" if any(holds) else "refuted",
        "Contradicted here, supported by published maps of ResNet-50"
        if holds == [False, True]
        else "Contradicted"
        if not any(holds)
        else "Supported here",
        "On the object, AblationCAM, ScoreCAM and Grad-CAM: "
        f"{_shares(here[['ablationcam', 'scorecam', 'gradcam']])} of the weight; with ResNet-50 "
        f"{_shares(theirs[['ablationcam', 'scorecam', 'gradcam']])}",
    )


def _slow(study: StudyReport, inside: pd.DataFrame) -> Judgement:
    seconds = study.table("costs").groupby("method")["seconds"].median()
    ratio = seconds / seconds["gradcam"]
    better = {m: int((inside[m] > inside["gradcam"]).sum()) for m in THREE[1:]}
    return Judgement(
        "in part",
        "Supported for ScoreCAM; AblationCAM is slow only when it is computed on whole passes",
        f"{ratio['scorecam']:.0f} and {ratio['ablationcam']:.0f} times as long; more weight on "
        f"the object in {better['scorecam']} and {better['ablationcam']} of {len(inside)} images",
    )


def _smooth(study: StudyReport, published: PublishedReport) -> Judgement:
    half = study.table("maps").pivot(index="image", columns="method", values="area_half_max")
    narrower = int((half["scorecam"] < half["gradcam"]).sum())
    regions = published.table("regions").pivot(index="image", columns="run", values="area_half_max")
    theirs = int((regions["scorecam"] < regions["gradcam"]).sum())
    slope = {
        method: np.mean([_slope(study.heatmap(method, name).values) for name in study.images])
        for method in ("scorecam", "gradcam")
    }
    return Judgement(
        "refuted",
        "Neither, as a rule",
        f"Marks less than Grad-CAM in {narrower} of {len(half)} images, in {theirs} of "
        f"{len(regions)} in that report's own maps; mean slope {1e3 * slope['scorecam']:.1f} "
        f"against {1e3 * slope['gradcam']:.1f} thousandths a pixel",
    )


def _slope(values: np.ndarray) -> float:
    """How much neighbouring pixels differ on average, down and across."""
    return float(sum(np.abs(np.diff(values, axis=axis)).mean() for axis in (0, 1)))

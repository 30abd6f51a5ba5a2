"""Claims about attribution methods, judged by their maximum sensitivity over a study's images."""

from __future__ import annotations

import pandas as pd

from claims.judgement import Judgement
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.text import count, number

EIGHT = (
    "integrated_gradients",
    "smoothgrad_squared",
    "vargrad",
    "gradient_shap",
    "occlusion",
    "lrp",
    "guided_backpropagation",
    "guided_gradcam",
)


def judge(study: StudyReport, published: PublishedReport) -> dict[str, Judgement]:
    """The three verdicts, by the claims' keys."""
    moved = (
        study.table("sensitivities")
        .pivot(index="image", columns="method", values="by_channel")
        .loc[[*study.images, *study.extra_images], list(EIGHT)]
    )
    return {
        "occlusion_stable": _occlusion(study, moved),
        "lrp_unstable": _relevance(study, moved),
        "noise_averaged": _averaged(moved),
    }


def _occlusion(study: StudyReport, moved: pd.DataFrame) -> Judgement:
    (steadier,) = moved.mean().rank()[["occlusion"]]
    first = int((moved.idxmin(axis=1) == "occlusion").sum())
    seconds = study.table("attributions").groupby("method")["seconds"].median()[list(EIGHT)]
    slower = int((seconds > seconds["occlusion"]).sum())
    return Judgement(
        "confirmed" if steadier == 1 else "refuted",
        f"Not the most stable: {_ordinal(int(steadier))} of the eight on average; slow it is",
        f"Maximum sensitivity {number(moved['occlusion'].mean())} over {len(moved)} images, "
        f"the most stable on {count(first) if first else 'none'} of them; "
        f"{number(seconds['occlusion'], 1)} s a map, {count(slower)} are slower",
    )


def _relevance(study: StudyReport, moved: pd.DataFrame) -> Judgement:
    means = moved.mean()
    rank = int(means.rank()["lrp"])
    tried = study.store.table("sensitivities").query("classifier != @study.classifier")
    values = tried.set_index("method")["by_channel"]
    maps = study.table("attributions").query("method == 'lrp'")
    kept = float((maps["total"] / maps["logit"] - 1).abs().max())
    return Judgement(
        "confirmed" if rank == len(EIGHT) else "refuted",
        "An artefact of rules that do not keep the relevance: with rules that do it is "
        f"{'the most stable' if rank == 1 else _ordinal(rank)} of the eight",
        f"Maximum sensitivity {number(means['lrp'])}, relevance kept to {100 * kept:.4f}%; on a "
        f"random ResNet-18 {number(values['lrp'])}, and {number(values['lrp_captum'], 1)} by the "
        "library's rules",
    )


def _averaged(moved: pd.DataFrame) -> Judgement:
    noisy = ["smoothgrad_squared", "vargrad"]
    better = {name: int((moved[name] < moved["integrated_gradients"]).sum()) for name in noisy}
    means = moved.mean()
    holds = [means[name] < means["integrated_gradients"] for name in noisy]
    return Judgement(
        "confirmed" if all(holds) else "in part" if any(holds) else "refuted",
        "Holds on average" if all(holds) else "Not on average, with noise that is drawn anew",
        f"SmoothGrad² {number(means[noisy[0]])} and VarGrad {number(means[noisy[1]])}, the plain "
        f"path {number(means['integrated_gradients'])}; steadier than it on "
        f"{count(better[noisy[0]])} and {count(better[noisy[1]])} of {len(moved)} images",
    )


def _ordinal(place: int) -> str:
    names = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
    return names[place - 1]

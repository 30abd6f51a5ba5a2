"""Claims about attribution methods, judged by the maximum sensitivity of their maps."""

import pandas as pd

from claims.evidence import lacking, seconds_of, titled
from claims.judgement import Judgement, Outcome, Part, as_claimed, judgement, told
from vitrine.measures.difference import Difference, Direction, paired_difference
from vitrine.report import attributions
from vitrine.report.attributions import LIBRARY_RELEVANCE, RELEVANCE, network_title
from vitrine.report.findings.sentences import spelt
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.text import number

EIGHT = tuple(attributions.PRINTED.values())


def sensitivities(study: StudyReport, relevance: str = RELEVANCE) -> pd.DataFrame:
    """The maximum sensitivity by image and method, of those of the eight that the study has.

    relevance : whose rules of layer-wise relevance propagation are one of the eight.
    """
    if not (study.has("sensitivities") and study.has("attributions")):
        return pd.DataFrame()
    moved = attributions.sensitivities(study)
    eight = [relevance if name == RELEVANCE else name for name in EIGHT]
    return moved[[name for name in eight if name in moved]]


def _absent(study: StudyReport, method: str, half: str) -> Part:
    name = titled(study, [method])[0]
    return Part(
        f"This study did not measure the maximum sensitivity of {name} beside other methods.",
        half=half,
    )


def _extreme(study: StudyReport, method: str, direction: Direction, half: str) -> Part:
    """Whether a method is more, or less, sensitive than each other one of the eight."""
    moved = sensitivities(study, method if method == LIBRARY_RELEVANCE else RELEVANCE)
    others = [name for name in moved if name != method]
    if method not in moved or not others:
        return _absent(study, method, half)
    changes = [
        paired_difference((moved[method] - moved[name]).to_numpy(), comparisons=len(others))
        for name in others
    ]
    means = moved.mean()
    place = int(means.rank(method="min")[method])
    beats = [as_claimed(change, direction) for change in changes]
    outcome: Outcome = (
        False if any(found is False for found in beats) else True if all(beats) else None
    )
    than = "more" if direction == "larger" else "less"
    return Part(
        f"The mean maximum sensitivity of {titled(study, [method])[0]} is "
        f"{number(means[method])}, place {place} of "
        f"{len(moved.columns)} from the most stable. Tested against each other method, it is "
        f"{than} sensitive {told(beats, 'comparison')}.",
        (outcome,),
        half,
    )


def occlusion_stable(study: StudyReport, published: PublishedReport) -> Judgement:
    """Occlusion is the most stable of the eight methods, and slow."""
    return judgement(_extreme(study, "occlusion", "smaller", "stable"), _slow(study))


def _slow(study: StudyReport) -> Part:
    seconds = seconds_of(study, "attributions")
    others = [name for name in EIGHT if name in seconds and name != "occlusion"]
    if "occlusion" not in seconds or not others:
        return Part("This study did not time Occlusion beside other methods.", half="slow")
    faster = int((seconds[others] < seconds["occlusion"]).sum())
    return Part(
        f"It takes {number(seconds['occlusion'], 1)} s a map; {faster} of {len(others)} other "
        "methods are faster.",
        (faster > len(others) / 2,),
        "slow",
    )


def lrp_unstable(study: StudyReport, published: PublishedReport) -> Judgement:
    """Layer-wise Relevance Propagation is by far the least stable and explains nothing.

    The name stands for several sets of rules; the claim is judged by ours and by the library's.
    """
    rules = [RELEVANCE]
    if LIBRARY_RELEVANCE in sensitivities(study, LIBRARY_RELEVANCE):
        rules.append(LIBRARY_RELEVANCE)
    return judgement(
        *(_extreme(study, name, "larger", "stable") for name in rules),
        *([] if len(rules) > 1 else _library(study)),
        *(_explains(study, name, len(rules)) for name in rules),
    )


def _library(study: StudyReport) -> list[Part]:
    """What the library's rules give beside ours, on whichever networks both were tried."""
    if "sensitivities" not in study.store.tables():
        return []
    rows = study.store.table("sensitivities")
    means = rows.groupby(["classifier", "method"], sort=False)["by_channel"].mean().unstack()
    if not {RELEVANCE, LIBRARY_RELEVANCE} <= set(means):
        return []
    return [
        Part(
            f"On {network_title(study, str(name))} the rules of the library Captum give "
            f"{number(row[LIBRARY_RELEVANCE])}, ours {number(row[RELEVANCE])}.",
            (),
            "stable",
        )
        for name, row in means[[RELEVANCE, LIBRARY_RELEVANCE]].dropna().iterrows()
    ]


def _explains(study: StudyReport, method: str, comparisons: int) -> Part:
    """A map that explains nothing has no more weight on the object than the image's edges have."""
    rows = study.table("evaluation") if study.has("evaluation") else pd.DataFrame()
    shares = pd.DataFrame(columns=[method, "edges"], dtype=float)
    if len(rows):
        own = rows[(rows["measure"] == "share_inside") & rows["method"].isin(list(shares))]
        shares = own.pivot(index="image", columns="method", values="value").reindex(
            columns=[*shares]
        )
    gain = paired_difference((shares[method] - shares["edges"]).to_numpy(float), comparisons)
    if not gain.count:
        return lacking(study, (method,), half="explains")
    better = as_claimed(gain, "larger")
    return Part(
        f"The share of {titled(study, [method])[0]}'s weight on the object less that of the "
        f"image's edges is {spelt(gain)}.",
        (None if better is None else not better,),
        "explains",
    )


def noise_averaged(study: StudyReport, published: PublishedReport) -> Judgement:
    """Averaging over noise makes Integrated Gradients more stable."""
    plain, moved, parts = "integrated_gradients", sensitivities(study), []
    for noisy in ("smoothgrad_squared", "vargrad"):
        if noisy not in moved or plain not in moved:
            parts.append(_absent(study, noisy, ""))
            continue
        change: Difference = paired_difference(
            (moved[noisy] - moved[plain]).to_numpy(), comparisons=2
        )
        means = moved.mean()
        parts.append(
            Part(
                f"{titled(study, [noisy])[0]} has {number(means[noisy])}, Integrated Gradients "
                f"{number(means[plain])}; the difference is {spelt(change)}.",
                (as_claimed(change, "smaller"),),
            )
        )
    return judgement(*parts)

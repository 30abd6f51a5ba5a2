"""Findings about class activation maps: how alike they are, where they lie, what they cost."""

from __future__ import annotations

import numpy as np
import pandas as pd

from vitrine.measures.difference import Difference, paired_difference
from vitrine.report import cams
from vitrine.report.findings.finding import Finding, absent
from vitrine.report.findings.sentences import finding_of, span, spelt
from vitrine.report.parts import missing
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing, number, part_of, percent, plural

SAME_MAP = 0.95
"""Two maps of at least this rank correlation are called nearly the same."""

SMALL = 0.1
"""An object that covers less of the frame is called small."""

AS_LONG = 1.5
"""Seconds that differ by less than this factor are called about as long: machines vary so much."""

BLIND = "eigencam"
"""The method that asks for no class."""

ONE_METHOD = "This study has no two class activation maps to compare."
NO_OBJECT = "No object is outlined in the images of this study."


# --- how alike they are ---------------------------------------------------------------------------


def one_map(study: StudyReport) -> Finding:
    """Whether the methods give nearly the same map, over all pairs of the study."""
    if reason := missing(study, "correlations"):
        return reason
    means = cams.correlations(study).groupby("pair")["rho"].mean().dropna().sort_values()
    if means.empty:
        return absent(ONE_METHOD)
    same = means >= SAME_MAP
    verdict = "all" if same.all() else "some" if same.any() else "none"
    if len(means) == 1:
        words = "are nearly one map" if same.all() else "are not the same map"
        text = f"Their mean rank correlation is {_rho(means.iloc[0])}."
        return Finding(f"{means.index[0]} {words}.", text, verdict)
    headline = {
        "all": "All class activation maps are nearly one map.",
        "some": "Some class activation maps are nearly one map, others are not.",
        "none": "No two class activation maps are nearly the same.",
    }[verdict]
    return Finding(
        headline,
        f"Over the images the mean rank correlation is greatest for {means.index[-1]} "
        f"({_rho(means.iloc[-1])}) and least for {means.index[0]} ({_rho(means.iloc[0])}).",
        verdict,
    )


def _rho(value: float) -> str:
    """Three digits where two would round a rank correlation across ``SAME_MAP`` or to 1."""
    return number(value, 3 if value > SAME_MAP - 0.01 else 2)


def beyond_baseline(study: StudyReport) -> Finding:
    """Whether the maps of one image agree more than maps of different images, by pair."""
    if reason := missing(study, "correlations"):
        return reason
    rows = cams.correlations(study)
    rows = rows.assign(gain=rows["rho"] - rows["rho_other_images"])
    if rows["gain"].dropna().empty:
        return absent("There are no two images and two methods whose maps could be compared.")
    pairs = rows.groupby("pair")["gain"]
    tests = [paired_difference(gain.to_numpy(), len(pairs)) for _, gain in pairs]
    text = (
        f"The mean rank correlation is {number(rows['rho'].mean())} on an image and "
        f"{number(rows['rho_other_images'].mean())} across images. "
    )
    return _tested(
        tests,
        "pair",
        {
            "all": "Every two class activation maps agree more on an image than across images.",
            "some": "Some pairs of class activation maps agree more on an image than across "
            "images.",
            "none": "That two class activation maps agree more on an image than across images "
            "cannot be shown.",
        },
        text,
        "agree more on an image",
    )


def _tested(
    tests: list[Difference], noun: str, headlines: dict[str, str], text: str, what: str
) -> Finding:
    """A finding about several tests: how many of them came out larger, and how many smaller."""
    directions = [test.direction for test in tests]
    larger, smaller = directions.count("larger"), directions.count("smaller")
    if set(directions) == {"too few"}:
        few = max(test.count for test in tests)
        return Finding("", f"{text}So few images ({few}) cannot tell this from chance.", "too few")
    verdict = "all" if larger == len(tests) else "some" if larger else "none"
    part = part_of(larger, len(tests), noun)
    text += f"Tested and corrected for {plural(len(tests), 'comparison')}: {part} {what}"
    text += f", {part_of(smaller, len(tests), noun)} less." if smaller else "."
    headline = headlines[verdict]
    if verdict == "some" and larger * 2 > len(tests):
        headline = headline.replace("Some ", "Most ", 1)
    return Finding(headline, text, verdict)


def differ_most(study: StudyReport) -> Finding:
    """The image on which two of the main methods are least alike."""
    if reason := missing(study, "correlations"):
        return reason
    rows = cams.correlations(study, cams.main_methods(study)).dropna(subset=["rho"])
    if rows.empty:
        return absent(ONE_METHOD)
    least = rows.sort_values("rho").iloc[0]
    return Finding(
        "",
        f"Of the methods in the chart, the least alike are {least['pair']} on {least['image']}, "
        f"with a rank correlation of {number(least['rho'])}.",
    )


def same_weights(study: StudyReport) -> Finding:
    """Whether Grad-CAM and HiResCAM are one map, as they are before pooling and one layer."""
    if reason := missing(study, "correlations"):
        return reason
    if not {"gradcam", "hirescam"} <= set(cams.methods(study)):
        return absent("This study does not have both Grad-CAM and HiResCAM.")
    rho = cams.between(study, "gradcam", "hirescam")["rho"].dropna()
    if rho.empty:
        return absent("Grad-CAM and HiResCAM have no maps to compare.")
    same = rho.min() >= 0.999
    return Finding(
        "Grad-CAM and HiResCAM are one map." if same else "Grad-CAM and HiResCAM differ.",
        f"Their rank correlation is {_on_every(rho)}.",
        "all" if same else "none",
    )


def _on_every(rho: pd.Series) -> str:
    """The rank correlations of all images: one number where they are the same."""
    if number(rho.min(), 3) == number(rho.max(), 3):
        return f"{number(rho.min(), 3)} on {part_of(len(rho), len(rho), 'image')}"
    return f"{span(rho, digits=3)} by image"


def without_class(study: StudyReport) -> Finding:
    """Whether the method that asks for no class has as much weight on the object as the others."""
    if reason := missing(study, "correlations"):
        return reason
    names = cams.methods(study)
    others = [name for name in names if name != BLIND]
    if BLIND not in names or not others:
        return absent("This study has no map without a class beside maps of a class.")
    if not study.objects:
        return absent(NO_OBJECT)
    shares = cams.inside(study, names).dropna()
    if shares.empty:
        return absent("No map has positive weight to compare on an object.")
    rest = shares[others].mean(axis=1)
    more, title = paired_difference((shares[BLIND] - rest).to_numpy()), study.method_titles[BLIND]
    no_proof = "so lying on the object is no proof of explaining the class"
    return finding_of(
        more,
        {
            "larger": f"{title}, which asks for no class, has more of its weight on the object "
            f"than the others, {no_proof}.",
            "smaller": f"{title}, which asks for no class, has less of its weight on the object "
            "than the others.",
            "undecided": f"Whether {title}, which asks for no class, has more or less of its "
            "weight on the object than the others is undecided.",
            "too few": f"{title} asks for no class.",
        },
        f"It has {percent(shares[BLIND].mean())} there and the others "
        f"{percent(rest.mean())} on average. The difference is {spelt(more)}.",
    )


# --- where they lie -------------------------------------------------------------------------------


def on_object(study: StudyReport) -> Finding:
    """Whether the methods have more of their weight on the object than its area, by method."""
    if reason := missing(study, "correlations"):
        return reason
    if not study.objects:
        return absent(NO_OBJECT)
    shares, area = cams.inside(study, cams.methods(study)), study.object_areas
    shares = shares.dropna(axis="columns", how="all")
    if shares.empty:
        return absent("No map has positive weight to compare on an object.")
    gain = shares.div(area, axis=0)
    tests = [
        paired_difference((shares[name] - area).to_numpy(), shares.shape[1]) for name in shares
    ]
    text = (
        "A method's share of weight on the object, divided by the object's area, is "
        f"{span(gain, digits=1)} over all methods and images; a map without information has 1. "
    )
    return _tested(
        tests,
        "method",
        {
            "all": "All class activation maps prefer the object.",
            "some": "Some class activation maps prefer the object.",
            "none": "That a class activation map prefers the object cannot be shown.",
        },
        text,
        "have more weight on the object than its area",
    )


def maximum(study: StudyReport) -> Finding:
    """On how many objects the maximum of one method lies."""
    if reason := missing(study, "correlations"):
        return reason
    if not study.objects:
        return absent(NO_OBJECT)
    method = cams.preferred(study)
    on, title = cams.maxima(study)[method].dropna(), study.method_titles[method]
    if on.empty:
        return absent(f"No map of {title} has a maximum on an image with an outlined object.")
    verdict = "all" if on.all() else "some" if on.any() else "none"
    headline = {
        "all": f"{title}'s maximum lies on every object.",
        "some": f"{title}'s maximum lies on some objects and beside others.",
        "none": f"{title}'s maximum lies beside every object.",
    }[verdict]
    beside = list(on.index[on == 0])
    text = f"It lies on the object for {part_of(int(on.sum()), len(on), 'image')}"
    named = (
        f", and beside it for {listing(beside)}"
        if verdict == "some" and beside[:8] == beside
        else ""
    )
    return Finding(headline, f"{text}{named}.", verdict)


def small_objects(study: StudyReport) -> Finding:
    """Whether the maxima of all methods lie on objects that are small."""
    if reason := missing(study, "correlations"):
        return reason
    if not study.objects:
        return absent(NO_OBJECT)
    small = study.object_areas.index[study.object_areas < SMALL]
    on = cams.maxima(study).loc[list(small)].to_numpy(dtype=float)
    on = on[np.isfinite(on)]
    if not len(on):
        return absent("No outlined object is small enough to ask where the maxima lie.")
    verdict = "all" if on.all() else "some" if on.any() else "none"
    headline = {
        "all": "On small objects every maximum lies on the object.",
        "some": "On small objects some maxima lie on the object and some beside it.",
        "none": "On small objects every maximum lies beside the object.",
    }[verdict]
    part = part_of(int(on.sum()), len(on), "map")
    covers = f"Where the object covers less than {percent(SMALL)} of the frame"
    return Finding(headline, f"{covers}, the maximum lies on it for {part}.", verdict)


def half_maximum(study: StudyReport) -> Finding:
    """How far the areas above half of the maximum differ between methods on one image."""
    if reason := missing(study, "maps", "correlations"):
        return reason
    areas = cams.half_maximum(study)
    areas = areas.where(areas > 0)
    ratio = (areas.max(axis=1) / areas.min(axis=1))[areas.notna().sum(axis=1) > 1]
    if ratio.empty:
        return absent("There are no two maps of an image whose areas could be compared.")
    large = ratio.max() >= 1.5
    return Finding(
        "Half of the maximum marks regions of different sizes."
        if large
        else "Half of the maximum marks regions of similar sizes.",
        "For two methods on one image the areas differ by a factor of up to "
        f"{number(ratio.max(), 1)}"
        + (", which limits their overlap before their places matter." if large else "."),
    )


# --- other classes and layers ---------------------------------------------------------------------


def second_class(study: StudyReport) -> Finding:
    """Whether the maps of the two most probable classes are nearly the same."""
    if reason := missing(study, "correlations"):
        return reason
    rows = cams.second_class(study).dropna(subset=["rho"])
    if rows.empty:
        return absent("This study has no maps of the second most probable class.")
    rho, title = rows["rho"], study.method_titles[str(rows["method"].iloc[0])]
    same = rho >= SAME_MAP
    verdict = "all" if same.all() else "some" if same.any() else "none"
    headline = {
        "all": "The maps of the two most probable classes are nearly the same.",
        "some": "The maps of the two most probable classes are nearly the same for some images.",
        "none": "The maps of the two most probable classes differ.",
    }[verdict]
    return Finding(
        headline,
        f"For {title} the rank correlation is {_rho(rho.mean())} on average and "
        f"{_rho(rho.min())} at the least. It is at least {number(SAME_MAP)} for "
        f"{part_of(int(same.sum()), len(rho), 'image')}.",
        verdict,
    )


def layers(study: StudyReport) -> Finding:
    """Whether the map depends on the layer."""
    if reason := missing(study, "correlations"):
        return reason
    rows = cams.other_layers(study)
    if rows.empty:
        return absent("This study has class activation maps of one layer only.")
    means = rows.groupby("layer")["rho"].mean().dropna().sort_values()
    if means.empty:
        return absent("The maps at other layers cannot be compared: they are blank.")
    same = bool((means >= SAME_MAP).all())
    text = f"With the map of {cams.layer(study)} the mean rank correlation is "
    text += f"{number(means.iloc[0])} at {means.index[0]}"
    text += f" and {number(means.iloc[-1])} at {means.index[-1]}." if len(means) > 1 else "."
    if blank := int(rows["is_constant"].sum()):
        text += f" Without positive evidence {_are(blank, len(rows))}."
    headline = "The map hardly depends on the layer." if same else "The map depends on the layer."
    return Finding(headline, text, "all" if same else "some")


def _are(value: int, whole: int) -> str:
    return f"{'is' if value == 1 else 'are'} {part_of(value, whole, 'map')}"


# --- what they cost -------------------------------------------------------------------------------


def cost(study: StudyReport) -> Finding:
    """How far the methods differ in seconds."""
    if reason := missing(study, "costs", "correlations"):
        return reason
    seconds = cams.costs(study)["seconds"].reindex(cams.methods(study)).dropna().sort_values()
    if len(seconds) < 2 or seconds.iloc[0] <= 0:
        return absent("There are no two methods whose seconds could be compared.")
    least, most = (study.method_titles[str(seconds.index[place])] for place in (0, -1))
    factor = seconds.iloc[-1] / seconds.iloc[0]
    if factor < AS_LONG:
        medians = f"{_seconds(seconds.iloc[0])} ({least}) to {_seconds(seconds.iloc[-1])} ({most})"
        text = f"Their medians are {medians} an image."
        return Finding("All class activation maps take about as long.", text)
    times = number(factor, 1) if factor < 10 else f"{float(f'{factor:.2g}'):,.0f}"
    return Finding(
        f"{most} takes {times} times as long as {least}.",
        f"The median is {_seconds(seconds.iloc[-1])} an image against {_seconds(seconds.iloc[0])}.",
    )


def _seconds(value: float) -> str:
    return f"{value:,.2g} s" if value < 10 else f"{value:,.0f} s"


def passes(study: StudyReport) -> Finding:
    """How often ScoreCAM and AblationCAM run the network."""
    if reason := missing(study, "costs", "correlations"):
        return reason
    table = cams.costs(study)
    said = []
    if "scorecam" in table.index and "scorecam" in cams.methods(study):
        row = table.loc[["scorecam"]].iloc[0]
        said.append(
            f"ScoreCAM runs the network {row['mean_passes']:,.0f} times an image as a mean, "
            f"{row['passes']:,.0f} as a median."
        )
    if "ablationcam" in table.index and "ablationcam" in cams.methods(study):
        row = table.loc[["ablationcam"]].iloc[0]
        said.append(_ablations(row))
    return Finding("", " ".join(said)) if said else absent("No method needs many passes.")


def _ablations(row: pd.Series) -> str:
    if not row["head"]:
        return f"AblationCAM runs the whole network {_times(row['passes'])} (median)."
    return (
        f"AblationCAM runs the whole network {_times(row['passes'])} (median), and what follows "
        f"the explained layer {_times(row['head'])}."
    )


def _times(value: float) -> str:
    return "once" if value == 1 else f"{value:,.0f} times"

"""Findings about class activation maps: how alike they are, where they lie, what they cost."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from vitrine.measures.difference import Difference, paired_difference, pairing_difference
from vitrine.measures.localisation import POINTING_TOLERANCE, near
from vitrine.report import cams
from vitrine.report.findings.finding import Finding, absent, absent_if
from vitrine.report.findings.sentences import by_how_many, quantity, span, spelt, which_way
from vitrine.report.parts import needs
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing, number, part_of, percent, plural

_SAME_MAP = 0.95
"""Two maps of at least this rank correlation are called nearly the same."""

NEAR = f"{percent(POINTING_TOLERANCE)} of the frame's side"
"""The tolerance of the pointing game."""

SMALL = 0.1
"""An object that covers less of the frame is called small."""

AS_LONG = 1.5
"""Seconds that differ by less than this factor are called about as long: machines vary so much."""

FEW_IMAGES = 5
"""The median of fewer images may be one disturbance of the machine."""

BLIND = "eigencam"
"""The method that asks for no class."""

ONE_METHOD = "This study has no two class activation maps to compare."
NO_OBJECT = "No object is outlined in the images of this study."


@needs("correlations")
def one_map(study: StudyReport) -> Finding:
    """Whether the methods give nearly the same map, over all pairs of the study."""
    means = cams.correlations(study).groupby("pair")["rho"].mean().dropna().sort_values()
    absent_if(means.empty, ONE_METHOD)
    if len(means) == 1:
        words = f"{means.index[0]} are [nearly one map||not the same map]."
        text = f"Their mean rank correlation is {_rho(means.iloc[0])}."
        return by_how_many(means >= _SAME_MAP, words, text)
    return by_how_many(
        means >= _SAME_MAP,
        "[All class activation maps are nearly one map|Some class activation maps are nearly one "
        "map, others are not|No two class activation maps are nearly the same].",
        f"Over the images the mean rank correlation is greatest for {means.index[-1]} "
        f"({_rho(means.iloc[-1])}) and least for {means.index[0]} ({_rho(means.iloc[0])}).",
    )


def _rho(value: float) -> str:
    """Three digits where two would round a rank correlation across ``_SAME_MAP`` or to 1."""
    return number(value, 3 if value > _SAME_MAP - 0.01 else 2)


@needs("correlations")
def beyond_baseline(study: StudyReport) -> Finding:
    """Whether the maps of one image agree more than maps of different images, by pair."""
    rows = cams.correlations(study, cams.distinct(study))
    if (rows["rho"] - rows["rho_other_images"]).dropna().empty:
        return absent("There are no two images and two methods whose maps could be compared.")
    pairs = list(dict.fromkeys(zip(rows["first"], rows["second"], strict=True)))
    tests = [pairing_difference(study.rho_matrix(*pair), len(pairs)) for pair in pairs]
    return _tested(
        tests,
        "pair",
        "[Every two|Some pairs of|That two] class activation maps agree more on an image than "
        "across images[|| cannot be shown].",
        f"The mean rank correlation is {number(rows['rho'].mean())} on an image and "
        f"{number(rows['rho_other_images'].mean())} across images. ",
        "agree more on an image",
    )


def _tested(tests: list[Difference], noun: str, sentence: str, text: str, what: str) -> Finding:
    """A finding about several tests: how many of them came out larger, and how many smaller."""
    directions = [test.direction for test in tests]
    larger, smaller = directions.count("larger"), directions.count("smaller")
    if set(directions) == {"too few"}:
        few = max(test.count for test in tests)
        return Finding("", f"{text}So few images ({few}) cannot tell this from chance.", "too few")
    part = part_of(larger, len(tests), noun)
    text += f"Tested and corrected for {plural(len(tests), 'comparison')}: {part} {what}"
    text += f", {part_of(smaller, len(tests), noun)} less." if smaller else "."
    if larger * 2 > len(tests):
        sentence = sentence.replace("|Some ", "|Most ", 1)
    return by_how_many([direction == "larger" for direction in directions], sentence, text)


@needs("correlations")
def differ_most(study: StudyReport) -> Finding:
    """The image on which two of the main methods are least alike."""
    rows = cams.correlations(study, cams.main_methods(study)).dropna(subset=["rho"])
    absent_if(rows.empty, ONE_METHOD)
    least = rows.sort_values("rho").iloc[0]
    text = f"Of the methods in the chart, the least alike are {least['pair']} on {least['image']}, "
    return Finding("", f"{text}with a rank correlation of {_rho(least['rho'])}.")


@needs("correlations")
def main_alike(study: StudyReport) -> Finding:
    """Whether the main methods give nearly the same map, pair by pair."""
    rows = cams.correlations(study, cams.main_methods(study)).dropna(subset=["rho"])
    absent_if(rows.empty, ONE_METHOD)
    means = rows.groupby("pair")["rho"].mean().sort_values(ascending=False)
    least = rows.sort_values("rho").iloc[0]
    known = [*rows["first"], *rows["second"]]
    who = listing(study.method_titles[m] for m in cams.main_methods(study) if m in known)
    text = "Over the images the mean rank correlation is "
    text += listing(f"{_rho(mean)} for {pair}" for pair, mean in means.items())
    text += f". The least alike are {least['pair']} on {least['image']} ({_rho(least['rho'])})."
    words = f"[{who} are nearly one map|Of {who} some are nearly one map, others are not|"
    words += f"{who} are not the same map]." if len(means) == 1 else f"No two of {who} are alike]."
    return by_how_many(means >= _SAME_MAP, words, text)


@needs("correlations")
def same_weights(study: StudyReport) -> Finding:
    """Whether Grad-CAM and HiResCAM are one map, as they are before pooling and one layer."""
    if not {"gradcam", "hirescam"} <= set(cams.cam_methods(study)):
        return absent("This study does not have both Grad-CAM and HiResCAM.")
    rho = cams.correlations(study, ["gradcam", "hirescam"])["rho"].dropna()
    absent_if(rho.empty, "Grad-CAM and HiResCAM have no maps to compare.")
    same, everywhere = rho.min() >= cams.SAME, number(rho.min(), 3) == number(rho.max(), 3)
    where = f"on {part_of(len(rho), len(rho), 'image')}" if everywhere else "by image"
    text = f"Their rank correlation is {span(rho, digits=3)} {where}."
    return by_how_many(same, "Grad-CAM and HiResCAM [are one map||differ].", text)


@needs("maps")
def without_class(study: StudyReport) -> Finding:
    """Whether the method that asks for no class has as much weight on the object as the others."""
    names = cams.cam_methods(study)
    others = [name for name in names if name != BLIND]
    if BLIND not in names or not others:
        return absent("This study has no map without a class beside maps of a class.")
    absent_if(not study.objects, NO_OBJECT)
    shares = cams.inside(study, names).dropna()
    absent_if(shares.empty, "No map has positive weight to compare on an object.")
    rest = shares[others].mean(axis=1)
    more, title = paired_difference((shares[BLIND] - rest).to_numpy()), study.method_titles[BLIND]
    who = f"{title}, which asks for no class, has"
    no_proof = "so lying on the object is no proof of explaining the class"
    return which_way(
        more,
        f"{who} [more|less] of its weight on the object than the others[, {no_proof}|]",
        f"It has {percent(shares[BLIND].mean())} there and the others "
        f"{percent(rest.mean())} on average. The difference is {spelt(more)}.",
        few=f"{title} asks for no class.",
        undecided=f"Whether {who} more or less of its weight on the object than the others is "
        "undecided.",
    )


@needs("maps")
def on_object(study: StudyReport) -> Finding:
    """Whether the methods have more of their weight on the object than its area, by method."""
    absent_if(not study.objects, NO_OBJECT)
    shares, area = cams.inside(study, cams.distinct(study)), study.object_areas
    shares = shares.dropna(axis="columns", how="all")
    absent_if(shares.empty, "No map has positive weight to compare on an object.")
    gain = shares.div(area, axis=0)
    gains = [(shares[name] - area).to_numpy() for name in shares]
    text = "A map's share of weight on the object, divided by the object's area, is "
    text += f"{span(gain, digits=1)} over all methods and images; a map without information has 1"
    text += f"{_edges(study, shares)}. "
    if left := [name for name in cams.cam_methods(study) if name not in cams.distinct(study)]:
        give, are = ("gives", "is") if len(left) == 1 else ("give", "are")
        text += f"{listing(study.method_titles[name] for name in left)} {give} the maps of another "
        text += f"one and {are} not counted again. "
    return _tested(
        [paired_difference(gain, len(gains)) for gain in gains],
        "method",
        "[All class activation maps prefer the object|Some class activation maps prefer the object|"
        "That a class activation map prefers the object cannot be shown].",
        text,
        "have more weight on the object than its area",
    )


def _edges(study: StudyReport, shares: pd.DataFrame) -> str:
    """What the edges of the same images have, as the end of a sentence; nothing if not measured."""
    if not study.has("evaluation"):
        return ""
    rows = study.table("evaluation").query("method == 'edges' and image in @shares.index")
    wide = rows.pivot(index="image", columns="measure", values="value").astype(float)
    found = wide.reindex(columns=["inside", "share_inside"])
    if found["inside"].isna().all():
        return ""
    text = ", and the image's edges, which know no network, "
    text += f"{number(found['inside'].mean(), 1)} on average"
    if found["share_inside"].isna().all():
        return text
    beyond = shares.sub(found["share_inside"], axis=0)
    more = [paired_difference(beyond[name].to_numpy(), len(shares.columns)) for name in beyond]
    larger = [gain.direction == "larger" for gain in more]
    have = "has" if sum(larger) == 1 or len(larger) == 1 else "have"
    return f"{text}: {part_of(sum(larger), len(larger), 'method')} {have} significantly more"


@needs("maps")
def maximum(study: StudyReport) -> Finding:
    """At how many objects the maximum of one method points."""
    absent_if(not study.objects, NO_OBJECT)
    method = cams.preferred(study)
    on, title = cams.maxima(study)[method].dropna(), study.method_titles[method]
    absent_if(on.empty, f"No map of {title} has a maximum on an image with an outlined object.")
    beside = list(on.index[on == 0])
    text = f"It lies on the object, or within {NEAR} of it, {_for(on)}"
    if quantity(on) == "some" and len(beside) <= 8:
        text += f", and elsewhere for {listing(beside)}"
    text += f"; a random place would for {_by_chance(study, on.index)} of them"
    where = "[at every object|at some objects and past others|past every object]"
    return by_how_many(on, f"{title}'s maximum points {where}.", f"{text}.")


def _for(held: npt.ArrayLike, noun: str = "image") -> str:
    """For how many images something holds: "for three of ten images", "for no image"."""
    some = np.asarray(held)
    return f"for {part_of(int(some.sum()), len(some), noun)}" if some.any() else f"for no {noun}"


def _by_chance(study: StudyReport, images: Iterable[str]) -> str:
    """On how many of these images' objects, of all, a random place would point, as a share."""
    return percent(float(np.mean([near(study.objects[image]).mean() for image in images])))


@needs("maps")
def small_objects(study: StudyReport) -> Finding:
    """Whether the maxima of all methods point at objects that are small."""
    absent_if(not study.objects, NO_OBJECT)
    small = study.object_areas.index[study.object_areas < SMALL]
    points = cams.maxima(study).loc[list(small), cams.distinct(study)].stack().dropna()
    absent_if(points.empty, "No outlined object is small enough to ask where the maxima lie.")
    images, on = points.index.get_level_values(0), points.to_numpy(dtype=float)
    return by_how_many(
        on,
        "[Every maximum points at small objects|Some maxima point at small objects, others past "
        "them|Every maximum points past small objects].",
        f"Where the object covers less than {percent(SMALL)} of the frame, the maximum lies on it, "
        f"or within {NEAR}, {_for(on, 'map')}; a random place would for "
        f"{_by_chance(study, images)} of them.",
    )


@needs("maps")
def half_maximum(study: StudyReport) -> Finding:
    """How far the areas above half of the maximum differ between methods on one image."""
    areas = cams.half_maximum_areas(study)
    areas = areas.where(areas > 0)
    ratio = (areas.max(axis=1) / areas.min(axis=1))[areas.notna().sum(axis=1) > 1]
    only = str(areas.columns[0]) if len(areas.columns) == 1 and areas.notna().any(axis=None) else ""
    if only in cams.cam_methods(study):
        text = f"Half of the maximum of {study.method_titles[only]} marks "
        text += f"{span(areas, as_percent=True)} of the frame; there is no second map to compare."
        return Finding("", text)
    absent_if(ratio.empty, "There are no two maps of an image whose areas could be compared.")
    sizes, limits, image = "similar", "", str(ratio.idxmax())
    if ratio.max() >= 1.5:
        sizes, limits = "different", ", which limits their overlap before their places matter"
    ends = areas.loc[image].idxmin(), areas.loc[image].idxmax()
    least, most = (study.method_titles[str(method)] for method in ends)
    text = "For two methods on one image the areas differ by a factor of up to "
    text += f"{number(ratio.max(), 1)} ({most} and {least} on {image}){limits}."
    return Finding(f"Half of the maximum marks regions of {sizes} sizes.", text)


@needs("maps")
def second_class(study: StudyReport) -> Finding:
    """Whether the maps of the two most probable classes are nearly the same."""
    rows = cams.second_class_rows(study).dropna(subset=["rho"])
    absent_if(rows.empty, "This study has no maps of the second most probable class.")
    rho, title = rows["rho"], study.method_titles[str(rows["method"].iloc[0])]
    same = rho >= _SAME_MAP
    return by_how_many(
        same,
        "The maps of the two most probable classes [are nearly the same|are nearly the same for "
        "some images|differ].",
        f"For {title} the rank correlation is {_rho(rho.mean())} on average and "
        f"{_rho(rho.min())} at the least. It is at least {number(_SAME_MAP)} for "
        f"{part_of(int(same.sum()), len(rho), 'image')}.",
    )


@needs("maps")
def layers(study: StudyReport) -> Finding:
    """Whether the map depends on the layer."""
    rows = cams.other_layers(study)
    absent_if(rows.empty, "This study has class activation maps of one layer only.")
    means = rows.groupby("layer")["rho"].mean().dropna().sort_values()
    absent_if(means.empty, "The maps at other layers cannot be compared: they are blank.")
    same = bool((means >= _SAME_MAP).all())
    text = f"With the map of {cams.layer(study)} the mean rank correlation is "
    text += f"{number(means.iloc[0])} at {means.index[0]}"
    text += f" and {number(means.iloc[-1])} at {means.index[-1]}." if len(means) > 1 else "."
    if blank := int(rows["is_constant"].sum()):
        verb = "is" if blank == 1 else "are"
        text += f" Without positive evidence {verb} {part_of(blank, len(rows), 'map')}."
    headline = "The map hardly depends on the layer." if same else "The map depends on the layer."
    return Finding(headline, text, "all" if same else "some")


@needs("costs", "maps")
def cost(study: StudyReport) -> Finding:
    """How far the methods differ in seconds."""
    costs = cams.costs(study)
    seconds = costs["seconds"].reindex(cams.cam_methods(study)).dropna().sort_values()
    if len(seconds) < 2 or seconds.iloc[0] <= 0:
        return absent("There are no two methods whose seconds could be compared.")
    ends = seconds.iloc[[0, -1]]
    least, most = (study.method_titles[str(method)] for method in ends.index)
    short, long = (f"{value:,.{'2g' if value < 10 else '0f'}} s" for value in ends)
    factor = ends.iloc[1] / ends.iloc[0]
    passes = costs.loc[ends.index, ["passes", "head"]]
    text = f"Their medians are {short} ({least}) to {long} ({most}) an image."
    if factor < AS_LONG:
        return Finding("All class activation maps take about as long.", text)
    if len(study.images) < FEW_IMAGES and passes.nunique().eq(1).all():
        return Finding("Which map takes the longest cannot be told from so few images.", text)
    times = number(factor, 1) if factor < 10 else f"{float(f'{factor:.2g}'):,.0f}"
    text = f"The median is {long} an image against {short}."
    return Finding(f"{most} takes {times} times as long as {least}.", text)


@needs("costs", "correlations")
def passes(study: StudyReport) -> Finding:
    """How often ScoreCAM and AblationCAM run the network."""
    costs, said = cams.costs(study), []
    rows = costs[costs.index.isin(cams.cam_methods(study))].to_dict("index")
    if row := rows.get("scorecam"):
        said.append(
            f"ScoreCAM runs the network {row['mean_passes']:,.0f} times an image as a mean, "
            f"{row['passes']:,.0f} as a median."
        )
    if row := rows.get("ablationcam"):
        text = f"AblationCAM runs the whole network {_times(row['passes'])} (median)"
        if row["head"]:
            text += f", and what follows the explained layer {_times(row['head'])}"
        said.append(f"{text}.")
    return Finding("", " ".join(said)) if said else absent("No method needs many passes.")


def _times(value: float) -> str:
    return "once" if value == 1 else f"{value:,.0f} times"

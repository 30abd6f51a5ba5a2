"""Findings about how far LIME and a class activation map, and all methods, agree."""

from itertools import combinations

import numpy as np
import pandas as pd

from vitrine.measures.association import spearman
from vitrine.measures.difference import Difference, paired_difference, pairing_difference
from vitrine.measures.dispersion import between_columns, between_rows
from vitrine.measures.thresholds import REGION_RULES
from vitrine.report import compared
from vitrine.report.cams import distinct
from vitrine.report.compared import IMAGE_SPECIFIC, LIME, at_share, pair_rows, rule_title
from vitrine.report.findings.finding import Finding, absent, absent_if
from vitrine.report.findings.sentences import by_how_many, rho_way, span, spelt, which_way
from vitrine.report.parts import needs
from vitrine.report.study_report import StudyReport
from vitrine.report.text import count, listing, number, p_text, part_of, percent, plural

COVERED = 0.9
"""A region of so much of the frame leaves the other region to decide the IoU."""

OTHER = "iou_other_images"
"""The column of the cross-image baseline."""

_CLOSE = 0.05
"""Two shares that differ by less are called the same."""


@needs("agreement")
def same_image(study: StudyReport) -> Finding:
    """Whether the two maps of one image agree more than maps of different images do."""
    rows, both = at_share(study), compared.pair(study)
    known = rows["iou"].dropna()
    absent_if(known.empty, f"On no image do both {both} have a map that marks a region.")
    second = compared.second_method(study)
    gain = pairing_difference(study.iou_matrix(LIME, second))
    few = f"{both} are compared on {plural(len(known), 'image')}."
    text = (
        f"Their mean IoU is {number(known.mean())} where each region covers "
        f"{percent(compared.share_of(study))} of the frame; regions at random have "
        f"{number(rows['iou_chance'].mean())}."
    )
    if gain.count < 2:
        alone = "There is no other image to compare with."
        if len(rows) > 1:
            alone = (
                "On no other image do both maps mark a region, so there is none to compare with."
            )
        return Finding(few, f"{text} {alone}", "too few")
    text += f" The cross-image baseline is {number(known.mean() - gain.mean)}, and the "
    text += f"image-specific IoU (minus that baseline) {spelt(gain)}; by image it is "
    text += f"{span(rows[IMAGE_SPECIFIC])}."
    return which_way(gain, f"{both} agree [more|less] on an image than across images", text, few)


@needs("agreement")
def below_baseline(study: StudyReport) -> Finding:
    """The images on which the two maps agree no better than with the maps of other images."""
    gain = at_share(study)[IMAGE_SPECIFIC].dropna().sort_values()
    absent_if(gain.empty, "There are no two images whose maps could be compared.")
    below = list(gain.index[gain <= 0])
    part = part_of(len(below), len(gain), "image")
    text = f"The IoU is at or below the cross-image baseline for {part}"
    named = f": {listing(below)}" if 0 < len(below) <= 8 and len(gain) > 1 else ""
    return Finding("", f"{text}{named}.", "some" if below else "none")


@needs("agreement", "ious")
def rule_or_image(study: StudyReport) -> Finding:
    """Whether the IoU depends more on the threshold rule or on the image."""
    table = pair_rows(study, "ious").pivot(index="image", columns="rule", values="iou")
    values = table.dropna(axis="columns", how="all").dropna().to_numpy(dtype=float)
    if len(values) < 3 or values.shape[1] < 2:
        few = "Rules and images are compared where three images or more have an IoU by two rules."
        return absent(few)
    rules, images = between_columns(values), between_rows(values)
    apart = paired_difference(rules - images)
    return which_way(
        apart,
        "IoU depends more on the [threshold rule|image] than on the [image|threshold rule]",
        f"Two rules give an image IoUs that differ by {number(rules.mean())} on average, and two "
        f"images differ by {number(images.mean())} under one rule. The difference is "
        f"{spelt(apart)}.",
        few="IoU depends on the threshold rule and on the image.",
        undecided="Whether IoU depends more on the threshold rule or on the image is undecided.",
    )


def tested_rules(study: StudyReport) -> dict[str, Difference]:
    """By rule: whether the pair's image-specific IoU differs from zero, corrected for all rules."""
    second, known = compared.second_method(study, "ious"), set(pair_rows(study, "ious")["rule"])
    rules = [rule for rule in REGION_RULES if rule in known]
    return {
        rule: pairing_difference(study.iou_matrix(LIME, second, rule), len(rules)) for rule in rules
    }


@needs("agreement", "ious")
def rules(study: StudyReport) -> Finding:
    """By which rules the two maps of an image agree more than maps of different images do."""
    titles: dict[str, list[str]] = {}
    tested = tested_rules(study)
    nothing = not any(found.count for found in tested.values())
    absent_if(nothing, "By no rule do both maps mark a region of one image.")
    for rule, found in tested.items():
        titles.setdefault(found.direction, []).append(f"“{rule_title(rule)}”")
    tests = sum(map(len, titles.values()))
    if titles.keys() <= {"too few"}:
        return Finding("", "So few images cannot tell one rule's IoU from its baseline.", "too few")
    more, less = titles.get("larger", []), titles.get("smaller", [])
    text = f"Corrected for {plural(tests, 'test')}"
    if len(more) == tests:
        headline = "By every rule the IoU exceeds the cross-image baseline."
        return Finding(headline, f"{text}, this holds by each of them." if tests > 1 else "", "all")
    below = f"; it is below it by {listing(less)}" if less else ""
    if not more:
        headline = "By no rule is the IoU significantly above the cross-image baseline."
        return Finding(headline, f"{text}, none shows it{below}.", "none")
    which = f"these are {listing(more)}" if len(more) > 1 else f"this is {more[0]}"
    some = part_of(len(more), tests, "rule")
    headline = f"By {some} the IoU significantly exceeds the cross-image baseline."
    return Finding(headline, f"{text}, {which}{below}.", "some")


@needs("agreement", "ious", "regions")
def largest_rule(study: StudyReport) -> Finding:
    """What the greatest IoU of any rule says."""
    rows = pair_rows(study, "ious")
    means = rows.groupby("rule", sort=False)[["iou", "iou_other_images"]].mean().dropna()
    absent_if(means.empty, "No rule has IoUs of two images or more.")
    rule = str(means["iou"].idxmax())
    iou, baseline = (float(means[column][rule]) for column in ("iou", "iou_other_images"))
    text = f"The rule with the greatest IoU is “{rule_title(rule)}”: {number(iou)}, where the "
    text += f"cross-image baseline is {number(baseline)}."
    areas = study.table("regions").query("rule == @rule").groupby("method")["area"].mean()
    other = compared.second_method(study, "ious")
    if not (areas.get(other, 0) >= COVERED and abs(iou - areas.get(LIME, np.inf)) < _CLOSE):
        return Finding("", text)
    text += f" {study.method_titles[other]} covers {percent(areas[other])} of the frame by it, so "
    return Finding("", f"{text}IoU reduces to LIME's area ({percent(areas[LIME])}).", "area")


@needs("agreement")
def shares(study: StudyReport) -> Finding:
    """How the IoU and its baseline grow with the regions."""
    rows = pair_rows(study)
    means = rows.groupby("share")["iou"].mean().dropna()
    absent_if(means.empty, "On no image do both maps mark a region.")
    absent_if(len(means) < 2, "The maps are compared at one share of the frame only.")
    second = compared.second_method(study)
    found = [
        pairing_difference(study.iou_matrix(LIME, second, share=share), len(means)).direction
        for share in means.index
    ]
    text = f"From {percent(means.index[0])} to {percent(means.index[-1])} of the frame the mean "
    text += f"IoU goes from {number(means.iloc[0])} to {number(means.iloc[-1])}."
    if {*found} != {"too few"}:
        text += (
            f" Corrected for {plural(len(found), 'test')}, it significantly exceeds the "
            f"cross-image baseline at {part_of(found.count('larger'), len(found), 'share')}."
        )
    return Finding("", text)


def _by_image(study: StudyReport, pairs: list[tuple[str, str]], column: str = "iou") -> pd.Series:
    """The mean of a column of ``ious`` over pairs of methods at equal area, by image."""
    rows = study.table("ious").query("rule == 'share'")
    keys = pd.MultiIndex.from_frame(rows[["first", "second"]])
    return rows[keys.isin([*pairs, *((b, a) for a, b in pairs)])].groupby("image")[column].mean()


def _methods(study: StudyReport, section: str) -> list[str]:
    """The methods of a section whose maps are compared."""
    rows = study.table("ious")
    known = {*rows["first"], *rows["second"]}
    return [name for name in study.parameters(section).get("methods", ()) if name in known]


@needs("ious")
def cams(study: StudyReport) -> Finding:
    """Whether class activation maps agree with each other more than with LIME."""
    methods = [name for name in _methods(study, "cam") if name in distinct(study)]
    absent_if(len(methods) < 2, "This study has no two class activation maps that differ.")
    among = _by_image(study, list(combinations(methods, 2)))
    with_lime = _by_image(study, [(LIME, method) for method in methods])
    if among.dropna().empty or with_lime.dropna().empty:
        return absent("No two class activation maps could be compared.")
    gain = paired_difference((among - with_lime).to_numpy())
    return which_way(
        gain,
        "class activation maps agree with [each other|LIME] more than with [LIME|each other]",
        f"Their mean IoU is {number(among.mean())} among themselves and "
        f"{number(with_lime.mean())} with LIME. The difference is {spelt(gain)}.",
        few="Class activation maps are compared with each other and with LIME.",
    )


@needs("ious")
def furthest_cams(study: StudyReport) -> Finding:
    """Which class activation maps agree least."""
    pairs = combinations(_methods(study, "cam"), 2)
    means = {one: float(_by_image(study, [one]).mean()) for one in pairs}
    known = {one: mean for one, mean in means.items() if np.isfinite(mean)}
    absent_if(len(means) < 2, "This study has fewer than three class activation maps.")
    absent_if(len(known) < 2, "Fewer than three class activation maps mark a region to compare.")
    least = min(known, key=lambda one: known[one])
    names = listing(study.method_titles[method] for method in least)
    text = f"The class activation maps with the least IoU are {names} ({number(known[least])})."
    return Finding("", text)


@needs("ious")
def attributions(study: StudyReport) -> Finding:
    """Whether attribution methods agree with each other more on an image than across images."""
    pairs = list(combinations(_methods(study, "attribution"), 2))
    among = _by_image(study, pairs) if pairs else pd.Series(dtype=float)
    absent_if(not pairs, "This study has fewer than two attribution methods.")
    absent_if(among.dropna().empty, "No two attribution methods mark regions to compare.")
    gains = [pairing_difference(study.iou_matrix(*pair), len(pairs)) for pair in pairs]
    text = f"Their mean IoU is {number(among.mean())} over {plural(len(pairs), 'pair')}."
    if {gain.direction for gain in gains} == {"too few"}:
        return Finding("Attribution methods are compared with each other.", text, "too few")
    more = [gain.direction == "larger" for gain in gains]
    text += f" The cross-image baseline is {number(_by_image(study, pairs, OTHER).mean())}."
    if len(pairs) > 1:
        text += f" Each pair is tested, corrected for {plural(len(pairs), 'test')}."
    part = part_of(sum(more), len(pairs), "pair").capitalize()
    return by_how_many(
        more,
        f"[All attribution methods agree|{part} of attribution methods agree|That two attribution "
        "methods agree] more on an image than across images[|| cannot be shown].",
        text,
    )


@needs("agreement", "ious")
def nearest_attribution(study: StudyReport) -> Finding:
    """Which attribution methods agree most and least with the class activation map."""
    other = compared.second_method(study, "ious")
    means = {
        method: float(_by_image(study, [(other, method)]).mean())
        for method in _methods(study, "attribution")
        if method != other
    }
    ranked = sorted((m for m in means if np.isfinite(means[m])), key=lambda m: means[m])
    absent_if(len(means) < 2, "This study has fewer than two attribution methods.")
    absent_if(len(ranked) < 2, "Fewer than two attribution methods mark a region to compare.")
    titles, least, most = study.method_titles, ranked[0], ranked[-1]
    text = f"Of the attribution methods {titles[most]} has the greatest IoU with {titles[other]} "
    text += f"({number(means[most])}), and {titles[least]} the least ({number(means[least])})."
    return Finding("", text)


@needs("agreement")
def precision(study: StudyReport) -> Finding:
    """How well so many images tell the mean IoU."""
    iou = at_share(study)["iou"].dropna()
    mean, low, high = compared.mean_interval(study, iou)
    absent_if(not np.isfinite(low), "An interval of the mean IoU needs five images or more.")
    text = f"Over {plural(len(iou), 'image')} the mean IoU is {number(mean)}, with a 95% bootstrap "
    return Finding("", f"{text}interval from {number(low)} to {number(high)}.")


@needs("agreement")
def centred(study: StudyReport) -> Finding:
    """Whether the IoU goes with how far the object lies from the frame's centre."""
    offset = {
        image: float(np.hypot(*(np.argwhere(mask).mean(axis=0) / mask.shape - 0.5)))
        for image, mask in study.objects.items()
        if mask.any()
    }
    iou = at_share(study)["iou"].reindex(list(offset)).to_numpy(dtype=float)
    found = spearman(np.array(list(offset.values())), iou)
    absent_if(np.isnan(found.rho), "Too few images have an outlined object to ask where it lies.")
    headline, verdict = rho_way(
        found,
        "IoU is [higher|lower] where the object lies off the centre",
        "IoU is not significantly correlated with the object's distance from the centre.",
    )
    text = f"Over {count(found.count)} images with an outlined object rho is {number(found.rho)} "
    return Finding(headline, f"{text}({p_text(found.p_value)}).", verdict)

"""Findings about the labels of units: how far to trust them, and what they depend on."""

import numpy as np
import pandas as pd

from vitrine.data.images import image_name
from vitrine.experiments.dissection_tables import SIGNIFICANT
from vitrine.measures.association import spearman
from vitrine.measures.difference import paired_difference
from vitrine.report.dissected import RULES, dissected
from vitrine.report.findings.finding import Finding, absent, absent_if
from vitrine.report.findings.sentences import bound, by_how_many, rho_way, span
from vitrine.report.parts import needs
from vitrine.report.study_report import StudyReport
from vitrine.report.text import count, listing, number, p_text, part_of, percent, plural

_NAMED = 6
"""So many layers are named in a sentence; more are counted."""

RATE = f"{SIGNIFICANT:.0%}"
"""The false discovery rate within a layer, in words."""

ALL_CONSTANT = "Every dissected unit responds to all images of the probing set alike."


@needs("units")
def significant_units(study: StudyReport) -> Finding:
    """For how many units the label is better than chance, before the classifier and in it."""
    found = dissected(study)
    absent_if(found.units.empty, ALL_CONSTANT)
    share = found.units["significant"].mean()
    whose, verdict = ("every unit the", "all") if share == 1 else ("most units the", "most")
    if share <= 0.5:
        whose, verdict = ("no unit is the", "none") if not share else ("most units no", "few")
    headline = f"For {whose} label {'is ' if share else ''}significantly better than chance."
    parts = [
        f"{where} {_have(units)} a significant label."
        for units, where in (
            (found.hidden, "Before the classifier layers"),
            (found.of_classes, "In the classifier layers"),
        )
        if len(units)
    ]
    rate = f"A label is significant at a false discovery rate of {RATE} within its layer."
    return Finding(headline, " ".join([rate, *parts]), verdict)


def _have(units: pd.DataFrame) -> str:
    """How many units are significant, as the subject of a sentence with its verb."""
    survivors = int(units["significant"].sum())
    verb = "has" if survivors == 1 or len(units) == 1 else "have"
    return f"{part_of(survivors, len(units), 'unit')} {verb}"


@needs("units")
def layers_without(study: StudyReport) -> Finding:
    """The layers of which no label survives."""
    found = dissected(study)
    absent_if(found.units.empty, ALL_CONSTANT)
    survive = found.units.groupby(["network", "layer"], sort=False)["significant"].sum()
    none: list[tuple[str, str]] = list(survive.index[survive == 0])
    if not none:
        return Finding("", "Every layer has a unit whose label is significant.", "none")
    part = part_of(len(none), len(survive), "layer")
    text = f"In {part} no unit has a label that is significantly better than chance."
    if len(none) < len(survive) and len(none) <= _NAMED:
        named = listing(f"{layer} of {network}" for network, layer in none)
        text += f" {'This is' if len(none) == 1 else 'These are'} {named}."
    return Finding("", text, "all" if len(none) == len(survive) else "some")


@needs("units", "classes")
def power(study: StudyReport) -> Finding:
    """What the test can see: how many labels that are exactly right are significant."""
    classes = dissected(study).classes
    right = classes[classes["exact"]]
    absent_if(right.empty, "No label of a classifier unit names its class exactly.")
    survive = int(right["significant"].sum())
    missed = f"misses {percent(1 - survive / len(right))}"
    return by_how_many(
        right["significant"],
        f"The test [finds every label that is|{missed} of the labels that are|finds none of the "
        "labels that are] known to be right.",
        f"A classifier's unit is a class, and {plural(len(right), 'label')} "
        f"{'is' if len(right) == 1 else 'are'} exactly a name of that class. "
        f"The test finds {part_of(survive, len(right), 'label') if survive else 'none of them'}. "
        "A label that is not significant may still be right.",
    )


@needs("units", "top_images")
def best_hidden_label(study: StudyReport) -> Finding:
    """Whether the label of the highest similarity names its unit's strongest images."""
    found = dissected(study)
    absent_if(found.hidden.empty, "No layer before a classifier was dissected.")
    best = found.hidden.nlargest(1, "similarity").iloc[0]
    images = study.networks_table("top_images")
    key = ["network", "layer", "unit"]
    own = images[(images[key] == best[key]).all(axis=1)]
    if own.empty:
        return absent("The strongest images of the unit of the highest similarity were not kept.")
    label, names = str(best["label"]), [image_name(file)[0].lower() for file in own["image"]]
    named = sum(label.lower() in name for name in names)
    text = (
        f"Before the classifiers, the highest similarity is that of “{label}”: unit "
        f"{int(best['unit'])} of {best['layer']} of {best['network']}. The label "
        f"{'is' if best['significant'] else 'is not'} significant. Of the unit's strongest images, "
        f"{_named(named, len(names))}."
    )
    return Finding("", text, "named" if named else "unnamed", same_as=label)


def _named(named: int, whole: int) -> str:
    if whole == 1:
        return f"the one that was kept {'has' if named else 'does not have'} the label in its name"
    if named == 1:
        return f"one of {count(whole)} has the label in its name"
    return f"{count(named) if named else 'none'} of {count(whole)} have the label in their names"


@needs("layers")
def ceiling(study: StudyReport) -> Finding:
    """Whether the greatest similarity of a layer follows from how many units it has."""
    found = dissected(study)
    similarity = found.study.dissection["similarity"]
    if not similarity.get("within_layer") or similarity["parameters"].get("lam") != 1:
        return absent("The similarity of this study has no ceiling that depends on the layer.")
    layers = found.layers[found.layers["greatest"].notna()]
    share = layers["greatest"] / layers["ceiling"].where(layers["ceiling"] > 0)
    absent_if(share.isna().all(), "No layer has two units with a label.")
    text = f"The greatest similarities reach {span(share, as_percent=True)} of the ceiling, which "
    text += "is the logarithm of the number of units."
    together = spearman(layers["greatest"].to_numpy(), layers["ceiling"].to_numpy())
    if not np.isfinite(together.rho):
        return Finding("", text, "too few")
    text += f" Over {plural(together.count, 'layer')} Spearman's rho of the two is "
    text += f"{number(together.rho)} ({p_text(together.p_value)})."
    headline, verdict = rho_way(
        together,
        "a layer's greatest similarity [goes with its number of units|is lower the more units it "
        "has]",
        "Whether larger layers have greater similarities is undecided.",
        SIGNIFICANT,
    )
    return Finding(headline, text, verdict)


@needs("units", "classes")
def classes_named(study: StudyReport) -> Finding:
    """Whether the labels of classifier units are the names of their classes."""
    classes = dissected(study).classes
    absent_if(classes.empty, ALL_CONSTANT)
    listed = classes[classes["listed"]]
    apart = paired_difference((classes["cosine"] - classes["cosine_shuffled"]).to_numpy())
    tested = f" ({p_text(apart.p_value)})" if np.isfinite(apart.low) else ""
    alike = (
        f"The mean cosine of label and class name is {number(classes['cosine'].mean())}, against "
        f"{number(classes['cosine_shuffled'].mean())} for the labels of other units{tested}."
    ) * bool(np.isfinite(apart.mean))
    if listed.empty:
        return Finding("No class has its name in the concept list.", alike, "unlisted")
    share, whose = listed["exact"].mean(), "classifier units whose class is in the concept list get"
    if share >= 0.9:
        said = "The classifier's units are labelled with the names of their classes"
        verdict = "exact"
    elif share > 0.4:
        many, verdict = ("Most", "most") if share >= 0.6 else ("About half of the", "half")
        said = f"{many} {whose} its name"
    elif apart.direction == "larger":
        said = "Labels of the classifier's units come close to the class, but are seldom its name"
        verdict = "near"
    else:
        said, verdict = "Labels of the classifier's units do not name their classes", "unnamed"
    text = f"{percent(share)} of the classes that have a name in the list are named exactly; "
    text += f"{percent(classes['listed'].mean())} of all classes have one."
    return Finding(f"{said}.", f"{text} {alike}".strip(), verdict)


@needs("probing")
def stable_labels(study: StudyReport) -> Finding:
    """How many units keep their label when a part of the probing set is drawn."""
    probing = study.networks_table("probing")
    rows = probing[probing["rule"] == ("share" if "share" in set(probing["rule"]) else "fixed")]
    means = rows.groupby("size")["stable"].mean().dropna()
    if len(means) < 2:
        return absent("The probing set was drawn in one size, so there are none to compare.")
    whole, part, smallest = means.index[-1], means.index[-2], means.index[0]
    kept = means[part]
    if kept >= 0.9:
        headline, verdict = "Labels hardly depend on the choice of the probing set.", "stable"
    elif kept > 0.5:
        headline, verdict = "Labels depend in part on the choice of the probing set.", "part"
    else:
        headline, verdict = "Most labels depend on the choice of the probing set.", "unstable"
    text = f"With {part:,} of {whole:,} images, {percent(kept)} of the units keep their label."
    if smallest != part:
        text += f" With {smallest:,} images, {percent(means[smallest])} do."
    return Finding(headline, text, verdict)


@needs("probing")
def similarity_and_size(study: StudyReport) -> Finding:
    """Whether similarity grows with the probing set, by either rule."""
    probing = study.networks_table("probing")
    means = probing.groupby(["rule", "size", "draw"])["similarity"].mean().dropna()
    parts, directions = [], []
    for rule, words in RULES.items():
        by_size = means[means.index.get_level_values("rule") == rule].droplevel("rule")
        sizes = by_size.index.get_level_values("size").unique().sort_values()
        if len(sizes) < 2:
            continue
        small, large = by_size[sizes[0]], by_size[sizes[-1]]
        apart = large.min() > small.max(), large.max() < small.min()
        directions.append("larger" if apart[0] else "smaller" if apart[1] else "undecided")
        parts.append(
            f"With the {words} images, the mean similarity is {bound(small.mean())} at "
            f"{sizes[0]:,} images and {bound(large.mean())} at {sizes[-1]:,}."
        )
    absent_if(not parts, "The probing set was drawn in one size, so there are none to compare.")
    if len(set(directions)) > 1:
        headline = "How similarity changes with the probing set depends on the rule."
        return Finding(headline, " ".join(parts), "differ")
    parts.append("Either rule changes it by itself, so this says nothing of the labels.")
    return Finding(SIZES[directions[0]], " ".join(parts), directions[0])


SIZES = {
    "larger": "Similarity is greater over a larger probing set.",
    "smaller": "Similarity is smaller over a larger probing set.",
    "undecided": "Similarity does not change with the size of the probing set beyond its scatter.",
}
"""What is said where all draws of the two sizes are apart, and where they are not."""

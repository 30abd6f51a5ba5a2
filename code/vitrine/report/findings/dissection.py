"""Findings about network dissection: which concepts units learned, how many, how networks differ.

Counts are of significant labels: those left at a false discovery rate of 5% within each layer.
"""

from collections.abc import Sized
from itertools import combinations

import pandas as pd
from scipy.stats import fisher_exact

from vitrine.experiments.dissection_tables import SIGNIFICANT
from vitrine.report.dissected import Dissected, dissected
from vitrine.report.findings.finding import Finding, absent, absent_if
from vitrine.report.findings.labels import ALL_CONSTANT
from vitrine.report.findings.sentences import span
from vitrine.report.parts import needs
from vitrine.report.study_report import StudyReport
from vitrine.report.text import count, listing, p_text, percent, plural

FEW = 10
"""Fewer labels than these say little about how two networks differ."""

_NAMED = 6
"""So many networks have a sentence of their own; a table holds the others."""

_CLOSE = 0.05
"""Two shares that differ by less are called the same."""


@needs("units")
def frequent(study: StudyReport) -> Finding:
    """Which concepts most units of each network learned.

    Counted before the classifier layers, whose units are the classes, unless there is nothing else.
    """
    found = dissected(study)
    if found.significant.empty:
        return Finding("No concept is the significant label of a unit.", "", "none")
    units = found.hidden[found.hidden["significant"]]
    where = "" if found.of_classes.empty else "Before the classifiers, "
    if units.empty:
        units, where = found.significant, ""
    counts = {title: _counted(units[units["network"] == title]) for title in found.titles}
    if max(own.max() for own in counts.values() if len(own)) == 1:
        headline = "No concept is the significant label of more than one unit of a network."
        return Finding(headline, "", "single")
    text = where + " ".join(_most_frequent(*one) for one in list(counts.items())[:_NAMED])
    have = {title: own for title, own in counts.items() if own.sum() >= FEW}
    if not have:
        headline = "Which concept most units learned cannot be told from so few significant labels."
        return Finding(headline, text, "too few")
    common = sorted(set.intersection(*(set(_top(own)) for own in have.values())))
    those = "The networks" if len(have) == len(counts) else listing(have)
    if not common:
        headline = f"{those} differ in the concept that most units learned."
        return Finding(headline, text, "differ")
    every = _all_of(have) if len(have) == len(counts) else listing(have)
    most = f"units of {next(iter(have)) if len(have) == 1 else every}"
    said = f"concept that most {most} learned is"
    if len(common) > 1:
        said = f"concepts that most {most} learned, each as many, are"
    return Finding(f"The {said} {_quoted(common)}.", text, "one" if len(have) == 1 else "same")


def _all_of(networks: Sized) -> str:
    return "both networks" if len(networks) == 2 else f"all {count(len(networks))} networks"


def _counted(units: pd.DataFrame) -> pd.Series:
    """How many units have each label; the most frequent first, and then by name."""
    return units.groupby("label").size().sort_values(ascending=False, kind="stable")


def _top(counted: pd.Series) -> list[str]:
    """The most frequent labels, several where they are equally frequent."""
    return [str(label) for label in counted.index[counted == counted.max()]]


def _quoted(labels: list[str]) -> str:
    """Labels in a sentence, the first three by name."""
    named = [f"“{label}”" for label in labels[:3]]
    more = len(labels) - 3
    return listing([*named, f"{count(more)} more"] if more > 0 else named)


def _most_frequent(title: str, counted: pd.Series) -> str:
    if counted.empty:
        return f"{title}: no significant label."
    if counted.sum() < FEW:
        units = plural(int(counted.sum()), "unit")
        return f"{title}: {units} with a significant label, too few to compare."
    top = _top(counted)
    following = counted.iloc[len(top) :]
    said = [f"{_quoted(own)} {_units_of(counted, own)}" for own in (top, _top(following)) if own]
    return f"{title}: {', then '.join(said)}."


def _units_of(counted: pd.Series, labels: list[str]) -> str:
    """How many units have each of some equally frequent labels, in brackets."""
    each = " each" if len(labels) > 1 else ""
    return f"({plural(int(counted[labels[0]]), 'unit')}{each})"


@needs("units")
def how_many(study: StudyReport) -> Finding:
    """How many different concepts each network learned, also at equal numbers of units."""
    found = dissected(study)
    absent_if(found.units.empty, ALL_CONSTANT)
    table = found.diversity.set_index("network")
    labels = table["labels"].astype(int)
    said = plural(int(labels.iloc[0]), "different significant label")
    hidden = _before_classifiers(found)
    if len(labels) == 1:
        return Finding(f"{labels.index[0]} has {said}.", hidden, "one")
    headline, verdict, text = f"Each network has {said}.", "same", hidden
    if labels.nunique() > 1:
        most, least = int(labels.max()), int(labels.min())
        first, last = (listing(labels.index[labels == number]) for number in (most, least))
        headline = f"{first} has the most different significant labels ({count(most)}), "
        headline, verdict = f"{headline}{last} the fewest ({count(least)}).", "differ"
    if table["units"].nunique() > 1 and labels.any():
        smallest, equal = table["units"].idxmin(), table["equal"]
        text += f" At as many units as {smallest} has, {span(equal, digits=0)} different labels are"
        best = f", the most in {equal.idxmax()}" if equal.round().nunique() > 1 else ""
        text = f"{text} expected{best}.".strip()
    return Finding(headline, text, verdict, same_as=verdict)


def _before_classifiers(found: Dissected) -> str:
    """How many different labels are left without the layers whose units are the classes."""
    if found.of_classes.empty or found.hidden.empty:
        return ""
    labels = zip(found.titles, _shared(found, found.hidden), strict=True)
    own = listing(f"{count(len(different))} in {title}" for title, different in labels)
    return f"Before the classifiers there are {own}."


@needs("units")
def objects_and_scenes(study: StudyReport) -> Finding:
    """How many different objects and scenes each network learned."""
    found = dissected(study)
    table = found.diversity.set_index("network").reindex(columns=["object", "scene"], fill_value=0)
    objects, scenes = table["object"].astype(int), table["scene"].astype(int)
    if not (objects.any() or scenes.any()):
        return Finding("No significant label names an object or a scene.", "", "none")
    enough = objects + scenes >= FEW
    more, fewer = (objects > scenes)[enough], (objects < scenes)[enough]
    who = f"{'The' if len(table) == 1 else 'Every'} network's significant labels"
    if not enough.all():
        who = f"The significant labels of {listing(table.index[enough])}"
    if not enough.any():
        headline = "Whether more labels name objects or scenes cannot be told from so few."
        verdict = "too few"
    elif more.all():
        headline, verdict = f"{who} name more different objects than scenes.", "objects"
    elif fewer.all():
        headline, verdict = f"{who} name more different scenes than objects.", "scenes"
    elif not (more.any() or fewer.any()):
        headline, verdict = "As many different objects as scenes are named.", "same"
    else:
        headline, verdict = "Which are more, objects or scenes, depends on the network.", "differ"
    parts = [
        f"{title}: {plural(int(objects[title]), 'object')} and "
        f"{plural(int(scenes[title]), 'scene')}."
        for title in table.index[:_NAMED]
    ]
    return Finding(headline, " ".join(parts), verdict, same_as=verdict)


@needs("units")
def kinds_of_others(study: StudyReport) -> Finding:
    """Whether labels that are no better than chance name objects as often."""
    units = dissected(study).units
    if units["significant"].nunique() < 2:
        return absent("The kinds of labels with and without significance cannot be compared.")
    others, share = (units["kind"] == "object").groupby(units["significant"]).mean()
    text = f"Of the significant labels {percent(share)} name an object, of the others "
    text += f"{percent(others)}."
    if abs(share - others) >= _CLOSE:
        return Finding("", text, "differ")
    text += " Labels no better than chance name objects as often, so the share says little of a "
    return Finding("", f"{text}network.", "same")


@needs("units")
def networks_alike(study: StudyReport) -> Finding:
    """How many of the concepts of hidden layers all networks learned.

    Not of the classifier layers: what their units are is given by the classes.
    """
    found = dissected(study)
    if len(found.titles) == 1:
        return absent("One network is dissected, so there is none to compare it with.")
    hidden = _shared(found, found.hidden)
    common, whole = len(set.intersection(*hidden)), len(set.union(*hidden))
    all_of = _all_of(hidden)
    labels, fewest = min((len(own), place) for place, own in enumerate(hidden))
    text = f"Before the classifiers there are {plural(whole, 'different significant label')}; "
    text += f"{percent(common / whole) if common else 'none'} of them occur in {all_of}."
    if labels < FEW:
        headline = "Whether the networks learned the same concepts cannot be told."
        text = f"Before the classifiers {found.titles[fewest]} has "
        text += f"{plural(labels, 'different significant label')}, too few to compare."
        verdict = "too few"
    elif common / whole >= 2 / 3:
        headline, verdict = "The networks learned much the same concepts.", "same"
    elif common / whole > 1 / 3:
        headline, verdict = "The networks share a part of their concepts.", "part"
    else:
        headline, verdict = "The networks share few of their concepts.", "few"
    beside = _beside_classifiers(found, all_of)
    return Finding(headline, f"{text} {beside}".strip(), verdict)


def _shared(found: Dissected, units: pd.DataFrame) -> list[set[str]]:
    """The different significant labels of each network among some units."""
    units = units[units["significant"]]
    return [set(units.loc[units["network"] == title, "label"]) for title in found.titles]


def _beside_classifiers(found: Dissected, all_of: str) -> str:
    sets = _shared(found, found.of_classes)
    if min(map(len, sets)) < FEW:
        return ""
    common = len(set.intersection(*sets))
    share = percent(common / len(set.union(*sets))) if common else "none"
    where = "In the classifier layers, whose units are the classes,"
    return f"{where} {share} of the labels occur in {all_of}."


@needs("units")
def training_sets(study: StudyReport) -> Finding:
    """Whether networks trained on different images learned scenes and objects to another part."""
    found = dissected(study)
    sets = list(dict.fromkeys(found.training_sets.values()))
    absent_if(len(sets) == 1, f"All dissected networks were trained on {sets[0]}.")
    counted = {name: _scenes_of(found, name) for name in sets}
    known = {name: kinds for name, kinds in counted.items() if sum(kinds) >= FEW}
    if len(known) < 2:
        text = "There are too few significant labels of objects and scenes to compare."
        return Finding("What the training set changes cannot be told.", text, "too few")
    pairs = list(combinations(known, 2))
    p_values = [float(fisher_exact([known[one], known[other]]).pvalue) for one, other in pairs]
    first, second = pairs[p_values.index(min(p_values))]
    p_value = min(1.0, min(p_values) * len(pairs))
    shares = {name: kinds[0] / sum(kinds) for name, kinds in known.items()}
    text = " ".join(
        f"Of {sum(known[name]):,} different objects and scenes learned from {name}, "
        f"{percent(share)} are scenes."
        for name, share in shares.items()
    )
    corrected = f", corrected for {plural(len(pairs), 'pair')}" if len(pairs) > 1 else ""
    text += f" The difference has {p_text(p_value)} (Fisher's exact test{corrected})."
    if p_value > SIGNIFICANT:
        headline = "Whether networks of another training set learned more scenes is undecided."
        return Finding(headline, text, "undecided")
    more, less = (first, second) if shares[first] > shares[second] else (second, first)
    headline = f"Networks trained on {more} learned a larger share of scenes than on {less}."
    return Finding(headline, text, "differ")


def _scenes_of(found: Dissected, training_set: str) -> tuple[int, int]:
    """Different significant labels of networks of a training set: scenes and objects."""
    titles = [title for title, name in found.training_sets.items() if name == training_set]
    own = found.significant[found.significant["network"].isin(titles)]
    kinds = own.drop_duplicates("label")["kind"]
    return int((kinds == "scene").sum()), int((kinds == "object").sum())

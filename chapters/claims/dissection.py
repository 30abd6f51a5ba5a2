"""Claims about dissection, judged by the study's networks and by published labels."""

import re
from itertools import product

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest, fisher_exact, mannwhitneyu

from claims.judgement import Judgement, Outcome, Part, judgement, told
from vitrine.data.printed import published_figures
from vitrine.data.wordnet import SAMPLES
from vitrine.measures.labels import expected_different
from vitrine.report.dissected import dissected
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.text import number, p_text, percent

IMAGENET_DOGS = (151, 275)
"""The first and the last of ImageNet's classes of dogs and wild dogs,"""

IMAGENET_CLASSES = 1000
"""and how many classes there are."""

NAMES = ("object", "scene")
"""The kinds of labels that are categories."""

NO_DISSECTION = "This study dissected no network."
NO_CLASSIFIER = "No classifier was dissected."


def units_of(study: StudyReport) -> pd.DataFrame:
    """The labelled units of all dissected networks; empty where there is none."""
    if not study.has("units"):
        return pd.DataFrame(columns=["network", "layer", "unit", "label", "kind", "similarity"])
    return dissected(study).units


def trained_on(study: StudyReport, training_set: str) -> list[str]:
    """The dissected networks whose training set has that name, or begins with it."""
    sets = dissected(study).training_sets if study.has("units") else {}
    return [network for network, name in sets.items() if name.startswith(training_set)]


def layers_with_classifier(study: StudyReport) -> list[tuple[str, pd.DataFrame]]:
    """Of networks whose classifier and another layer were dissected: its layer, all by name."""
    if not study.has("layers"):
        return []
    rows, found = study.networks_table("layers"), []
    for network, layer in dissected(study).class_layers:
        own = rows[(rows["network"] == network) & rows["mean"].notna()].set_index("layer")
        if layer in own.index and len(own) > 1:
            found.append((layer, own))
    return found


# --- layers ------------------------------------------------------------------------------------


def classifier_highest(study: StudyReport, published: PublishedReport) -> Judgement:
    """The classifier has the highest similarity: the greatest of a unit, and the mean of units.

    Both less the mean of the layer's null units, as layers have scales of their own.
    """
    networks, parts = layers_with_classifier(study), []
    for column, what in (("greatest", "greatest similarity"), ("mean", "mean similarity")):
        found = tuple(
            bool((own[column] - own["null_mean"]).idxmax() == layer)
            for layer, own in networks
            if "null_mean" in own and own["null_mean"].notna().all()
        )
        if found:
            text = (
                f"Above chance, the {what} is the classifier's {told(found, 'dissected network')}."
            )
            parts.append(Part(text, found))
    if parts:
        return judgement(*parts)
    return judgement(Part("This study did not dissect a classifier layer beside other layers."))


def probing_grows(study: StudyReport, published: PublishedReport) -> Judgement:
    """Similarity grows with the probing set, by either rule of how many images are a unit's."""
    parts = []
    rows = pd.DataFrame(columns=["rule", "similarity", "size"])
    if study.has("probing"):
        rows = study.networks_table("probing")
    for rule, what in (
        ("fixed", "a fixed number of strongest images"),
        ("share", "a fixed share of the images"),
    ):
        own = rows[rows["rule"] == rule].dropna(subset=["similarity"])
        if own["size"].nunique() < 2:
            continue
        least, most = int(own["size"].min()), int(own["size"].max())
        wide = own.pivot_table(index=["network", "layer"], columns="size", values="similarity")
        small, large = (wide.reindex(columns=[size])[size] for size in (least, most))
        known = small.notna() & large.notna()
        grows = tuple(bool(value) for value in (large > small)[known])
        if not grows:
            continue
        text = (
            f"With {what}, the mean similarity is {number(small[known].mean())} at {least:,} "
            f"images and {number(large[known].mean())} at {most:,}; it grows "
            f"{told(grows, 'layer')}."
        )
        parts.append(Part(text, grows))
    return judgement(*(parts or [Part("This study did not vary the size of the probing set.")]))


def depth(study: StudyReport, published: PublishedReport) -> Judgement:
    """The classifier learns categories, lower layers abstract ones; similarity rises with depth."""
    last, before = [], []
    for layer, own in layers_with_classifier(study):
        if "null_mean" not in own:
            continue
        excess = (own["mean"] - own["null_mean"]).dropna()
        hidden = excess.drop(layer, errors="ignore")
        if layer in excess and len(hidden):
            last.append(bool(excess[layer] > hidden.max()))
        if len(hidden) > 1:
            before.append(bool((np.diff(hidden) > 0).all()))
    parts = [
        Part(
            f"Above chance, the similarity is greatest in the classifier {told(last, 'network')}.",
            tuple(last) or (None,),
            "rises",
        )
        if last
        else Part(NO_CLASSIFIER if study.has("units") else NO_DISSECTION, half="rises")
    ]
    if before:
        text = (
            f"Before the classifier it rises from each layer to the next {told(before, 'network')}."
        )
        parts.append(Part(text, tuple(before), "rises"))
    return judgement(*parts, _published_depth(published), _categories(study))


def _published_depth(published: PublishedReport) -> Part:
    rises = []
    for run in ("resnet18_imagenet", "resnet18_places365"):
        labels = published.labels(run)
        means = labels.groupby("layer", sort=False)["similarity"].mean()
        rises.append(bool((np.diff(means) > 0).all()))
    return Part(
        "In published labels of ResNet-18 the mean similarity rises from each layer to the next "
        f"{told(rises, 'network')}.",
        tuple(rises),
        "rises",
    )


def _categories(study: StudyReport) -> Part:
    """Whether the classifier's units are named after objects and scenes more often than others."""
    outcomes: list[Outcome] = []
    known = units_of(study)
    for network, layer in dissected(study).class_layers:
        units = known[known["network"] == network]
        named, last = units["kind"].isin(NAMES), units["layer"] == layer
        if last.any() and not last.all():
            outcomes.append(_larger_share(named[last], named[~last]))
    if not outcomes:
        text = "Whether the classifier's labels are categories this study cannot tell."
        return Part(text, half="categories")
    return Part(
        f"The classifier's labels are objects or scenes more often than those before it "
        f"{told(outcomes, 'network')} (Fisher's exact test).",
        tuple(outcomes),
        "categories",
    )


def _larger_share(first: pd.Series, second: pd.Series, comparisons: int = 1) -> Outcome:
    """Whether a share is larger among the first than among the second, by Fisher's exact test."""
    table = [[int(one.sum()), int((~one).sum())] for one in (first, second)]
    if fisher_exact(table).pvalue > 0.05 / comparisons:
        return None
    return bool(first.mean() > second.mean())


# --- networks ----------------------------------------------------------------------------------


def places_less(study: StudyReport, published: PublishedReport) -> Judgement:
    """Places365 training is less similar to concepts than ImageNet training, on ImageNet images."""
    return judgement(_printed_places(study), *_places_parts(study))


def _printed_places(study: StudyReport) -> Part:
    figures = published_figures(study.store.project, "highest_similarity")
    wide = figures.pivot(index="layer", columns="network", values="highest_similarity")
    less = wide["resnet18_places365"] < wide["resnet18_imagenet"]
    return Part(
        f"The table of that report has it less in {int(less.sum())} of {len(less)} layers.", ()
    )


def _places_parts(study: StudyReport) -> list[Part]:
    places, imagenet = trained_on(study, "Places365"), trained_on(study, "ImageNet")
    if not (study.has("units") and study.has("layers")):
        return [Part(NO_DISSECTION)]
    for name, networks in (("Places365", places), ("ImageNet", imagenet)):
        if not networks:
            return [Part(f"This study dissected no network trained on {name}.")]
    images = study.parameters("dissection").get("images") or {}
    if images.get("source") != SAMPLES:
        return [Part("This study's probing set is not of ImageNet.")]
    pairs, layers_of = list(product(places, imagenet)), dissected(study).layers_of
    shared = {
        (one, other): [layer for layer in layers_of(one) if layer in layers_of(other)]
        for one, other in pairs
    }
    most = max(map(len, shared.values()))
    if not most:
        return [Part("The networks of the two training sets have no layer of the same name.")]
    compared = [
        (pair, layer) for pair in pairs if len(shared[pair]) == most for layer in shared[pair]
    ]
    outcomes = tuple(_less_similar(study, *pair, layer, len(compared)) for pair, layer in compared)
    return [
        Part(
            f"In this study units of networks trained on Places365 are less similar above chance "
            f"{told(outcomes, 'pair of layers', 'pairs of layers')} of the same name (Mann–Whitney "
            "test, corrected).",
            outcomes,
        )
    ]


def _less_similar(
    study: StudyReport, one: str, other: str, layer: str, comparisons: int
) -> Outcome:
    units = units_of(study).set_index(["network", "layer"])["similarity"]
    null = study.networks_table("layers").set_index(["network", "layer"])["null_mean"]
    above = (units - null.reindex(units.index)).dropna()
    first, second = (above.loc[above.index == (network, layer)] for network in (one, other))
    if first.empty or second.empty:
        return None
    if mannwhitneyu(first, second).pvalue > 0.05 / comparisons:
        return None
    return bool(first.mean() < second.mean())


def most_concepts(study: StudyReport, published: PublishedReport) -> Judgement:
    """ResNet-50 learns more than twice the concepts of ResNet-18 Places365."""
    deep = published.labels("resnet50_imagenet")["label"]
    flat = published.labels("resnet18_places365_authors")["label"]
    parts = [_twice("In published labels ResNet-50", deep, flat)]
    units, keys = units_of(study), dissected(study).keys if study.has("units") else {}
    own = [
        units.loc[units["network"].map(keys) == name, "label"]
        for name in ("resnet50", "resnet18_places365")
    ]
    if all(len(labels) for labels in own):
        parts.append(_twice("In this study it", *own))
    return judgement(*parts)


def _twice(what: str, more: pd.Series, fewer: pd.Series) -> Part:
    units = min(len(more), len(fewer))
    counted = more.nunique() / fewer.nunique()
    equal = expected_different(more, units) / expected_different(fewer, units)
    return Part(
        f"{what} has {number(counted, 1)} times as many different labels as counted, and "
        f"{number(equal)} times at equal numbers of units.",
        (bool(counted > 2), bool(equal > 2)),
    )


def objects_scenes(study: StudyReport, published: PublishedReport) -> Judgement:
    """ImageNet favours objects, Places365 scenes; both learn 12 objects of 20."""
    labels = [published.labels(run) for run in ("resnet18_imagenet", "resnet18_places365")]
    units = units_of(study)
    own = [
        units[units["network"].isin(trained_on(study, training))]
        for training in ("ImageNet", "Places365")
    ]
    parts = [_favours("In published labels of ResNet-18", *labels)]
    if all(len(several) for several in own):
        parts.append(_favours("In this study", *own))
    needs = "The number of objects cannot be compared: the list of 20 concepts is not published."
    return judgement(*parts, Part(needs, half="objects of 20"))


def _favours(where: str, imagenet: pd.DataFrame, places: pd.DataFrame) -> Part:
    shares = [
        [float((table["kind"] == kind).mean()) for table in (imagenet, places)] for kind in NAMES
    ]
    outcomes = (
        _larger_share(imagenet["kind"] == "object", places["kind"] == "object", 2),
        _larger_share(places["kind"] == "scene", imagenet["kind"] == "scene", 2),
    )
    said = [f"{percent(one)} and {percent(other)}" for one, other in shares]
    end = " (undecided by Fisher's exact test)" if None in outcomes else ""
    return Part(
        f"{where} (ImageNet and Places365) objects label {said[0]} of the units, scenes {said[1]}"
        f"{end}.",
        outcomes,
        "favours",
    )


# --- labels ------------------------------------------------------------------------------------


def close_concepts(study: StudyReport, published: PublishedReport) -> Judgement:
    """Different units learn close concepts: each other's label is among their runners-up.

    More often than with the runners-up permuted is not enough: a word's runners-up are close words
    whatever the unit. Units without a significant label must not show it as well.
    """
    units = units_of(study)
    if units.empty or "runner_up_1" not in units:
        return judgement(Part("It stored no runners-up." if study.has("units") else NO_DISSECTION))
    own, drawn = _mutual(units)
    if not own and not drawn.any():
        return judgement(Part("No two labels are among each other's runners-up, nor by chance."))
    more, p_value = _more_than_drawn(own, drawn)
    text = (
        f"In {own:,} pairs of different labels of a layer each is among the runners-up of a "
        f"unit of the other; with the runners-up permuted in {number(drawn.mean(), 0)} "
        f"({p_value})."
    )
    chance = units[~units["significant"].fillna(value=False).astype(bool)]
    if more and len(chance):
        own, drawn = _mutual(chance)
        words, p_value = _more_than_drawn(own, drawn)
        text += (
            f" Among units without a significant label it is {own:,} pairs and "
            f"{number(drawn.mean(), 0)} ({p_value})"
        )
        text += ": that words are close may be enough." if words is not False else "."
        more = True if words is False else None
    return judgement(Part(f"{text} A unit has one label only.", (more,)))


def _more_than_drawn(own: int, drawn: npt.NDArray[np.int64]) -> tuple[Outcome, str]:
    """Whether there are more pairs than drawn ones, and how often so many or few are drawn."""
    more, fewer = (
        (1 + int(found.sum())) / (1 + len(drawn)) for found in (drawn >= own, drawn <= own)
    )
    outcome: Outcome = True if more <= 0.025 else False if fewer <= 0.025 else None
    least = 1 / (1 + len(drawn))
    said = p_text(min(1.0, 2 * min(more, fewer)))
    return outcome, said.replace("=", "≤") if min(more, fewer) <= least else said


def _mutual(units: pd.DataFrame, draws: int = 99) -> tuple[int, npt.NDArray[np.int64]]:
    """Pairs of labels that are runners-up of each other in a layer, and with units permuted."""
    own, drawn = 0, np.zeros(draws, dtype=np.int64)
    generator = np.random.default_rng(0)
    names = [name for name in units if re.fullmatch(r"runner_up_\d+", str(name))]
    for _, group in units.groupby(["network", "layer"], sort=False):
        codes, known = pd.factorize(group["label"])
        place = {label: code for code, label in enumerate(known)}
        # Words that are no label of the layer, such as missing ones, cannot be mutual.
        others = np.array([[place.get(word, -1) for word in group[name]] for name in names])
        own += _pairs(codes, others, len(known))
        for draw in range(draws):
            order = generator.permutation(len(group))
            drawn[draw] += _pairs(codes, others[:, order], len(known))
    return own, drawn


def _pairs(labels: npt.NDArray[np.int64], others: npt.NDArray[np.int64], whole: int) -> int:
    """Of labels ``[n]`` with runners-up ``[r, n]``: pairs of labels that name each other."""
    named = np.zeros((whole, whole), dtype=bool)
    for row in others:
        named[labels[row >= 0], row[row >= 0]] = True
    np.fill_diagonal(named, False)
    return int((named & named.T).sum() // 2)


def odd_labels(study: StudyReport, published: PublishedReport) -> Judgement:
    """Some labels cannot be interpreted: the report names *basename* and *deg*.

    One such label would do, so the claim is refuted only where each can be interpreted.
    """
    labels = published.labels("resnet18_imagenet")
    classes = labels[labels["layer"] == "fc"]
    found = [_odd(classes, label) for label in ("basename", "deg")]
    outcomes = [outcome for _, outcome in found]
    whole = True if True in outcomes else None if None in outcomes else False
    return judgement(Part(" ".join(text for text, _ in found), (whole,)))


def _odd(classes: pd.DataFrame, label: str) -> tuple[str, Outcome]:
    """A label can be read where the classes that have it are of a kind: here, of dogs."""
    units = classes.loc[classes["label"] == label, "unit"]
    if units.empty:
        reason = "so that its classes cannot tell what it means"
        return f"No published classifier unit is labelled {label}, {reason}.", None
    dogs = int(units.between(*IMAGENET_DOGS).sum())
    chance = (IMAGENET_DOGS[1] - IMAGENET_DOGS[0] + 1) / IMAGENET_CLASSES
    p_value = float(binomtest(dogs, len(units), chance, alternative="greater").pvalue)
    reading = "can be read as dogs" if p_value < 0.05 else "is no word for dogs either"
    return (
        f"The label {label} {reading}: {dogs} of its {len(units)} published classifier units are "
        f"classes of dogs ({p_text(p_value)}, binomial test).",
        not p_value < 0.05,
    )

"""Tables about imported labels of units: what they say of classes, and where they agree.

Only ``class_table`` and ``pair_tables`` need sentence embeddings, and torch with them.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vitrine.data.concept_categories import kind_of, load_kinds
from vitrine.data.concepts import Concepts, read_concepts, training_classes
from vitrine.errors import SourceError
from vitrine.external.study import LabelRun
from vitrine.external.unit_labels import COLUMNS, pick_format, read_labels
from vitrine.measures.labels import paired_cosines, same_by_chance, same_words
from vitrine.methods.dissection.embeddings import text_embeddings
from vitrine.project import Project

EXAMPLES = 8
"""Units of a layer that are kept for a pair of runs: the most alike, and as many of the least."""


def label_table(run: LabelRun, paths: dict[str, Path]) -> pd.DataFrame:
    """The labels of a run, from all its files: ``run`` and the ``COLUMNS``, one row a unit.

    paths : where each file lies. Raises ``SourceError``.
    """
    layers = run.layers or (None,) * len(run.files)
    parts = [
        read_labels(paths[file], run.format, layer)
        for file, layer in zip(run.files, layers, strict=True)
    ]
    table = pd.concat(parts, ignore_index=True)
    doubled = table[table.duplicated(["layer", "unit"])]
    if len(doubled):
        raise SourceError(
            f"The files of the run {run.run!r} label unit {doubled.iloc[0]['unit']} of "
            f"{doubled.iloc[0]['layer']} twice",
            "Name each file once, with its own layer",
        )
    table.insert(0, "run", run.run)
    return table[["run", *COLUMNS]]


def with_kinds(project: Project, labels: pd.DataFrame) -> pd.DataFrame:
    """Labels with the kind of every word, by the same rule as for our own."""
    missing = labels["kind"].isna()
    if not missing.any():
        return labels
    known = load_kinds(project)
    found = {word: kind_of(word, known) for word in labels.loc[missing, "label"].unique()}
    return labels.assign(kind=labels["kind"].where(~missing, labels["label"].map(found)))


def class_table(
    project: Project, run: LabelRun, labels: pd.DataFrame, vectors: dict[str, np.ndarray]
) -> pd.DataFrame | None:
    """The classifier's units beside their classes; ``None`` where a run has no such layer.

    vectors : the embedding of every label and of every class name, of length 1.
    """
    names = training_classes(project, run.training_set)
    own = labels[labels["layer"] == run.classifier_layer].sort_values("unit")
    if not pick_format(run.format).words or list(own["unit"]) != list(range(len(names))):
        return None
    if not names:
        return None
    known = (
        {word.lower() for word in read_concepts(project, run.concepts).words}
        if run.concepts
        else set(own["label"].str.lower())
    )
    single = [set(name.lower().split(", ")) for name in names]
    own_cosine, others = _cosines(names, list(own["label"]), vectors)
    return pd.DataFrame(
        {
            "run": run.run,
            "layer": run.classifier_layer,
            "target": own["unit"].to_numpy(),
            "category": names,
            "label": own["label"].to_numpy(),
            "exact": [
                label.lower() in one for label, one in zip(own["label"], single, strict=True)
            ],
            "listed": [bool(one & known) for one in single],
            "cosine": own_cosine,
            "cosine_shuffled": others,
        }
    )


def _cosines(
    names: tuple[str, ...], labels: list[str], vectors: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """How alike each class and its unit's label are, and the class and all other labels."""
    classes = np.stack([_mean_of_names(name, vectors) for name in names])
    cosines = classes @ np.stack([vectors[label] for label in labels]).T
    matched = np.diagonal(cosines)
    others = (cosines.sum(axis=1) - matched) / max(len(names) - 1, 1)
    return matched.round(4), others.round(4)


def _mean_of_names(names: str, vectors: dict[str, np.ndarray]) -> np.ndarray:
    """A class is the mean of its names' embeddings, as in the dissection."""
    mean = np.mean([vectors[name] for name in names.split(", ")], axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12))


def embed(project: Project, texts: set[str]) -> dict[str, np.ndarray]:
    """The sentence embedding of every text; from the cache if they were computed before."""
    from vitrine.methods.dissection import encoders  # torch stands behind it

    words = tuple(sorted(texts))
    sentences = encoders.Sentences()
    vectors = text_embeddings(project, sentences, Concepts("labels", words, ""))
    return dict(zip(words, vectors, strict=True))


def comparable(runs: tuple[LabelRun, ...]) -> list[tuple[LabelRun, LabelRun]]:
    """The pairs of runs that labelled the same network."""
    return [
        (one, two) for one, two in itertools.combinations(runs, 2) if one.network == two.network
    ]


def pair_tables(
    one: LabelRun, two: LabelRun, labels: pd.DataFrame, vectors: dict[str, np.ndarray]
) -> tuple[list[pd.DataFrame], list[dict[str, Any]]]:
    """How far two runs agree: examples of units, and a row a layer with what chance would give."""
    within = pick_format(one.format).words != pick_format(two.format).words
    both = labels[labels["run"] == one.run].merge(
        labels[labels["run"] == two.run], on=["layer", "unit"], suffixes=("_one", "_two")
    )
    examples, layers = [], []
    for layer, group in both.groupby("layer", sort=False):
        firsts, seconds = list(group["label_one"]), list(group["label_two"])
        same = same_words(firsts, seconds, within=within)
        cosines, others = paired_cosines(
            np.stack([vectors[label] for label in firsts]),
            np.stack([vectors[label] for label in seconds]),
        )
        pair = {"first": one.run, "second": two.run, "layer": layer}
        units = group[["unit"]].assign(same=same.astype(int), cosine=cosines.round(3))
        order = cosines.argsort(kind="stable")
        shown = np.unique(np.concatenate([order[:EXAMPLES], order[-EXAMPLES:]]))
        examples.append(units.iloc[shown].assign(**pair))
        layers.append(
            pair
            | {
                "units": len(group),
                "same": same.mean(),
                "same_by_chance": same_by_chance(firsts, seconds, within=within),
                "cosine": cosines.mean(),
                "cosine_25": np.quantile(cosines, 0.25),
                "cosine_75": np.quantile(cosines, 0.75),
                "cosine_by_chance": others,
            }
        )
    return examples, layers

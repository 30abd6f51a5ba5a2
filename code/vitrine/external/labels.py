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
from vitrine.measures.labels import class_cosines, paired_cosines, same_by_chance, same_words
from vitrine.measures.labels import class_table as class_rows
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
            f"The run {run.run!r} labels unit {doubled.iloc[0]['unit']} of "
            f"{doubled.iloc[0]['layer']} twice (its files: {', '.join(run.files)})",
            "Keep one of the two, and name each file once, with its own layer",
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


def classes_of(project: Project, run: LabelRun, labels: pd.DataFrame) -> tuple[str, ...]:
    """The names of the classes that a run labels with words; none where no layer's units are these.

    labels : of the run.
    """
    units = labels.loc[labels["layer"] == run.classifier_layer, "unit"]
    if units.empty or not pick_format(run.format).words:
        return ()  # before the list of classes is fetched, which only such a run needs
    names = training_classes(project, run.training_set)
    return names if sorted(units) == list(range(len(names))) else ()


def imported_class_table(
    project: Project,
    run: LabelRun,
    names: tuple[str, ...],
    labels: pd.DataFrame,
    vectors: dict[str, np.ndarray],
) -> pd.DataFrame:
    """The classifier's units beside their classes, which are ``names``.

    labels : of the run. vectors : the embedding of every label, of length 1.
    """
    from vitrine.methods.dissection import encoders  # torch stands behind it

    own = labels[labels["layer"] == run.classifier_layer].sort_values("unit")["label"]
    words = read_concepts(project, run.concepts).words if run.concepts else own
    cosine, others = class_cosines(
        encoders.name_embeddings(project, encoders.Sentences(), names),
        np.stack([vectors[label] for label in own]),
        np.zeros(len(names), dtype=bool),
    )
    return class_rows(names, list(own), words).assign(
        run=run.run,
        layer=run.classifier_layer,
        cosine=cosine.round(4),
        cosine_shuffled=others.round(4),
    )


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

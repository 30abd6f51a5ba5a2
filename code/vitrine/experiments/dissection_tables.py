"""The tables of a network dissection, from its stored arrays."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import false_discovery_control

from vitrine.data import concept_categories as kinds
from vitrine.measures.labels import CLASS_COLUMNS

CONSTANT = "(constant)"
"""In the place of a label for units that respond to every image alike."""

RUNNERS_UP = 5
SIGNIFICANT = 0.05
"""The false discovery rate of the significant labels of a layer."""

_RUNNER_UP_COLUMNS = {
    f"runner_up_{rank}{suffix}": text
    for rank in range(1, RUNNERS_UP + 1)
    for suffix, text in (
        ("", f"concept of rank {rank + 1} in similarity"),
        ("_similarity", "its similarity"),
    )
}

_OF_LAYER = {"classifier": "key of the classifier", "layer": "name of the layer"}
"""How every table begins; the functions below make the other columns."""

TABLES = {
    "layers": {
        **_OF_LAYER,
        "units": "number of its units",
        "constant": "units that respond to every image of the probing set alike",
        "significant": "units whose label is significant: its q-value is at most 0.05",
        "concepts": "different labels of all units",
        "significant_concepts": "different labels of the significant units",
        "greatest": "greatest similarity",
        "mean": "mean similarity of the labels",
        "null_mean": "mean similarity of the labels of units without a concept",
        "null_95": "95% quantile of that similarity",
        "null_draws": "number of units without a concept that were drawn",
    },
    "units": {
        **_OF_LAYER,
        "unit": "number of the unit in the layer, from 0",
        "label": "concept of greatest similarity",
        "kind": "object, scene, part, texture, material, color or other",
        "similarity": "similarity of unit and label",
        "p_value": "share of units without a concept whose label is at least as similar",
        "q_value": "false discovery rate (Benjamini and Hochberg) at which the label is "
        "significant among those of its layer",
        **_RUNNER_UP_COLUMNS,
    },
    "top_images": {
        **_OF_LAYER,
        "unit": "number of the unit in the layer, one of those chosen as examples",
        "rank": "1 for the image of greatest activation",
        "image": "file of the image in the probing set",
        "activation": "pooled activation of the unit",
    },
    "concepts": {
        **_OF_LAYER,
        "concept": "a concept that is the label of a unit",
        "kind": "object, scene, part, texture, material, color or other",
        "units": "units with that label",
        "significant": "those of them whose label is significant",
        "mean": "mean similarity of those units",
        "greatest": "greatest similarity of those units",
    },
    "classes": {
        "classifier": "key of the classifier",
        "layer": "name of the classifier layer",
        **CLASS_COLUMNS,
    },
    "probing": {
        **_OF_LAYER,
        "rule": "fixed: as many strongest images as for the whole set; share: as large a share",
        "size": "number of images drawn",
        "draw": "number of the draw, from 0",
        "top": "number of strongest images that the similarity looks at",
        "similarity": "mean similarity of the sampled units' labels",
        "std": "standard deviation of that similarity over the units",
        "stable": "share of units whose label is that of the whole probing set",
        "concepts": "different labels",
    },
}


def unit_table(
    place: int, arrays: dict[str, np.ndarray], words: Sequence[str], known: dict[str, str]
) -> pd.DataFrame:
    """A row for each unit of a layer.

    place : of the layer in the stored arrays. known : the kinds of concepts.
    """
    concepts = arrays[f"{place}_concepts"]
    similarities = arrays[f"{place}_similarities"]
    labels = np.array(words, dtype=object)[concepts]
    labels[arrays[f"{place}_constant"]] = CONSTANT
    p_values = arrays[f"{place}_p_values"]
    columns = {
        "unit": np.arange(len(concepts)),
        "label": labels[:, 0],
        "kind": [kinds.kind_of(word, known) for word in labels[:, 0]],
        "similarity": similarities[:, 0],
        "p_value": p_values,
        "q_value": q_values(p_values, arrays[f"{place}_constant"]),
    }
    for rank in range(1, RUNNERS_UP + 1):
        columns[f"runner_up_{rank}"] = labels[:, rank]
        columns[f"runner_up_{rank}_similarity"] = similarities[:, rank]
    return pd.DataFrame(columns)


def q_values(
    p_values: npt.NDArray[np.float64], silent: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """p-values of a layer's units, corrected for how many units with a label it has.

    By Benjamini and Hochberg (1995): of labels with a q-value of at most 0.05, 5% are expected to
    be false discoveries. A unit without a label is not counted, and gets 1.
    """
    found = np.ones_like(p_values)
    if not silent.all():
        found[~silent] = false_discovery_control(p_values[~silent])
    return found


def layer_table(units: pd.DataFrame, arrays: dict[str, np.ndarray], place: int) -> pd.DataFrame:
    """One row: how many units of a layer have a significant label, and which."""
    live = units[~arrays[f"{place}_constant"]]
    significant = live[live["q_value"] <= SIGNIFICANT]
    row = {
        "units": len(units),
        "constant": int(arrays[f"{place}_constant"].sum()),
        "significant": len(significant),
        "concepts": live["label"].nunique(),
        "significant_concepts": significant["label"].nunique(),
        "greatest": units["similarity"].max(),
        "mean": units["similarity"].mean(),
        "null_mean": float(arrays[f"{place}_null_mean"]),
        "null_95": float(arrays[f"{place}_null"][1]),
        "null_draws": int(arrays[f"{place}_null_draws"]),
    }
    return pd.DataFrame([row])


def concept_table(units: pd.DataFrame) -> pd.DataFrame:
    """A row for each label of a layer, the most frequent first."""
    live = units[units["label"] != CONSTANT]
    marked = live.assign(significant=live["q_value"] <= SIGNIFICANT)
    grouped = marked.groupby("label", sort=True)
    table = pd.DataFrame(
        {
            "kind": grouped["kind"].first(),
            "units": grouped.size(),
            "significant": grouped["significant"].sum(),
            "mean": grouped["similarity"].mean(),
            "greatest": grouped["similarity"].max(),
        }
    )
    table = table.rename_axis("concept").reset_index()
    return table.sort_values(["units", "concept"], ascending=[False, True], kind="stable")


def image_table(
    units: pd.DataFrame,
    arrays: dict[str, np.ndarray],
    place: int,
    files: Sequence[str],
    examples: int,
) -> pd.DataFrame:
    """The strongest images of the example units: from the most similar to the least."""
    order = units["similarity"].to_numpy().argsort(kind="stable")[::-1]
    order = order[~arrays[f"{place}_constant"][order]]
    count = min(examples, len(order))
    chosen = order[np.linspace(0, len(order) - 1, count).round().astype(int)]
    images, values = arrays[f"{place}_images"], arrays[f"{place}_activations"]
    rows = [
        (unit, rank, files[image], value)
        for unit in chosen
        for rank, (image, value) in enumerate(zip(images[unit], values[unit], strict=True), start=1)
    ]
    return pd.DataFrame(rows, columns=["unit", "rank", "image", "activation"])

"""The arrays of a network dissection, as they are stored layer by layer."""

from collections.abc import Sequence

import numpy as np

from vitrine.measures.labels import class_cosines
from vitrine.methods.dissection import encoders
from vitrine.methods.dissection import null as nulls
from vitrine.methods.dissection.activations import Activations
from vitrine.methods.dissection.labels import Labels
from vitrine.methods.dissection.null import Null
from vitrine.project import Project


def class_arrays(
    project: Project,
    sentences: encoders.Sentences,
    names: Sequence[str],
    concepts: Sequence[str],
    labels: Labels,
) -> dict[str, np.ndarray]:
    """How alike each unit's label is to its class, and to the others' labels on average.

    names : of the classes, which are the units. ``nan`` for a unit that has no label.
    """
    used, places = np.unique(labels.concepts[:, 0].numpy(), return_inverse=True)
    words = sentences.encode_texts([concepts[place] for place in used])
    classes = encoders.name_embeddings(project, sentences, names)
    own, shuffled = class_cosines(classes, words[places], labels.silent.numpy())
    return {"cosine": own.astype(np.float32), "cosine_shuffled": shuffled.astype(np.float32)}


def layer_arrays(
    place: int, kept: Activations, labels: Labels, null: Null, images: int
) -> dict[str, np.ndarray]:
    """What is stored of the layer at ``place``, for the tables and to look at its units."""
    known = null.similarities[null.similarities.isfinite()].numpy()
    spread = np.quantile(known, (0.5, 0.95)) if len(known) else np.full(2, np.nan)
    mean = known.mean(dtype=np.float64) if len(known) else np.nan
    assert kept.records is not None
    return kept.records.arrays(place) | {
        f"{place}_concepts": labels.concepts.numpy().astype(np.int32),
        f"{place}_similarities": labels.similarities.numpy(),
        f"{place}_p_values": nulls.p_values(labels.similarities[:, 0], null),
        f"{place}_constant": labels.silent.numpy(),
        f"{place}_null": spread.astype(np.float32),
        f"{place}_null_mean": np.array(mean, dtype=np.float32),
        f"{place}_null_draws": np.array(len(known), dtype=np.int64),
        f"{place}_images": kept.images[:, :images].numpy().astype(np.int32),
        f"{place}_activations": kept.values[:, :images].numpy(),
    }

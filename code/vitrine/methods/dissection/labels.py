"""Which concepts describe the units of a layer.

A unit is labelled by the concepts whose similarity to its strongest images is greatest.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitrine.methods.dissection.activations import Activations
from vitrine.methods.dissection.similarity import Evidence, Matches, Similarity


@dataclass(frozen=True)
class Labels:
    """The concepts most similar to each unit of a layer.

    concepts : ``int64 [units, n]``, positions in the concept list, the label first.
    similarities : ``float32 [units, n]``, greatest first; ``nan`` for a silent unit.
    """

    concepts: Tensor
    similarities: Tensor

    @property
    def silent(self) -> Tensor:
        """``bool [units]``: units without a label, as nothing they respond to tells images apart.

        Constant units, and those whose strongest images a similarity of ranks cannot order.
        """
        return self.similarities[:, 0].isnan()


def label(
    activations: Activations,
    images: Tensor,
    texts: Tensor,
    similarity: Similarity,
    parameters: dict[str, Any],
    count: int = 6,
) -> Labels:
    """The ``count`` concepts most similar to each unit that is not constant.

    Constant units count nowhere, not even in a mean over the layer's units.

    images : ``float32 [images, d]``, the probing set's embeddings by position.
    texts : ``float32 [concepts, d]``, the concepts' embeddings.
    """
    live = ~activations.constant
    if not live.all():
        count = min(count, len(texts))
        similarities = torch.full((len(live), count), torch.nan)
        concepts = torch.zeros(len(live), count, dtype=torch.int64)
        if live.any():
            part = label(activations.of_units(live), images, texts, similarity, parameters, count)
            concepts[live], similarities[live] = part.concepts, part.similarities
        return Labels(concepts, similarities)
    evidence, matches = _evidence(activations, images, texts, similarity, parameters)
    best = torch.empty(activations.units, 0)
    concepts = torch.empty(activations.units, 0, dtype=torch.int64)
    for start, block in similarity.function(evidence, matches, **parameters):
        values, found = block.topk(min(count, block.shape[1]), dim=1)
        joined = torch.cat([best, values], dim=1)
        order = joined.argsort(dim=1, descending=True, stable=True)[:, :count]
        best = joined.gather(1, order)
        concepts = torch.cat([concepts, found + start], dim=1).gather(1, order)
    return Labels(concepts, best)


def _evidence(
    activations: Activations,
    images: Tensor,
    texts: Tensor,
    similarity: Similarity,
    parameters: dict[str, Any],
) -> tuple[Evidence, Matches]:
    """What the similarity needs: only the images that are among some unit's strongest."""
    wanted = similarity.top(len(images), **parameters)
    values, strongest = activations.values[:, :wanted], activations.images[:, :wanted]
    if similarity.everything:
        assert activations.everything is not None
        return Evidence(strongest, values, activations.everything[0]), Matches(images, texts)
    used, rows = torch.unique(strongest, return_inverse=True)
    if len(used) == len(images):  # all of them: no copy is needed
        return Evidence(strongest, values), Matches(images, texts)
    return Evidence(rows, values), Matches(images[used], texts)

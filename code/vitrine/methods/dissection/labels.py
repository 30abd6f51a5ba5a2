"""Which concepts describe the units of a layer.

A unit is labelled by the concepts whose similarity to its strongest images is greatest.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vitrine.methods.dissection.activations import Activations
from vitrine.methods.dissection.similarity import LayerActivations, Matches, Similarity


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
    activations: Activations, matches: Matches, similarity: Similarity, count: int = 6
) -> Labels:
    """The ``count`` concepts most similar to each unit that is not constant.

    Constant units count nowhere, not even in a mean over the layer's units.

    matches : of the images of the probing set, by position.
    """
    live = ~activations.constant
    if not live.all():
        count = min(count, matches.count)
        similarities = torch.full((len(live), count), torch.nan)
        concepts = torch.zeros(len(live), count, dtype=torch.int64)
        if live.any():
            part = label(activations.of_units(live), matches, similarity, count)
            concepts[live], similarities[live] = part.concepts, part.similarities
        return Labels(concepts, similarities)
    best = torch.empty(activations.units, 0)
    concepts = torch.empty(activations.units, 0, dtype=torch.int64)
    for start, block in similarity.blocks(*_evidence(activations, matches, similarity)):
        values, found = block.topk(min(count, block.shape[1]), dim=1)
        joined = torch.cat([best, values], dim=1)
        order = joined.argsort(dim=1, descending=True, stable=True)[:, :count]
        best = joined.gather(1, order)
        concepts = torch.cat([concepts, found + start], dim=1).gather(1, order)
    return Labels(concepts, best)


def _evidence(
    activations: Activations, matches: Matches, similarity: Similarity
) -> tuple[LayerActivations, Matches]:
    """What the similarity needs: only the images that are among some unit's strongest."""
    wanted = similarity.top_of(len(matches.images))
    values, strongest = activations.values[:, :wanted], activations.images[:, :wanted]
    if similarity.everything:
        assert activations.everything is not None
        return LayerActivations(strongest, values, activations.everything[0]), matches
    used, rows = torch.unique(strongest, return_inverse=True)
    if len(used) == len(matches.images):  # all of them: no copy is needed
        return LayerActivations(strongest, values), matches
    return LayerActivations(rows, values), replace(matches, images=matches.images[used])

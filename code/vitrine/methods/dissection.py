"""Network dissection: which concept describes what each unit of a network responds to.

The probing set passes through the network once. What is kept of a layer are, for each unit, the
pictures of greatest activation: memory grows with units and k, not with the number of pictures.
Ties are broken by the picture's position, and nothing is summed, so that what two parts of the
probing set leave behind merges into exactly what the whole would have left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vitrine.errors import DissectionError, StudyError, suggestion
from vitrine.inputs.classifiers import Classifier, untouched
from vitrine.inputs.pictures import Picture
from vitrine.inputs.separation import channels_first
from vitrine.methods.similarity import Evidence, Matches, Similarity

REVISION = 1
"""Raised whenever this module computes something else from the same parameters."""

Progress = Callable[[int], None]
"""Called with the number of forward passes just done."""

POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    # [n, units, h, w] to [n, units]
    "mean": lambda maps: maps.mean(dim=(2, 3)),
    "max": lambda maps: maps.amax(dim=(2, 3)),
}


def pick_pooling(name: str) -> Callable[[Tensor], Tensor]:
    """The row of ``POOLINGS`` called ``name``. Raises ``StudyError``."""
    if name not in POOLINGS:
        raise StudyError(
            f"There is no pooling {name!r}",
            suggestion(name, sorted(POOLINGS), "The poolings are"),
        )
    return POOLINGS[name]


@dataclass(frozen=True)
class Activations:
    """What is kept of one layer's activations over a probing set, or over a part of it.

    values : ``float32 [units, k]``, the greatest activations of each unit, greatest first.
    pictures : ``int64 [units, k]``, the positions in the probing set that they belong to.
    lowest : ``float32 [units]``, the smallest activation of each unit.
    everything : ``float32 [pictures, units]`` and the positions ``int64 [pictures]``, ascending;
        ``None`` unless it was asked for. This part does grow with the probing set.
    """

    values: Tensor
    pictures: Tensor
    lowest: Tensor
    everything: tuple[Tensor, Tensor] | None = None

    @property
    def units(self) -> int:
        return self.values.shape[0]

    @property
    def constant(self) -> Tensor:
        """``bool [units]``: units that answer every picture alike, so none is the strongest."""
        return self.values[:, 0] == self.lowest


def activations_of(pooled: Tensor, positions: Tensor, keep: int, everything: bool) -> Activations:
    """Pooled activations ``[n, units]`` of the pictures at ``positions [n]``, as they are kept."""
    spread = positions[None].expand(pooled.shape[1], -1)
    values, pictures = _strongest(pooled.T, spread, keep)
    whole = (pooled, positions) if everything else None
    return Activations(values, pictures, pooled.amin(dim=0), whole)


def merge(first: Activations, second: Activations, keep: int) -> Activations:
    """What two disjoint parts of a probing set keep together: exactly what their union would."""
    values, pictures = _strongest(
        torch.cat([first.values, second.values], dim=1),
        torch.cat([first.pictures, second.pictures], dim=1),
        keep,
    )
    whole = None
    if first.everything is not None and second.everything is not None:
        whole = _joined([first.everything, second.everything])
    return Activations(values, pictures, torch.minimum(first.lowest, second.lowest), whole)


def _strongest(values: Tensor, pictures: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The ``keep`` greatest of ``values [units, n]`` with their pictures; ties by position."""
    order = pictures.argsort(dim=1)
    values, pictures = values.gather(1, order), pictures.gather(1, order)
    order = values.argsort(dim=1, descending=True, stable=True)[:, :keep]
    return values.gather(1, order).contiguous(), pictures.gather(1, order).contiguous()


def check_layers(
    classifier: Classifier, layers: Sequence[str], picture: Picture, pooling: str
) -> dict[str, int]:
    """Try the layers on one picture before the long pass; the number of units of each.

    Raises ``StudyError`` for a layer that does not exist (listing those there are), and
    ``DissectionError`` for one that has no units or whose activations are not numbers.
    """
    for layer in layers:
        classifier.layer(layer)
    with untouched(classifier.network):
        pooled = _forward(classifier, layers, pick_pooling(pooling), [picture], 1)
    return {layer: values.shape[1] for layer, values in pooled.items()}


def collect(
    classifier: Classifier,
    layers: Sequence[str],
    pictures: Iterable[tuple[int, Picture]],
    pooling: str,
    keep: int,
    batch: int,
    everything: bool = False,
    progress: Progress = lambda _: None,
) -> dict[str, Activations]:
    """One pass of the probing set (or of a shard of it) through the network.

    pictures : each with its position in the probing set; read one batch at a time.
    keep : how many of the strongest pictures of each unit are kept.

    Every batch has the same shape (the last one is filled up with copies), because a library may
    choose another order of summation for another shape, and then two shards would not add up to
    the whole to the last bit. Raises ``DissectionError`` for activations that are not numbers.
    """
    pool = pick_pooling(pooling)
    kept: dict[str, Activations] = {}
    whole: dict[str, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in layers}
    waiting = iter(pictures)
    with untouched(classifier.network):
        while several := list(islice(waiting, batch)):
            positions = torch.tensor([position for position, _ in several])
            pooled = _forward(classifier, layers, pool, [found for _, found in several], batch)
            for layer, values in pooled.items():
                part = activations_of(values, positions, keep, everything=False)
                kept[layer] = merge(kept[layer], part, keep) if layer in kept else part
                if everything:
                    whole[layer].append((values, positions))
            progress(len(several))
    if everything:
        kept = {
            layer: replace(part, everything=_joined(whole[layer])) for layer, part in kept.items()
        }
    return kept


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Activations ``[pictures, units]`` and positions of several parts, in order of position."""
    positions = torch.cat([found for _, found in parts])
    order = positions.argsort()
    return torch.cat([values for values, _ in parts])[order], positions[order]


def _forward(
    classifier: Classifier,
    layers: Sequence[str],
    pool: Callable[[Tensor], Tensor],
    pictures: Sequence[Picture],
    batch: int,
) -> dict[str, Tensor]:
    """The pooled activations ``float32 [n, units]`` of each layer for up to ``batch`` pictures."""
    crops = np.stack([classifier.crop(picture) for picture in pictures])
    filled = np.concatenate([crops, np.repeat(crops[-1:], batch - len(crops), axis=0)])
    found: dict[str, Tensor] = {}

    def keep(layer: str) -> Callable[..., None]:
        def pooled(module: nn.Module, _inputs: object, output: Any) -> None:
            # At once: what follows the layer may work in place.
            found[layer] = _pooled(classifier, layer, module, output, pool)

        return pooled

    hooks = [classifier.layer(layer).register_forward_hook(keep(layer)) for layer in layers]
    try:
        with torch.inference_mode():
            classifier.network(classifier.normalise(filled))
    finally:
        for hook in hooks:
            hook.remove()
    return {
        layer: _finite(classifier, layer, found[layer][: len(pictures)], pictures)
        if layer in found
        else _no_units(classifier, layer)
        for layer in layers
    }


def _pooled(
    classifier: Classifier,
    layer: str,
    module: nn.Module,
    output: Any,
    pool: Callable[[Tensor], Tensor],
) -> Tensor:
    """One layer's output, a number a unit, in memory of its own: maps are pooled, vectors taken."""
    flat = isinstance(output, Tensor) and output.ndim == 2
    units = output if flat else channels_first(module, output)
    if units is None or units.shape[1] == 0:
        return _no_units(classifier, layer)
    return (units.clone() if flat else pool(units)).float().cpu()


def _no_units(classifier: Classifier, layer: str) -> NoReturn:
    raise DissectionError(
        f"The layer {layer!r} of {classifier.title} has no units to dissect",
        f"Take a layer with feature maps or a linear one, e.g. {classifier.last_convolution!r}",
    )


def _finite(
    classifier: Classifier, layer: str, values: Tensor, pictures: Sequence[Picture]
) -> Tensor:
    """The activations ``[n, units]``, if all are numbers. Raises ``DissectionError``."""
    finite = values.isfinite().all(dim=1)
    if not finite.all():
        first = pictures[int((~finite).nonzero()[0])]
        raise DissectionError(
            f"The layer {layer!r} of {classifier.title} gives activations that are not numbers "
            f"for the picture {first.name!r}",
            "Check the network's weights",
        )
    return values


# --- labels --------------------------------------------------------------------------------------


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
        """``bool [units]``: units without a label, as nothing they answer tells pictures apart.

        Constant units, and those whose strongest pictures a similarity of ranks cannot order.
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

    images : ``float32 [pictures, d]``, the probing set's embeddings by position.
    texts : ``float32 [concepts, d]``, the concepts' embeddings.
    """
    live = ~activations.constant
    if not live.all():
        count = min(count, len(texts))
        similarities = torch.full((len(live), count), torch.nan)
        concepts = torch.zeros(len(live), count, dtype=torch.int64)
        if live.any():
            part = label(_part(activations, live), images, texts, similarity, parameters, count)
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


def _part(activations: Activations, units: Tensor) -> Activations:
    """The activations of some units only, by a mask ``bool [units]``."""
    whole = activations.everything
    return Activations(
        activations.values[units],
        activations.pictures[units],
        activations.lowest[units],
        whole and (whole[0][:, units], whole[1]),
    )


def _evidence(
    activations: Activations,
    images: Tensor,
    texts: Tensor,
    similarity: Similarity,
    parameters: dict[str, Any],
) -> tuple[Evidence, Matches]:
    """What the similarity needs: only the pictures that are among some unit's strongest."""
    wanted = similarity.top(len(images), **parameters)
    values, pictures = activations.values[:, :wanted], activations.pictures[:, :wanted]
    if similarity.everything:
        assert activations.everything is not None
        return Evidence(pictures, values, activations.everything[0]), Matches(images, texts)
    used, rows = torch.unique(pictures, return_inverse=True)
    if len(used) == len(images):  # all of them: no copy is needed
        return Evidence(pictures, values), Matches(images, texts)
    return Evidence(rows, values), Matches(images[used], texts)


def null_similarities(
    activations: Activations,
    images: Tensor,
    texts: Tensor,
    similarity: Similarity,
    parameters: dict[str, Any],
    permutations: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> Tensor:
    """The greatest similarity of each unit when pictures and embeddings do not belong together.

    The embeddings are permuted among the pictures, the same way for all units of the layer, and
    every unit is labelled again: ``float32 [permutations, units]``, ``nan`` for silent units.
    Seeded.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(permutations):
        shuffled = images[torch.randperm(len(images), generator=generator)]
        labels = label(activations, shuffled, texts, similarity, parameters, count=1)
        found.append(labels.similarities[:, 0])
        progress()
    return torch.stack(found)


def p_values(similarities: Tensor, null: Tensor, constant: Tensor) -> npt.NDArray[np.float64]:
    """How often a unit without a concept reaches a similarity: ``float64 [units]``.

    ``(1 + #{null ≥ S}) / (1 + #null)`` over the null similarities of all units of the layer that
    are not silent, which is never zero (Phipson and Smyth, 2010). A constant unit responds to
    nothing and gets 1, as does a silent one.
    """
    ordered = np.sort(null[~null.isnan()].numpy())
    below = np.searchsorted(ordered, similarities.numpy(), side="left")
    values = (1 + len(ordered) - below) / (1 + len(ordered))
    return np.where((constant | similarities.isnan()).numpy(), 1.0, values)


# --- the probing set's size ----------------------------------------------------------------------


@dataclass(frozen=True)
class Draw:
    """The labels that a part of the probing set gives.

    rule : ``"fixed"`` where as many of the strongest pictures are looked at as for the whole set
        (or all there are), ``"share"`` where it is the same share of the set.
    top : how many that are.
    similarity, deviation : mean and standard deviation of the units' greatest similarity.
    stable : share of units whose label is that of the whole probing set.
    concepts : how many different labels there are.

    All are of the units that are silent neither here nor for the whole set.
    """

    rule: str
    size: int
    draw: int
    top: int
    similarity: float
    deviation: float
    stable: float
    concepts: int


def probing_rounds(sizes: Sequence[int], draws: int, pictures: int, rules: int) -> int:
    """How many times the units of a layer are labelled by ``probing_effect``."""
    return 1 + rules * sum(draws if size < pictures else 0 for size in sizes if size <= pictures)


def rules_of(similarity: Similarity) -> tuple[str, ...]:
    """Only a similarity with a number of strongest pictures can keep that number or its share."""
    return ("fixed", "share") if "top_k" in similarity.parameters else ("fixed",)


def probing_effect(
    activations: Activations,
    images: Tensor,
    texts: Tensor,
    similarity: Similarity,
    parameters: dict[str, Any],
    sizes: Sequence[int],
    draws: int,
    units: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> list[Draw]:
    """Label a seeded sample of at most ``units`` units from random parts of the probing set.

    All draws look at the same units, and both rules at the same parts. The whole set, which there
    is only one draw of, is what the labels of the parts are compared with.
    """
    assert activations.everything is not None
    generator = np.random.default_rng(seed)
    everything, pictures = activations.everything[0], len(images)
    sample = np.sort(generator.permutation(everything.shape[1])[:units])
    everything = everything[:, torch.from_numpy(sample)]
    whole = _label_part(everything, images, texts, similarity, parameters)
    progress()
    found = []
    for size in [size for size in sizes if size <= pictures]:
        for draw in range(draws if size < pictures else 1):
            part = torch.from_numpy(np.sort(generator.permutation(pictures)[:size]))
            for rule in rules_of(similarity):
                chosen = _scaled(parameters, rule, size, pictures)
                if size == pictures:
                    labels = whole
                else:
                    labels = _label_part(everything[part], images[part], texts, similarity, chosen)
                    progress()
                top = similarity.top(size, **chosen)
                found.append(_draw(rule, size, draw, top, labels, whole))
    return found


def _label_part(
    everything: Tensor,
    images: Tensor,
    texts: Tensor,
    similarity: Similarity,
    parameters: dict[str, Any],
) -> Labels:
    wanted = max(1, similarity.top(len(images), **parameters))
    kept = activations_of(everything, torch.arange(len(images)), wanted, everything=True)
    return label(kept, images, texts, similarity, parameters, count=1)


def _scaled(parameters: dict[str, Any], rule: str, size: int, pictures: int) -> dict[str, Any]:
    """The parameters with as many strongest pictures as the rule gives for ``size`` pictures."""
    if "top_k" not in parameters:
        return parameters
    top = parameters["top_k"]
    scaled = min(top, size) if rule == "fixed" else max(1, round(top * size / pictures))
    return parameters | {"top_k": scaled}


def _draw(rule: str, size: int, draw: int, top: int, labels: Labels, whole: Labels) -> Draw:
    known = ~(labels.silent | whole.silent)
    concepts, similarities = labels.concepts[known, 0], labels.similarities[known, 0]
    return Draw(
        rule,
        size,
        draw,
        top,
        float(similarities.mean()),
        float(similarities.std(correction=0)),
        float((concepts == whole.concepts[known, 0]).float().mean()),
        len(set(concepts.tolist())),
    )

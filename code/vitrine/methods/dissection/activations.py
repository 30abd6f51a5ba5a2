"""Network dissection: the images of a probing set that each unit of a network responds to most.

The probing set passes through the network once. What is kept of a layer are, for each unit, the
images of greatest activation: memory grows with units and k, not with the number of images.
Ties are broken by the image's position, and nothing is summed, so that what two parts of the
probing set leave behind merges into exactly what the whole would have left.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from vitrine.data.images import Image
from vitrine.errors import DissectionError, pick
from vitrine.methods.dissection.unit_records import (
    UnitRecords,
    coarse,
    merge_records,
    records_of,
    strongest_order,
)
from vitrine.models.classifier import Classifier, preserved_state
from vitrine.models.inference import OnPasses

REVISION = 1
"""Raised whenever this module computes something else from the same parameters."""

POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    # [n, units, h, w] to [n, units]
    "mean": lambda maps: maps.mean(dim=(2, 3)),
    "max": lambda maps: maps.amax(dim=(2, 3)),
}


def pick_pooling(name: str) -> Callable[[Tensor], Tensor]:
    """The row of ``POOLINGS`` called ``name``. Raises ``StudyError``."""
    return pick(POOLINGS, name, "pooling")


@dataclass(frozen=True)
class Activations:
    """What is kept of one layer's activations over a probing set, or over a part of it.

    values : ``float32 [units, k]``, the greatest activations of each unit, greatest first.
    images : ``int64 [units, k]``, the positions in the probing set that they belong to.
    lowest : ``float32 [units]``, the smallest activation of each unit.
    everything : ``float32 [images, units]`` and the positions ``int64 [images]``, ascending;
        ``None`` unless it was asked for. This part does grow with the probing set.
    records : what is kept of each unit to be looked at; of a pass through the network only.
    """

    values: Tensor
    images: Tensor
    lowest: Tensor
    everything: tuple[Tensor, Tensor] | None = None
    records: UnitRecords | None = None

    @property
    def units(self) -> int:
        return self.values.shape[0]

    @property
    def constant(self) -> Tensor:
        """``bool [units]``: units that respond to every image alike, so none is the strongest."""
        return self.values[:, 0] == self.lowest

    def of_units(self, units: Tensor) -> "Activations":
        """The activations of some units only, by their numbers or by a mask ``bool [units]``."""
        whole = self.everything
        return Activations(
            self.values[units],
            self.images[units],
            self.lowest[units],
            whole and (whole[0][:, units], whole[1]),
        )


def activations_of(pooled: Tensor, positions: Tensor, keep: int, everything: bool) -> Activations:
    """Pooled activations ``[n, units]`` of the images at ``positions [n]``, as they are kept."""
    spread = positions[None].expand(pooled.shape[1], -1)
    values, images = _strongest(pooled.T, spread, keep)
    whole = (pooled, positions) if everything else None
    return Activations(values, images, pooled.amin(dim=0), whole)


def merge(first: Activations, second: Activations, keep: int) -> Activations:
    """What two disjoint parts of a probing set keep together: exactly what their union would."""
    values, images = _strongest(
        torch.cat([first.values, second.values], dim=1),
        torch.cat([first.images, second.images], dim=1),
        keep,
    )
    whole = None
    if first.everything is not None and second.everything is not None:
        whole = _joined([first.everything, second.everything])
    records = None
    if first.records is not None and second.records is not None:
        records = merge_records(first.records, second.records)
    lowest = torch.minimum(first.lowest, second.lowest)
    return Activations(values, images, lowest, whole, records)


def _strongest(values: Tensor, images: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The ``keep`` greatest of ``values [units, n]`` with their images; ties by position."""
    order = strongest_order(values, images, keep)
    return values.gather(1, order).contiguous(), images.gather(1, order).contiguous()


def check_layers(
    classifier: Classifier, layers: Sequence[str], image: Image, pooling: str
) -> dict[str, int]:
    """Try the layers on one image before the long pass; the number of units of each.

    Raises ``StudyError`` for a layer that does not exist (listing those there are), and
    ``DissectionError`` for one that has no units or whose activations are not numbers.
    """
    for layer in layers:
        classifier.layer(layer)
    with preserved_state(classifier.network):
        pooled = _forward(classifier, layers, pick_pooling(pooling), [image], 1)
    return {layer: values.shape[1] for layer, (values, _) in pooled.items()}


def collect(
    classifier: Classifier,
    layers: Sequence[str],
    images: Iterable[tuple[int, Image]],
    pooling: str,
    keep: int,
    batch: int,
    everything: bool = False,
    progress: OnPasses = lambda _: None,
) -> dict[str, Activations]:
    """One pass of the probing set (or of a shard of it) through the network.

    images : each with its position in the probing set; read one batch at a time.
    keep : how many of the strongest images of each unit are kept.

    Every batch has the same shape (the last one is filled up with copies), because a library may
    choose another order of summation for another shape, and then two shards would not add up to
    the whole to the last bit. Raises ``DissectionError`` for activations that are not numbers.
    """
    pool = pick_pooling(pooling)
    kept: dict[str, Activations] = {}
    whole: dict[str, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in layers}
    waiting = iter(images)
    with preserved_state(classifier.network):
        while several := list(islice(waiting, batch)):
            positions = torch.tensor([position for position, _ in several])
            pooled = _forward(classifier, layers, pool, [found for _, found in several], batch)
            for layer, (values, maps) in pooled.items():
                part = activations_of(values, positions, keep, everything=False)
                part = replace(part, records=records_of(values, maps, positions))
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
    """Activations ``[images, units]`` and positions of several parts, in order of position."""
    positions = torch.cat([found for _, found in parts])
    order = positions.argsort()
    return torch.cat([values for values, _ in parts])[order], positions[order]


def _forward(
    classifier: Classifier,
    layers: Sequence[str],
    pool: Callable[[Tensor], Tensor],
    images: Sequence[Image],
    batch: int,
) -> dict[str, tuple[Tensor, Tensor | None]]:
    """The pooled activations ``float32 [n, units]`` of each layer for up to ``batch`` images.

    Beside each its coarse feature maps ``float32 [n, units, h, w]``, where it has positions.
    Raises ``DissectionError``.
    """
    crops = np.stack([classifier.crop(image) for image in images])
    filled = np.concatenate([crops, np.repeat(crops[-1:], batch - len(crops), axis=0)])
    found: dict[str, tuple[Tensor, Tensor | None]] = {}

    def keep(layer: str, _module: nn.Module, _inputs: object, output: Any) -> None:
        # At once: what follows the layer may work in place.
        found[layer] = _pooled(classifier, layer, output, pool)

    with ExitStack() as hooks, torch.inference_mode():
        for layer in layers:
            hook = classifier.layer(layer).register_forward_hook(partial(keep, layer))
            hooks.enter_context(hook)
        classifier.network(classifier.normalise(filled))
    result = {}
    for layer in layers:
        values, maps = found.get(layer) or _no_units(classifier, layer)
        values = values[: len(images)]
        finite = values.isfinite().all(dim=1)
        if not finite.all():
            first = images[int((~finite).nonzero()[0])]
            raise DissectionError(
                f"The layer {layer!r} of {classifier.title} gives activations that are not numbers "
                f"for the image {first.name!r}",
                "Check the network's weights",
            )
        result[layer] = values, None if maps is None else maps[: len(images)]
    return result


def _pooled(
    classifier: Classifier, layer: str, output: Any, pool: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor | None]:
    """One layer's output, a number a unit, in memory of its own: maps are pooled, vectors taken.

    With the maps in coarse cells, where there are maps.
    """
    flat = isinstance(output, Tensor) and output.ndim == 2
    units = output if flat else classifier.feature_maps(layer, output)
    if units is None or units.shape[1] == 0:
        return _no_units(classifier, layer)
    if flat:
        return units.clone().float().cpu(), None
    return pool(units).float().cpu(), coarse(units)


def _no_units(classifier: Classifier, layer: str) -> NoReturn:
    raise DissectionError(
        f"The layer {layer!r} of {classifier.title} has no units to dissect",
        f"Take a layer with feature maps or a linear one, e.g. {classifier.last_convolution!r}",
    )

"""What a class activation map is made of: the feature maps of a layer and what depends on them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitrine.arrays import Maps
from vitrine.errors import StudyError
from vitrine.methods.method import Query
from vitrine.models.classifier import Classifier

Form = Callable[[Tensor], Tensor]
"""Puts feature maps into the form in which their layer hands them on."""


@dataclass(frozen=True)
class CamMap:
    """A map before it is clipped, resized and scaled.

    values : ``float32 [h', w']``, one value for each place of the feature maps; signed.
    passes : forward passes of the whole network that were run.
    head_passes : passes of what follows the layer alone.
    note : what a reader should know about the way this was computed; mostly empty.
    """

    values: Maps
    passes: int
    head_passes: int = 0
    note: str = ""


@dataclass(frozen=True)
class Reading:
    """What a layer gave in one pass of the network, before anything worked on it in place.

    maps : ``[n, channels, h', w']``, whichever way round the layer has them.
    logits : ``[n, categories]``, which depend on ``maps``.
    as_given : of maps ``[n, channels, h', w']``: channels last, or tokens behind those of no place.
    tokens : whether the layer has them as tokens.
    """

    maps: Tensor
    logits: Tensor
    as_given: Form
    tokens: bool


def read_maps(query: Query) -> Reading:
    """The layer's feature maps and the logits. Raises ``StudyError`` for a layer without any."""
    with torch.no_grad():
        return _cut(query, lambda maps: maps.clone())


def feature_gradients(query: Query) -> tuple[Maps, Maps]:
    """Feature maps ``[1, channels, h', w']`` and the logit's gradient at them, of the same shape.

    Only what follows the layer is differentiated. The maps are those that the layer gave: an
    activation that works in place afterwards (ResNet's do) does not reach them. Raises
    ``StudyError`` for a layer without feature maps, or one on which the logit does not depend.
    """
    maps, gradients = (
        np.ascontiguousarray(found.detach().cpu().numpy(), dtype=np.float32)
        for found in map_gradients(query)
    )
    return maps, gradients


def map_gradients(query: Query) -> tuple[Tensor, Tensor]:
    """As ``feature_gradients``, for every input of a batch: tensors ``[n, channels, h', w']``."""
    with torch.enable_grad():
        found = _cut(query, lambda maps: maps.detach().clone().requires_grad_(True))
        try:
            score = found.logits[:, query.target].sum()
            (gradients,) = torch.autograd.grad(score, found.maps)
        except RuntimeError as error:
            raise StudyError(
                f"The logits of {query.classifier.title} have no gradient at the layer "
                f"{query.maps_layer!r}",
                "Take a layer that they depend on, by steps of torch that are differentiated: none "
                "under no_grad, none of detached tensors",
            ) from error
    return found.maps.detach(), gradients


def _cut(query: Query, leaf: Callable[[Tensor], Tensor]) -> Reading:
    """Run the network once; its layer's maps are replaced by ``leaf`` of them, which is read."""
    classifier, layer = query.classifier, query.maps_layer
    kept: list[tuple[Tensor, Form, bool]] = []

    def replace(_layer: nn.Module, _inputs: object, output: Any) -> Tensor | None:
        if kept:  # the layer is used again; the first use is the one looked at, as in the library
            return None
        maps = classifier.feature_maps(layer, output)
        if maps is None or maps[0, 0].numel() < 2:
            raise no_maps(query)
        as_given = _form_of(classifier, output, maps)
        kept.append((leaf(maps), as_given, output.ndim == 3))
        return as_given(kept[0][0].clone())  # what follows may work in place

    with classifier.layer(layer).register_forward_hook(replace):
        logits = classifier.logits(query.batch)
    if not kept:
        raise no_maps(query)
    maps, as_given, tokens = kept[0]
    return Reading(maps, logits, as_given, tokens)


def _form_of(classifier: Classifier, output: Tensor, maps: Tensor) -> Form:
    """Puts feature maps into the form of the layer's output that they were made of."""
    if maps is output:
        return lambda found: found
    if output.ndim == 4:
        return lambda found: found.permute(0, 2, 3, 1)
    assert classifier.token_grid
    return partial(classifier.token_grid.tokens, output=output.detach().clone())


def no_maps(query: Query) -> StudyError:
    """The layer is not convolutional, or the network does not use it."""
    classifier = query.classifier
    return StudyError(
        f"The layer {query.maps_layer!r} of {classifier.title} has no feature maps to weight",
        f"Take a layer with feature maps, e.g. {classifier.last_convolution!r}",
    )


def weighted_sum(weights: Maps, maps: Maps) -> Maps:
    """Σ over channels of weight · map: ``[1, channels]`` and ``[1, channels, h', w']``."""
    return np.asarray((weights[:, :, None, None] * maps).sum(axis=1)[0], dtype=np.float32)

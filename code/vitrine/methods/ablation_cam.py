"""AblationCAM: how much the class loses when a feature map is taken away."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from vitrine.methods.feature_maps import CamMap, Reading, read_maps, weighted_sum
from vitrine.methods.method import Query
from vitrine.models.canonical import same_logits

_BATCH = 32
"""Ablations at once, as in the library."""

ABLATION_VALUE = 1e7
"""How far below their minimum feature maps are set that can be negative, as in the library."""

LogitsOfMaps = Callable[[Tensor], Tensor]
"""The target's logit ``[n]`` of feature maps ``[n, channels, h', w']``."""


def ablationcam(query: Query) -> CamMap:
    """Σ_k (y - y_k) / |y| · A_k with y_k the logit without map k (Desai and Ramaswamy, 2020).

    The paper divides by y itself, which it takes to be positive. Where the class has a negative
    logit that turns every sign, and the map lies on what speaks against the class; so the drop is
    taken relative to the size of the logit. Where y is positive both are the same.

    Taking a feature map away touches only what follows the layer, so only that is run, in batches,
    on the feature maps: the same numbers as with whole passes. Where it cannot be separated from
    the network, or does not give the network's logits, whole passes are run and the note says so.

    A map is taken away by setting it to zero where the smallest value of all maps is zero (after a
    ReLU). Otherwise the library sets it 10⁷ below the smallest value of its batch of 32, which then
    holds the maps taken away before it; that is done here as well, so before an activation the
    weights tell more about the place in the batch than about the class. Tokens of a transformer are
    normalised, not rectified, and are set to zero.
    """
    reading = read_maps(query)
    maps = reading.maps
    scores = _scores_of_rest(query, reading)
    whole = scores is None
    if scores is None:
        scores = _scores_of_network(query, reading)
    original = reading.logits[:, query.target].cpu().numpy()
    ablated = []
    with torch.no_grad():
        for batch in _ablated(maps, maps.new_zeros(()) if reading.tokens else maps.min()):
            ablated.append(scores(batch).cpu().numpy())
            query.progress(len(batch) if whole else 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = (original - np.concatenate(ablated)) / np.abs(original)  # [channels]
    channels = maps.shape[1]
    return CamMap(
        weighted_sum(weights[None], maps.cpu().numpy()),
        passes=1 + (channels if whole else 0),
        head_passes=0 if whole else channels,
        note=f"What follows the layer {query.maps_layer} of {query.classifier.title} cannot be "
        "separated, so each ablation ran the whole network"
        if whole
        else "",
    )


def _ablated(maps: Tensor, least: Tensor) -> Iterator[Tensor]:
    """The feature maps with one channel after the other taken away, ``[n, channels, h', w']``.

    least : zero for a channel that is set to zero, else what it is set below. One buffer is used
        for all batches: each is valid until the next.
    """
    channels = maps.shape[1]
    buffer = maps.repeat(min(_BATCH, channels), 1, 1, 1)
    for start in range(0, channels, _BATCH):
        batch = buffer[: channels - start]
        batch.copy_(maps.expand_as(batch))
        value = least
        for row in range(len(batch)):
            value = least if least == 0 else value - ABLATION_VALUE
            batch[row, start + row] = value
        yield batch


def _scores_of_rest(query: Query, reading: Reading) -> LogitsOfMaps | None:
    """The logit from feature maps alone, if that gives what the network gave."""
    rest = query.classifier.after(query.maps_layer)
    if rest is None:
        return None
    try:
        with torch.no_grad():
            found = rest(reading.as_given(reading.maps.clone()))
    except (RuntimeError, TypeError, ValueError):
        return None
    if not same_logits(found, reading.logits, 1e-5):
        return None
    return lambda batch: rest(reading.as_given(batch))[:, query.target]


def _scores_of_network(query: Query, reading: Reading) -> LogitsOfMaps:
    """The logit from whole passes, in which the layer's output is replaced."""
    classifier, image = query.classifier, query.batch
    layer = classifier.layer(query.maps_layer)

    def scores(batch: Tensor) -> Tensor:
        with layer.register_forward_hook(lambda *_: reading.as_given(batch)):
            return classifier.logits(image.expand(len(batch), -1, -1, -1))[:, query.target]

    return scores

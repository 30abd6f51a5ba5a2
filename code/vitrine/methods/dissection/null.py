"""What labels are worth: the similarities of units that have nothing to do with the images.

A unit is drawn by giving it random images in place of its own, and labelled as the real units of
its layer are: with the most similar of all concepts. Many such draws are the null distribution of
a layer, and a label is held against it.

Soft WPMI and WPMI see of a unit only the order of its strongest images. A draw is then a random
order, in the place of one of the layer's units: the mean over the layer that its similarity is
compared with is that of the draw and of all other real units. Each unit has its place in turn, and
all draws of a layer form one distribution.

Rank reorder and the cosines see a unit's activations, whose shape decides which similarities it can
reach at random. A draw then keeps the activations of its unit, and only the images are permuted.
The draws of a unit and its own similarity are brought to mean 0 and standard deviation 1 together,
and these are held against those of all units of the layer: exact where a unit differs from the
others at random in location and scale alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitrine.methods.dissection.activations import Activations
from vitrine.methods.dissection.similarity import (
    BLOCK_UNITS,
    LayerActivations,
    Matches,
    Similarity,
    softmax_blocks,
)

REVISION = 1
"""Raised whenever this module draws something else from the same seed."""

DRAWS_A_UNIT = 100
"""Least number of draws of each unit where its own location and scale are estimated."""

_BATCH = 1024
"""Draws that are labelled together."""

TIE = 1e-5
"""Similarities that differ by less, relative to their size, are equal: sums of the same numbers in
another order."""

OnDraws = Callable[[int, int], None]
"""Called with the parts done and all parts of the work."""


@dataclass(frozen=True)
class Null:
    """The null distribution of a layer.

    similarities : ``float32 [draws]``, the greatest similarity of each draw.
    owners : ``int64 [draws]``, the unit whose activations a draw has; ``None`` where it has none,
        and the draws of all units are alike.
    """

    similarities: Tensor
    owners: Tensor | None = None


def null_similarities(
    layers: Mapping[str, Activations],
    matches: Matches,
    similarity: Similarity,
    draws: int,
    seed: int,
    progress: OnDraws = lambda _done, _all: None,
) -> dict[str, Null]:
    """At least ``draws`` labels of units without a concept, for each layer; none if it is silent.

    Seeded. Memory grows with ``draws``, and neither with concepts nor units; with images only for a
    similarity that needs all activations.
    """
    generator = torch.Generator().manual_seed(seed)
    if similarity.likelihood is not None:
        top = similarity.top_of(len(matches.images))
        orders = _random_orders(draws, len(matches.images), top, generator)
        places = [_live(kept)[1].images[:, :top] for kept in layers.values()]
        blocks = _of_orders(orders, places, matches, similarity, progress)
        return {layer: Null(found) for layer, found in zip(layers, blocks, strict=True)}
    found = {}
    for number, (layer, kept) in enumerate(layers.items()):

        def part(done: int, whole: int, number: int = number) -> None:
            progress(number * whole + done, len(layers) * whole)

        found[layer] = _of_activations(kept, matches, similarity, draws, generator, part)
    return found


def _live(kept: Activations) -> tuple[Tensor, Activations]:
    """The numbers ``int64 [live]`` of the units that are not constant, and what is kept of them."""
    numbers = (~kept.constant).nonzero()[:, 0]
    return numbers, kept.of_units(numbers)


def _random_orders(draws: int, images: int, top: int, generator: torch.Generator) -> Tensor:
    """``int32 [draws, top]``: that many different images in a random order, for each draw."""
    orders = torch.empty(draws, top, dtype=torch.int32)
    for first in range(0, draws, _BATCH):
        part = orders[first : first + _BATCH]
        part.copy_(torch.rand(len(part), images, generator=generator).topk(top, dim=1).indices)
    return orders


# --- similarities of an order --------------------------------------------------------------------


def _of_orders(
    orders: Tensor,
    layers: Sequence[Tensor],
    matches: Matches,
    similarity: Similarity,
    progress: OnDraws,
) -> Sequence[Tensor]:
    """The greatest similarity of each order in each layer: ``float32 [draws]``, or ``[0]``.

    layers : ``int64 [units, k]``, the strongest images of the units of each.

    What an order's images say of a concept is the same in all layers, so it is computed once.
    """
    live = [top for top in layers if len(top)]
    assert similarity.likelihood is not None
    likelihood, lam = similarity.likelihood(**similarity.parameters), similarity.parameters["lam"]

    def greatest(probabilities: Tensor) -> Tensor:
        factors = likelihood.factors(probabilities)
        others = [_log_sums_of_others(likelihood.logs(factors, top)) for top in live]
        found = torch.empty(len(live), len(orders))
        for first in range(0, len(orders), BLOCK_UNITS):
            drawn = slice(first, first + BLOCK_UNITS)
            logs = likelihood.logs(factors, orders[drawn])
            for row, rest in zip(found, others, strict=True):
                places = torch.arange(first, first + len(logs)) % len(rest)
                row[drawn] = _greatest(logs, rest[places], len(rest), lam)
        return found

    best = torch.full((len(live), len(orders)), -math.inf)
    if live:
        for start, block in softmax_blocks(matches, similarity.parameters["a"], greatest):
            best = torch.maximum(best, block)
            progress(start, matches.count)
    progress(matches.count, matches.count)
    waiting = iter(best + (1 - lam) * likelihood.constant)
    return [next(waiting) if len(top) else torch.empty(0) for top in layers]


def _greatest(logs: Tensor, others: Tensor, units: int, lam: float) -> Tensor:
    """``max_c L - λ log mean exp L`` of draws ``[draws]``, each with the other units of a layer.

    logs : ``L [draws, width]``. others : ``log Σ exp L`` over the others, of the same shape. The
    logarithm of the mean over ``units`` is ``log(exp L + exp others) - log units``, which is
    ``L + softplus(others - L) - log units``. With ``λ = 1`` nothing else depends on the concept.
    """
    if lam == 1:
        return math.log(units) - torch.nn.functional.softplus((others - logs).amin(dim=1))
    excess = torch.nn.functional.softplus(others - logs)
    return ((1 - lam) * logs - lam * (excess - math.log(units))).amax(dim=1)


def _log_sums_of_others(logs: Tensor) -> Tensor:
    """``log Σ_v≠u exp L_v`` for each unit u of ``L [units, width]``.

    The sum less a unit's own part; where that is most of it, a sum of its own, so that nothing is
    lost by the subtraction.
    """
    greatest, unit = logs.max(dim=0)
    parts = (logs - greatest).exp_()
    rest = parts.scatter(0, unit[None], 0.0).sum(dim=0)  # without the greatest, [width]
    found = (rest + 1 - parts).log_().add_(greatest)
    without = logs.scatter(0, unit[None], -math.inf).logsumexp(dim=0)
    return found.scatter_(0, unit[None], without[None])


# --- similarities of activations -----------------------------------------------------------------


def _of_activations(
    kept: Activations,
    matches: Matches,
    similarity: Similarity,
    draws: int,
    generator: torch.Generator,
    progress: OnDraws,
) -> Null:
    """Each live unit's activations over permuted images, as often for every unit."""
    numbers, live = _live(kept)
    units, images = live.units, matches.images.shape[0]
    if not units:
        progress(1, 1)
        return Null(torch.empty(0), torch.empty(0, dtype=torch.int64))
    top = similarity.top_of(images)
    owners = torch.arange(units * max(DRAWS_A_UNIT, -(-draws // units))) % units
    best = []
    for first in range(0, len(owners), _BATCH):
        part = owners[first : first + _BATCH]
        orders = torch.rand(len(part), images, generator=generator).argsort(dim=1)
        values = live.values[part, :top]
        everything = None
        if similarity.everything:
            assert live.everything is not None
            everything = live.everything[0][:, part].gather(0, orders.T)
        evidence = LayerActivations(orders[:, :top], values, everything)
        found = torch.full((len(part),), -math.inf)
        for _, block in similarity.blocks(evidence, matches):
            found = torch.maximum(found, block.amax(dim=1))
        best.append(found)
        progress(first + len(part), len(owners))
    return Null(torch.cat(best), numbers[owners])


# --- p-values ------------------------------------------------------------------------------------


def p_values(similarities: Tensor, null: Null) -> npt.NDArray[np.float64]:
    """How often a unit without a concept reaches a similarity: ``float64 [units]``.

    ``(1 + #{null ≥ S}) / (1 + #null)``, which is never zero (Phipson and Smyth, 2010). A unit
    without a label gets 1.

    similarities : ``float32 [units]``, of the labels; ``nan`` for a unit that has none.
    """
    own, drawn = similarities.double().numpy(), null.similarities.double().numpy()
    if null.owners is not None:
        own, drawn = _standardised(own, drawn, null.owners.numpy())
    drawn = np.sort(drawn[~np.isnan(drawn)])
    least = own - TIE * np.maximum(1, np.abs(own))
    below = np.searchsorted(drawn, least, side="left")
    values = (1 + len(drawn) - below) / (1 + len(drawn))
    return np.where(np.isnan(own), 1.0, values)


def _standardised(
    own: npt.NDArray[np.float64], drawn: npt.NDArray[np.float64], owners: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Similarities ``[units]`` and draws ``[draws]`` on one scale for all units.

    Mean and standard deviation are those of a unit's draws and its own similarity together, so that
    at random all of them are treated alike. Nothing is said (``nan``) of a unit whose similarities
    are all the same, nor of a draw that no concept matches.
    """
    units = np.concatenate([np.arange(len(own)), owners])
    values = np.concatenate([own, drawn])
    known = np.isfinite(values)

    def sums(of: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.bincount(units[known], of[known], len(own)).astype(np.float64)

    with np.errstate(invalid="ignore", divide="ignore"):
        count = sums(np.ones_like(values))
        mean = (sums(values) / count)[units]
        deviation = np.sqrt(sums((values - mean) ** 2) / count)[units]
        flat = deviation <= TIE * np.maximum(1e-3, np.abs(mean))
        scaled = np.where(known & ~flat, (values - mean) / deviation, np.nan)
    return scaled[: len(own)], scaled[len(own) :]

"""How well a concept describes a unit: the five similarities of CLIP-Dissect.

Oikarinen and Weng, "CLIP-Dissect: Automatic Description of Neuron Representations in Deep Vision
Networks", ICLR 2023. Notation, as in the paper:

- ``q[i, u]``, the activation of unit ``u`` for image ``i`` of the probing set;
- ``P[i, c]``, the match of image ``i`` and concept ``c``: the inner product of their embeddings;
- ``S[u, c]``, the similarity of unit and concept; a unit's label is the concept of the greatest.

Every function yields ``S`` in blocks of concepts, so that no table of images × concepts or of
units × concepts is ever whole in memory. The blocks are small enough to stay in the processor's
cache, which is what makes soft WPMI fast.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vitrine.errors import StudyError, pick, suggestion

BLOCK = 2**20
"""Greatest number of matches (images × concepts) in a block."""

BLOCK_CONCEPTS = 1024
BLOCK_UNITS = 128

MIN_PROBABILITY = 1e-7
"""Added inside each logarithm, as in the authors' implementation."""

MIN_NORM = 1e-3
"""Norms of cubed vectors are at least this, as in the authors' implementation."""


Blocks = Iterator[tuple[int, Tensor]]
"""The first concept of each block, and what is computed for it, e.g. ``S[:, block]``."""


@dataclass(frozen=True)
class Matches:
    """``P``: how well each image of the probing set matches each concept.

    images : ``float32 [images, d]``, the images' embeddings.
    concepts : ``float32 [concepts, d]``, the concepts' embeddings, or ``None`` where ``images``
        are the matches themselves, ``[images, concepts]``.
    """

    images: Tensor
    concepts: Tensor | None = None

    @property
    def count(self) -> int:
        """The number of concepts."""
        return self.images.shape[1] if self.concepts is None else self.concepts.shape[0]

    def block(self, start: int, stop: int) -> Tensor:
        """``P[:, start:stop]``, a new tensor."""
        if self.concepts is None:
            return self.images[:, start:stop].clone()
        return self.images @ self.concepts[start:stop].T

    def blocks(self, function: Callable[[Tensor], Tensor]) -> Blocks:
        """The first concept of each block, and ``function`` of its matches ``[images, width]``.

        The blocks are shared out to as many threads as torch may use, each working alone: the
        operations on a block are too short to be shared themselves, which costs more than it gains
        and many times more where other programs want the processor too.
        """
        width = max(1, min(BLOCK_CONCEPTS, BLOCK // max(1, self.images.shape[0])))
        starts = range(0, self.count, width)

        def work(start: int) -> tuple[int, Tensor]:
            return start, function(self.block(start, min(start + width, self.count)))

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(threads) as pool:
                waiting: deque[Future[tuple[int, Tensor]]] = deque()
                for start in starts:
                    waiting.append(pool.submit(work, start))
                    if len(waiting) > threads:  # as much ahead as keeps every thread busy
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
        finally:
            torch.set_num_threads(threads)


@dataclass(frozen=True)
class LayerActivations:
    """What a similarity knows about the units of one layer.

    top : ``int64 [units, k]``, the images of greatest activation, greatest first, as rows of the
        matches.
    values : ``float32 [units, k]``, their activations.
    everything : ``float32 [images, units]``, all activations; only for a similarity that asks.
    """

    top: Tensor
    values: Tensor
    everything: Tensor | None = None


@dataclass(frozen=True)
class LogLikelihood:
    """``L`` of soft WPMI or WPMI: how probable concepts make the strongest images of units.

    factors : of ``softmax(a P)`` of a block ``[images, width]``, which it may overwrite.
    logs : of these factors and the strongest images ``[units, k]``: ``L [units, width]`` less
        ``constant``.
    """

    factors: Callable[[Tensor], Tensor]
    logs: Callable[[Tensor, Tensor], Tensor]
    constant: float = 0.0


@dataclass(frozen=True)
class Similarity:
    """A row of ``SIMILARITIES``.

    function : ``(evidence, matches, **parameters)`` to the blocks of ``S``.
    top : how many images of greatest activation it looks at, given the probing set's size.
    everything : whether it needs all activations; then memory grows with the probing set.
    parameters : with which it is computed; in the table, the paper's defaults.
    likelihood : of a similarity that sees of a unit nothing but the order of its strongest images,
        and compares it with the mean over the layer's units; ``None`` for the others, which see a
        unit's activations, and no other unit.
    """

    title: str
    function: Callable[..., Blocks]
    top: Callable[..., int]
    everything: bool = False
    parameters: dict[str, Any] = field(default_factory=dict)
    likelihood: Callable[..., LogLikelihood] | None = None
    paper: str = "oikarinen2023"
    revision: int = 1

    @property
    def facts(self) -> dict[str, Any]:
        """What the provenance says about the similarity.

        within_layer : whether a unit is compared with the mean over its layer's units.
        """
        known = {"title": self.title, "paper": self.paper}
        within = self.likelihood is not None
        return known | {"within_layer": within, "parameters": self.parameters}

    def top_of(self, images: int) -> int:
        """How many images of greatest activation it looks at, of a probing set of so many."""
        return self.top(images, **self.parameters)

    def blocks(self, evidence: LayerActivations, matches: Matches) -> Blocks:
        """The blocks of ``S``."""
        return self.function(evidence, matches, **self.parameters)


def pick_similarity(name: str, /, **given: float) -> Similarity:
    """The row of ``SIMILARITIES`` called ``name``, with parameters ``given`` in place of its own.

    Raises ``StudyError`` for a name or a parameter that does not exist, or means nothing.
    """
    row = pick(SIMILARITIES, name, "similarity", "similarities")
    for key, given_value in given.items():
        if key not in row.parameters:
            raise StudyError(
                f"The similarity {name!r} has no parameter {key!r}",
                suggestion(key, sorted(row.parameters), "Its parameters are")
                if row.parameters
                else "It has none",
            )
        words, allows = _ALLOWED.get(key, ("", lambda _: True))
        if not allows(given_value):
            raise StudyError(
                f"The similarity's parameter {key!r} is {given_value!r}, and it must be {words}",
                f"Correct dissection.parameters.{key} in the study file",
            )
    whole = {
        key: int(value) if isinstance(row.parameters[key], int) and value == int(value) else value
        for key, value in given.items()
    }
    return replace(row, parameters=row.parameters | whole)


_ALLOWED: dict[str, tuple[str, Callable[[float], bool]]] = {
    "top_k": ("a whole number from 1", lambda value: value >= 1 and value == int(value)),
    "top_fraction": ("above 0 and at most 1", lambda value: 0 < value <= 1),
    "p_start": ("above 0 and at most 1", lambda value: 0 < value <= 1),
    "p_end": ("above 0 and at most 1", lambda value: 0 < value <= 1),
    "a": ("above 0", lambda value: value > 0),
    "lam": ("0 or more", lambda value: value >= 0),
}
"""What a parameter must be, for the formula to mean something."""


def check_top(wanted: int, images: int) -> None:
    """Stop if the probing set has fewer images than the similarity looks at."""
    if not 1 <= wanted <= images:
        raise StudyError(
            f"The similarity looks at the {wanted} strongest images of each unit, but the "
            f"probing set has {images}",
            "Take a larger probing set, or set dissection.parameters.top_k in the study file",
        )


# --- soft WPMI and WPMI --------------------------------------------------------------------------


def mutual_information(
    likelihood_of: Callable[..., LogLikelihood],
    evidence: LayerActivations,
    matches: Matches,
    a: float,
    lam: float,
    **ranks: float,
) -> Blocks:
    """Weighted pointwise mutual information, soft or not: ``L - λ log mean_u exp L``.

    With ``M = softmax(a P)`` over concepts and ``L`` of ``likelihood_of`` the ``ranks``::

        S[u, c] = L[u, c] - λ log(1/U Σ_u' exp L[u', c])

    With ``λ = 1`` no similarity exceeds ``log U``: those of layers of different sizes differ for
    that reason alone.
    """
    likelihood = likelihood_of(**ranks)

    def block(probabilities: Tensor) -> Tensor:
        logs = likelihood.logs(likelihood.factors(probabilities), evidence.top)
        mean = logs.logsumexp(dim=0) - math.log(logs.shape[0])  # [width]
        # A constant of L passes through the mean.
        return logs - lam * mean + (1 - lam) * likelihood.constant

    return softmax_blocks(matches, a, block)


def soft_likelihood(top_k: int, p_start: float, p_end: float, **_others: float) -> LogLikelihood:
    """``L`` of soft WPMI, the paper's choice.

    With the strongest images ``i_1 … i_K`` of the unit, and the probability ``p_k`` that the k-th
    of them belongs to the unit's concept, falling linearly from ``p_start`` towards ``p_end``::

        L[u, c] = Σ_k log(1 + p_k (M[i_k, c] - 1))

    Computed as ``1 + p_k (M - 1) = (1 - p_k) (1 + r_k M)`` with ``r_k = p_k / (1 - p_k)``. The
    first factor is the same for all units and concepts, so it leaves the sum; what stays are
    numbers close to 1 that lose nothing in single precision, where the plain form subtracts two
    numbers that are almost equal. And their product needs one logarithm for many factors.
    """
    shares = [p_start - rank / top_k * (p_start - p_end) for rank in range(top_k)]
    rests = [1 - share + MIN_PROBABILITY for share in shares]
    odds = [share / rest for share, rest in zip(shares, rests, strict=True)]
    # As many factors 1 + r M as fit into single precision, whose greatest number is 3e38.
    together = max(1, int(38.5 / math.log10(1 + max(odds))))

    def logs(probabilities: Tensor, top: Tensor) -> Tensor:
        summed = probabilities.new_zeros(top.shape[0], probabilities.shape[1])
        for first in range(0, top.shape[0], BLOCK_UNITS):
            units = slice(first, first + BLOCK_UNITS)
            _add_log_products(summed[units], probabilities, top[units], odds, together)
        return summed

    return LogLikelihood(lambda probabilities: probabilities, logs, sum(map(math.log, rests)))


def _add_log_products(
    logs: Tensor, probabilities: Tensor, top: Tensor, odds: list[float], together: int
) -> None:
    """Add ``Σ_k log(1 + r_k M[i_k, c])`` to ``logs [units, width]``, in place."""
    rows = torch.empty_like(logs)
    product = torch.empty_like(logs)
    for rank, ratio in enumerate(odds):
        if rank % together == 0:
            product.fill_(1.0)
        torch.index_select(probabilities, 0, top[:, rank], out=rows)
        product.addcmul_(product, rows, value=ratio)  # product · (1 + r_k M)
        if rank % together == together - 1 or rank == len(odds) - 1:
            logs.add_(product.log_())


def hard_likelihood(top_k: int, **_others: float) -> LogLikelihood:
    """``L[u, c] = Σ_k log M[i_k, c]`` of WPMI: soft WPMI with every ``p_k`` equal to 1."""

    def logs(factors: Tensor, top: Tensor) -> Tensor:
        summed = factors.new_zeros(top.shape[0], factors.shape[1])
        for rank in range(top_k):
            summed += factors[top[:, rank]]
        return summed

    return LogLikelihood(lambda block: block.add_(MIN_PROBABILITY).log_(), logs)


def softmax_blocks(matches: Matches, a: float, function: Callable[[Tensor], Tensor]) -> Blocks:
    """``function`` of ``softmax(a P)`` over all concepts, in blocks: the sums come first."""
    sums = torch.full((matches.images.shape[0],), -math.inf, dtype=matches.images.dtype)
    for _, part in matches.blocks(lambda block: _logsumexp(block.mul_(a))):
        sums = torch.logaddexp(sums, part)
    return matches.blocks(lambda block: function(block.mul_(a).sub_(sums[:, None]).exp_()))


def _logsumexp(block: Tensor) -> Tensor:
    """``block.logsumexp(dim=1)`` to the last digit, in the block's own memory."""
    greatest = block.amax(dim=1, keepdim=True)
    return block.sub_(greatest).exp_().sum(dim=1).log_().add_(greatest[:, 0])


# --- rank reorder --------------------------------------------------------------------------------


def rank_reorder(
    evidence: LayerActivations, matches: Matches, p: float, top_fraction: float, scale_p: float
) -> Blocks:
    """How far the order that a concept gives the strongest images is from the unit's own.

    The strongest images' activations ``q`` are reordered by the images' rank in ``P[:, c]``,
    giving ``q'``::

        S[u, c] = - mean_k |q_k - q'_k|^p / baseline_u / (mean_k P[i_k, c])^scale_p

    ``baseline_u`` is the same mean for a random order. The authors' implementation estimates it
    from five random orders; here it is the exact expectation, the mean over all pairs, so that the
    same input always gives the same similarity. A concept that does not match the images on
    average (mean below zero) has no root and gets ``-inf``. A unit whose strongest images have
    one activation has no order, and gets ``nan``.
    """
    ascending = evidence.values.flip(1)  # [units, k]

    def reordered(block: Tensor) -> Tensor:
        found = block.new_empty(evidence.top.shape[0], block.shape[1])
        for unit, images in enumerate(evidence.top):
            matched = block[images]  # [k, width]
            ranks = matched.argsort(dim=0).argsort(dim=0)
            error = (evidence.values[unit, :, None] - ascending[unit][ranks]).abs().pow(p).mean(0)
            pairs = (ascending[unit, :, None] - ascending[unit, None, :]).abs().pow(p)
            mean = matched.mean(dim=0)
            scaled = -error / pairs.mean() / mean.clamp(min=0).pow(scale_p)
            found[unit] = torch.where(mean > 0, scaled, -math.inf)
        return found

    return matches.blocks(reordered)


# --- cosine --------------------------------------------------------------------------------------


def cosine(evidence: LayerActivations, matches: Matches) -> Blocks:
    """The cosine of a unit's activations and a concept's matches: ``q_u · P_c / (|q_u| |P_c|)``."""
    assert evidence.everything is not None
    units = _unit_columns(evidence.everything)
    return matches.blocks(lambda block: units.T @ _unit_columns(block))


def cosine_cubed(evidence: LayerActivations, matches: Matches) -> Blocks:
    """The cosine of both after taking off their means and cubing, which stresses what is rare."""
    assert evidence.everything is not None
    units = _unit_columns(_cubed(evidence.everything), MIN_NORM)
    return matches.blocks(lambda block: units.T @ _unit_columns(_cubed(block), MIN_NORM))


def _cubed(columns: Tensor) -> Tensor:
    cubed: Tensor = (columns - columns.mean(dim=0, keepdim=True)).pow(3)
    return cubed


def _unit_columns(columns: Tensor, least: float = 1e-12) -> Tensor:
    lengths: Tensor = columns.norm(dim=0, keepdim=True).clamp(min=least)
    return columns / lengths


SIMILARITIES: dict[str, Similarity] = {
    "soft_wpmi": Similarity(
        "soft WPMI",
        partial(mutual_information, soft_likelihood),
        lambda _images, top_k, **_others: top_k,
        parameters={"top_k": 100, "a": 10.0, "lam": 1.0, "p_start": 0.998, "p_end": 0.97},
        likelihood=soft_likelihood,
    ),
    "wpmi": Similarity(
        "WPMI",
        partial(mutual_information, hard_likelihood),
        lambda _images, top_k, **_others: top_k,
        parameters={"top_k": 28, "a": 2.0, "lam": 0.6},
        likelihood=hard_likelihood,
    ),
    "rank_reorder": Similarity(
        "rank reorder",
        rank_reorder,
        lambda images, top_fraction, **_others: int(images * top_fraction),
        parameters={"p": 3.0, "top_fraction": 0.05, "scale_p": 0.5},
    ),
    "cosine": Similarity("cosine", cosine, lambda _images: 1, everything=True),
    "cosine_cubed": Similarity("cosine cubed", cosine_cubed, lambda _images: 1, everything=True),
}

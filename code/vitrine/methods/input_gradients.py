"""Gradients at the network's input, and their means over paths and noisy copies, by Captum."""

from collections.abc import Callable
from typing import Any

import torch
from captum import attr
from torch import Tensor

from vitrine.methods.attribution_query import AttributionQuery, Explain


def gradient(query: AttributionQuery) -> Explain:
    saliency = attr.Saliency(query.forward)

    def explain(piece: Tensor) -> Tensor:
        inputs = piece.detach().clone().requires_grad_(True)
        found: Tensor = saliency.attribute(inputs, target=query.target, abs=False)
        return found

    return lambda batch: query.in_pieces(batch, 1, explain)


def integrated(query: AttributionQuery, steps: int) -> tuple[Any, dict[str, Any]]:
    """Captum's Integrated Gradients from zero, and the arguments it is called with."""
    return attr.IntegratedGradients(query.forward), {
        "target": query.target,
        "baselines": 0.0,
        "n_steps": steps,
        "internal_batch_size": query.parameters.batch,
    }


def integrated_gradients(query: AttributionQuery) -> Explain:
    path, arguments = integrated(query, query.parameters.steps)
    return lambda batch: query.in_pieces(batch, 1, lambda piece: path.attribute(piece, **arguments))


SUMMARIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "smoothgrad_squared": lambda _mean, mean_square: mean_square,
    "vargrad": lambda mean, mean_square: mean_square - mean**2,
}
"""What is told of attributions of noisy copies, by their mean and the mean of their squares."""


def noisy(query: AttributionQuery) -> Callable[[Tensor], dict[str, Tensor]]:
    """All of ``SUMMARIES`` from the same noisy copies, drawn as Captum's noise tunnel does."""
    parameters = query.parameters
    path, arguments = integrated(query, parameters.noisy_steps)
    black, _, white = query.references
    deviation = torch.full_like(black, parameters.noise * float((white - black).mean()))

    def summarised(image: Tensor) -> list[Tensor]:
        total, squares = torch.zeros_like(image), torch.zeros_like(image)
        for _ in range(parameters.samples):
            found = path.attribute(image + torch.normal(0.0, deviation)[None], **arguments)
            total, squares = total + found, squares + found**2
        mean, mean_square = total / parameters.samples, squares / parameters.samples
        return [summary(mean, mean_square) for summary in SUMMARIES.values()]

    def explain(batch: Tensor) -> dict[str, Tensor]:
        found = zip(*(summarised(image) for image in torch.split(batch, 1)), strict=True)
        return {name: torch.cat(each) for name, each in zip(SUMMARIES, found, strict=True)}

    return explain


def gradient_shap(query: AttributionQuery) -> Explain:
    parameters, references = query.parameters, query.references
    shap = attr.GradientShap(query.forward)
    rounds = -(-parameters.points // parameters.batch)
    at_once = -(-parameters.points // rounds)

    def explain(piece: Tensor) -> Tensor:
        # Captum runs all points of a call in one pass; the mean over calls of the same size is the
        # mean over all points.
        found = [
            shap.attribute(piece, references, n_samples=at_once, target=query.target)
            for _ in range(rounds)
        ]
        return torch.stack(found).mean(dim=0)

    return lambda batch: query.in_pieces(batch, at_once, explain)

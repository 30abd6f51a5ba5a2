"""Gradients at the network's input, and their means over paths and noisy copies, by Captum."""

from collections.abc import Callable
from functools import partial

import torch
from captum import attr
from torch import Tensor

from vitrine.methods.attribution_query import Attribute, AttributionQuery


def gradient(query: AttributionQuery) -> Attribute:
    saliency = attr.Saliency(query.forward)

    def explain(piece: Tensor) -> Tensor:
        inputs = piece.detach().clone().requires_grad_(True)
        found: Tensor = saliency.attribute(inputs, target=query.target, abs=False)
        return found

    return lambda batch: query.in_pieces(batch, 1, explain)


def _integrated(query: AttributionQuery, steps: int) -> Attribute:
    """Captum's Integrated Gradients from zero."""
    path, batch = attr.IntegratedGradients(query.forward), query.parameters.batch
    arguments = {"baselines": 0.0, "n_steps": steps, "internal_batch_size": batch}
    return partial(path.attribute, target=query.target, **arguments)


def integrated_gradients(query: AttributionQuery) -> Attribute:
    path = _integrated(query, query.parameters.steps)
    return lambda batch: query.in_pieces(batch, 1, path)


def noisy(query: AttributionQuery) -> Callable[[Tensor], dict[str, Tensor]]:
    """SmoothGrad² and VarGrad from the same noisy copies, drawn as Captum's noise tunnel does."""
    parameters = query.parameters
    path = _integrated(query, parameters.noisy_steps)
    black, _, white = query.references
    deviation = torch.full_like(black, parameters.noise * float((white - black).mean()))

    def summarised(image: Tensor) -> dict[str, Tensor]:
        total, squares = torch.zeros_like(image), torch.zeros_like(image)
        for _ in range(parameters.samples):
            found = path(image + torch.normal(0.0, deviation)[None])
            total, squares = total + found, squares + found**2
        mean, mean_square = total / parameters.samples, squares / parameters.samples
        return {"smoothgrad_squared": mean_square, "vargrad": mean_square - mean**2}

    def explain(batch: Tensor) -> dict[str, Tensor]:
        found = [summarised(image) for image in torch.split(batch, 1)]
        return {name: torch.cat([each[name] for each in found]) for name in found[0]}

    return explain


def gradient_shap(query: AttributionQuery) -> Attribute:
    parameters, references = query.parameters, query.references
    shap = attr.GradientShap(query.forward)
    rounds = -(-parameters.points // parameters.batch)
    at_once = -(-parameters.points // rounds)

    def explain(piece: Tensor) -> Tensor:
        # Captum runs all points of a call in one pass; the mean over calls of the same size is the
        # mean over all points.
        draw = partial(shap.attribute, piece, references, n_samples=at_once, target=query.target)
        return torch.stack([draw() for _ in range(rounds)]).mean(dim=0)

    return lambda batch: query.in_pieces(batch, at_once, explain)

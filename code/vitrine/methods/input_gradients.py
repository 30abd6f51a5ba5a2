"""Gradients at the network's input, and their means over paths and noisy copies, by Captum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from captum import attr
from torch import Tensor

from vitrine.methods.subject import Explain, Subject


def gradient(subject: Subject) -> Explain:
    saliency = attr.Saliency(subject.forward)

    def explain(piece: Tensor) -> Tensor:
        inputs = piece.detach().clone().requires_grad_(True)
        found: Tensor = saliency.attribute(inputs, target=subject.target, abs=False)
        return found

    return lambda batch: subject.in_pieces(batch, 1, explain)


def integrated(subject: Subject, steps: int) -> tuple[Any, dict[str, Any]]:
    """Captum's Integrated Gradients from zero, and the arguments it is called with."""
    return attr.IntegratedGradients(subject.forward), {
        "target": subject.target,
        "baselines": 0.0,
        "n_steps": steps,
        "internal_batch_size": subject.parameters.batch,
    }


def integrated_gradients(subject: Subject) -> Explain:
    path, arguments = integrated(subject, subject.parameters.steps)
    return lambda batch: subject.in_pieces(
        batch, 1, lambda piece: path.attribute(piece, **arguments)
    )


SUMMARIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "smoothgrad_squared": lambda _mean, mean_square: mean_square,
    "vargrad": lambda mean, mean_square: mean_square - mean**2,
}
"""What is told of attributions of noisy copies, by their mean and the mean of their squares."""


def noisy(subject: Subject) -> Callable[[Tensor], dict[str, Tensor]]:
    """All of ``SUMMARIES`` from the same noisy copies, drawn as Captum's noise tunnel does."""
    parameters = subject.parameters
    path, arguments = integrated(subject, parameters.noisy_steps)
    black, _, white = subject.references
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


def summary(name: str) -> Callable[[Subject], Explain]:
    def prepare(subject: Subject) -> Explain:
        explain = noisy(subject)
        return lambda batch: explain(batch)[name]

    return prepare


def gradient_shap(subject: Subject) -> Explain:
    parameters, references = subject.parameters, subject.references
    shap = attr.GradientShap(subject.forward)
    rounds = -(-parameters.points // parameters.batch)
    at_once = -(-parameters.points // rounds)

    def explain(piece: Tensor) -> Tensor:
        # Captum runs all points of a call in one pass; the mean over calls of the same size is the
        # mean over all points.
        found = [
            shap.attribute(piece, references, n_samples=at_once, target=subject.target)
            for _ in range(rounds)
        ]
        return torch.stack(found).mean(dim=0)

    return lambda batch: subject.in_pieces(batch, at_once, explain)

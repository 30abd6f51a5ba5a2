"""Guided backpropagation: the gradient without what is negative on its way down."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn
from zennit.composites import LayerMapComposite
from zennit.rules import ReLUGuidedBackprop
from zennit.types import Activation

from vitrine.errors import NotApplicable

GUIDED = (nn.ReLU, nn.ReLU6)


def guided_gradient(form: fx.GraphModule, batch: Tensor, target: int) -> Tensor:
    """The guided gradient of the target's logit ``[n, 3, h, w]`` (Springenberg et al., 2015).

    form : of ``canonical``, where every activation is a module used once, so that none is passed
        over; left as it was.

    At each ReLU or ReLU6 a gradient passes where it is positive and so is the activation's slope.
    Raises ``NotApplicable`` for a network with other activations, or without any.
    """
    check_activations(form)
    composite = LayerMapComposite([(GUIDED, ReLUGuidedBackprop())])
    with torch.enable_grad(), composite.context(form):
        inputs = batch.detach().clone().requires_grad_(True)
        (found,) = torch.autograd.grad(form(inputs)[:, target].sum(), inputs)
    return found.detach()


def check_activations(form: fx.GraphModule) -> None:
    """Raises ``NotApplicable`` unless all activations are ReLU or ReLU6 and there is one."""
    activations = [module for module in form.modules() if isinstance(module, Activation)]
    others = sorted({type(each).__name__ for each in activations if not isinstance(each, GUIDED)})
    if others or not activations:
        found = f"has {', '.join(others)}" if others else "has no activation"
        raise NotApplicable(
            f"Guided backpropagation is defined for ReLU and ReLU6, and the network {found}"
        )

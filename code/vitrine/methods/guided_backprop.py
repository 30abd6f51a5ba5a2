"""Guided backpropagation: the gradient without what is negative on its way down."""

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
    """Raises ``NotApplicable`` unless all activations are ReLU or ReLU6 and there is one.

    A function that is not known to be linear, or to pass a value on, counts as an activation.
    """
    activations = [
        module
        for module in form.modules()
        if isinstance(module, Activation) or type(module).__module__ == nn.ReLU.__module__
    ]
    others = sorted({type(each).__name__ for each in activations if not isinstance(each, GUIDED)})
    steps = sorted({_name(node) for node in form.graph.nodes if not _is_linear(node)})
    if others or steps or not activations:
        unknown = f"steps not known to be linear ({', '.join(steps)})" if steps else ""
        parts = (" and ".join(others) if len(others) < 3 else ", ".join(others), unknown)
        found = f"has {' and '.join(filter(None, parts)) or 'no activation'}"
        raise NotApplicable(
            f"Guided backpropagation is defined for ReLU and ReLU6, and the network {found}"
        )


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target)).strip("_")


def _is_linear(node: fx.Node) -> bool:
    """Whether a step that is no module is linear, or hands a value on from where it came."""
    if node.op not in ("call_function", "call_method") or "tensor_meta" not in node.meta:
        return True
    if _name(node) in _FACTORS:
        computed = [isinstance(each, fx.Node) and each.op != "get_attr" for each in node.args[:2]]
        return computed == [True, False] or (computed == [False, True] and "mul" in _name(node))
    return _name(node) in _LINEAR.split()


_FACTORS = ("mul", "imul", "multiply", "truediv", "itruediv", "div")
"""Linear where only one of the two depends on the input."""

_LINEAR = """
add iadd sub isub neg mean sum cat concat stack flatten view reshape permute transpose squeeze
unsqueeze expand contiguous clone getitem chunk split pad roll interpolate pixel_shuffle dropout
dropout2d stochastic_depth conv2d linear batch_norm avg_pool2d adaptive_avg_pool2d max_pool2d
adaptive_max_pool2d amax
"""
"""Functions and methods by name."""

"""A network rewritten so that every step is a module of its own, used once.

Rules that put something else in the place of a gradient (guided backpropagation, layer-wise
relevance propagation) are hooked to modules. Libraries hook what they find: an activation that is a
function, a module that is used twice, an addition written as ``+`` or a batch normalisation that
carries its own activation are passed over without a word. In the canonical form there are none.
"""

import copy
import operator
from collections.abc import Callable
from itertools import count
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vitrine.errors import NotApplicable


class Addition(nn.Module):
    """The sum of two tensors of one shape: where a shortcut meets its block."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second


class _Tracer(fx.Tracer):
    """Keeps convolutions and batch normalisations whole, whichever library they come from."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, (nn.Conv2d, nn.BatchNorm2d))
        return known or super().is_leaf_module(m, module_qualified_name)


def canonical(network: nn.Module, example: Tensor) -> fx.GraphModule:
    """A copy of ``network`` in canonical form; the network itself is not touched.

    example : ``float32 [1, 3, h, w]``, to learn shapes and to compare the logits.

    Activations and averages that are functions become modules; modules used again become copies;
    nothing works in place; additions of two tensors become ``Addition``; batch normalisations are
    folded into the convolution before them, or become a convolution of their own where there is
    none. Raises ``NotApplicable`` for a network that cannot be traced (``torch.fx``), or whose
    logits are not the same afterwards.
    """
    source = copy.deepcopy(network).eval().requires_grad_(False)
    try:
        form = fx.GraphModule(source, _Tracer().trace(source))
        with torch.no_grad():
            ShapeProp(form).propagate(example)
    except Exception as error:  # tracing runs the network's own Python, which may raise anything
        raise NotApplicable(
            "The network's Python cannot be traced, so its steps cannot be told apart"
        ) from error
    for step in (_split_norms, _functions_to_modules, _one_use_each, _fold_norms):
        for node in list(form.graph.nodes):
            step(form, node)
    form.graph.lint()
    form.recompile()
    form.delete_all_unused_submodules()
    _compare(network, form, example)
    return form


def _compare(network: nn.Module, form: nn.Module, example: Tensor) -> None:
    with torch.no_grad():
        expected, found = network(example), form(example)
    if not isinstance(expected, Tensor):
        raise NotApplicable("The network gives something else than logits")
    if not bool(expected.isfinite().all()):
        raise NotApplicable("The network's logits are not finite")
    if not same_logits(found, expected, 1e-4):
        raise NotApplicable("The network's logits change when its steps are told apart")


def same_logits(found: Any, expected: Tensor, share: float) -> bool:
    """Whether logits are alike but for a ``share`` of their own size and of the largest."""
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return False
    return torch.allclose(found, expected, share, share * float(expected.abs().max()))


# --- the steps -----------------------------------------------------------------------------------


def _split_norms(form: fx.GraphModule, node: fx.Node) -> None:
    """timm's batch normalisations carry an activation; it becomes a step of its own."""
    module = _module(form, node)
    if not isinstance(module, nn.BatchNorm2d) or type(module) is nn.BatchNorm2d:
        return
    activation = getattr(module, "act", nn.Identity())
    plain = nn.BatchNorm2d(module.num_features, module.eps, affine=module.affine).eval()
    plain.load_state_dict(module.state_dict(), strict=False)
    normalised = _put(form, node, plain, node.args)
    _replace(form, node, activation, (normalised,))


def _functions_to_modules(form: fx.GraphModule, node: fx.Node) -> None:
    if node.op not in ("call_function", "call_method"):
        return
    if node.target in _ADDITIONS and _is_sum_of_tensors(node):
        _replace(form, node, Addition(), node.args[:2])
    elif (activation := _activation(node)) is not None:
        _replace(form, node, activation, node.args[:1])
    elif node.target in _POOLINGS:
        _replace(form, node, _POOLINGS[node.target](*node.args[1:], **node.kwargs), node.args[:1])
    elif node.target in ("mean", torch.mean) and _is_pooling(node):
        pooled = _put(form, node, nn.AdaptiveAvgPool2d(1), node.args[:1])
        keeps = node.kwargs.get("keepdim", (*node.args, False, False)[2])
        _replace(form, node, nn.Identity() if keeps else nn.Flatten(), (pooled,))


def _one_use_each(form: fx.GraphModule, node: fx.Node) -> None:
    """Every call has its own module, none of which works in place."""
    module = _module(form, node)
    if module is None:
        return
    if next(other for other in form.graph.nodes if other.target == node.target) is not node:
        node.target = _add(form, copy.deepcopy(module))
        module = _module(form, node)
    if getattr(module, "inplace", False):
        module.inplace = False  # type: ignore[union-attr]


def _fold_norms(form: fx.GraphModule, node: fx.Node) -> None:
    module = _module(form, node)
    if not isinstance(module, nn.BatchNorm2d):
        return
    before = node.args[0]
    assert isinstance(before, fx.Node)
    convolution = _module(form, before)
    if isinstance(convolution, nn.Conv2d) and len(before.users) == 1:
        form.set_submodule(str(before.target), fuse_conv_bn_eval(convolution, module))
        node.replace_all_uses_with(before)
        form.graph.erase_node(node)
    else:
        _replace(form, node, _as_convolution(module), node.args)


def _as_convolution(norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One factor and one shift a channel, which is what a batch normalisation is in use."""
    channels = norm.num_features
    # Without the initialisation, which would draw from the generator that methods are seeded by.
    identity: nn.Conv2d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, channels, channels, 1, groups=channels, bias=False
    )
    identity.weight = nn.Parameter(torch.ones_like(identity.weight))
    identity = identity.to(norm.running_mean).eval()
    return fuse_conv_bn_eval(identity, norm).requires_grad_(False)


_ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")

_POINTWISE = """
ReLU ReLU6 ELU CELU SELU SiLU Mish GELU Hardtanh Hardswish Hardsigmoid Softplus LogSigmoid Sigmoid
Tanh
"""
_MODULES: dict[str, Callable[..., nn.Module]] = {"leaky_relu": nn.LeakyReLU} | {
    name.lower(): getattr(nn, name) for name in _POINTWISE.split()
}
"""The activations that are one number's function of one number, by their name as a function."""


def _activation(node: fx.Node) -> nn.Module | None:
    """The module of an activation that is called as a function or a method; else ``None``.

    ``clamp`` at zero from below is a ReLU, and between zero and six a ReLU6.
    """
    name = getattr(node.target, "__name__", str(node.target)).rstrip("_")
    given, named = node.args[1:], dict(node.kwargs)
    if any(isinstance(value, fx.Node) for value in (*given, *named.values())):
        return None
    if name in ("clamp", "clip", "clamp_min"):
        lower, upper = (*given, None, None)[:2]
        bounds = named.get("min", lower), named.get("max", upper)
        rectifiers: dict[Any, nn.Module] = {(0, None): nn.ReLU(), (0, 6): nn.ReLU6()}
        return rectifiers.get(bounds)
    named.pop("inplace", None)
    try:
        return _MODULES[name](*given, **named) if name in _MODULES else None
    except TypeError:
        return None


_POOLINGS: dict[Any, Callable[..., nn.Module]] = {
    functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    functional.avg_pool2d: nn.AvgPool2d,
}


def _is_sum_of_tensors(node: fx.Node) -> bool:
    """Two tensors of one shape; an added constant, or a sum of sizes, is something else."""
    shapes = [
        getattr(part.meta.get("tensor_meta"), "shape", None) if isinstance(part, fx.Node) else None
        for part in node.args
    ]
    return len(shapes) == 2 and shapes[0] is not None and shapes[0] == shapes[1]


def _is_pooling(node: fx.Node) -> bool:
    """A mean over height and width, as some networks write their last pooling."""
    axes = node.kwargs.get("dim", (*node.args, None)[1])
    return isinstance(axes, (tuple, list)) and tuple(axes) in ((2, 3), (-2, -1), (3, 2), (-1, -2))


# --- the graph -----------------------------------------------------------------------------------


def _module(form: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return form.get_submodule(str(node.target)) if node.op == "call_module" else None


def _add(form: fx.GraphModule, module: nn.Module) -> str:
    names = (f"step_{number}" for number in count(len(form._modules)))
    name = next(name for name in names if name not in form._modules)
    form.add_module(name, module)
    return name


def _put(form: fx.GraphModule, node: fx.Node, module: nn.Module, arguments: Any) -> fx.Node:
    """A call of ``module`` before ``node``."""
    with form.graph.inserting_before(node):
        return form.graph.call_module(_add(form, module), tuple(arguments))


def _replace(form: fx.GraphModule, node: fx.Node, module: nn.Module, arguments: Any) -> None:
    """A call of ``module`` in the place of ``node``."""
    call = _put(form, node, module, arguments)
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    form.graph.erase_node(node)

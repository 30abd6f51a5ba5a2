"""Layer-wise relevance propagation: the logit, handed back from layer to layer to the pixels.

The library zennit hooks a rule to each layer of the canonical form of a network. Its own rules hold
for the classifier, the poolings and the first convolution; two of ours take the place of those that
lose or invent relevance in residual networks with batch normalisation:

- A neuron whose output comes from its bias alone has nothing to hand relevance on to, and zennit's
  z⁺ rule drops it: on EfficientNet-Lite0, with its ReLU6 and depthwise convolutions, more than nine
  tenths of the logit. ``WholePlus`` shares it equally among the neuron's inputs.
- Where a shortcut meets its block, shares of the sum are unbounded when the two nearly cancel.
  ``RatioSplit`` takes the ratio of their sizes.

Both keep the sum, and neither makes any relevance greater than it was.
"""

import copy
import re
import warnings
from typing import Any

import torch
from captum import attr
from torch import Tensor, fx, nn
from zennit.composites import NameLayerMapComposite
from zennit.core import Hook, ParamMod
from zennit.rules import Epsilon, Flat, Norm, Pass
from zennit.types import Activation, AvgPool

from vitrine.errors import NotApplicable
from vitrine.models.canonical import Addition

RULE = (
    "the ε rule for the classifier, the z⁺ rule (α = 1, β = 0) for convolutions, with equal shares "
    "where only a bias speaks, the flat rule for the first convolution, and the ratio of sizes "
    "where shortcuts join"
)


class WholePlus(Hook):  # type: ignore[misc]
    """The z⁺ rule (α = 1, β = 0; Bach et al., 2015) that hands on all it gets.

    ``R_i = Σ_j z⁺_ij / Σ_i z⁺_ij · R_j``, with what belongs to the bias in the same proportion.
    Where no input speaks for a neuron, ``R_j / n_j``, with n_j its inputs that lie inside the
    image: the equal shares that Arras et al. (2017) give to a bias, so that the sum is kept.
    """

    def forward(self, _module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        self.stored_tensors["input"] = inputs[0].detach()

    def backward(
        self, module: nn.Module, _gradients: Any, relevance: tuple[Tensor, ...]
    ) -> tuple[Tensor]:
        seen = self.stored_tensors["input"]
        weight = module.weight
        assert isinstance(weight, Tensor)
        signs = [(seen.clamp(min=0), weight.clamp(min=0)), (seen.clamp(max=0), weight.clamp(max=0))]
        parts = [(part, some) for part, some in signs if bool(part.any())]
        parts.append((torch.ones_like(seen), torch.ones_like(weight)))  # counts n_j
        with torch.enable_grad():
            leaves = [part.requires_grad_() for part, _ in parts]
            outputs = [
                _linear(module, leaf, some) for leaf, (_, some) in zip(leaves, parts, strict=True)
            ]
        *sums, counted = (output.detach() for output in outputs)
        positive = sum(sums, torch.zeros_like(counted))
        silent = positive <= 0
        ratio = torch.where(silent, 0.0, relevance[0] / torch.where(silent, 1.0, positive))
        handed = [*[ratio] * len(sums), torch.where(silent, relevance[0] / counted, 0.0)]
        pulled = torch.autograd.grad(outputs, leaves, handed)
        shares = [leaf.detach() * pull for leaf, pull in zip(leaves, pulled, strict=True)]
        return (torch.stack(shares).sum(dim=0),)


def _linear(module: nn.Module, inputs: Tensor, weight: Tensor) -> Tensor:
    """The layer with another weight and without its bias, with its own padding."""
    swap = ParamMod(lambda _parameter, _name: weight, zero_params=["bias"])
    with swap(module) as changed:  # `forward` and not the call, which would run the rule again
        output: Tensor = changed.forward(inputs)
    return output


class RatioSplit(Hook):  # type: ignore[misc]
    """At an addition, a part gets ``|a| / (|a| + |b|)`` of the relevance.

    Ratio-based splitting (Otsuki et al., 2024), here of absolute values, so that no share is
    negative or above 1.
    """

    def forward(self, _module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        self.stored_tensors["inputs"] = tuple(each.detach() for each in inputs)

    def backward(
        self, _module: nn.Module, _gradients: Any, relevance: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        first, second = (each.abs() for each in self.stored_tensors["inputs"])
        total = first + second
        share = torch.where(total > 0, first / total.clamp(min=1e-30), 0.5)
        return relevance[0] * share, relevance[0] * (1 - share)


def relevance(form: fx.GraphModule, batch: Tensor, target: int) -> Tensor:
    """The relevance of every input value ``[n, 3, h, w]``; its sum is the target's logit.

    form : of ``canonical``; left as it was. Raises ``NotApplicable`` where a step has no rule.
    """
    check_rules(form)
    with torch.enable_grad(), _composite(form).context(form):
        inputs = batch.detach().clone().requires_grad_(True)
        logits = form(inputs)[:, target]
        (found,) = torch.autograd.grad(logits, inputs, grad_outputs=logits.detach())
    return found.detach()


def _composite(form: fx.GraphModule) -> NameLayerMapComposite:
    """Which rule each layer has."""
    called = [str(node.target) for node in form.graph.nodes if node.op == "call_module"]
    convolutions = [name for name in called if isinstance(form.get_submodule(name), nn.Conv2d)]
    return NameLayerMapComposite(
        name_map=[(tuple(convolutions[:1]), Flat())],
        layer_map=[
            (Activation, Pass()),
            (Addition, RatioSplit()),
            (AvgPool, Norm()),
            (nn.Conv2d, WholePlus()),
            (nn.Linear, Epsilon(zero_params=["bias"])),
        ],
    )


def check_rules(form: fx.GraphModule) -> None:
    """Raises ``NotApplicable`` and names the first step that has no rule."""
    for node in form.graph.nodes:
        if node.op == "call_module":
            module = form.get_submodule(str(node.target))
            known = isinstance(module, _RULED + _ROUTING)
            name = type(module).__name__
        else:
            known = node.op in ("placeholder", "output") or node.target in _FUNCTIONS
            name = getattr(node.target, "__name__", str(node.target))
        if not known and "tensor_meta" in node.meta:
            raise NotApplicable(f"Layer-wise relevance propagation has no rule for the step {name}")


_RULED: tuple[type[nn.Module], ...] = (
    Addition,
    nn.AdaptiveAvgPool2d,
    nn.AvgPool2d,
    nn.Conv2d,
    nn.GELU,
    nn.Hardswish,
    nn.LeakyReLU,
    nn.Linear,
    nn.ReLU,
    nn.ReLU6,
    nn.SiLU,
)

_ROUTING: tuple[type[nn.Module], ...] = (
    nn.MaxPool2d,
    nn.AdaptiveMaxPool2d,
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
    nn.Flatten,
)
"""The gradient of these hands on as much as it gets, to where it came from."""

_FUNCTIONS = (
    torch.flatten,
    torch.cat,
    torch.nn.functional.dropout,
    torch.nn.functional.max_pool2d,
    "flatten",
    "view",
    "reshape",
    "contiguous",
)


# --- as in Captum, to show what it is worth -------------------------------------------------------


def captum_relevance(network: nn.Module, batch: Tensor, target: int) -> Tensor:
    """Captum's LRP ``[n, 3, h, w]``, on a copy of the network, as it leaves rules in the modules.

    Captum 0.9 hooks the modules that have parameters, poolings and activations, and lets the
    gradient stand for all else: relevance is not kept where two tensors are added or normalised by
    a batch, and no error says so. Raises ``NotApplicable`` where it does raise one.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that hooks are set and removed
            found: Tensor = attr.LRP(copy.deepcopy(network)).attribute(batch, target=target)
    except Exception as error:  # the library raises what it stumbles over
        raise NotApplicable(_why(str(error))) from error
    return found.detach()


def _why(message: str) -> str:
    """What the library's error says, as one sentence that a table can hold."""
    module = re.search(r"Module of type <class '(?:[\w.]*\.)?(\w+)'> has no rule", message)
    if module:
        return f"Captum has no rule for the network's modules of the type {module[1]}"
    first = message.split(". ")[0]
    return f"Captum's layer-wise relevance propagation stops at this network ({first})"

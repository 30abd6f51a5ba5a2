"""The layers of a network that no table describes, found out by one pass."""

from collections.abc import Sized
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vitrine.errors import StudyError
from vitrine.models.architecture import first_line
from vitrine.models.classifier import check_network
from vitrine.models.head import channels_first, token_grid

_ACTIVATIONS = {"relu": "ReLU", "relu6": "ReLU6", "gelu": "GELU", "silu": "SiLU"} | {
    "hardswish": "Hardswish", "leaky_relu": "LeakyReLU", "elu": "ELU", "mish": "Mish",
}  # fmt: skip


_LINKS = {"softmax": "softmax", "special_softmax": "softmax"} | {
    "sigmoid": "sigmoid", "special_expit": "sigmoid",
}  # fmt: skip
"""Functions that give probabilities, and what they are."""


@dataclass(frozen=True)
class Layers:
    """What one pass showed.

    last_convolution : the layer of the last feature maps; ``""`` where they are turned into tokens
        and no library says how these lie on the image.
    activations : the kinds of activation modules. activation_after : the activation, such as
        ``"ReLU"``, to which the network gives the last maps; else ``""``.
    """

    outputs: int
    last_convolution: str
    channels: int
    stages: tuple[str, ...]
    activations: tuple[str, ...]
    activation_after: str = ""


class _Called(TorchFunctionMode):
    """Notes activations: how many layers were finished, the tensor given, and which one it is.

    links : what a softmax or a sigmoid gave, and its name.
    """

    def __init__(self, finished: Sized) -> None:
        super().__init__()
        self.finished = finished
        self.found: list[tuple[int, Tensor, str]] = []
        self.links: list[tuple[Tensor, str]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "").rstrip("_")
        if name in _ACTIVATIONS and args and isinstance(args[0], Tensor):
            self.found.append((len(self.finished), args[0], _ACTIVATIONS[name]))
        given = func(*args, **(kwargs or {}))
        if name in _LINKS and isinstance(given, Tensor):
            self.links.append((given, _LINKS[name]))
        return given


def traced_layers(
    network: nn.Module, side: int, title: str, device: torch.device | None = None
) -> Layers:
    """The layers of a network from one pass of a grey image. Raises ``StudyError``.

    The last feature maps are those of the layer with parameters that is finished last and has more
    than one place. Stages are the last layers of each size of maps, and the head. For the tokens of
    a vision transformer see ``_on_tokens``.
    """
    check_network(title, network)
    finished: list[tuple[str, nn.Module, Any]] = []

    def note(name: str, layer: nn.Module, _inputs: object, output: Any) -> None:
        finished.append((name, layer, output))

    called = _Called(finished)
    try:
        with ExitStack() as hooks, torch.inference_mode(), called:
            for name, layer in list(network.named_modules())[1:]:
                hooks.enter_context(layer.register_forward_hook(partial(note, name)))
            logits = network(torch.zeros(1, 3, side, side, device=device))
    except Exception as error:
        raise StudyError(
            f"{title} refuses an input of 3 × {side} × {side}: {type(error).__name__} "
            f"({first_line(error)})",
            _remedy(network, error),
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise StudyError(
            f"{title} gives {shape} and not logits of the shape (1, classes)",
            "Wrap it in a module whose forward returns the logits alone, one for each category",
        )
    of_noise = check_batch(network, side, title, device)
    _check_logits(logits, of_noise, called, title)
    layers = _layers(network, finished, int(logits.shape[1]))
    if not layers.last_convolution:
        return _on_tokens(network, layers, _drawn(1, 3, side, side).to(device))
    after = (
        activation
        for done, given, activation in called.found
        for name, _, output in finished[:done]
        if name == layers.last_convolution and given is output
    )
    return replace(layers, activation_after=next(after, ""))


def _remedy(network: nn.Module, error: Exception) -> str:
    """What to do where a network refuses an input of three channels."""
    first = next((one for one in network.modules() if isinstance(one, nn.Conv2d)), None)
    if first is not None and first.in_channels != 3:
        return (
            "Inputs are red, green and blue: wrap the network in a module whose forward makes the "
            f"{first.in_channels} of its first convolution of them, e.g. grey as their mean"
        )
    if isinstance(error, MemoryError) or "memory" in str(error):
        return "Give a smaller size (--size, or `size` in the study file), or use more memory"
    return "Give the size that the network was trained with (--size, or `size` in the study file)"


def _check_logits(logits: Tensor, of_noise: Tensor, called: _Called, title: str) -> None:
    """Raises ``StudyError`` where the outputs are probabilities already.

    They are what a softmax or a sigmoid gave: told by the memory, which a change of shape keeps,
    and by their range, which a change in place leaves. Or they are shares of 1 for each image.
    """
    place, outputs = logits.untyped_storage().data_ptr(), torch.cat((logits, of_noise))
    links = [link for one, link in called.links if one.untyped_storage().data_ptr() == place]
    if outputs.shape[1] > 1 and outputs.sum(1).sub(1).abs().max() < 1e-5:
        links.append("softmax")
    if links and bool(((outputs >= 0) & (outputs <= 1)).all()):
        state = links[-1] == "sigmoid" and outputs.shape[1] > 1
        told = ', and state link = "sigmoid"'
        raise StudyError(
            f"The outputs of {title} are probabilities already, of a {links[-1]}",
            f"Return the logits: leave out the last {links[-1]}{told * state}",
        )


def _layers(network: nn.Module, finished: list[tuple[str, nn.Module, Any]], outputs: int) -> Layers:
    linear = any(isinstance(layer, nn.Linear) for _, layer, _ in finished)
    maps: dict[str, tuple[int, int]] = {}
    for name, layer, output in finished:
        if not list(layer.parameters()) and not isinstance(layer, nn.ReLU):
            continue
        found = channels_first(layer, output)
        if found is not None and found[0, 0].numel() > 1:
            if found.shape[1] == outputs and not linear:
                continue  # a head of convolutions: logits with places
            maps.pop(name, None)
            maps[name] = int(found.shape[1]), int(found.shape[2])
        elif isinstance(output, Tensor) and output.ndim == 3 and output.shape[1] > 1:
            maps = {}  # tokens: what maps there were is not what the head reads
    by_size = {size: name for name, (_, size) in maps.items() if name.count(".") < 2}
    heads = [
        name
        for name, layer, output in finished
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and output.numel() >= outputs
        if output.shape[1 if isinstance(layer, nn.Conv2d) else -1] == outputs
    ]
    last = next(reversed(maps), "")
    activations = {
        type(layer).__name__
        for layer in network.modules()
        if type(layer).__module__ == nn.ReLU.__module__
        and not isinstance(layer, nn.MultiheadAttention)
    }
    return Layers(
        outputs,
        last,
        maps[last][0] if last else 0,
        tuple(dict.fromkeys([*list(by_size.values())[-3:], *heads[-1:]])),
        tuple(sorted(activations)),
    )


def _on_tokens(network: nn.Module, layers: Layers, batch: Tensor) -> Layers:
    """With the layers of a vision transformer whose tokens of places reach the head.

    Where the head reads the class token alone, the places of the last block reach nothing, and the
    last ones that do are those that its attention reads: its first normalisation, as in the
    documentation of ``grad-cam``. Stages are the last three blocks that reach the head, and it.
    """
    grid, outputs, read = token_grid(network), dict[str, Tensor](), list[Tensor]()
    if grid is None:
        return layers

    def keep(name: str, _layer: nn.Module, _inputs: object, output: Any) -> Any:
        if not grid.fits(output):
            return output
        outputs.pop(name, None)
        outputs[name] = output
        return output.clone()  # what follows may work in place

    with ExitStack() as hooks, torch.enable_grad():
        for name, layer in list(network.named_modules())[1:]:
            if name in layers.stages[-1:]:
                note = layer.register_forward_pre_hook(lambda _, given: read.append(given[0]))
                hooks.enter_context(note)
            elif list(layer.parameters()) and not isinstance(layer, (nn.Linear, nn.Sequential)):
                hooks.enter_context(layer.register_forward_hook(partial(keep, name)))
        logits = network(batch.requires_grad_())
        score = read[-1] if read else logits  # a head of zeros has no gradient before it
        if not outputs or not score.requires_grad:
            return layers
        weighted = (score * _drawn(*score.shape).to(score)).sum()
        gradients = torch.autograd.grad(weighted, list(outputs.values()), allow_unused=True)
    reached = {
        name: output.shape[2]
        for (name, output), gradient in zip(outputs.items(), gradients, strict=True)
        if gradient is not None and grid.maps(gradient).any()
    }
    blocks = [
        name
        for name in reached
        if list(network.get_submodule(name).children())
        and isinstance(
            network.get_submodule(name.rpartition(".")[0]), (nn.Sequential, nn.ModuleList)
        )
    ]
    last, stages = next(reversed(reached), ""), (*blocks[-3:], *layers.stages)
    return replace(layers, last_convolution=last, channels=reached.get(last, 0), stages=stages)


def _drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def check_batch(network: nn.Module, side: int, title: str, device: torch.device | None) -> Tensor:
    """The logits of two images of noise.

    Raises ``StudyError`` where those of an image change beside another, or from pass to pass.
    """
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        with torch.inference_mode():
            alone, pair = network(images[:1].clone()), network(images.clone())
    except Exception as error:
        raise StudyError(
            f"{title} refuses a batch of two images: {type(error).__name__} ({first_line(error)})",
            "Let it take as many images as it is given; each method runs batches",
        ) from error
    scale = float(alone.nan_to_num(0, 0, 0).abs().max())
    # Logits may differ by rounding, on any device.
    if not torch.allclose(pair[:1], alone, rtol=0, atol=1e-3 * scale, equal_nan=True):
        raise StudyError(
            f"The logits that {title} gives for an image change from pass to pass, or with the "
            "other images of a batch",
            "Find what draws or looks across the batch in eval mode: dropout and normalisation "
            "called as functions need training=self.training",
        )
    return cast(Tensor, pair)

"""A layer of a network: where its output holds channels and places, and what follows it."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torchvision.models import VisionTransformer

ChannelAxis = Literal["first", "last"]
"""Feature maps are ``[n, channels, h, w]`` or ``[n, h, w, channels]``."""

_CHANNELS_FIRST = (
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.BatchNorm2d,
    nn.GroupNorm,
    nn.InstanceNorm2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
)


def channels_first(
    layer: nn.Module, output: Any, stated: ChannelAxis | None = None
) -> Tensor | None:
    """Feature maps ``[n, channels, h, w]`` of ``layer``'s output for square inputs.

    Transformers such as Swin hand on ``[n, h, w, channels]``, which is turned round (a view). What
    a convolution, a linear layer or a normalisation gives is known; of any other layer the maps of
    a square image are square, so the axis that is unlike the two others holds the channels.
    ``None`` for what is no such tensor, tokens among it, and where the axes cannot be told apart:
    all are of one length or of three, and the layer has parts that work on the last one. Where it
    is ``stated``, nothing is guessed.
    """
    if not isinstance(output, Tensor) or output.ndim != 4:
        return None
    turned = output.permute(0, 3, 1, 2)
    if stated:
        return turned if stated == "last" else output
    if isinstance(layer, _CHANNELS_FIRST):
        return output
    if type(layer) in (nn.Linear, nn.LayerNorm):  # by type: LayerNorm2d turns its input itself
        return turned
    first, second, third = output.shape[1:]
    if (first == second) != (second == third):
        return turned if first == second else output
    on_the_last = any(isinstance(part, (nn.Linear, nn.LayerNorm)) for part in layer.modules())
    return None if on_the_last else output


@dataclass(frozen=True)
class TokenGrid:
    """How the tokens ``[n, tokens, channels]`` of a transformer lie on its input.

    rows, columns : of the places, which follow row by row.
    prefix : how many tokens of no place, as the class token, the network puts before them; layers
        that come before that (as in CaiT) give the places alone.
    """

    rows: int
    columns: int
    prefix: int

    def fits(self, output: Any) -> bool:
        """Whether a layer gave a token for each place."""
        if not isinstance(output, Tensor) or output.ndim != 3:
            return False
        return output.shape[1] - self.rows * self.columns in {0, self.prefix}

    def maps(self, output: Tensor) -> Tensor:
        """The tokens of the places as feature maps ``[n, channels, rows, columns]``."""
        places = output[:, output.shape[1] - self.rows * self.columns :]
        return places.mT.reshape(len(output), -1, self.rows, self.columns)

    def tokens(self, maps: Tensor, output: Tensor) -> Tensor:
        """Feature maps of ``n`` images as tokens, after those without a place of ``output``.

        output : ``[1, tokens, channels]`` or ``[n, tokens, channels]``.
        """
        first = output[:, : output.shape[1] - self.rows * self.columns]
        return torch.cat([first.expand(len(maps), -1, -1), maps.flatten(2).mT], dim=1)


def token_grid(network: nn.Module) -> TokenGrid | None:
    """The grid of a vision transformer of timm or torchvision; ``None`` where neither says it."""
    if isinstance(network, VisionTransformer):
        side = network.image_size // network.patch_size
        return TokenGrid(side, side, 1)
    size = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    prefix = getattr(network, "num_prefix_tokens", None)
    if size is None or prefix is None:
        return None
    return TokenGrid(int(size[0]), int(size[1]), int(prefix))


class _Tracer(fx.Tracer):
    """Looks only into the modules that hold the layer; every other module stays whole.

    The less of a network is traced, the fewer of its ``if`` statements can stand in the way.
    """

    def __init__(self, layer: str) -> None:
        super().__init__()
        self._layer = layer

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not self._layer.startswith(f"{module_qualified_name}.")


def submodel_after(network: nn.Module, layer: str) -> nn.Module | None:
    """What ``network`` does after ``layer``, as a network of its own that shares its parameters.

    For the last feature maps this is the head, pooling and classifier; for an earlier layer it has
    the convolutions that follow as well. ``None`` where it cannot be separated: the layer is used
    more than once, a shortcut leads around it, or the network's Python cannot be traced
    (``torch.fx``). Separation is by reading the network, so compare with its logits before use.
    """
    try:
        graph = _Tracer(layer).trace(network)
    except Exception:  # tracing runs the network's own Python, which may raise anything
        return None
    inputs = graph.find_nodes(op="placeholder")
    calls = graph.find_nodes(op="call_module", target=layer)
    if len(calls) != 1:
        return None
    with graph.inserting_before(inputs[0]):
        calls[0].replace_all_uses_with(graph.placeholder("features"))
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
    if any(node.users for node in inputs):
        return None  # a way leads around the layer
    for node in inputs:
        graph.erase_node(node)
    return fx.GraphModule(network, graph)

"""The rest of a network after one of its layers: what turns feature maps into logits."""

from __future__ import annotations

from typing import Any

from torch import fx, nn


class _Tracer(fx.Tracer):
    """Looks only into the modules that hold the layer; every other module stays whole.

    The less of a network is traced, the fewer of its ``if`` statements can stand in the way.
    """

    def __init__(self, layer: str) -> None:
        super().__init__()
        self._layer = layer

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not self._layer.startswith(f"{module_qualified_name}.")


def rest_after(network: nn.Module, layer: str) -> nn.Module | None:
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
    calls = [node for node in graph.nodes if (node.op, node.target) == ("call_module", layer)]
    needed = _needed(graph, calls[0]) if len(calls) == 1 else None
    if needed is None:
        return None
    rest = fx.Graph()
    copies = {calls[0]: rest.placeholder("features")}
    for node in graph.nodes:
        if node in needed and node.op != "output":
            copies[node] = rest.node_copy(node, copies.__getitem__)
    (output,) = (node for node in graph.nodes if node.op == "output")
    rest.output(fx.node.map_arg(output.args[0], copies.__getitem__))
    return fx.GraphModule(network, rest)


def _needed(graph: fx.Graph, layer: fx.Node) -> set[fx.Node] | None:
    """The nodes between the layer and the output; ``None`` if a way leads around the layer."""
    found: set[Any] = set()
    waiting = [node for node in graph.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node is layer or node in found:
            continue
        if node.op == "placeholder":
            return None
        found.add(node)
        waiting += node.all_input_nodes
    return found

"""Trained parameters in the forms that their owners publish, decoded to a network's state.

Each function raises ``ValueError`` for content that is damaged or does not fit the network.
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitrine.data.safe_pickle import Array

# --- TensorFlow's tensors, and the 8-bit ResNet-50 -----------------------------------------------


def tensor_proto(message: bytes, kind: str, shape: Sequence[int]) -> Array:
    """The array of a serialised ``TensorProto`` (tensorflow/core/framework/tensor.proto).

    Its values are the last field of the message; their type and shape are those of the network.
    """
    values = math.prod(shape)
    start = len(message) - values * np.dtype(kind).itemsize  # a ValueError where it is too short
    return np.frombuffer(message, kind, values, start).reshape(shape)


def dequantised(codes: Array, lowest: float, highest: float) -> Array:
    """Weights ``float32`` of codes ``uint8`` over the range of the weights before.

    Zero has a code of its own: ``(q + round(lowest / s)) s`` with ``s = (highest - lowest) / 255``.
    """
    step = (highest - lowest) / 255
    weights: Array = ((codes + np.round(lowest / step)) * step).astype(np.float32)
    return weights


def resnet50_state(files: dict[str, bytes], network: nn.Module) -> dict[str, Tensor]:
    """The state of ``network``, torchvision's ``resnet50``, from ``Quantized_Resnet_FPGA``'s files.

    Filters are ``uint8 [h, w, in, out]``, the classifier is ``uint8 [2048, 1001]`` with the class
    "background" first, which is dropped. The filters' numbers follow the network: the stem, then of
    each stage the shortcut's convolution and the three of each block.
    """
    lowest, highest = (
        [float(number) for number in re.findall(r"[^\s,]+", files[f"conv/{end}.txt"].decode())]
        for end in ("min", "max")
    )
    state: dict[str, Array] = {}
    for number, (convolution, norm) in enumerate(_resnet50_layers()):
        count, *inner = network.get_parameter(f"{convolution}.weight").shape
        shape = (*inner[1:], inner[0], count)
        codes = tensor_proto(files[f"conv/pb/filter_{number}_uint8_const.pb"], "u1", shape)
        filters = dequantised(codes, lowest[number], highest[number])
        state[f"{convolution}.weight"] = filters.transpose(3, 2, 0, 1)
        for key, name in _NORM.items():
            state[f"{norm}.{key}"] = tensor_proto(
                files[f"batchnorm/pb/{name}_{number}.pb"], "<f4", (count,)
            )
    codes = tensor_proto(files["Matmul.pb"], "u1", (2048, 1001))
    state["fc.weight"] = dequantised(codes, lowest[-1], highest[-1]).T[1:]
    state["fc.bias"] = tensor_proto(files["bias.pb"], "<f4", (1001,))[1:]
    return tensors(state)


_NORM = {"weight": "scale", "bias": "offset", "running_mean": "mean", "running_var": "variance"}


def _resnet50_layers() -> Iterator[tuple[str, str]]:
    """The convolutions with their batch normalisations, in the order of the files."""
    yield "conv1", "bn1"
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        yield f"layer{stage}.0.downsample.0", f"layer{stage}.0.downsample.1"
        for block in range(blocks):
            for place in (1, 2, 3):
                yield f"layer{stage}.{block}.conv{place}", f"layer{stage}.{block}.bn{place}"


# --- Deep Compression ----------------------------------------------------------------------------


def deep_compressed(stream: bytes, shapes: Sequence[tuple[int, ...]]) -> list[tuple[Array, Array]]:
    """Weights and biases of layers, sparse and of 256 values each (Han, Mao and Dally, 2016).

    shapes : of each layer's weights, ``[out, in, h, w]``; of the whole stream.

    Little endian. First come the numbers of non-zero weights (uint32) of all layers, then for each
    layer 256 float32 of a codebook, a float32 bias for each output, a byte for each non-zero weight
    (its code), and half a byte for each, the low half first: its distance from the one before,
    minus one. Gaps of more than 16 are bridged by weights whose code stands for zero.
    """
    place = 0

    def take(kind: str, count: int) -> Array:
        nonlocal place
        found = np.frombuffer(stream, kind, count, place)  # a ValueError where it is too short
        place += found.nbytes
        return found

    counts = take("<u4", len(shapes))
    layers = []
    for shape, count in zip(shapes, counts.tolist(), strict=True):
        codebook, biases = take("<f4", 256), take("<f4", shape[0])
        codes, pairs = take("u1", count), take("u1", (count + 1) // 2)
        gaps = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1)[:count]
        places = np.cumsum(gaps.astype(np.int64) + 1) - 1
        if count and places[-1] >= math.prod(shape):
            raise ValueError("a layer has more weights than the network")
        weights = np.zeros(math.prod(shape), np.float32)
        weights[places] = codebook[codes]
        layers.append((weights.reshape(shape), biases))
    if place != len(stream):
        raise ValueError(f"{len(stream) - place:,} bytes are left over")
    return layers


def squeezenet_state(stream: bytes, network: nn.Module) -> dict[str, Tensor]:
    """The state of ``network``, SqueezeNet 1.0, from a stream of ``deep_compressed``.

    Its first convolution takes blue first; here it takes red first.
    """
    convolutions = _convolutions(network)
    layers = deep_compressed(stream, [tuple(each.weight.shape) for each in convolutions.values()])
    state: dict[str, Array] = {}
    for name, (weights, biases) in zip(convolutions, layers, strict=True):
        state |= {f"{name}.weight": weights, f"{name}.bias": biases}
    return tensors(_red_first(state, next(iter(convolutions))))


# --- Lasagne's parameters ------------------------------------------------------------------------


def lasagne_state(arrays: Any, network: nn.Module) -> dict[str, Tensor]:
    """The state of ``network``, convolutions that are normalised, from Lasagne's parameters.

    arrays : for each convolution its weights and biases, then offset, factor, mean and inverse
        deviation of the batch normalisation; the last one is not normalised.

    Lasagne convolves as mathematics does, with filters turned by half a circle; the variance is
    found from the inverse deviation ``1 / √(variance + eps)``. Blue comes first there, red here.
    """
    names = list(_convolutions(network))
    norms = [part for part in network.named_modules() if isinstance(part[1], nn.BatchNorm2d)]
    wanted = 6 * len(norms) + 2
    if not isinstance(arrays, list) or len(arrays) != wanted:
        raise ValueError(f"it holds no list of {wanted} arrays")
    state: dict[str, Array] = {}
    for place, name in enumerate(names):
        weights, biases = arrays[6 * place : 6 * place + 2]
        state |= {f"{name}.weight": weights[:, :, ::-1, ::-1], f"{name}.bias": biases}
    for place, (norm, module) in enumerate(norms):
        offset, factor, mean, inverse = arrays[6 * place + 2 : 6 * place + 6]
        variance = (1 / np.square(inverse, dtype=float) - module.eps).astype(np.float32)
        state |= {f"{norm}.bias": offset, f"{norm}.weight": factor}
        state |= {f"{norm}.running_mean": mean, f"{norm}.running_var": variance}
    return tensors(_red_first(state, names[0]))


# --- what they share -----------------------------------------------------------------------------


def _convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    return {name: part for name, part in network.named_modules() if isinstance(part, nn.Conv2d)}


def _red_first(state: dict[str, Array], first: str) -> dict[str, Array]:
    """A state whose convolution ``first`` takes the three colours the other way round."""
    return state | {f"{first}.weight": state[f"{first}.weight"][:, ::-1]}


def tensors(state: dict[str, Array]) -> dict[str, Tensor]:
    """Arrays as tensors with memory of their own."""
    return {name: torch.from_numpy(np.array(value, order="C")) for name, value in state.items()}

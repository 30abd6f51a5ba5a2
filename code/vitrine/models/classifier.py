"""An image classifier: a network with its preprocessing, categories and named layers."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PilImage
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vitrine.data.images import Frame, Image, Pixels
from vitrine.errors import NotApplicable, StudyError, suggestion
from vitrine.models.head import ChannelAxis, TokenGrid, channels_first, submodel_after, token_grid

Probabilities = npt.NDArray[np.float32]

Link = Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network's input.

    The shorter side is resized to ``resize`` pixels, the centre ``crop × crop`` is taken, and each
    channel becomes ``(pixel - mean) / std`` with pixels from 0 to 255.
    """

    resize: int
    crop: int
    interpolation: PilImage.Resampling
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def text(self) -> str:
        """The same as a sentence without its full stop, with this row's numbers."""
        mean, deviation = map(_numbers, (self.mean, self.std))
        scaled = f"RGB − {mean}" if deviation == "1" else f"(RGB − {mean}) / {deviation}"
        return (
            f"The shorter side is resized to {self.resize} pixels "
            f"({self.interpolation.name.lower()}), the centre {self.crop} × {self.crop} is taken, "
            f"and the input is {scaled} with RGB from 0 to 255"
        )


def _numbers(values: tuple[float, ...]) -> str:
    """One number where all are alike, else all in brackets."""
    told = [f"{value:.5g}" for value in dict.fromkeys(values)]
    return told[0] if len(told) == 1 else f"({', '.join(told)})"


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is said of a classifier, whether it is loaded or not.

    training_set : in words; empty where nobody stated it.
    paper : of the architecture and of how it was trained, as keys of the bibliography.
    weights : where the parameters come from, in words.
    licence : of the parameters, as their owner states it.
    build : makes the untrained network.
    last_convolution : the layer whose output is the last stack of feature maps, after activation.
    activation_after : the activation, such as ``"ReLU"``, to which the network gives these maps
        where they are those before it.
    stages : the layers that network dissection looks at, from early to late.
    wordnet : whether its classes are ImageNet's, in the order of their WordNet ids.
    link : what turns logits into probabilities, as the head was trained: ``"softmax"`` where one
        category excludes the others, ``"sigmoid"`` where each is a question of its own. ``None``
        is sigmoid for a single category, of which a softmax is always 1, and softmax otherwise.
    """

    title: str
    training_set: str
    weights: str
    preprocessing: Preprocessing
    last_convolution: str
    stages: tuple[str, ...]
    wordnet: bool = False
    link: Link | None = None
    paper: tuple[str, ...] = ()
    licence: str = ""
    build: Callable[[], nn.Module] | None = None
    activation_after: str = ""


@dataclass(frozen=True, kw_only=True)
class Classifier(Description):
    """A network with everything that belongs to it; it is run in ``eval`` mode.

    network : maps ``float32 [n, 3, crop, crop]`` to logits ``float32 [n, categories]``.
    digest : SHA-256 of all parameters and buffers (and of ``channel_axes``, where it has any), so
        that results know their network.
    channel_axes : of layers by name, where their channels lie, as far as it was stated.

    Raises ``StudyError`` for a network whose numbers would mean something else than they seem to:
    a softmax of one category, parameters of another precision than ``float32``, or a batch
    normalisation without running statistics, with which an image's logits depend on the batch.
    """

    name: str
    network: nn.Module
    categories: tuple[str, ...]
    digest: str
    device: torch.device
    channel_axes: Mapping[str, ChannelAxis] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.link == "softmax" and len(self.categories) == 1:
            raise StudyError(
                f"{self.title} has one category, whose softmax is 1 whatever the image",
                'Take the link "sigmoid"',
            )
        check_network(self.title, self.network)
        for name in self.channel_axes:
            self.layer(name)

    def stating(self, axes: Mapping[str, ChannelAxis]) -> "Classifier":
        """The same network, and where the channels of some of its layers lie."""
        if not axes:
            return self
        known = {**self.channel_axes, **axes}
        digest = hashlib.sha256(f"{self.digest} {sorted(known.items())}".encode()).hexdigest()
        return replace(self, channel_axes=known, digest=digest)

    def frame(self, image: Image) -> Frame:
        """The crop of ``image`` that this network sees."""
        return _geometry(self.preprocessing, image)[0]

    def crop(self, image: Image) -> Pixels:
        """What the network sees of ``image``, before normalisation: ``uint8 [crop, crop, 3]``."""
        _, (height, width), (top, left) = _geometry(self.preprocessing, image)
        side = self.preprocessing.crop
        resized = PilImage.fromarray(image.pixels).resize(
            (width, height), self.preprocessing.interpolation
        )
        return np.asarray(resized)[top : top + side, left : left + side].copy()

    def normalise(self, crops: npt.NDArray[Any]) -> Tensor:
        """The network's input for crops of ``[n, h, w, 3]`` with values from 0 to 255."""
        mean = torch.tensor(self.preprocessing.mean, device=self.device)
        std = torch.tensor(self.preprocessing.std, device=self.device)
        pixels = torch.as_tensor(np.ascontiguousarray(crops)).to(self.device, torch.float32)
        return ((pixels - mean) / std).permute(0, 3, 1, 2).contiguous()

    def probabilities(self, crops: npt.NDArray[Any]) -> Probabilities:
        """Class probabilities ``float32 [n, categories]`` of crops ``[n, h, w, 3]``, 0 to 255.

        Raises ``StudyError`` where the network gives logits that are not numbers.
        """
        with preserved_state(self.network), torch.inference_mode():
            found = self.linked(self.logits(self.normalise(crops)))
        if found.isnan().any():
            raise StudyError(
                f"{self.title} gives logits that are not numbers", "Check the network's weights"
            )
        return np.asarray(found.cpu().numpy(), dtype=np.float32)

    def linked(self, logits: Tensor) -> Tensor:
        """Probabilities ``[n, categories]`` of logits, by the head's own link."""
        link = self.link or ("softmax" if len(self.categories) > 1 else "sigmoid")
        return logits.softmax(dim=1) if link == "softmax" else logits.sigmoid()

    def logits(self, batch: Tensor, network: nn.Module | None = None) -> Tensor:
        """Logits ``[n, categories]`` of a batch ``[n, 3, h, w]``, which stays as it is.

        network : another form of the classifier's own, e.g. a faster one. Raises ``StudyError``
            for a network that gives anything else.
        """
        found = (network or self.network)(batch.clone())  # which may work in place on its input
        return self.checked(found, len(batch))

    def checked(self, found: Any, count: int) -> Tensor:
        """The network's output for ``count`` inputs, if it is logits. Raises ``StudyError``."""
        if not isinstance(found, Tensor):
            given = f"a {type(found).__name__}"
        elif found.shape != (count, len(self.categories)):
            given = f"a tensor of the shape {tuple(found.shape)}"
        else:
            return found
        raise StudyError(
            f"{self.title} gives {given} and not logits of the shape "
            f"({count}, {len(self.categories)})",
            "Wrap it in a module whose forward returns the logits alone, one for each category",
        )

    def check_target(self, target: int) -> None:
        """Raises ``StudyError`` for a class that there is not."""
        last = len(self.categories) - 1
        if not 0 <= target <= last:
            raise StudyError(
                f"There is no class {target}", f"The classes of {self.title} are 0 to {last}"
            )

    def check_crop(self, crop: Pixels) -> None:
        """Raises ``StudyError`` for a crop of another shape than the network's input."""
        side = self.preprocessing.crop
        if crop.shape != (side, side, 3):
            raise StudyError(
                f"A crop of the shape {crop.shape} is not what {self.title} sees",
                f"Take Classifier.crop of the image, which gives {side} × {side} pixels",
            )

    def layer_of_maps(self, layer: str | None = None) -> str:
        """A layer for class activation maps; the last one with feature maps by default.

        Raises ``NotApplicable`` where the network has none, as its end works on tokens.
        """
        name = layer or self.last_convolution
        if not name:
            raise NotApplicable(f"{self.title} has no feature maps with places before its head")
        return name

    def layer(self, name: str) -> nn.Module:
        """The layer called ``name``, e.g. ``"layer4.1.conv2"``. Raises ``StudyError``."""
        layers: dict[str, nn.Module] = dict(self.network.named_modules())
        if not name or name not in layers:
            known = [layer for layer in layers if layer]
            raise StudyError(
                f"{self.title} has no layer {name!r}",
                f"{suggestion(name, known, 'Its layers are')}. Its stages are "
                f"{', '.join(self.stages)}, its last convolution is {self.last_convolution}",
            )
        return layers[name]

    @property
    def token_grid(self) -> TokenGrid | None:
        """How a vision transformer's tokens lie on its input, where its library says it."""
        return token_grid(self.network)

    def feature_maps(self, name: str, output: Any) -> Tensor | None:
        """The layer's output as ``[n, channels, h, w]``; ``None`` for what is no feature maps.

        Tokens of a vision transformer are maps where timm or torchvision says how they lie on the
        image. Raises ``StudyError`` where it cannot be told which axis holds the channels.
        """
        if (grid := self.token_grid) and grid.fits(output):
            return grid.maps(output)
        maps = channels_first(self.layer(name), output, self.channel_axes.get(name))
        if maps is None and isinstance(output, Tensor) and output.ndim == 4:
            raise StudyError(
                f"Where the channels of the layer {name!r} of {self.title} lie cannot be told from "
                f"its output of the shape {tuple(output.shape)}",
                "State it where the study names the network: "
                f'{{ name = "{self.name}", channels_last = ["{name}"] }}, or channels_first',
            )
        return maps

    def after(self, layer: str) -> nn.Module | None:
        """What the network does after ``layer``; ``None`` where that cannot be separated."""
        self.layer(layer)
        return submodel_after(self.network, layer)


def check_network(title: str, network: nn.Module) -> None:
    """Raises ``StudyError`` for a network whose logits mean something else than they seem to."""
    for name, value in network.named_parameters():
        if value.is_meta:
            raise StudyError(
                f"The parameter {name!r} of {title} has a shape and no values",
                "Give it its weights, on the CPU or a GPU",
            )
        if value.dtype != torch.float32:
            raise StudyError(
                f"The parameter {name!r} of {title} is {str(value.dtype).removeprefix('torch.')}; "
                "explanations are computed in float32",
                "Give network.float(), whose logits differ by rounding only",
            )
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise StudyError(
                f"The batch normalisation {name!r} of {title} has no running statistics, so the "
                "logits of an image depend on the others in its batch",
                "Give it the statistics of its training set, or a normalisation of each image",
            )


def _geometry(
    preprocessing: Preprocessing, image: Image
) -> tuple[Frame, tuple[int, int], tuple[int, int]]:
    """Frame, size after resizing, and the crop's top left corner, as torchvision computes them."""
    height, width = image.size
    shorter = min(height, width)
    # torchvision.transforms.Resize truncates the longer side; CenterCrop rounds half to even.
    resized = tuple(
        preprocessing.resize if side == shorter else int(preprocessing.resize * side / shorter)
        for side in (height, width)
    )
    side = preprocessing.crop
    top, left = (round((extent - side) / 2) for extent in resized)
    down, across = height / resized[0], width / resized[1]
    box = (top * down, left * across, side * down, side * across)
    return Frame(image.name, box, (side, side)), (resized[0], resized[1]), (top, left)


@contextmanager
def preserved_state(network: nn.Module) -> Iterator[None]:
    """Give the network back as it was, in every case: modules, modes, gradients and hooks.

    Inside, no parameter asks for a gradient: a method differentiates with respect to the input.
    """
    modes = {module: module.training for module in network.modules()}
    asks = {parameter: parameter.requires_grad for parameter in network.parameters()}
    gradients = {parameter: parameter.grad for parameter in network.parameters()}
    registries = [getattr(module, name) for module in network.modules() for name in _REGISTRIES]
    hooks = [(registry, set(registry)) for registry in registries]
    children = {module: dict(module._modules) for module in network.modules()}
    try:
        network.eval()
        network.requires_grad_(False)
        yield
    finally:
        for module, named in children.items():
            module._modules.update(named)
        for module, mode in modes.items():
            module.training = mode
        for parameter, asked in asks.items():
            parameter.requires_grad_(asked)
            parameter.grad = gradients[parameter]
        for registry, kept in hooks:
            for key in registry.keys() - kept:
                del registry[key]


_REGISTRIES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Where a module keeps its hooks, by their keys."""

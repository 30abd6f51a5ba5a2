"""Small networks for the tests of attribution, and classifiers made of them."""

from typing import Any

import numpy as np
import torch
from PIL.Image import Resampling
from torch import Tensor, nn
from torch.nn import functional

from vitrine.data.images import Frame, Image
from vitrine.methods.method import Query
from vitrine.models.classifier import Classifier, Preprocessing
from vitrine.study.sections import AttributionParameters as Parameters

SIDE = 32
CLASSES = 6
FRAME = Frame("noise", (0.0, 0.0, float(SIDE), float(SIDE)), (SIDE, SIDE))

TINY_CLIP = """{
  "embed_dim": 8,
  "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
  "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
}"""
"""A file of settings as ``open_clip`` reads them."""


def noise_image(height: int, width: int, seed: int = 0) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image("noise", "", pixels)


def noise_batch(count: int, side: int = SIDE, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


CROP = noise_image(SIDE, SIDE, seed=3).pixels


def asked(
    method: str, classifier: Classifier, target: int, parameters: Any = None, **more: Any
) -> Query:
    """A method asked about a class of ``CROP``."""
    return Query(method, classifier, CROP, FRAME, target, parameters or Parameters(), **more)


class Plain(nn.Sequential):
    """ReLU modules that are used once each, and nothing else that a library could miss."""

    def __init__(self, *, bias: bool = True) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 3, padding=1, bias=bias),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, stride=2, bias=bias),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, CLASSES, bias=bias),
        )


class Awkward(nn.Module):
    """All that libraries pass over: functions, a module used twice, shortcuts, normalisations."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.before = nn.BatchNorm2d(8)  # follows an addition, so no convolution takes it in
        self.inner = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.activation = nn.ReLU6(inplace=True)
        self.last = nn.Conv2d(8, 12, 1)
        self.classifier = nn.Linear(12, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        first = self.activation(self.norm(self.stem(images)))
        second = first + self.inner(first)
        third = self.activation(self.before(second))
        third = third + torch.relu(second)
        third += first
        return self.classifier(functional.relu(self.last(third)).mean((2, 3)))


def seeded_network(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights, biases and statistics that leave no activation dead, nor a bias at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                drawn = torch.randn(value.shape, generator=generator)
                fan = value[0].numel() if value.ndim > 1 else 9
                positive = "running_var" in name or (value.ndim == 1 and name.endswith("weight"))
                value.copy_(drawn.abs() + 0.5 if positive else drawn * (2 / fan) ** 0.5)
    return network.eval().requires_grad_(False)


def gradient(network: nn.Module, batch: Tensor, target: int) -> Tensor:
    """Of a class's logit, by each image of a batch."""
    with torch.enable_grad():
        inputs = batch.detach().clone().requires_grad_(True)
        return torch.autograd.grad(network(inputs)[:, target].sum(), inputs)[0]


def classifier_of(network: nn.Module, last_convolution: str) -> Classifier:
    """A classifier of 32 × 32 pixels and six classes; its weights are drawn from a seed."""
    return Classifier(
        name="tiny",
        title="Tiny network",
        training_set="none",
        weights="random",
        network=seeded_network(network),
        preprocessing=Preprocessing(36, SIDE, Resampling.BILINEAR, (127.0,) * 3, (128.0,) * 3),
        categories=tuple("abcdef"),
        last_convolution=last_convolution,
        stages=(last_convolution,),
        digest="",
        device=torch.device("cpu"),
    )

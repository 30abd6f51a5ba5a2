"""SqueezeNet (Iandola et al., 2016) with layers named as in the paper.

``features.fire9`` is the last fire module; ``classifier`` is a 1 × 1 convolution with an output for
each class, its activation, and the average over all places: what it gives are the logits.
"""

from collections import OrderedDict

import torch
import torchvision
from torch import Tensor, nn

_LAYERS = "conv1 relu1 pool1 fire2 fire3 fire4 pool4 fire5 fire6 fire7 fire8 pool8 fire9"

SLOPE = 0.55
"""Of the leaky ReLU: the mean of 0.3 and 0.8, between which a randomised one draws it in training
(Xu et al., 2015)."""


def squeezenet1_0() -> nn.Module:
    """Torchvision's SqueezeNet 1.0 with 1,000 classes."""
    network: nn.Module = torchvision.models.squeezenet1_0(weights=None)
    layers = zip(_LAYERS.split(), network.get_submodule("features").children(), strict=True)
    network.features = nn.Sequential(OrderedDict(layers))
    return network


class SqueezeNetNorm(nn.Module):
    """SqueezeNet 1.1 with batch normalisation after each convolution, and leaky ReLUs.

    From ``float32 [n, 3, 224, 224]`` to logits ``float32 [n, classes]``. As github.com/urbste/
    squeezenet_places365 defines it: 3 × 3 convolutions keep the size, poolings round down.
    """

    def __init__(self, classes: int = 365) -> None:
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                conv1=_normed(3, 64, 3, stride=2),
                pool1=nn.MaxPool2d(3, 2),
                fire2=_Fire(64, 16, 64),
                fire3=_Fire(128, 16, 64),
                pool3=nn.MaxPool2d(3, 2),
                fire4=_Fire(128, 32, 128),
                fire5=_Fire(256, 32, 128),
                pool5=nn.MaxPool2d(3, 2),
                fire6=_Fire(256, 48, 192),
                fire7=_Fire(384, 48, 192),
                fire8=_Fire(384, 64, 256),
                fire9=_Fire(512, 64, 256),
            )
        )
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Conv2d(512, classes, 1),
            nn.LeakyReLU(SLOPE),
            nn.AdaptiveAvgPool2d(1),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images)).flatten(1)
        return logits


class _Fire(nn.Module):
    """A 1 × 1 convolution to few channels, and from there to many, 1 × 1 and 3 × 3 side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = _normed(inputs, squeezed, 1)
        self.expand1x1 = _normed(squeezed, expanded, 1)
        self.expand3x3 = _normed(squeezed, expanded, 3)

    def forward(self, maps: Tensor) -> Tensor:
        squeezed = self.squeeze(maps)
        return torch.cat([self.expand1x1(squeezed), self.expand3x3(squeezed)], dim=1)


def _normed(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, stride, padding=side // 2),
        nn.BatchNorm2d(outputs, eps=1e-4),  # Lasagne's
        nn.LeakyReLU(SLOPE),
    )

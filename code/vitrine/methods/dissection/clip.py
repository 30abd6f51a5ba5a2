"""CLIP (Radford et al., 2021) through the library ``open_clip``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image as PilImage

from vitrine.data import sources
from vitrine.data.images import Image
from vitrine.errors import SourceError, StudyError, suggestion
from vitrine.methods.dissection.embeddings import Embeddings, unit
from vitrine.models.architecture import digest_of, first_line
from vitrine.project import Project
from vitrine.study import sections

OPENAI = "openai-clip"

VOCABULARY = 49408
"""The tokens of CLIP's own tokenizer, which comes inside ``open_clip``."""


class Clip:
    """A CLIP model of ``open_clip`` with its own tokenizer and preprocessing.

    name : of its configuration. identity : what its embeddings depend on beside the weights.
    """

    def __init__(self, model: Any, name: str, identity: str, device: str) -> None:
        import open_clip
        from open_clip.transform import PreprocessCfg, image_transform_v2

        self._model = model.eval().requires_grad_(False).float().to(device)
        self._device = device
        self._tokenise = open_clip.get_tokenizer(name, context_length=model.context_length)
        preprocessing = PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
        self._transform = image_transform_v2(preprocessing, is_train=False)
        self.identity = digest_of(self._model.state_dict(), identity)

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        tokens = self._tokenise(list(texts)).to(self._device)
        with torch.inference_mode():
            return unit(self._model.encode_text(tokens).cpu().numpy())

    def encode_images(self, images: Sequence[Image]) -> Embeddings:
        inputs = torch.stack([self._transform(PilImage.fromarray(one.pixels)) for one in images])
        with torch.inference_mode():
            return unit(self._model.encode_image(inputs.to(self._device)).cpu().numpy())


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


def _configuration(project: Project, model: str) -> tuple[str, dict[str, Any]]:
    """Name and configuration of a model of ``open_clip``, or of a JSON file in the project."""
    import open_clip

    path = project.root / model
    name = path.stem if path.suffix == ".json" and path.is_file() else model
    if name != model:
        try:
            json.loads(path.read_text(encoding="utf-8"))
            open_clip.add_model_config(path)
        except (OSError, ValueError, TypeError) as error:
            raise StudyError(
                f"The model {model!r} is no table in JSON ({first_line(error)})",
                "Correct the file, or name a model of open_clip",
            ) from error
    found = open_clip.get_model_config(name)
    if found is None:
        raise StudyError(
            f"open_clip has no model {model!r}",
            suggestion(model, open_clip.list_models(), "Its models are"),
        )
    return name, dict(found)


def check_clip(project: Project, wanted: sections.EncoderSection) -> None:
    """Raises ``StudyError`` for a model, a tokenizer or weights that cannot be had."""
    _, configuration = _configuration(project, wanted.model)
    text = configuration["text_cfg"]
    if "hf_model_name" in text or "multimodal_cfg" in configuration:
        raise StudyError(
            f"The model {wanted.model!r} of open_clip is not a CLIP with its own text network",
            "Take one such as ViT-B-16",
        )
    if "hf_tokenizer_name" in text or text.get("vocab_size", VOCABULARY) != VOCABULARY:
        raise StudyError(
            f"The model {wanted.model!r} reads texts by a tokenizer of its own "
            f"({text.get('hf_tokenizer_name', 'another vocabulary')}), which does not come "
            "inside open_clip",
            "Take a model with CLIP's tokenizer, such as ViT-B-16",
        )
    if wanted.pretrained == "openai":
        _openai_file(project, wanted.model)
    elif wanted.pretrained != "random" and not (project.root / wanted.pretrained).is_file():
        raise StudyError(
            f"There are no weights {wanted.pretrained!r} for the encoder",
            'Set dissection.encoder.pretrained to "openai", "random" or a file in the project',
        )


def load_clip(project: Project, wanted: sections.EncoderSection, device: str) -> Clip:
    """CLIP with OpenAI's weights, with those of a checkpoint, or randomly initialised.

    Raises ``SourceError`` for weights that are not there or do not fit.
    """
    import open_clip
    from open_clip.openai import load_openai_model

    name, configuration = _configuration(project, wanted.model)
    openai = wanted.pretrained == "openai"
    # OpenAI trained with an approximation of GELU that its own configurations do not mention.
    quick = openai or bool(configuration.get("quick_gelu", False))
    fitting = {key: configuration[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}
    weights = None if wanted.pretrained == "random" else str(project.root / wanted.pretrained)
    if openai:
        weights = str(sources.fetch_one(project, OPENAI, _openai_file(project, wanted.model)))
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(wanted.seed)
            if openai:
                model = load_openai_model(weights, precision="fp32", device="cpu")
            else:
                model = open_clip.create_model(name, pretrained=weights)
    except Exception as error:
        raise SourceError(
            f"The weights {wanted.pretrained!r} do not fit the network {wanted.model}, or are no "
            f"plain tensors ({first_line(error)})",
            "Name the network that they belong to",
        ) from error
    return Clip(model, name, json.dumps([fitting, quick], sort_keys=True), device)

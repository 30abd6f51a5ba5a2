"""Concept lists are cleaned, and encoders bring images and words into one space."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image as PilImage

from networks import TINY_CLIP, noise_image
from vitrine.data.concept_categories import KINDS, kind_of, load_kinds
from vitrine.data.concepts import CONCEPT_LISTS, Concepts, clean, read_concepts
from vitrine.data.images import Image
from vitrine.errors import SourceError, StudyError
from vitrine.methods.dissection import clip, encoders
from vitrine.methods.dissection.embeddings import Embeddings, Encoder, text_embeddings, unit
from vitrine.methods.dissection.encoders import pick_encoder
from vitrine.models.registry import CLASSIFIERS, load_classifier
from vitrine.project import Project
from vitrine.study import sections


def _image(wnid: str = "n01440764", seed: int = 0) -> Image:
    return replace(noise_image(40, 50, seed), wnid=wnid)


def _is_unit(vectors: Embeddings) -> bool:
    return vectors.dtype == np.float32 and bool(
        np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    )


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        (b"red\nblue\n", ("red", "blue"), ""),
        (
            b"red\n\n  blue \nred\n\t\n",
            ("red", "blue"),
            "2 blank lines left out, 1 repetitions left out",
        ),
        (b"\xef\xbb\xbfred\r\nblue", ("red", "blue"), "read as UTF-8 with a byte-order mark"),
        ("caf\u00e9\nna\u00efve".encode("latin-1"), ("caf\u00e9", "na\u00efve"), "read as Latin-1"),
        ("caf\u00e9".encode(), ("caf\u00e9",), ""),
        ("caf\u00e9\nred".encode("utf-16"), ("caf\u00e9", "red"), "read as UTF-16"),
        (b"great  white shark", ("great white shark",), ""),
    ],
)
def test_a_list_is_cleaned_and_says_so(
    tmp_path: Path, content: bytes, words: tuple[str, ...], said: str
) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    found = clean("words.txt", path)
    assert found.words == words
    assert found.cleaned == said


@pytest.mark.parametrize(
    ("content", "said"), [(b" \n\n", "has no concepts"), (b"\xffa\0b", "is not a text file")]
)
def test_a_list_without_concepts_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(StudyError, match=said):
        clean("words.txt", path)


def test_a_list_that_does_not_exist_is_named(project: Project) -> None:
    with pytest.raises(StudyError, match=r"no concept list '20K'.*Did you mean '20k'"):
        read_concepts(project, "20K")


def test_a_text_file_of_the_project_is_a_list(project: Project) -> None:
    (project.root / "mine.txt").write_text("red\nblue\n")
    assert read_concepts(project, "mine.txt").words == ("red", "blue")


@pytest.mark.parametrize(
    ("name", "count", "cleaned"),
    [
        ("20k", 20000, ""),
        ("10k", 9894, ""),
        ("3k", 3000, ""),
        ("broden", 1153, "44 repetitions left out"),
        ("imagenet", 1000, ""),
        ("places365", 365, ""),
    ],
)
def test_the_published_lists_are_read(
    project: Project, mirrored: Path, name: str, count: int, cleaned: str
) -> None:
    found = read_concepts(project, name)
    assert (len(found.words), found.cleaned) == (count, cleaned)
    assert set(CONCEPT_LISTS) >= {name}


def test_kinds_follow_broden_then_the_class_names(project: Project, mirrored: Path) -> None:
    kinds = load_kinds(project)
    assert set(kinds.values()) <= set(KINDS)
    expected = {
        "dog": "object",
        "dogs": "object",
        "terrier": "object",
        "bakery": "object",  # a class of ImageNet and a category of Places365
        "ballroom": "scene",
        "striped": "texture",
        "wood": "material",
        "basename": "other",
    }
    assert {word: kind_of(word, kinds) for word in expected} == expected


class _Letters(encoders.Sentences):
    """Sentence embeddings that need no network: how often each letter occurs."""

    identity = "letters"

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        counts = [[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts]
        return unit(np.array(counts, dtype=np.float32))


def test_conse_places_an_image_where_its_class_names_lie(project: Project) -> None:
    names = ("cat", "dog, hound", "bird")
    chances = np.array([[0, 1, 0], [0.25, 0, 0.75]], dtype=np.float32)
    conse = encoders.Conse(project, _Letters(), names, lambda _: chances, "test")
    found = conse.encode_images([_image(), _image()])
    assert _is_unit(found)
    cat, dog, hound, bird = _Letters().encode_texts(["cat", "dog", "hound", "bird"])
    assert np.allclose(found[0], unit((dog + hound)[None])[0], atol=1e-6)
    assert np.allclose(found[1], unit((0.25 * cat + 0.75 * bird)[None])[0], atol=1e-6)


def test_the_true_class_is_known_by_the_file_name(project: Project, mirrored: Path) -> None:
    encoder = pick_encoder("conse").load(project, sections.EncoderSection(name="conse"), "cpu")
    found = encoder.encode_images([_image("n01440764"), _image("n01443537")])
    words = encoder.encode_texts(["tench", "goldfish", "car"])
    assert found.shape == (2, 384)
    assert _is_unit(found) and _is_unit(words)
    assert (found @ words.T).argmax(axis=1).tolist() == [0, 1]
    with pytest.raises(StudyError, match="true class of the image 'noise' is not known"):
        encoder.encode_images([_image("")])


def test_predictions_of_a_network_keep_the_best_only(project: Project) -> None:
    network = load_classifier(project, "resnet18", "random")
    found = encoders._predicted(network, [_image(seed=1), _image(seed=2)], 10)
    assert ((found > 0).sum(axis=1) == 10).all()
    crops = np.stack([network.crop(_image(seed=1)), network.crop(_image(seed=2))])
    assert (found.argmax(axis=1) == network.probabilities(crops).argmax(axis=1)).all()


def _tiny_clip(project: Project, **settings: object) -> Encoder:
    (project.root / "tiny.json").write_text(TINY_CLIP)
    wanted = sections.EncoderSection.model_validate(
        {"name": "clip", "model": "tiny.json", "pretrained": "random"} | settings
    )
    pick_encoder("clip").check(project, wanted)
    return pick_encoder("clip").load(project, wanted, "cpu")


def test_clip_answers_with_unit_vectors(project: Project) -> None:
    clip = _tiny_clip(project)
    images, texts = clip.encode_images([_image()]), clip.encode_texts(["red", "a blue bird"])
    assert images.shape == (1, 8) and texts.shape == (2, 8)
    assert _is_unit(images) and _is_unit(texts)
    assert clip.identity == _tiny_clip(project).identity
    assert clip.identity != _tiny_clip(project, seed=1).identity


def test_clip_takes_the_weights_of_a_checkpoint(project: Project) -> None:
    clip = _tiny_clip(project)
    torch.save(clip._model.state_dict(), project.root / "tiny.pt")  # type: ignore[attr-defined]
    other = _tiny_clip(project, seed=1, pretrained="tiny.pt")
    assert np.allclose(clip.encode_texts(["red"]), other.encode_texts(["red"]))


OWN_TOKENIZERS: dict[str, dict[str, object]] = {
    "both": {"vocab_size": 901629, "hf_tokenizer_name": "facebook/xlm-v-base"},
    "vocabulary": {"vocab_size": 32000},
    "name": {"vocab_size": 49408, "hf_tokenizer_name": "bert-base-uncased"},
}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "ViT-B-17"}, r"no model 'ViT-B-17'.*Did you mean 'ViT-B-16'"),
        ({"model": "RN50x64", "pretrained": "there.pt"}, "There are no weights 'there.pt'"),
        ({"model": "ViT-S-16", "pretrained": "openai"}, "OpenAI publishes no weights"),
        ({"model": "roberta-ViT-B-32"}, "not a CLIP with its own text network"),
        *[({"model": f"{name}.json"}, "by a tokenizer of its own") for name in OWN_TOKENIZERS],
    ],
)
def test_a_clip_that_does_not_exist_or_has_a_tokenizer_of_its_own_is_named(
    project: Project, settings: dict[str, str], said: str
) -> None:
    for name, text in OWN_TOKENIZERS.items():
        told = json.loads(TINY_CLIP)
        told["text_cfg"] |= text
        (project.root / f"{name}.json").write_text(json.dumps(told))
    with pytest.raises(StudyError, match=said):
        _tiny_clip(project, **settings)


def test_weights_of_another_network_are_refused(project: Project) -> None:
    torch.save({"weight": torch.zeros(1)}, project.root / "other.pt")
    with pytest.raises(SourceError, match="do not fit the network"):
        _tiny_clip(project, pretrained="other.pt")


def test_openais_weights_have_digests_for_the_models_of_the_library(project: Project) -> None:
    assert clip._openai_file(project, "ViT-B-16").endswith("/ViT-B-16.pt")
    assert clip._openai_file(project, "ViT-L-14-336").endswith("/ViT-L-14-336px.pt")


@pytest.mark.filterwarnings("ignore")  # torch's own, about TorchScript
def test_an_archive_as_openai_publishes_it_gives_its_network(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = json.loads(TINY_CLIP.replace('"width": 16', '"width": 64').replace("_width", "_x"))
    settings["text_cfg"]["heads"] = 1
    del settings["vision_cfg"]["head_x"]
    (project.root / "tiny.json").write_text(json.dumps(settings))
    model = open_clip.CLIP(**settings, quick_gelu=True).half().float().eval()
    del model._buffers["attn_mask"]  # OpenAI's archives hold parameters alone
    model.attn_mask = None
    example = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 12, dtype=torch.long))
    path = project.root / "archive.pt"
    torch.jit.trace(model, example, strict=False).save(str(path))
    monkeypatch.setattr(clip.sources, "fetch_one", lambda *_: path)
    monkeypatch.setattr(clip, "_openai_file", lambda *_: path.name)
    wanted = sections.EncoderSection(name="clip", model="tiny.json", pretrained="openai")
    found = clip.load_clip(project, wanted, "cpu")
    images = found._transform(PilImage.fromarray(_image().pixels))[None]
    with torch.inference_mode():
        expected = unit(model.encode_image(images).numpy())
    assert np.allclose(found.encode_images([_image()]), expected, atol=1e-4)
    path.write_bytes(b"no archive")
    with pytest.raises(SourceError, match="do not fit the network"):
        clip.load_clip(project, wanted, "cpu")


def test_a_clip_is_given_images_as_it_was_trained_on_them(project: Project) -> None:
    white = Image("white", "", np.full((40, 40, 3), 255, dtype=np.uint8))
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    seen = _tiny_clip(project)._transform(PilImage.fromarray(white.pixels))
    assert torch.allclose(seen[:, 0, 0], (1 - torch.tensor(mean)) / torch.tensor(std))


def test_a_classifier_knows_its_classes_whatever_it_was_trained_on(
    project: Project, mirrored: Path
) -> None:
    assert encoders.class_names(project, CLASSIFIERS["resnet18"])[0] == "tench, Tinca tinca"
    birds = replace(
        CLASSIFIERS["resnet18"], training_set="CUB", categories=lambda _: ("albatross", "auklet")
    )
    assert encoders.class_names(project, birds) == ("albatross", "auklet")


def test_texts_are_embedded_once_for_each_content(project: Project) -> None:
    counted: list[int] = []

    def embed(words: tuple[str, ...]) -> Embeddings:
        sure = np.ones((1, 1), np.float32)
        conse = encoders.Conse(project, _Letters(), ("cat",), lambda _: sure, "t")
        return text_embeddings(project, conse, Concepts("list", words, ""), counted.append)

    first = embed(("red", "blue"))
    assert np.array_equal(embed(("red", "blue")), first)
    assert counted == [2]
    embed(("red", "green", "blue"))
    assert counted == [2, 3]
    files = sorted((project.cache / "embeddings").iterdir())
    assert len(files) == 2 and all(path.suffix == ".npy" for path in files)
    for path in files:
        path.write_bytes(path.read_bytes()[:50])
    assert np.array_equal(embed(("red", "blue")), first)
    assert counted == [2, 3, 2]

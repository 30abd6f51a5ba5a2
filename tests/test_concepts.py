"""Concept lists are cleaned, and encoders bring pictures and words into one space."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vitrine import study
from vitrine.errors import SourceError, StudyError
from vitrine.inputs import encoders
from vitrine.inputs.archives import read_archive
from vitrine.inputs.classifiers import load_classifier
from vitrine.inputs.concepts import CONCEPT_LISTS, Concepts, clean, read_concepts
from vitrine.inputs.encoders import Embeddings, pick_encoder, text_embeddings
from vitrine.inputs.kinds import KINDS, kind_of, load_kinds
from vitrine.inputs.pictures import Picture
from vitrine.project import Project

TINY_CLIP = """{
  "embed_dim": 8,
  "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
  "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
}"""


def _picture(wnid: str = "n01440764", seed: int = 0) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    return Picture("noise", wnid, pixels)


def _is_unit(vectors: Embeddings) -> bool:
    return vectors.dtype == np.float32 and bool(
        np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    )


# --- lists ---------------------------------------------------------------------------------------


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
    ("content", "said"),
    [(b"", "has no concepts"), (b" \n\n", "has no concepts"), (b"\xffa\0b", "is not a text file")],
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
    project: Project,
    mirror: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    count: int,
    cleaned: str,
) -> None:
    monkeypatch.setenv("VITRINE_MIRROR", str(mirror))
    found = read_concepts(project, name)
    assert (len(found.words), found.cleaned) == (count, cleaned)
    assert set(CONCEPT_LISTS) >= {name}


def test_kinds_follow_broden_then_the_class_names(
    project: Project, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_MIRROR", str(mirror))
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


# --- ConSE ---------------------------------------------------------------------------------------


class _Letters(encoders.Sentences):
    """Sentence embeddings that need no network: how often each letter occurs."""

    identity = "letters"

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        counts = [[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts]
        return encoders.unit(np.array(counts, dtype=np.float32))


def test_conse_places_a_picture_where_its_class_names_lie() -> None:
    names = ("cat", "dog, hound", "bird")
    chances = np.array([[0, 1, 0], [0.25, 0, 0.75]], dtype=np.float32)
    conse = encoders.Conse(_Letters(), names, lambda _: chances, "test")
    found = conse.encode_images([_picture(), _picture()])
    assert _is_unit(found)
    cat, dog, hound, bird = _Letters().encode_texts(["cat", "dog", "hound", "bird"])
    assert np.allclose(found[0], encoders.unit((dog + hound)[None])[0], atol=1e-6)
    assert np.allclose(found[1], encoders.unit((0.25 * cat + 0.75 * bird)[None])[0], atol=1e-6)


def test_the_true_class_is_known_by_the_file_name(
    project: Project, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_MIRROR", str(mirror))
    encoder = pick_encoder("conse").load(project, study.Encoder(name="conse"), "cpu")
    found = encoder.encode_images([_picture("n01440764"), _picture("n01443537")])
    words = encoder.encode_texts(["tench", "goldfish", "car"])
    assert found.shape == (2, 384)
    assert _is_unit(found) and _is_unit(words)
    assert (found @ words.T).argmax(axis=1).tolist() == [0, 1]
    with pytest.raises(StudyError, match="true class of the picture 'noise' is not known"):
        encoder.encode_images([_picture("")])


def test_predictions_of_a_network_keep_the_best_only(project: Project) -> None:
    network = load_classifier(project, "resnet18", "random")
    found = encoders._predicted(network, [_picture(seed=1), _picture(seed=2)], 10)
    assert ((found > 0).sum(axis=1) == 10).all()
    crops = np.stack([network.crop(_picture(seed=1)), network.crop(_picture(seed=2))])
    assert (found.argmax(axis=1) == network.probabilities(crops).argmax(axis=1)).all()


# --- CLIP ----------------------------------------------------------------------------------------


def _tiny_clip(project: Project, **settings: object) -> encoders.Encoder:
    (project.root / "tiny.json").write_text(TINY_CLIP)
    wanted = study.Encoder.model_validate(
        {"name": "clip", "model": "tiny.json", "pretrained": "random"} | settings
    )
    pick_encoder("clip").check(project, wanted)
    return pick_encoder("clip").load(project, wanted, "cpu")


def test_clip_answers_with_unit_vectors(project: Project) -> None:
    clip = _tiny_clip(project)
    images, texts = clip.encode_images([_picture()]), clip.encode_texts(["red", "a blue bird"])
    assert images.shape == (1, 8) and texts.shape == (2, 8)
    assert _is_unit(images) and _is_unit(texts)
    assert clip.identity == _tiny_clip(project).identity
    assert clip.identity != _tiny_clip(project, seed=1).identity


def test_clip_takes_the_weights_of_a_checkpoint(project: Project) -> None:
    clip = _tiny_clip(project)
    torch.save(clip._model.state_dict(), project.root / "tiny.pt")  # type: ignore[attr-defined]
    other = _tiny_clip(project, seed=1, pretrained="tiny.pt")
    assert np.allclose(clip.encode_texts(["red"]), other.encode_texts(["red"]))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "ViT-B-17"}, r"no model 'ViT-B-17'.*Did you mean 'ViT-B-16'"),
        ({"model": "RN50x64", "pretrained": "there.pt"}, "There are no weights 'there.pt'"),
        ({"model": "ViT-S-16", "pretrained": "openai"}, "OpenAI publishes no weights"),
        ({"model": "roberta-ViT-B-32"}, "not a CLIP with its own text network"),
    ],
)
def test_a_clip_that_does_not_exist_is_named(
    project: Project, settings: dict[str, str], said: str
) -> None:
    with pytest.raises(StudyError, match=said):
        _tiny_clip(project, **settings)


def test_weights_of_another_network_are_refused(project: Project) -> None:
    torch.save({"weight": torch.zeros(1)}, project.root / "other.pt")
    with pytest.raises(SourceError, match="do not fit the network"):
        _tiny_clip(project, pretrained="other.pt")


def test_openais_weights_have_digests_for_the_models_of_the_library(project: Project) -> None:
    assert encoders._openai_file(project, "ViT-B-16").endswith("/ViT-B-16.pt")
    assert encoders._openai_file(project, "ViT-L-14-336").endswith("/ViT-L-14-336px.pt")


class _Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("table", torch.arange(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * self.scale


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_scripted_archive_gives_its_tensors_and_runs_nothing(tmp_path: Path) -> None:
    torch.jit.trace(_Scripted(), torch.zeros(1, 3)).save(str(tmp_path / "a.pt"))
    module = _Scripted()
    scripted = torch.jit.script(module)
    scripted.save(str(tmp_path / "b.pt"))
    found = read_archive(tmp_path / "b.pt")
    assert set(found) >= set(module.state_dict())
    for key, value in module.state_dict().items():
        assert torch.equal(found[key], value), key
    assert set(read_archive(tmp_path / "a.pt")) >= {"inner.weight", "inner.bias", "scale"}


class _Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("run",))


def test_an_archive_that_names_anything_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bad/data.pkl", pickle.dumps(_Malicious()))
    with pytest.raises(SourceError, match="names builtins.print"):
        read_archive(path)
    path.write_bytes(b"no archive")
    with pytest.raises(SourceError, match="cannot be read as plain tensors"):
        read_archive(path)
    assert capsys.readouterr().out == ""


# --- the cache -----------------------------------------------------------------------------------


def test_texts_are_embedded_once_for_each_content(project: Project) -> None:
    counted: list[int] = []

    def embed(words: tuple[str, ...]) -> Embeddings:
        conse = encoders.Conse(_Letters(), ("cat",), lambda _: np.ones((1, 1), np.float32), "t")
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

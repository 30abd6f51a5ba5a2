"""Networks from public files are decoded to the parameters that their owners trained."""

import os
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch import nn

from conftest import LITE, TEN, Evil
from networks import noise_batch
from vitrine.data import sources
from vitrine.data.images import read_image
from vitrine.errors import NotApplicable, SourceError
from vitrine.methods.guided_backprop import guided_gradient
from vitrine.methods.lrp import relevance
from vitrine.models import registry
from vitrine.models.canonical import canonical
from vitrine.models.classifier import Classifier
from vitrine.models.decoders import (
    deep_compressed,
    dequantised,
    lasagne_state,
    tensor_proto,
)
from vitrine.models.registry import CLASSIFIERS, load_classifier
from vitrine.project import Project

PUBLIC = ("resnet50_tensorflow", "squeezenet1_0", "squeezenet1_1_places365")
RESNET, SQUEEZENET, PLACES = PUBLIC
PLACES_FILE = "squeezenet_weights_places365.params"
SOURCE = "squeezenet-places365"


@pytest.fixture
def load(root: Path, mirrored: Path):  # type: ignore[no-untyped-def]
    """Loads a public network with its published parameters."""
    return lambda name: load_classifier(Project(root), name)


def _best(classifier: Classifier, files: list[Path]) -> np.ndarray:
    """The five most probable classes of each image ``[n, 5]``."""
    crops = np.stack([classifier.crop(read_image(file)) for file in files])
    pieces = [
        classifier.probabilities(crops[start : start + 10]) for start in range(0, len(crops), 10)
    ]
    return np.argsort(-np.concatenate(pieces), axis=1)[:, :5]


@pytest.mark.parametrize(
    ("name", "first", "five"), [(RESNET, 38, 39), (SQUEEZENET, 30, 36), (LITE, 37, 39)]
)
def test_accuracies_on_forty_sample_images(load, mirror: Path, name: str, first: int, five: int):  # type: ignore[no-untyped-def]
    # On all 1,000: ResNet-50 916 and 983, SqueezeNet 620 and 837, EfficientNet-Lite0 880 and 975;
    # with ImageNet's mean and deviation the last one falls to 770.
    files = sorted((mirror / TEN).glob("*.JPEG"))[::25]
    best, truth = _best(load(name), files), np.arange(0, 1000, 25)[:, None]
    assert ((best[:, :1] == truth).sum(), (best == truth).any(axis=1).sum()) == (first, five)


def test_scenes_are_named_by_the_network_of_places365(load, mirror: Path) -> None:  # type: ignore[no-untyped-def]
    network = load(PLACES)
    scenes = {
        "viaduct": "viaduct",
        "dam": "dam",
        "mosque": "mosque, outdoor",
        "barn": "barn",
        "greenhouse": "greenhouse, indoor",
        "water_tower": "water tower",
    }
    files = [next((mirror / TEN).glob(f"n????????_{scene}.JPEG")) for scene in scenes]
    named = [network.categories[row[0]] for row in _best(network, files)]
    assert named == list(scenes.values())


def test_a_tensor_of_tensorflow_is_read() -> None:
    shape = b"\x12\x08\x12\x02\x08\x02\x12\x02\x08\x03"  # two sides: 2 and 3
    message = b"\x08\x01" + shape + b"\x22\x18" + np.arange(6, dtype="<f4").tobytes()
    found = tensor_proto(message, "<f4", (2, 3))
    np.testing.assert_array_equal(found, np.arange(6).reshape(2, 3))
    with pytest.raises(ValueError, match="offset must be non-negative"):
        tensor_proto(message, "<f4", (5, 3))


def test_zero_has_a_code_of_its_own() -> None:
    found = dequantised(np.array([0, 64, 255], np.uint8), -0.25, 0.75)
    np.testing.assert_allclose(found, np.array([-64, 0, 191]) / 255, rtol=1e-6)


def _layer(biases: list[float], codes: list[int], gaps: list[int]) -> bytes:
    codebook = np.arange(256, dtype="<f4") / 2
    halves = [*[gap - 1 for gap in gaps], 0]
    pairs = [low | high << 4 for low, high in zip(halves[::2], halves[1::2], strict=False)]
    return codebook.tobytes() + struct.pack(f"<{len(biases)}f", *biases) + bytes([*codes, *pairs])


def test_a_compressed_stream_is_spread_over_the_weights() -> None:
    layers = [_layer([7, 8], [4, 0, 6], [3, 16, 1]), _layer([9], [2, 1], [1, 4])]
    stream = struct.pack("<2I", 3, 2) + b"".join(layers)
    shapes = [(2, 10, 1, 1), (1, 1, 3, 3)]
    (first, biases), (second, _) = deep_compressed(stream, shapes)
    expected = np.zeros(20)
    expected[[2, 19]] = 2, 3  # the weight in between bridges a long gap with a zero
    np.testing.assert_array_equal(first, expected.reshape(2, 10, 1, 1))
    np.testing.assert_array_equal(second.ravel(), [1, 0, 0, 0, 0.5, 0, 0, 0, 0])
    assert biases.tolist() == [7, 8]
    with pytest.raises(ValueError, match="1 bytes are left over"):
        deep_compressed(stream + b"\0", shapes)
    with pytest.raises(ValueError, match="more weights than the network"):
        deep_compressed(stream, [(2, 9, 1, 1), (1, 1, 3, 3)])
    with pytest.raises(ValueError, match="smaller than requested"):
        deep_compressed(stream[:-3], shapes)


def test_parameters_of_lasagne_give_its_network() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2, eps=1e-4), nn.Conv2d(2, 4, 1)
    ).eval()
    drawn = np.random.default_rng(0)
    filters, biases, offset, factor, mean, inverse, last, ends = (
        drawn.uniform(0.5, 1.5, shape).astype(np.float32)
        for shape in ((2, 3, 3, 3), 2, 2, 2, 2, 2, (4, 2, 1, 1), 4)
    )
    arrays = [filters, biases, offset, factor, mean, inverse, last, ends]
    network.load_state_dict(lasagne_state(arrays, network))
    red_first = drawn.normal(size=(3, 3, 3)).astype(np.float32)
    sums = [
        sum(
            convolve2d(colour, part, mode="valid")
            for colour, part in zip(red_first[::-1], each, strict=True)
        )
        for each in filters
    ]
    normed = (np.ravel(sums) + biases - mean) * inverse * factor + offset
    with torch.inference_mode():
        found = network(torch.tensor(red_first)[None])[0, :, 0, 0]
    np.testing.assert_allclose(found, last[:, :, 0, 0] @ normed + ends, rtol=1e-4)
    for other in (arrays[:-1], {}, None):
        with pytest.raises(ValueError, match="no list of 8 arrays"):
            lasagne_state(other, network)


@pytest.fixture
def copied(project: Project, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the network of Places365 in a mirror of the test's own."""
    copy = tmp_path / "mirror"
    (file,) = mirror.glob(f"urbste/squeezenet_places365/*/{PLACES_FILE}")
    to = copy / file.relative_to(mirror)
    to.parent.mkdir(parents=True)
    shutil.copy(file, to)
    to.chmod(0o644)
    monkeypatch.setenv("VITRINE_MIRROR", str(copy))
    return to


def test_parameters_are_decoded_once_and_again_where_they_were_changed(
    project: Project, copied: Path
) -> None:
    weights_file = CLASSIFIERS[PLACES].weights_file
    path = weights_file(project)
    assert path == project.cache / "decoded" / f"{SOURCE}.safetensors"
    decoded, published = path.read_bytes(), copied.read_bytes()
    copied.unlink()
    shutil.rmtree(project.cache / SOURCE)
    assert weights_file(project) == path  # without the owner's file
    changed = decoded[:-1] + bytes([decoded[-1] ^ 1])
    for content in (decoded[:-1], b"", changed):
        path.write_bytes(content)
        with pytest.raises(SourceError, match="does not exist: the mirror does not hold"):
            weights_file(project)
    copied.write_bytes(published)
    weights_file(project)
    assert path.read_bytes() == decoded


def test_files_that_are_cut_off_changed_or_run_code_are_refused_in_one_message(
    project: Project, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    whole, bomb = copied.read_bytes(), pickle.dumps(Evil(os.mkdir, "executed"))
    for content in (whole[:-1], whole + b"\0", bomb):
        copied.write_bytes(content)
        with pytest.raises(SourceError, match="does not have the SHA-256") as caught:
            CLASSIFIERS[PLACES].weights_file(project)
        assert "Replace it in the mirror" in caught.value.remedy
    # Were such a file listed, it would still not be run, nor taken for parameters.
    for content, said in (
        (bomb, "it names (posix|nt).mkdir"),
        (whole[:-9], "is refused"),
        (pickle.dumps([np.zeros(3)]), "cannot be decoded: it holds no list of 152 arrays"),
        (pickle.dumps([np.zeros((3, 3, 3, 3))] * 152), "cannot be decoded|decode to other"),
    ):
        copied.write_bytes(content)
        monkeypatch.setattr(registry.sources, "fetch", lambda *_: {PLACES_FILE: copied})
        with pytest.raises(SourceError, match=said):
            CLASSIFIERS[PLACES].weights_file(project)
    assert not Path("executed").exists() and not (project.cache / "decoded").exists()


def test_every_row_says_what_a_page_needs_to_know(root: Path) -> None:
    bibliography = (root / "references.bib").read_text(encoding="utf-8")
    assert len({row.title for row in CLASSIFIERS.values()}) == len(CLASSIFIERS)
    for row in CLASSIFIERS.values():
        assert row.weights and row.licence and row.training_set in ("ImageNet", "Places365")
        assert all(f"{{{key}," in bibliography for key in row.paper) and row.paper
        assert row.wordnet == (row.training_set == "ImageNet")
    texts = {name: CLASSIFIERS[name].preprocessing.text for name in (*PUBLIC, "efficientnet_lite0")}
    assert "256 pixels (bilinear), the centre 227 × 227" in texts[SQUEEZENET]
    assert texts[SQUEEZENET].endswith("input is RGB − (123, 117, 104) with RGB from 0 to 255")
    assert "(RGB − (116.68, 112.51, 104.05)) / 255" in texts[PLACES]
    assert "(RGB − 127) / 128" in texts["efficientnet_lite0"]


def test_licences_are_those_of_the_sources(root: Path) -> None:
    known = sources.load_sources(Project(root))
    for source, name in {
        "quantized-resnet-fpga": RESNET,
        "squeezenet-deep-compression": SQUEEZENET,
        SOURCE: PLACES,
        "torchvision": "resnet50",
        "places365": "resnet18_places365",
    }.items():
        stated, _, _ = known[source].licence.partition(";")
        assert stated.casefold() == CLASSIFIERS[name].licence.casefold()


@pytest.fixture(params=PUBLIC)
def random(request: pytest.FixtureRequest, root: Path, mirrored: Path) -> Classifier:
    """A public network before training."""
    return load_classifier(Project(root), request.param, weights="random")


def test_relevance_keeps_its_sum_and_the_guided_gradient_asks_for_relus(random: Classifier) -> None:
    batch = 20 * noise_batch(1, 64)
    form = canonical(random.network, batch)
    assert not [part for part in form.modules() if isinstance(part, nn.BatchNorm2d)]
    logits = random.logits(batch)[0]
    target = int(logits.argmax())
    found = relevance(form, batch, target)
    assert float(found.sum()) == pytest.approx(float(logits[target]), rel=1e-3)
    if random.name == PLACES:
        with pytest.raises(NotApplicable, match="the network has LeakyReLU"):
            guided_gradient(form, batch, target)
    else:
        assert float(guided_gradient(form, batch, target).abs().max()) > 0

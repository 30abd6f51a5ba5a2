"""Classifiers see what their publishers meant them to see; loading weights runs no code."""

import os
import pickle
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from torch import nn
from torchvision import transforms

from conftest import Evil
from networks import Awkward, Plain, classifier_of, noise_batch, noise_image
from vitrine.errors import SourceError, StudyError
from vitrine.methods.dissection.activations import check_layers
from vitrine.methods.randomisation import cascade
from vitrine.models import inference as speed
from vitrine.models import registry as classifiers
from vitrine.models.architecture import read_checkpoint
from vitrine.models.classifier import Classifier
from vitrine.models.inference import (
    InferenceOptions,
    fastest_options,
    keep_memory,
    prepared,
)
from vitrine.models.registry import CLASSIFIERS, load_classifier
from vitrine.project import Project


@pytest.fixture(scope="module")
def lite0(root: Path) -> Classifier:
    return load_classifier(Project(root), "efficientnet_lite0")


@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_lite_networks_equal_those_of_the_package_that_carries_their_weights(
    root: Path, version: int
) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    ours = load_classifier(Project(root), f"efficientnet_lite{version}")
    theirs = EfficientNet.from_name(f"efficientnet-lite{version}").eval()
    theirs.load_state_dict(
        read_checkpoint(CLASSIFIERS[ours.name].weights_file(Project(root))), strict=True
    )
    batch = noise_batch(2, ours.preprocessing.crop)
    with torch.inference_mode():
        assert torch.equal(ours.network(batch), theirs(batch))


def test_its_preprocessing_is_not_that_of_torchvision(lite0: Classifier) -> None:
    crops = np.array([[[[0, 127, 255]]]], dtype=np.uint8)
    assert lite0.normalise(crops).flatten().tolist() == [-127 / 128, 0.0, 1.0]


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
@pytest.mark.parametrize("size", [(333, 500), (500, 353), (300, 300), (90, 701)])
def test_the_crop_is_that_of_torchvision(root: Path, name: str, size: tuple[int, int]) -> None:
    row = CLASSIFIERS[name].preprocessing
    network = replace(classifier_of(nn.Identity(), ""), preprocessing=row)
    interpolation = {
        PilImage.Resampling.BICUBIC: transforms.InterpolationMode.BICUBIC,
        PilImage.Resampling.BILINEAR: transforms.InterpolationMode.BILINEAR,
    }[row.interpolation]
    reference = transforms.Compose(
        [transforms.Resize(row.resize, interpolation), transforms.CenterCrop(row.crop)]
    )
    image = noise_image(*size)
    expected = np.asarray(reference(PilImage.fromarray(image.pixels)))
    assert (network.crop(image) == expected).all()
    frame = network.frame(image)
    assert frame.size == (row.crop, row.crop)
    top, left, height, width = frame.box
    assert top >= 0 and left >= 0
    assert top + height <= size[0] + 1e-6 and left + width <= size[1] + 1e-6
    # The crop sits in the middle, to within the pixel that rounding costs.
    assert abs(top + height / 2 - size[0] / 2) <= size[0] / row.resize
    assert abs(left + width / 2 - size[1] / 2) <= size[1] / row.resize


def test_torchvision_networks_are_normalised_as_their_weights_ask(root: Path) -> None:
    from torchvision.models import ResNet50_Weights

    network = load_classifier(Project(root), "resnet50", weights="random")
    image = noise_image(300, 400)
    expected = ResNet50_Weights.IMAGENET1K_V2.transforms()(PilImage.fromarray(image.pixels))
    assert torch.allclose(network.normalise(network.crop(image)[None])[0], expected, atol=1e-5)


def test_random_weights_are_seeded_and_leave_the_global_generator_alone(root: Path) -> None:
    project = Project(root)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, same, other = (
        load_classifier(project, "resnet18", "random", seed).digest for seed in (0, 0, 1)
    )
    assert one == same != other
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_unknown_name_or_device_is_answered_with_those_there_are(root: Path) -> None:
    with pytest.raises(StudyError, match="Did you mean 'resnet50'"):
        load_classifier(Project(root), "resnet-50")
    with pytest.raises(StudyError, match="The devices are auto, cpu, cuda"):
        classifiers.best_device("tpu")


class _Old(pickle._Pickler):
    """Pickles text as Python 2 did: as byte strings."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_bytes_string(self, text: str) -> None:
        encoded = text.encode("ascii")
        self.write(pickle.SHORT_BINSTRING + bytes([len(encoded)]) + encoded)

    dispatch[str] = save_bytes_string


def _old_checkpoint(path: Path, state: dict[str, torch.Tensor]) -> None:
    """A checkpoint as PyTorch 0.2 under Python 2 wrote it, trained on several GPUs."""

    class Module:
        Pickler = _Old
        dump = staticmethod(lambda value, file, protocol: _Old(file, protocol).dump(value))

    prefixed = OrderedDict((f"module.{key}", value) for key, value in state.items())
    torch.save(
        {"epoch": 90, "arch": "resnet18", "state_dict": prefixed, "best_prec1": 54.2},
        path,
        pickle_module=Module,
        pickle_protocol=2,
        _use_new_zipfile_serialization=False,
    )


def test_a_places365_checkpoint_of_python_2_is_read(project: Project, mirrored: Path) -> None:
    network = CLASSIFIERS["resnet18_places365"].build()
    path = project.cache / "places365" / "resnet18_places365.pth.tar"
    path.parent.mkdir(parents=True)
    _old_checkpoint(path, network.state_dict())
    assert b"X\x0a\x00\x00\x00state_dict" not in path.read_bytes()
    loaded = load_classifier(project, "resnet18_places365")
    assert not loaded.wordnet
    assert len(loaded.categories) == 365
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[key], value)


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil(os.mkdir, "executed")}, "bomb.pth")
    Path("bomb.pkl").write_bytes(pickle.dumps(Evil(os.mkdir, "executed")))
    for name in ("bomb.pth", "bomb.pkl"):
        with pytest.raises(SourceError, match="cannot be read as plain tensors"):
            read_checkpoint(Path(name))
    assert not Path("executed").exists()


def test_weights_that_do_not_fit_are_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.root / "other.pth"
    torch.save({"fc.weight": torch.zeros(3)}, path)
    monkeypatch.setattr(classifiers.sources, "fetch_one", lambda *_: path)
    with pytest.raises(SourceError, match="The weights of resnet50 do not fit") as caught:
        load_classifier(project, "resnet50")
    assert 'Missing key(s) in state_dict: "conv1.weight", "bn1.weight", ' in caught.value.problem
    assert f"Delete {path} and run `vitrine fetch`" in caught.value.remedy
    torch.save({"state_dict": 3}, path)
    with pytest.raises(SourceError, match='Unexpected key.s. in state_dict: "state_dict"'):
        load_classifier(project, "resnet50")


def test_an_unknown_layer_is_answered_with_close_ones_and_the_stages(project: Project) -> None:
    resnet = load_classifier(project, "resnet18", "random")
    with pytest.raises(StudyError) as caught:
        resnet.layer("layer4.conv1")
    assert "Did you mean 'layer4.1.conv1'" in caught.value.remedy
    assert "Its stages are layer2, layer3, layer4, fc" in caught.value.remedy
    assert len(caught.value.remedy) < 300


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_a_row_says_what_its_network_has(root: Path, mirrored: Path, name: str) -> None:
    """Its classes and layers, and a head that turns the last feature maps into the logits."""
    classifier, row = load_classifier(Project(root), name, weights="random"), CLASSIFIERS[name]
    units = check_layers(classifier, row.stages, noise_image(300, 300), "mean")
    *_, before, last = units.values()
    assert (before, last) == (row.channels, len(classifier.categories))
    assert cascade(classifier)[0] in ("fc", "classifier", "classifier.1")
    kept: list[torch.Tensor] = []
    hook = classifier.layer(row.last_convolution).register_forward_hook(
        lambda _module, _inputs, output: kept.append(output.clone())
    )
    batch = noise_batch(2, 96)
    with torch.inference_mode():
        logits = classifier.network(batch)
        hook.remove()
        torch.testing.assert_close(classifier.after(row.last_convolution)(kept[0]), logits)
    assert logits.shape[1] == last and kept[0].shape[1] == row.channels
    assert classifier.wordnet == ("places365" not in name)
    assert classifier.training_set == "none (random weights)"


def test_what_cannot_be_separated_is_said(root: Path) -> None:
    classifier = load_classifier(Project(root), "resnet18", weights="random")
    assert classifier.after("layer3") is not None
    assert classifier.after("layer4.1.conv2") is None  # a shortcut leads around it
    assert classifier.after("layer4.1.relu") is None  # used twice
    with pytest.raises(StudyError, match="has no layer 'nowhere'"):
        classifier.after("nowhere")


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_other_settings_change_logits_by_rounding_only(root: Path, name: str) -> None:
    classifier = load_classifier(Project(root), name, weights="random")
    batch = noise_batch(2, 96)
    before = {key: value.clone() for key, value in classifier.network.state_dict().items()}
    with prepared(classifier, InferenceOptions()) as forward:
        plain = forward(batch)
    with torch.inference_mode():
        assert torch.equal(plain, classifier.network(batch))
    assert not [m for m in speed._fold(classifier).modules() if isinstance(m, nn.BatchNorm2d)]
    threads = torch.get_num_threads()
    for last in (False, True):
        settings = InferenceOptions(batch=2, channels_last=last, folded=True, threads=1)
        with prepared(classifier, settings) as forward:
            assert torch.get_num_threads() == 1
            found = forward(batch)
        assert torch.allclose(found, plain, atol=1e-5 * float(plain.abs().max()))
    assert torch.get_num_threads() == threads
    for key, value in classifier.network.state_dict().items():
        assert torch.equal(value, before[key]) and value.stride() == before[key].stride()


def test_a_network_without_batch_normalisation_is_not_said_to_be_folded() -> None:
    folded = InferenceOptions(folded=True)
    assert speed.as_run(classifier_of(Awkward(), "last"), folded) == folded
    assert not speed.as_run(classifier_of(Plain(), "4"), folded).folded


def test_the_fastest_settings_are_measured_and_can_be_written_down(root: Path) -> None:
    found = load_classifier(Project(root), "resnet18", weights="random")
    small = replace(found, preprocessing=replace(found.preprocessing, resize=40, crop=32))
    settings = fastest_options(small, memory=False)
    assert not settings.keep_memory
    assert InferenceOptions(**settings.facts()) == settings
    assert isinstance(keep_memory(), bool)

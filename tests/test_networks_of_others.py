"""Networks as people bring them give the right map or one message, and are given back as they were.

Each test is about one kind of fault that a network can lead a method into without a word.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

import libraries
from networks import CLASSES, CROP, FRAME, SIDE, asked, classifier_of, noise_image
from vitrine.data.images import Frame
from vitrine.errors import NotApplicable, StudyError, VitrineError
from vitrine.methods import lime
from vitrine.methods.attribution import ATTRIBUTION_METHODS, Parameters, attribute
from vitrine.methods.cam import CAM_METHODS, class_activation
from vitrine.methods.dissection import activations as dissection
from vitrine.methods.method import Query
from vitrine.methods.perturbation import fidelities, mask
from vitrine.methods.superpixels import superpixels
from vitrine.models.classifier import Classifier, preserved_state
from vitrine.models.inference import PLAIN, InferenceOptions, prepared, scoring
from vitrine.models.layers import traced_layers
from vitrine.study import lime as lime_section

IMAGES = [(i, noise_image(SIDE, SIDE, i)) for i in range(8)]
FEW = Parameters(batch=4, steps=4, samples=2, noisy_steps=2, points=4, window=16, stride=16)
LIME = lime_section.Lime(samples=40, batch=8)
SEGMENTS = superpixels(CROP, lime_section.Grid(rows=3, columns=3), 0)


class Small(nn.Module):
    """A convolution, what ``bend`` makes of it, a pooling and a classifier."""

    def __init__(self, bend: Callable[[Tensor], Tensor], classes: int = CLASSES) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.bend = bend
        self.second = nn.Conv2d(8, 5, 3, padding=1)
        self.last = nn.ReLU()
        self.classifier = nn.Linear(5, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.last(self.second(self.bend(self.convolution(images))))
        return self.classifier(maps.mean((2, 3)))


def _small(bend: Callable[[Tensor], Tensor]) -> Classifier:
    return classifier_of(Small(bend), "convolution")


def _add_one(maps: Tensor) -> Tensor:
    maps += 1
    return maps


@pytest.mark.parametrize(
    ("in_place", "elsewhere"),
    [
        (nn.ReLU(inplace=True), nn.ReLU()),
        (_add_one, lambda maps: maps + 1),
        (lambda maps: functional.hardswish(maps, inplace=True), functional.hardswish),
    ],
)
def test_what_works_in_place_after_a_layer_does_not_reach_what_is_read_of_it(
    in_place: Callable[[Tensor], Tensor], elsewhere: Callable[[Tensor], Tensor]
) -> None:
    first, second = _small(in_place), _small(elsewhere)
    layers = ["convolution", "classifier"]
    for pooling in ("max", "mean"):
        found, expected = (
            dissection.collect(each, layers, IMAGES, pooling, 3, 4) for each in (first, second)
        )
        for layer in layers:
            assert torch.equal(found[layer].lowest, expected[layer].lowest)
            assert torch.equal(found[layer].images, expected[layer].images)
    assert found["convolution"].lowest.min() < 0
    for method in CAM_METHODS:
        one, other = (class_activation(asked(method, each, 1)) for each in (first, second))
        np.testing.assert_allclose(one.evidence.values, other.evidence.values, rtol=1e-4)
    for method in ("guided_gradcam", "gradient"):
        maps = []
        for each in (first, second):
            try:
                maps.append(attribute(asked(method, each, 1, FEW)).values)
            except NotApplicable:  # the activation has no guided gradient
                maps.append(np.zeros(0))
        np.testing.assert_array_equal(*maps)


def test_a_network_that_works_in_place_on_its_input_sees_the_same_image_each_time() -> None:
    class Normalising(Small):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images.sub_(0.5).div_(2))

    classifier = classifier_of(Normalising(nn.ReLU()), "last")
    batch = classifier.normalise(CROP[None])
    before = batch.clone()
    with prepared(classifier, PLAIN) as forward:
        assert torch.equal(forward(batch), forward(batch))
    assert torch.equal(batch, before)
    assert not attribute(asked("gradient", classifier, 1, FEW)).is_constant


@pytest.mark.parametrize("bias", [1.0, -1.0])
def test_ablationcam_of_a_class_with_a_negative_logit_lies_on_what_speaks_for_it(
    bias: float,
) -> None:
    """The first map speaks for the class and the second against it, whatever the bias."""
    network = nn.Sequential(
        nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, CLASSES)
    )
    classifier = classifier_of(network, "1")
    with torch.no_grad():
        for name, values in {"0": [[1.0, 0, 0], [0, 1.0, 0]], "4": [[1.0, -1.0]] * CLASSES}.items():
            layer = network.get_submodule(name)
            layer.weight.copy_(torch.tensor(values).reshape(layer.weight.shape))  # type: ignore
            layer.bias.fill_(bias if name == "4" else 0.0)  # type: ignore[union-attr, operator]
    crop = np.full((SIDE, SIDE, 3), 127, dtype=np.uint8)
    crop[8:24, 2:14, 0], crop[8:24, 18:30, 1] = 255, 255
    values = class_activation(Query("ablationcam", classifier, crop, FRAME, 0)).heatmap.values
    assert values[10:22, 4:12].min() > 0.9 and values[10:22, 20:28].max() == 0


class ChannelsLast(nn.Module):
    """As a network with channels first, but for the order in which its layers hand maps on."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 4, stride=4)
        turn = torchvision.ops.Permute([0, 2, 3, 1]) if last else nn.Identity()
        self.block = nn.Sequential(turn, nn.ReLU())
        self.classifier = nn.Linear(6, CLASSES)
        self.axes = (1, 2) if last else (2, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.block(self.convolution(images)).mean(self.axes))


def test_maps_with_channels_last_are_turned_round() -> None:
    first, last = (classifier_of(ChannelsLast(turned), "block") for turned in (False, True))
    for method in CAM_METHODS:
        expected, found = (
            class_activation(asked(method, each, 2)).evidence for each in (first, last)
        )
        assert found.values.shape == (8, 8)
        np.testing.assert_allclose(found.values, expected.values, atol=1e-6)
        if method != "ablationcam":  # the library's takes maps away by their second axis
            library = libraries.class_activation(asked(method, last, 2))
            np.testing.assert_allclose(found.values, library.evidence.values, atol=1e-5)
    maps = [attribute(asked("guided_gradcam", c, 2, FEW)) for c in (first, last)]
    np.testing.assert_allclose(maps[0].values, maps[1].values, atol=1e-6)
    assert dissection.check_layers(last, ["block"], IMAGES[0][1], "mean") == {"block": 6}
    kept = [dissection.collect(c, ["block"], IMAGES, "mean", 8, 4)["block"] for c in (first, last)]
    torch.testing.assert_close(kept[0].values, kept[1].values)


def _transformer(**changed: Any) -> Classifier:
    torch.manual_seed(0)
    sizes = {"img_size": SIDE, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    network = timm.models.VisionTransformer(**{**sizes, "num_classes": CLASSES, **changed}).eval()
    nn.init.normal_(network.head.weight)
    return classifier_of(network, traced_layers(network, SIDE, "tokens").last_convolution)


def test_tokens_are_laid_out_as_their_library_says() -> None:
    classifier = _transformer()
    assert classifier.last_convolution == "blocks.1.norm1"
    for method in CAM_METHODS.keys() - {"ablationcam"}:
        found = class_activation(asked(method, classifier, 2))
        library = libraries.class_activation(asked(method, classifier, 2))
        assert found.evidence.values.shape == (SIDE // 8, SIDE // 8)
        assert np.ptp(found.evidence.values) > 0
        tolerance = 1e-4 * np.abs(library.evidence.values).max()
        np.testing.assert_allclose(found.evidence.values, library.evidence.values, atol=tolerance)
    found = class_activation(asked("ablationcam", classifier, 2)).evidence
    assert found.passes == 1 + 24 and "cannot be separated" in found.note
    np.testing.assert_allclose(found.values, _slowly_ablated(classifier, 2), atol=1e-4)


def _slowly_ablated(classifier: Classifier, target: int) -> npt.NDArray[np.float32]:
    """AblationCAM of the tokens that the last attention reads, in the formula of the paper."""
    network: Any = classifier.network
    block = network.blocks[1]

    def logit(taken: int | None) -> tuple[Tensor, Tensor]:
        before = network.blocks[0](network._pos_embed(network.patch_embed(batch)))
        tokens = block.norm1(before)
        if taken is not None:
            tokens[:, 1:, taken] = 0
        after = before + block.attn(tokens)
        after = after + block.mlp(block.norm2(after))
        return network.head(network.norm(after)[:, 0])[0, target], tokens[0, 1:]

    with torch.no_grad():
        batch = classifier.normalise(CROP[None])
        whole, tokens = logit(None)
        weights = [(whole - logit(unit)[0]) / whole.abs() for unit in range(tokens.shape[1])]
        return (tokens @ torch.stack(weights)).unflatten(0, (SIDE // 8, SIDE // 8)).numpy()


def test_the_units_of_tokens_are_those_of_their_places() -> None:
    classifier = _transformer(class_token=True, reg_tokens=3, global_pool="avg")
    assert classifier.last_convolution == "blocks.1"
    kept = dissection.collect(classifier, ["blocks.1"], IMAGES, "mean", 8, 4)["blocks.1"]
    network: Any = classifier.network
    crops = np.stack([classifier.crop(image) for _, image in IMAGES])
    with torch.inference_mode():
        tokens = network.blocks(
            network._pos_embed(network.patch_embed(classifier.normalise(crops)))
        )
    strongest = tokens[:, 4:].mean(1).sort(dim=0, descending=True).values
    torch.testing.assert_close(kept.values, strongest.T)


BOTH = ("blocks.0", "blocks.1", "head")


@pytest.mark.parametrize(
    ("changed", "last", "stages"),
    [
        ({}, "blocks.1.norm1", ("blocks.0", "head")),
        ({"class_token": False, "global_pool": "avg"}, "blocks.1", BOTH),
        ({"global_pool": "map"}, "norm", BOTH),
    ],
)
def test_the_last_tokens_are_those_that_reach_the_head(
    changed: dict[str, Any], last: str, stages: tuple[str, ...]
) -> None:
    found = traced_layers(_transformer(**changed).network, SIDE, "tokens")
    assert (found.last_convolution, found.channels, found.stages) == (last, 24, stages)


def test_axes_that_cannot_be_told_apart_are_refused_by_name() -> None:
    class Cube(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 8, 4, stride=4)
            self.block = nn.Sequential(nn.Linear(8, 8), nn.ReLU())  # [n, 8, 8, 8]
            self.tokens = nn.Flatten(1, 2)
            self.classifier = nn.Linear(8, CLASSES)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.block(self.convolution(images).permute(0, 2, 3, 1))
            return self.classifier(self.tokens(maps).mean(1))

    classifier = classifier_of(Cube(), "block")
    with pytest.raises(StudyError, match="The layer 'tokens' .* has no feature maps"):
        class_activation(asked("gradcam", classifier, 0, layer="tokens"))
    with pytest.raises(VitrineError, match="The layer 'tokens' .* has no units"):
        dissection.check_layers(classifier, ["tokens"], IMAGES[0][1], "mean")
    unknown = r"channels of the layer 'block' .* cannot be told .*\(1, 8, 8, 8\)"
    with pytest.raises(StudyError, match=unknown) as refused:
        class_activation(asked("gradcam", classifier, 0, layer="block"))
    assert 'channels_last = ["block"]' in str(refused.value.remedy)
    with pytest.raises(StudyError, match=unknown):
        dissection.check_layers(classifier, ["block"], IMAGES[0][1], "mean")
    known = {"convolution": 8, "block.0": 8}
    assert dissection.check_layers(classifier, list(known), IMAGES[0][1], "mean") == known


def test_where_a_layers_channels_lie_is_stated_when_it_cannot_be_told() -> None:
    """Swin's first stage sees 384 pixels as 96 × 96 places of 96 channels."""
    torch.manual_seed(0)
    swin = torchvision.models.swin_t(weights=None, num_classes=CLASSES)
    unknown = classifier_of(swin, "features.7")
    unknown = replace(unknown, preprocessing=replace(unknown.preprocessing, resize=384, crop=384))
    last, first = (unknown.stating({"features.1": axis}) for axis in ("last", "first"))
    assert len({each.digest for each in (unknown, last, first)}) == 3
    image, frame = noise_image(384, 384), Frame("noise", (0.0, 0.0, 384.0, 384.0), (384, 384))
    crop = image.pixels
    with pytest.raises(StudyError, match="features.1' .* cannot be told"):
        dissection.check_layers(unknown, ["features.1"], image, "mean")
    # Other layers tell it: the channels of the next are those of the merged places.
    layers = {"features.1": 96, "features.3": 192, "features.7": 768}
    assert dissection.check_layers(last, list(layers), image, "mean") == layers
    with torch.inference_mode():
        own = swin.features[:2](last.normalise(crop[None]))
    collected = dissection.collect(last, ["features.1"], [(0, image)], "mean", 1, 1)["features.1"]
    torch.testing.assert_close(collected.values[:, 0], own[0].mean(dim=(0, 1)))
    found, wrong = (
        class_activation(
            Query("eigencam", each, crop, frame, 0, layer="features.1")
        ).evidence.values
        for each in (last, first)
    )
    assert found.shape == (96, 96) and not np.allclose(found, wrong)
    with pytest.raises(StudyError, match="has no layer 'features.9'"):
        unknown.stating({"features.9": "last"})


@pytest.mark.parametrize(("classes", "link"), [(1, None), (1, "sigmoid"), (3, "sigmoid")])
def test_every_method_uses_the_heads_own_link(classes: int, link: Any) -> None:
    base = classifier_of(Small(nn.ReLU()), "last")
    network = Small(nn.ReLU(), classes).eval().requires_grad_(False)
    classifier = replace(base, network=network, categories=tuple("abc"[:classes]), link=link)
    logits = network(classifier.normalise(CROP[None]))
    expected = torch.sigmoid(logits).numpy()
    np.testing.assert_allclose(classifier.probabilities(CROP[None]), expected, rtol=1e-6)
    with scoring(classifier, 0) as scores:
        found = scores(classifier.normalise(CROP[None]).numpy())
    np.testing.assert_allclose(found, expected[:, 0], rtol=1e-6)
    (shown,) = fidelities(classifier, mask(classifier, CROP, SEGMENTS, 0), [[0, 1]])
    assert shown.p_original == pytest.approx(expected[0, 0], rel=1e-6)
    ours = lime.explain_by_lime(classifier, mask(classifier, CROP, SEGMENTS, 0), LIME)
    library = libraries.explain(classifier, CROP, 0, LIME, SEGMENTS)
    assert np.ptp(ours.weights) > 0
    np.testing.assert_array_equal(ours.weights, library.weights)


def test_the_softmax_of_one_category_is_refused() -> None:
    with pytest.raises(StudyError, match="one category, whose softmax is 1 whatever the image"):
        replace(_small(nn.ReLU()), categories=("a",), link="softmax")


RECTIFIED: list[Callable[[Tensor], Tensor]] = [
    functional.relu,
    torch.relu,
    lambda maps: maps.relu(),
    lambda maps: maps.relu_(),
    lambda maps: functional.relu(maps, inplace=True),
    lambda maps: maps.clamp(min=0),
    lambda maps: maps.clamp(0),
    lambda maps: torch.clamp(maps, min=0, max=None),
    lambda maps: torch.clamp_min(maps, 0),
]
OTHERS: list[tuple[Callable[[Tensor], Tensor], nn.Module | None, str]] = [
    (lambda maps: functional.leaky_relu(maps, 0.2), nn.LeakyReLU(0.2), "LeakyReLU"),
    (lambda maps: functional.gelu(maps, approximate="tanh"), nn.GELU("tanh"), "GELU"),
    (functional.silu, nn.SiLU(), "SiLU"),
    (functional.elu, nn.ELU(), "ELU"),
    (functional.hardtanh, nn.Hardtanh(), "Hardtanh"),
    (torch.tanh, nn.Tanh(), "Tanh"),
    (lambda maps: maps.clamp(-1, 1), None, "clamp"),
    (lambda maps: maps * torch.sigmoid(maps), None, r"Sigmoid and steps .* linear \(mul\)"),
    (lambda maps: maps.abs(), None, "abs"),
    (lambda maps: torch.where(maps > 0, maps, maps * 0.1), None, "where"),
    (lambda maps: torch.maximum(maps, maps * 0.1), None, "maximum"),
]


@pytest.mark.parametrize("bend", RECTIFIED)
def test_a_rectifier_called_as_a_function_is_guided_as_its_module(
    bend: Callable[[Tensor], Tensor],
) -> None:
    for method in ("guided_backpropagation", "lrp"):
        expected, found = (
            attribute(asked(method, _small(each), 1, FEW)).values for each in (nn.ReLU(), bend)
        )
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("bend", "module", "name"), OTHERS)
def test_other_activations_called_as_functions_are_taken_as_their_modules_are(
    bend: Callable[[Tensor], Tensor], module: nn.Module | None, name: str
) -> None:
    with pytest.raises(NotApplicable, match=f"the network has .*{name}"):
        attribute(asked("guided_backpropagation", _small(bend), 1, FEW))

    def lrp(each: Callable[[Tensor], Tensor]) -> Any:
        try:
            return attribute(asked("lrp", _small(each), 1, FEW)).values
        except NotApplicable as error:
            return str(error)

    if module is None:
        assert "no rule for the step" in lrp(bend)
    else:
        np.testing.assert_array_equal(lrp(bend), lrp(module))


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda logits: (logits,), "gives a tuple and not logits"),
        (lambda logits: {"logits": logits}, "gives a dict and not logits"),
        (lambda logits: logits[:, :2], r"a tensor of the shape \(\d+, 2\) and not logits"),
        (lambda logits: logits[:, 0], r"a tensor of the shape \(\d+,\) and not logits"),
    ],
)
def test_an_output_that_is_no_table_of_logits_is_one_message_from_every_method(
    wrap: Callable[[Tensor], Any], said: str
) -> None:
    class Wrapped(Small):
        def forward(self, images: Tensor) -> Any:
            return wrap(super().forward(images))

    classifier = classifier_of(Wrapped(nn.ReLU()), "last")
    for name, run in _everything(classifier).items():
        if name not in ("dissection", "check", "meddling"):  # which read no logits
            with pytest.raises(VitrineError, match=said):
                run()


def _everything(classifier: Classifier) -> dict[str, Callable[[], Any]]:
    """Every method at work on one network, with the numbers that it gives."""
    layer = classifier.last_convolution
    found: dict[str, Callable[[], Any]] = {
        "probabilities": lambda: classifier.probabilities(CROP[None]),
        "dissection": lambda: (
            dissection.collect(classifier, [layer], IMAGES[:2], "mean", 1, 2)[layer].values
        ),
        "check": lambda: dissection.check_layers(classifier, [layer], IMAGES[0][1], "mean")[layer],
        "lime": lambda: (
            lime.explain_by_lime(classifier, mask(classifier, CROP, SEGMENTS, 1), LIME).weights
        ),
        "meddling": lambda: _meddled_with(classifier.network),
    }
    for method in CAM_METHODS:
        found[method] = lambda method=method: (
            class_activation(asked(method, classifier, 1)).heatmap.values
        )
    for method in ATTRIBUTION_METHODS:
        found[method] = lambda method=method: attribute(asked(method, classifier, 1, FEW)).values
    for settings in (PLAIN, InferenceOptions(folded=True), InferenceOptions(channels_last=True)):
        found[f"scoring {settings}"] = lambda settings=settings: _score(classifier, settings)
    return found


def _meddled_with(network: Any) -> list[bool]:
    """What a careless method would leave behind, and the state that it works in."""
    with preserved_state(network):
        network.convolution.register_forward_hook(lambda *_: None)
        network.convolution.register_full_backward_hook(lambda *_: None)
        network.zero_grad()
        network(torch.zeros(1, 3, SIDE, SIDE))
        modes = [module.training for module in network.modules()]
        return [*modes, *(parameter.requires_grad for parameter in network.parameters())]


def _score(classifier: Classifier, settings: InferenceOptions) -> Any:
    with scoring(classifier, 1, settings) as scores:
        return scores(classifier.normalise(CROP[None]).numpy())


@pytest.mark.parametrize("precision", [torch.float16, torch.float64, torch.bfloat16])
def test_another_precision_is_refused_before_anything_is_computed(precision: torch.dtype) -> None:
    network = Small(nn.ReLU()).to(precision)
    with pytest.raises(
        StudyError, match=r"'convolution.weight' of Tiny network is b?float.*\.float"
    ):
        replace(_small(nn.ReLU()), network=network)


def test_an_image_that_depends_on_its_batch_is_refused() -> None:
    network = Small(nn.BatchNorm2d(8, track_running_stats=False))
    with pytest.raises(StudyError, match="'bend' of Tiny network has no running statistics"):
        replace(_small(nn.ReLU()), network=network)
    classifier_of(Small(nn.InstanceNorm2d(8)), "last")  # which looks at each image alone


@pytest.mark.parametrize("method", sorted(CAM_METHODS))
def test_maps_that_are_zero_everywhere_give_a_map_of_zeros(method: str) -> None:
    classifier = classifier_of(Small(nn.ReLU()), "last")
    classifier.network.second.bias.fill_(-1e4)  # type: ignore[union-attr, operator]
    found = class_activation(asked(method, classifier, 1))
    assert found.maximum == 0 and not found.heatmap.values.any()


class Drilling(nn.Module):
    """Left as training leaves it: dropout, running statistics, gradients, steps in place."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.activation = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.activation(self.norm(self.convolution(images)))
        return self.classifier(self.dropout(maps.mean((2, 3))))


def _drilling() -> Classifier:
    classifier = classifier_of(Drilling(), "norm")
    network = classifier.network.train().requires_grad_(True)
    network.norm.eval()  # type: ignore[union-attr]
    network.convolution.bias.requires_grad_(False)  # type: ignore[union-attr]
    network.classifier.weight.grad = torch.ones(CLASSES, 8)  # type: ignore[union-attr]
    network.dropout.register_forward_hook(lambda *_: None)  # type: ignore[union-attr]
    return classifier


def _state(network: nn.Module) -> list[Any]:
    return [
        [(name, value.tolist()) for name, value in network.state_dict().items()],
        [(name, id(module), module.training) for name, module in network.named_modules()],
        [
            [len(hooks) for key, hooks in sorted(vars(module).items()) if key.endswith("_hooks")]
            for module in network.modules()
        ],
        [
            (p.requires_grad, None if p.grad is None else p.grad.tolist())
            for p in network.parameters()
        ],
        getattr(network.activation, "inplace", None),
    ]


@pytest.mark.parametrize("name", sorted(_everything(_small(nn.ReLU()))))
def test_no_method_changes_a_network_and_training_mode_changes_no_map(name: str) -> None:
    trained, resting = _drilling(), classifier_of(Drilling(), "norm")
    before = _state(trained.network)
    found, expected = (_everything(each)[name]() for each in (trained, resting))
    assert _state(trained.network) == before
    np.testing.assert_array_equal(found, expected)

    def fail(*_: object) -> None:
        raise ValueError("in the middle")

    trained.network.classifier.register_forward_hook(fail)  # type: ignore[union-attr]
    before = _state(trained.network)
    with pytest.raises((ValueError, VitrineError)):
        _everything(trained)[name]()
    assert _state(trained.network) == before

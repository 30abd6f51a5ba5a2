"""Another engine runs a network's passes where its logits are PyTorch's, and nowhere else."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from networks import CLASSES, SIDE, Awkward, Plain, asked, classifier_of, noise_batch
from vitrine.methods.attribution import attribute
from vitrine.models import engine, inference
from vitrine.models.classifier import Classifier
from vitrine.models.inference import PLAIN, InferenceOptions, as_run, fastest_options, prepared
from vitrine.models.registry import load_classifier
from vitrine.project import Project
from vitrine.report import provenance
from vitrine.study.sections import AttributionParameters

OPENVINO = InferenceOptions(engine="openvino")

needs_openvino = pytest.mark.skipif(not engine.installed(), reason="OpenVINO is not installed")


class FakeEngine:
    """Stands where OpenVINO does: what it is asked to convert, it runs on PyTorch."""

    def __init__(self, change: Callable[[Tensor], Tensor] = lambda logits: logits) -> None:
        self.change = change
        self.conversions = 0
        self.passes = 0

    def __call__(self, network: nn.Module, example: Tensor) -> engine.Run:
        self.conversions += 1

        def run(batch: Tensor) -> Tensor:
            self.passes += 1
            with torch.inference_mode():
                return self.change(network(batch.clone()))

        return run


@pytest.fixture
def tiny() -> Classifier:
    return classifier_of(Plain(), "3")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Put something in the place of OpenVINO."""

    def place(fake: object) -> None:
        monkeypatch.setattr(engine, "installed", lambda: True)
        monkeypatch.setattr(engine, "_convert", fake)

    return place


def _logits(classifier: Classifier, settings: InferenceOptions) -> Tensor:
    with prepared(classifier, settings) as forward:
        return forward(noise_batch(3))


def _refuses(network: nn.Module, example: Tensor) -> engine.Run:
    raise RuntimeError("No conversion rule for aten::oddity\nand a long trace")


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        (_refuses, r"cannot convert the network: No conversion rule for aten::oddity\.$"),
        (FakeEngine(lambda logits: 1.001 * logits), r"Logits from OpenVINO differ by 0\.00"),
        (FakeEngine(lambda logits: logits * float("nan")), "differ by nan"),
        (FakeEngine(lambda logits: logits[:1]), r"cannot run the network: .* the shape \(1, 6\)"),
    ],
)
def test_what_the_engine_cannot_run_alike_runs_on_pytorch_and_the_reason_is_said(
    tiny: Classifier, use: Callable[[object], None], fake: object, reason: str
) -> None:
    use(fake)
    plain = _logits(tiny, PLAIN)
    with pytest.warns(UserWarning, match=f"Tiny network runs on PyTorch: .*{reason}"):
        assert torch.equal(_logits(tiny, OPENVINO), plain)
    with pytest.warns(UserWarning, match=reason):
        assert as_run(tiny, OPENVINO) == PLAIN
    found = fastest_options(tiny, memory=False)
    assert found.engine == "torch" and "engine" not in found.facts()


def test_without_the_package_the_network_runs_on_pytorch(
    tiny: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match=r"not installed \(pip install 'vitrine\[fast\]'\)"):
        assert torch.equal(_logits(tiny, OPENVINO), _logits(tiny, PLAIN))


def test_a_network_is_converted_once_until_its_parameters_change(
    tiny: Classifier, use: Callable[[object], None]
) -> None:
    fake = FakeEngine()
    use(fake)
    for _ in range(2):
        assert torch.equal(_logits(tiny, OPENVINO), _logits(tiny, PLAIN))
    assert fake.conversions == 1 and fake.passes == 4  # the check on noise, and the batch
    assert as_run(tiny, OPENVINO) is OPENVINO and as_run(tiny, PLAIN) is PLAIN
    tiny.network.get_parameter("0.bias").data.add_(1)
    assert torch.equal(_logits(tiny, OPENVINO), _logits(tiny, PLAIN))
    assert fake.conversions == 2
    _logits(classifier_of(Plain(), "3"), OPENVINO)
    assert fake.conversions == 3
    assert len(engine._last) <= 1


def test_nothing_is_kept_of_a_network_that_is_gone(use: Callable[[object], None]) -> None:
    use(lambda network, example: lambda batch: torch.zeros(len(batch), CLASSES))
    classifier = classifier_of(Plain(), "3")
    with pytest.warns(UserWarning, match="differ"):
        _logits(classifier, OPENVINO)
    assert len(engine._last) == 1
    del classifier
    assert not engine._last


@pytest.mark.parametrize(("rate", "chosen"), [(1.01, "torch"), (1.5, "openvino")])
@pytest.mark.parametrize(("gain", "batch"), [(0.05, 4), (0.2, 8)])  # the smallest within 10%
def test_the_engine_and_the_batch_are_chosen_by_what_they_gain(
    tiny: Classifier,
    use: Callable[[object], None],
    monkeypatch: pytest.MonkeyPatch,
    rate: float,
    chosen: str,
    gain: float,
    batch: int,
) -> None:
    use(FakeEngine())

    def of(_: Classifier, settings: InferenceOptions) -> float:
        return (rate if settings.engine == "openvino" else 1) * (1 + gain * settings.batch / 16)

    monkeypatch.setattr(inference, "_rate", of)
    found = fastest_options(tiny, memory=False)
    assert (found.engine, found.batch) == (chosen, batch)
    assert InferenceOptions(**found.facts()) == found


def test_what_nothing_differentiates_is_passed_by_the_engine(
    tiny: Classifier, use: Callable[[object], None]
) -> None:
    fake, parameters = FakeEngine(), AttributionParameters(window=5, stride=5)
    use(fake)
    for method in ("occlusion", "integrated_gradients"):
        told: list[list[int]] = [[], []]
        own, other = (
            attribute(asked(method, tiny, 1, parameters, settings=settings, progress=each.append))
            for settings, each in zip((PLAIN, OPENVINO), told, strict=True)
        )
        assert np.allclose(own.values, other.values, atol=1e-5)
        assert sum(told[0]) == sum(told[1])
        assert fake.conversions == 1
    assert fake.passes > 2


def test_a_study_that_names_no_engine_is_written_as_before() -> None:
    assert "engine" not in PLAIN.model_dump()
    assert "engine" not in InferenceOptions(engine="torch").model_dump(mode="json")
    assert "engine" not in PLAIN.facts()
    assert InferenceOptions(**OPENVINO.model_dump()) == OPENVINO


def test_the_page_says_which_engine_ran_the_passes() -> None:
    for settings, said in (
        (OPENVINO, "ran on OpenVINO in batches of 16"),
        (PLAIN, "channels first"),
    ):
        told = {"passes": {"tiny": settings.facts()}}
        known = SimpleNamespace(classifier="tiny", provenance=told)
        assert said in provenance.speed(known).text


@needs_openvino
@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_openvino_gives_the_logits_of_the_networks_of_the_report(root: Path, name: str) -> None:
    found = load_classifier(Project(root), name, weights="random")
    classifier = replace(found, preprocessing=replace(found.preprocessing, resize=64, crop=64))
    _equal(classifier, 64, size=16)


@needs_openvino
def test_openvino_takes_networks_with_functions_and_shortcuts() -> None:
    _equal(classifier_of(Awkward(), "last"), SIDE, size=2)
    assert sys.modules["openvino_telemetry"] is None  # or each import would be reported


def _equal(classifier: Classifier, side: int, size: int) -> None:
    """Whatever a pass has of images, logits are PyTorch's, and the network stays as it was."""
    batch = noise_batch(5, side, seed=1)
    before = {key: value.clone() for key, value in classifier.network.state_dict().items()}
    asked = OPENVINO.model_copy(update={"batch": size})
    with prepared(classifier, PLAIN) as plain, prepared(classifier, asked) as forward:
        for images in (batch, batch[:2], batch[1:2]):
            kept = images.clone()
            expected, found = plain(images), forward(images)
            assert found.dtype == torch.float32 and torch.equal(images, kept)
            assert float((found - expected).abs().max()) <= engine.TOLERANCE * float(
                expected.max() - expected.min()
            )
            assert torch.equal(forward(images), found)
    for key, value in classifier.network.state_dict().items():
        assert torch.equal(value, before[key])


class _Branches(Plain):
    """What it does depends on how many images there are, which tracing does not see."""

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits if len(images) == 1 else 2 * logits


@needs_openvino
def test_a_network_that_changes_with_the_batch_is_noticed() -> None:
    classifier = classifier_of(_Branches(), "3")
    with pytest.warns(UserWarning, match="Logits from OpenVINO differ"):
        assert torch.equal(_logits(classifier, OPENVINO), _logits(classifier, PLAIN))

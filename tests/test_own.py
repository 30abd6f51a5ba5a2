"""Networks and images that nobody here prepared: ``vitrine new``, and ``explain``."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image as PilImage
from torch import nn
from torch.nn import functional

from stub_study import stub_study
from vitrine import explain
from vitrine.book.study import book_text
from vitrine.errors import StudyError, VitrineError
from vitrine.experiments.new import Wanted, new_study, without_methods
from vitrine.experiments.run import planned_passes, run
from vitrine.methods.baselines import BASELINES
from vitrine.models.layers import traced_layers
from vitrine.models.own import traced
from vitrine.project import Project
from vitrine.report.cams import layer_in_words
from vitrine.report.study_report import StudyReport
from vitrine.report.text import trained_on
from vitrine.store import Store
from vitrine.study import load_study
from vitrine.study.sections import ClassifierSection

CODE = """
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
    )

def sized():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 3))

def needs(size):
    return build()

def raises():
    raise RuntimeError("no luck")

def text():
    return "no network"

def ends():
    raise SystemExit("no data")

def half():
    return build().half()

def compiled():
    import torch
    return torch.jit.script(build())

class Bent(nn.Module):
    def __init__(self, bend):
        super().__init__()
        self.body, self.bend = build(), bend

    def forward(self, images):
        return self.body(self.bend(images))

def drops():
    return Bent(lambda images: nn.functional.dropout(images, 0.5))

def centres():
    return Bent(lambda images: images - images.mean(0))

def one_at_a_time():
    return Bent(lambda images: images.reshape(1, 3, 64, 64))

def without_values():
    import torch
    with torch.device("meta"):
        return build()

def soft():
    return nn.Sequential(build(), nn.Softmax(1))

def several():
    return nn.Sequential(build(), nn.Sigmoid())

def grey():
    return nn.Sequential(nn.Conv2d(1, 3, 1), build())

_private = build

def not_a_number():
    network = build()
    nn.init.constant_(network[-1].bias, float("nan"))
    return network
"""


@pytest.fixture
def given(project: Project) -> Project:
    """A project with images, labels, code and weights of somebody's own beside it."""
    folder = project.root / "my photös"
    generator = np.random.default_rng(0)
    for name in ("cat/IMG 1.jpg", "dog/IMG 1.jpg", "dog/it's & ü.png", "wild/deep/x.webp"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 255, (90, 120, 3), dtype=np.uint8)
        turned = PilImage.Exif()
        turned[274] = 6
        PilImage.fromarray(pixels).save(path, exif=turned)
    PilImage.fromarray(pixels[:8, :8]).save(folder / "tiny.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not an image")
    (folder / "notes.txt").write_text("no image")
    (folder / "text: a.png").write_text("no image either")
    for name, kind, cut in (("cut.jpg", "JPEG", 2), ("bent.png", "PNG", 3)):
        PilImage.fromarray(pixels).save(folder / name, kind)
        whole = (folder / name).read_bytes()
        bent = b"?" * 99 + whole[-len(whole) // cut :] if kind == "PNG" else b""
        (folder / name).write_bytes(whole[: len(whole) // cut] + bent)
    for name, text in (
        ("labels.txt", "cat\ndog\nbird\n"),
        ("two.txt", "cat\ndog\n"),
        ("mine.py", CODE),
        ("program.py", "import sys\n\nsys.exit(0)\n"),
        ("texts/a.txt", "text"),
        ("bad/broken.jpg", "text"),
    ):
        (project.root / name).parent.mkdir(exist_ok=True)
        (project.root / name).write_text(text)
    (project.root / "empty").mkdir()
    torch.manual_seed(0)
    network = _own(project.root)
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, project.root / "best.pt")
    safetensors.torch.save_file({"other": torch.zeros(2)}, project.root / "other.safetensors")
    return project


def _own(root: Path) -> nn.Module:
    return traced(root, ClassifierSection(name="n", network="mine.py:build", size=64)).build()


def _wanted(project: Project, **changed: Any) -> Wanted:
    known: dict[str, Any] = {"name": "own", "images": "my photös", "network": "mine.py:build"}
    known |= {"weights": "best.pt", "classes": "labels.txt", "size": 64, "quick": True} | changed
    known["images"] = project.root / known["images"]
    for key in ("weights", "classes"):
        known[key] = known[key] and str(project.root / known[key])
    if ".py:" in known["network"]:
        known["network"] = str(project.root / known["network"])
    return Wanted(**known)


def test_a_study_of_ones_own_is_written_run_and_known_by_its_folders(
    given: Project, root: Path
) -> None:
    found = new_study(given, _wanted(given))
    unusable = ("bent.png", "broken.jpg", "cut.jpg", "text: a.png", "tiny.png")
    left_out = [line.partition(": ")[2] for line in found if line.startswith("Left out")]
    assert len(left_out) == 5 and all(map(str.startswith, left_out, unusable))
    study = load_study(given, "own")
    assert study.description.endswith("tiny.png is 8 × 8 pixels, smaller than 16 on a side.")
    assert (
        "; cut.jpg is damaged (" in study.description and str(given.root) not in study.description
    )
    assert not study.answers_assignment and len(study.images.files) == 4
    assert planned_passes(given, without_methods(study, {"lrp"})) < planned_passes(given, study)
    (given.root / "_quarto.yml").write_text((root / "_quarto.yml").read_text())
    text = book_text(given, "own")  # with the chapters of its parts alone
    for name in ("published", "dissection"):
        assert f"    # - chapters/{name}.qmd" in text
    for name in ("lime", "cam", "comparison", "explorer", "attribution", "measures", "methods"):
        assert f"    - chapters/{name}.qmd" in text
    run(given, study)
    report = StudyReport(Store(given, "own"), "build")
    assert sorted(report.images) == ["cat/IMG 1", "dog/IMG 1", "it's & ü", "x"]
    assert [report.has_true_class(image) for image in sorted(report.images)] == [1, 1, 1, 0]
    (facts,) = report.provenance["classifiers"]
    assert facts["last_convolution"] == "4" and facts["weights"] == "the file best.pt"
    assert run(given, study).computed == 0

    known = traced(given.root, study.classifiers[0]).identity
    (given.root / "mine.py").write_text(CODE + "# another network, perhaps\n")
    traced.cache_clear()
    assert traced(given.root, study.classifiers[0]).identity != known


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"images": "empty"}, "holds no images"),
        ({"images": "texts"}, "holds no images (other files: 1)"),
        ({"images": "bad"}, "can be read (1 tried), e.g. "),
        ({"images": "nowhere"}, "is not a folder"),
        ({"classes": "two.txt"}, "gives 3 logits, and"),
        ({"classes": "nowhere.txt"}, "cannot be read"),
        ({"network": "mine.py:needs"}, "cannot be built: TypeError"),
        ({"network": "mine.py:raises"}, "cannot be built: RuntimeError (no luck)"),
        ({"network": "mine.py:text"}, "gives an object of type str and no torch.nn.Module"),
        ({"network": "mine.py:ends"}, "cannot be built: SystemExit (no data)"),
        ({"network": "mine.py:half"}, "mine.py:half is float16; explanations are"),
        ({"network": "mine.py:compiled"}, "compiled by TorchScript, whose layers cannot be"),
        ({"network": "mine.py:drops"}, "change from pass to pass, or with the other images"),
        ({"network": "mine.py:centres"}, "change from pass to pass, or with the other images"),
        ({"network": "mine.py:one_at_a_time"}, "refuses a batch of two images: RuntimeError"),
        ({"network": "mine.py:soft"}, "are probabilities already, of a softmax"),
        ({"network": "mine.py:several"}, "are probabilities already, of a sigmoid"),
        ({"network": "mine.py:grey"}, "refuses an input of 3 × 64 × 64"),
        ({"network": "timm:hf-hub:timm/resnet18.a1_in1k"}, "timm has no network 'hf-hub:"),
        ({"size": 100_000}, "`size`: Input should be less than or equal to 4096, not '100000'"),
        ({"network": "mine.py:without_values"}, "mine.py:without_values has a shape and no values"),
        ({"network": "program.py:build"}, "raises SystemExit (0)"),
        ({"network": "mine.py:absent"}, "has no function 'absent'"),
        ({"network": "timm:resnet10x"}, "timm has no network 'resnet10x'"),
        ({"network": "efficientnet_lite0"}, "has its own weights"),
        ({"network": "efficientnet_light"}, "There is no classifier"),
        (
            {"weights": "other.safetensors"},
            'Missing key(s) in state_dict: "0.weight", "0.bias"',
        ),
        ({"weights": "nowhere.pt"}, "do not exist"),
        ({"network": "mine.py:sized", "size": 32}, "refuses an input of 3 × 32 × 32"),
        ({"name": "Bad/Name"}, "is not a plain word"),
    ],
)
def test_bad_input_is_one_message_before_anything_is_written(
    given: Project, changed: dict[str, object], said: str
) -> None:
    with pytest.raises(VitrineError) as caught:
        new_study(given, _wanted(given, **changed))
    assert said in caught.value.problem and caught.value.remedy
    assert not list(given.studies.iterdir())


@pytest.mark.parametrize(
    ("end", "link"),
    [
        (lambda logits: logits, ""),
        (lambda logits: logits.log_softmax(1), ""),  # of which a softmax is the same
        (lambda logits: logits.sigmoid_().mul_(9), ""),
        (lambda logits: logits * logits.sigmoid(), ""),
        (lambda logits: logits.clamp(0, 1), ""),
        (lambda logits: functional.softmax(logits, 1).reshape(len(logits), -1), "softmax"),
        (lambda logits: logits.exp() / logits.exp().sum(1, keepdim=True), "softmax"),
        (lambda logits: logits.sigmoid_(), "sigmoid"),
        (lambda logits: torch.special.expit(logits[:, :1]), "sigmoid"),
    ],
)
def test_outputs_that_are_probabilities_are_told_from_logits(
    end: Callable[[torch.Tensor], torch.Tensor], link: str
) -> None:
    class Ending(nn.Sequential):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return end(super().forward(images))

    network = Ending(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    if not link:
        assert traced_layers(network.eval(), 16, "own").outputs == 4
        return
    with pytest.raises(StudyError, match=f"are probabilities already, of a {link}") as caught:
        traced_layers(network.eval(), 16, "own")
    assert f"leave out the last {link}" in caught.value.remedy


@pytest.mark.parametrize(
    ("network", "remedy"),
    [
        ("mine.py:grey", "Inputs are red, green and blue: wrap the network"),
        ("mine.py:sized", "Give the size that the network was trained with"),
        ("mine.py:several", 'and state link = "sigmoid"'),
        ("timm:hf-hub:timm/resnet18.a1_in1k", "Write timm:resnet18.a1_in1k"),
    ],
)
def test_what_to_do_about_a_network_is_said(given: Project, network: str, remedy: str) -> None:
    with pytest.raises(StudyError) as caught:
        traced(given.root, ClassifierSection(name="n", network=network, size=32, weights="random"))
    assert remedy in caught.value.remedy


def test_names_that_toml_or_utf_8_cannot_hold_stop_nothing(given: Project) -> None:
    folder = given.root / "names"
    folder.mkdir()
    for name in (b"a\x7fb.png", b"plain.png", b"caf\xe9.png"):
        PilImage.fromarray(PIXELS).save(folder / os.fsdecode(name))
    (folder / "small\x7f.png").write_bytes(b"")
    wanted = _wanted(given, images="names", network="mine.py:_private")
    found = "\n".join(new_study(given, wanted))
    study = load_study(given, "own")
    assert study.images.files == ("a\x7fb.png", "plain.png")
    assert study.classifiers[0].name == "private"
    assert "Left out: caf\\xe9.png: its name is not UTF-8" in found
    assert "caf\\xe9.png, as its name is not UTF-8." in study.description
    with pytest.raises(StudyError, match=r"caf\\xe9 is not UTF-8"):
        new_study(given, _wanted(given, name="b", images=os.fsdecode(b"caf\xe9")))


def test_a_study_that_exists_is_not_overwritten(given: Project) -> None:
    given.study_file("own").parent.mkdir()
    with pytest.raises(VitrineError, match="There is a study 'own' already"):
        new_study(given, _wanted(given))


@pytest.mark.parametrize(
    ("network", "size", "last"),
    [
        ("timm:resnet10t", 64, "layer4"),
        ("timm:mobilenetv3_small_050", 64, "blocks"),
        ("torchvision:densenet121", 64, "features"),
        ("torchvision:swin_t", 64, "norm"),
        ("timm:vit_tiny_patch16_224", 224, "blocks.11.norm1"),
        ("torchvision:vit_b_16", 224, "encoder.layers.encoder_layer_11.ln_1"),
        ("timm:levit_128s", 224, ""),
    ],
)
def test_the_layers_of_networks_of_libraries_are_found_out(
    given: Project, network: str, size: int, last: str
) -> None:
    row = ClassifierSection(
        name="n", network=network, size=size, classes="labels.txt", weights="random"
    )
    found = traced(given.root, row)
    assert found.last_convolution == last and found.categories(given) == ("cat", "dog", "bird")
    assert len(found.stages) >= (3 if last else 1)
    assert found.activation_after == ("ReLU" if network.endswith("densenet121") else "")


def test_an_activation_that_is_called_on_the_last_maps_is_said() -> None:
    facts = {"last_convolution": "features", "activation_after": "ReLU"}
    words = layer_in_words(stub_study({}, facts=facts))
    assert words == "features, whose feature maps are those before the ReLU that follows"
    at = stub_study({}, {"cam": {"layer": "denseblock3"}}, facts=facts)
    assert layer_in_words(at) == "denseblock3"


def test_what_only_the_owner_knows_is_not_claimed(given: Project) -> None:
    torch.manual_seed(0)
    file = given.root / "net.safetensors"
    named = "timm:test_resnet"
    untrained = traced(
        given.root, ClassifierSection(name="n", network=named, classes="imagenet")
    ).build()
    safetensors.torch.save_file(untrained.state_dict(), file)
    changed = {"network": named, "weights": file.name, "classes": "", "size": None}
    found = "\n".join(new_study(given, _wanted(given, **changed)))
    assert "trained on is not known" in found and "taken to be ImageNet's" in found
    (row,) = load_study(given, "own").classifiers
    assert traced(given.root, row).training_set == ""
    assert trained_on("") == "training set not stated"
    said = row.model_copy(update={"training_set": "leaves"})
    assert traced(given.root, said).training_set == "leaves"
    brought = ClassifierSection(name="n", network=named, classes="imagenet")
    assert traced(given.root, brought).training_set == "ImageNet"


def test_attention_is_no_kind_of_activation() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 8, 8),
        nn.Flatten(2),  # 8 channels of 4 places, read as 8 tokens
        nn.TransformerEncoderLayer(4, 2, 16, activation=nn.GELU(), batch_first=True),
        nn.Flatten(),
        nn.Linear(32, 3),
    )
    assert traced_layers(network.eval(), 16, "own").activations == ("GELU",)


PIXELS = np.random.default_rng(0).integers(0, 255, (80, 90, 3), dtype=np.uint8)


def test_explain_gives_maps_measures_and_a_figure_and_the_network_back(given: Project) -> None:
    network = _own(given.root).train()
    hook = network[0].register_forward_hook(lambda *_: None)
    images = [PIXELS, given.root / "my photös" / "cat" / "IMG 1.jpg"]
    found = explain(network, images, ["lime", "gradcam", "gradient"], size=64, samples=30)
    assert list(found.crops) == ["image 1", "IMG 1"] and len(found.heatmaps) == 6
    assert found.table["reason"].eq("").all() and found.table["Concentration"].between(0, 1).all()
    assert len(found.figure.axes) == 2 * 4
    assert network.training and list(network[0]._forward_hooks) == [hook.id]
    assert all(p.requires_grad and p.grad is None for p in network.parameters())

    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 3))
    assert len(explain(flat, [PIXELS], list(BASELINES), size=64).heatmaps) == len(BASELINES)
    (row,) = explain(flat, [PIXELS], ["gradcam"], size=64).table.to_dict("records")
    assert "has no feature maps" in row["reason"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"images": [PIXELS / 255]}, "Image 1 is float64 of the shape (80, 90, 3), and not uint8"),
        ({"images": [PIXELS[..., 0]]}, "Image 1 is uint8 of the shape (80, 90), and not uint8"),
        ({"images": [PIXELS.transpose(2, 0, 1)]}, "of the shape (3, 80, 90)"),
        ({"images": PIXELS}, "Image 1 is uint8 of the shape (90, 3)"),
        ({"images": [None]}, "Image 1 is object"),
        ({"images": [PIXELS[:4]]}, "is 90 × 4 pixels, smaller than"),
        ({"images": "a.png"}, "`images` is 'a.png' and no list of images"),
        ({"images": []}, "`images` is [] and no list of images"),
        ({"methods": "lime"}, "`methods` is 'lime' and no list of methods"),
        ({"target": 3}, "`target` is 3, and the network has 3 classes"),
        ({"target": -1}, "`target` is -1"),
        ({"target": 1.0}, "`target` is 1.0"),
        ({"target": True}, "`target` is True"),
        ({"link": "tanh"}, "`link`: Input should be 'softmax' or 'sigmoid', not 'tanh'"),
        ({"size": "big"}, "`size`: Input should be a valid integer"),
        ({"std": (0, 1, 1)}, "`std.0`: Input should be greater than 0"),
        ({"mean": (123, 117, 104)}, "`mean.0`: Input should be less than or equal to 1, not 123"),
        ({"samples": 1}, "`samples`: Input should be greater than or equal to 2"),
        ({"seed": 2**40}, "`seed`: whole numbers are at most 4,294,967,295"),
        ({"network": "resnet18"}, "`network` is an object of type str and no torch.nn.Module"),
        ({"network": nn.Sequential}, "`network` is the class Sequential and no torch.nn.Module"),
        ({"network": torch.jit.script(nn.Flatten())}, "compiled by TorchScript"),
    ],
)
def test_explain_says_what_is_wrong_with_what_it_is_given(
    changed: dict[str, Any], said: str
) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 3))
    given = {"network": network, "images": [PIXELS], "methods": ["gradient"], "size": 64}
    with pytest.raises(VitrineError) as caught:
        explain(**(given | changed))
    assert said in caught.value.problem and caught.value.remedy


def test_a_gradient_that_the_forward_cuts_off_is_said() -> None:
    class Cut(nn.Sequential):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return super().forward(images)

    network = Cut(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    with pytest.raises(VitrineError, match="have no gradient at the layer '1'.*no_grad"):
        explain(network, [PIXELS], ["gradcam"], size=64)

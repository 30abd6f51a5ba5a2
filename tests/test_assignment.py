"""The study ``assignment`` from the download to the page, with stand-ins for the weights."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
import torchvision

from conftest import ROOT
from matrix import UNSAID, said, set_up
from vitrine.book.freeze import freeze
from vitrine.book.render import render
from vitrine.data.sources import mirror_path, pick_source
from vitrine.experiments.run import fetch, run
from vitrine.models.registry import CLASSIFIERS
from vitrine.project import Project
from vitrine.store import Store
from vitrine.study import load_study

FEWER = {
    r'(?s)("n02018207_American_coot.JPEG",).*?\]': r"\1\n]",
    r'methods = \["gradcam", "gradcam\+\+".*': 'methods = ["gradcam", "ablationcam"]',
    r'layers = \["layer1.*': 'layers = ["layer3"]',
    r"(?s)methods = \[\n  \"integrated.*?\n\]": 'methods = ["lrp", "gradient"]',
    r"samples = 10\n": "samples = 2\n",
    r"samples = (1000|601|300)\b": "samples = 12",
    r"samples = \[100, 300, 600\]": "samples = [12, 24]",
    r"sample_sizes = .*": "sample_sizes = [6, 12]",
    r"(?s)segmentations = \[.*?\n\]": 'segmentations = [{ method = "slic", n_segments = 9 }]',
    r"seeds = 10": "seeds = 2",
    r"noisy_steps = 10": "noisy_steps = 2",
    r"steps = 50": "steps = 4",
    r"curve_steps = 28": "curve_steps = 2",
    r"infidelity_squares = 100": "infidelity_squares = 2",
    r"perturbations = 10": "perturbations = 1",
    r"stages = 4": "stages = 1",
    r"lime_samples = 200": "lime_samples = 6",
    r"bootstrap = 2000": "bootstrap = 100",
    r"features = \[5, 10, 20\]": "features = [3]",
    r"features = 10": "features = 3",
    r"shares = .*": "shares = [0.1, 0.2]",
    r'concepts = "20k"': 'concepts = "concepts.txt"\nparameters = { top_k = 4 }\nexamples = 2',
    r"null_draws = 50_000": "null_draws = 300",
    r"(\[dissection.images\]\n)source.*": r'\1folder = "probing"',
    r"sizes = \[20.*": "sizes = [4, 8]",
    r"draws = 5\nunits = 200": "draws = 2\nunits = 6",
    r"sample = 200\n": "sample = 2\n",
    r'methods = \["gradcam", "ablationcam", "layercam", "eigencam"\]': 'methods = ["gradcam"]',
    r'fills = \["mean", "grey", "blur"\]': 'fills = ["mean"]',
    r"shifts = 20": "shifts = 1",
    r"\[cam\]": "[speed]\nbatch = 8\n\n[cam]",
}
"""What makes the study small: of every list a few, and nothing of what kind it is."""


NETWORKS = ("resnet18", "resnet18_places365", "resnet50")

SIDE = 96
"""Pixels of the crop that the networks see in place of 224: a fifth of the work a pass."""


def _small(text: str) -> str:
    for pattern, few in FEWER.items():
        text, found = re.subn(pattern, few, text)
        assert found, pattern
    return text


def _stand_ins(project: Project, mirror: Path, folder: Path) -> None:
    """Files of the names, shapes and forms of the real weights, where a mirror has them."""
    folder.mkdir()
    for owner in mirror.iterdir():
        (folder / owner.name).symlink_to(owner)
    resnet18 = torchvision.models.resnet18().state_dict()
    places = torchvision.models.resnet18(num_classes=365).state_dict()
    _place(project, folder, "torchvision", "resnet18-f37072fd.pth", resnet18)
    resnet50 = torchvision.models.resnet50().state_dict()
    _place(project, folder, "torchvision", "resnet50-11ad3fa6.pth", resnet50)
    checkpoint = {
        "epoch": 90,
        "arch": "resnet18",
        "state_dict": {f"module.{key}": value for key, value in places.items()},
        "best_prec1": torch.tensor(54.7),
    }
    _place(project, folder, "places365", "resnet18_places365.pth.tar", checkpoint)
    # Of CLIP's twelve layers one; all else as in ViT-B/16.
    clip = open_clip.CLIP(
        512,
        {"image_size": 224, "layers": 1, "width": 768, "patch_size": 16},
        {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 1},
        quick_gelu=True,
    ).eval()
    del clip._buffers["attn_mask"]  # OpenAI's archives hold parameters alone
    clip.attn_mask = None
    example = (torch.zeros(1, 3, 224, 224), torch.zeros(1, 77, dtype=torch.long))
    archive = torch.jit.trace(clip, example, strict=False, check_trace=False)
    (file,) = (f for f in pick_source(project, "openai-clip").digests if f.endswith("ViT-B-16.pt"))
    _place(project, folder, "openai-clip", file, archive)


def _place(project: Project, folder: Path, source: str, file: str, content: object) -> None:
    path = mirror_path(pick_source(project, source).url + file, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, torch.jit.ScriptModule):
        content.save(str(path))
    else:
        torch.save(content, path)
    listed = project.data / "sources.toml"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    row = re.compile(rf'^("{re.escape(file)}" = )"[0-9a-f]{{64}}"', re.MULTILINE)
    listed.write_text(row.sub(rf'\g<1>"{digest}"', listed.read_text(encoding="utf-8")))


@pytest.mark.filterwarnings("ignore")  # torch's own, about TorchScript
def test_the_assignment_from_the_download_to_the_page(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = set_up(tmp_path / "book")
    text = Project(ROOT).study_file("assignment").read_text(encoding="utf-8")
    path = project.study_file("assignment")
    path.parent.mkdir()
    path.write_text(_small(text))
    torch.manual_seed(0)
    _stand_ins(project, mirror, tmp_path / "mirror")
    monkeypatch.setenv("VITRINE_MIRROR", str(tmp_path / "mirror"))
    for name in NETWORKS:
        row = CLASSIFIERS[name]
        seen = replace(row.preprocessing, resize=SIDE + 8, crop=SIDE)
        monkeypatch.setitem(CLASSIFIERS, name, replace(row, preprocessing=seen))
    study = load_study(project, "assignment")
    fetch(project, study)
    assert (project.data / "pins" / "places365" / "resnet18_places365.pth.tar").is_file()
    run(project, study)
    freeze(project, formats=("html",), study="assignment")
    render(project, renderer="bundled", formats=("html",))

    store = Store(project, "assignment")
    assert set(store.table("units")["classifier"]) == set(NETWORKS)
    encoder = store.provenance()["dissection"]["encoder"]
    assert (encoder["name"], encoder["pretrained"]) == ("clip", "openai")
    pages = {path.stem: said(path) for path in project.site.rglob("*.html")}
    assert len(pages) == 15
    for page, words in pages.items():
        found = UNSAID.search(words)
        assert not found, f"{page}: {words[max(0, found.start() - 80) : found.end() + 80]}"
    assert "ResNet-50" in pages["index"] and "EfficientNet" not in pages["index"]
    for network in NETWORKS:
        assert CLASSIFIERS[network].title in pages["dissection"]
    assert "ViT-B-16" in pages["dissection"] + pages["methods"]

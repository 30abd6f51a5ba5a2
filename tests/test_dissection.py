"""Units get the concept that describes their strongest images, and how far to trust it."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from torch import Tensor, nn

from conftest import change_study, counting
from networks import TINY_CLIP, noise_image
from oracles import similarities
from vitrine.data.images import Image
from vitrine.errors import DissectionError, StudyError
from vitrine.experiments.network_dissection import TABLES
from vitrine.experiments.run import Progress, Summary, run
from vitrine.methods.dissection import activations as dissection
from vitrine.methods.dissection import labels as concept_labels
from vitrine.methods.dissection import null as nulls
from vitrine.methods.dissection import probing_size
from vitrine.methods.dissection.activations import Activations, collect, merge
from vitrine.methods.dissection.similarity import LayerActivations, Matches, pick_similarity
from vitrine.models.classifier import Classifier
from vitrine.models.registry import load_classifier
from vitrine.project import Project
from vitrine.report.dissected import encoder_line
from vitrine.report.study_report import StudyReport
from vitrine.store import Store
from vitrine.study import load_study

LAYERS = ("layer2", "layer4", "fc")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return load_classifier(Project(tmp_path_factory.mktemp("p")), "resnet18", "random")


def _images(count: int) -> list[tuple[int, Image]]:
    return [(i, replace(noise_image(40, 40, i), name=f"noise {i}")) for i in range(count)]


def _equal(first: Activations, second: Activations) -> bool:
    tensors = zip(_tensors(first), _tensors(second), strict=True)
    return all(torch.equal(a, b) for a, b in tensors)


def _tensors(kept: Activations) -> list[Tensor]:
    told = vars(kept.records) if kept.records else {}
    own = [kept.values, kept.images, kept.lowest, *(kept.everything or ())]
    return own + [value for value in told.values() if value is not None]


@pytest.mark.parametrize("everything", [False, True])
def test_two_shards_merge_into_exactly_the_whole(network: Classifier, everything: bool) -> None:
    images = _images(11)
    whole = collect(network, LAYERS, images, "mean", 4, 4, everything)
    # Neither shard is a multiple of the batch, and their images lie between each other's.
    shards = [
        collect(network, LAYERS, part, "mean", 4, 4, everything)
        for part in (images[1::2], images[0::2])
    ]
    for layer in LAYERS:
        assert _equal(merge(shards[0][layer], shards[1][layer], 4), whole[layer]), layer
        assert _equal(merge(shards[1][layer], shards[0][layer], 4), whole[layer]), layer


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_activations_are_pooled_over_the_maps(network: Classifier, pooling: str) -> None:
    images = _images(3)
    found = collect(network, ["layer4", "fc"], images, pooling, 3, 2, everything=True)
    crops = network.normalise(np.stack([network.crop(image) for _, image in images]))
    layers = dict(network.network.named_children())
    with torch.inference_mode():
        maps = nn.Sequential(*[layers[name] for name in list(layers)[:8]])(crops)
        logits = network.network(crops)
    expected = maps.mean(dim=(2, 3)) if pooling == "mean" else maps.amax(dim=(2, 3))
    everything = {layer: kept.everything for layer, kept in found.items()}
    assert torch.allclose(everything["layer4"][0], expected, atol=1e-5)
    assert torch.allclose(everything["fc"][0], logits, atol=1e-4)
    assert torch.equal(found["fc"].images, everything["fc"][0].argsort(0, descending=True).T)


def test_ties_go_to_the_earlier_image_and_constant_units_are_known() -> None:
    pooled = torch.tensor([[1.0, 0.0], [3.0, 0.0], [3.0, 0.0], [2.0, 0.0]])
    kept = dissection.activations_of(pooled, torch.tensor([7, 5, 3, 1]), 3, everything=False)
    assert kept.images.tolist() == [[3, 5, 1], [1, 3, 5]]
    assert kept.constant.tolist() == [False, True]


def test_records_are_those_of_a_slow_count_of_every_unit(network: Classifier) -> None:
    images = _images(21)
    found = collect(network, LAYERS, images, "mean", 2, 4)
    crops = network.normalise(np.stack([network.crop(image) for _, image in images]))
    layers = dict(network.network.named_children())
    with torch.inference_mode():
        early = nn.Sequential(*[layers[name] for name in list(layers)[:6]])(crops).numpy()
        logits = network.network(crops).numpy()
    for layer, maps in (("layer2", early), ("fc", logits[..., None, None])):
        arrays = found[layer].records.arrays(0)
        pooled = maps.mean(axis=(2, 3))
        order = np.argsort(-pooled, axis=0, kind="stable")[:9].T
        assert np.array_equal(arrays["0_strongest"], order)
        width = 2.0 ** arrays["0_histogram_exponent"]
        for unit, (step, first) in enumerate(zip(width, arrays["0_histogram_start"], strict=True)):
            edges = (first + np.arange(17)) * step
            assert edges[0] <= pooled[:, unit].min() and pooled[:, unit].max() <= edges[-1]
            counted = np.histogram(pooled[:, unit], edges)[0]
            assert abs(counted - arrays["0_histogram"][unit]).sum() <= 2  # an edge, by rounding
            assert (counted > 0).sum() > 3
        if layer == "fc":
            assert "0_fired" not in arrays
            continue
        sides = [slice(cell * 4, cell * 4 + 4) for cell in range(7)]  # 28 positions a side
        bits = np.unpackbits(arrays["0_fired"], axis=-1)[..., :49].reshape(-1, 9, 7, 7)
        for unit in range(0, 128, 5):
            for rank, image in enumerate(order[unit]):
                cells = [[maps[image, unit][rows, cols].max() for cols in sides] for rows in sides]
                expected = np.array(cells) >= max(np.max(cells) / 2, 1e-30)
                assert np.array_equal(bits[unit, rank], expected)


class _Strange(nn.Module):
    """Layers that cannot be dissected, but for the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Identity()
        self.unused = nn.Linear(3, 4)
        self.flat = nn.Flatten(0)
        self.broken = nn.Linear(3, 2)
        nn.init.constant_(self.broken.bias, float("nan"))

    def forward(self, x: Tensor) -> Tensor:
        self.flat(self.first(x))
        return self.broken(x.mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("layer", "error", "said"),
    [
        ("layer5", StudyError, "has no layer 'layer5'.*Its stages are"),
        ("unused", DissectionError, "'unused' of ResNet-18 has no units to dissect"),
        ("flat", DissectionError, "'flat' of ResNet-18 has no units to dissect"),
        ("broken", DissectionError, "activations that are not numbers for the image 'noise 0'"),
    ],
)
def test_a_layer_that_cannot_be_dissected_is_named(
    network: Classifier, layer: str, error: type[Exception], said: str
) -> None:
    strange = replace(network, network=_Strange())
    with pytest.raises(error, match=said):
        dissection.check_layers(strange, ["first", layer], _images(1)[0][1], "mean")
    assert not any(module._forward_hooks for module in strange.network.modules())


def _planted() -> tuple[Activations, Matches]:
    """Unit u responds to the images of concept u; the last unit does so at random."""
    generator = torch.Generator().manual_seed(0)
    texts = torch.eye(8)
    owners = torch.arange(160) % 8
    images = texts[owners] + 0.1 * torch.randn(160, 8, generator=generator)
    pooled = (owners[:, None] == torch.arange(5)).float()
    pooled = torch.cat([pooled, torch.zeros(160, 1)], dim=1)
    pooled += 0.1 * torch.rand(160, 6, generator=generator)
    return dissection.activations_of(pooled, torch.arange(160), 20, True), Matches(images, texts)


@pytest.mark.parametrize("name", ["soft_wpmi", "wpmi", "rank_reorder", "cosine", "cosine_cubed"])
def test_a_unit_is_labelled_with_what_it_responds_to(name: str) -> None:
    kept, matches = _planted()
    given = {"top_k": 20.0} if name.endswith("wpmi") else {}
    labels = concept_labels.label(kept, matches, pick_similarity(name, **given), count=3)
    if name != "rank_reorder":  # which compares orders, and has none to go by here
        assert labels.concepts[:5, 0].tolist() == [0, 1, 2, 3, 4]
    whole = similarities(name, kept.everything[0], matches, **given)
    best, concepts = whole.topk(3, dim=1)
    assert torch.allclose(labels.similarities, best, rtol=1e-4, atol=1e-4)
    assert torch.equal(labels.concepts, concepts)


def test_units_that_carry_a_concept_stand_out_from_null_units() -> None:
    planted, matches = _planted()
    noise = torch.rand(160, 40, generator=torch.Generator().manual_seed(4))
    pooled = torch.cat([planted.everything[0], noise], dim=1)
    kept = dissection.activations_of(pooled, torch.arange(160), 20, everything=False)
    row = pick_similarity("soft_wpmi", top_k=20)
    labels = concept_labels.label(kept, matches, row)
    given = (matches, row, 500)
    null = nulls.null_similarities({"a": kept, "b": kept}, *given, seed=0)
    assert null["a"].similarities.shape == (500,)
    assert torch.equal(null["a"].similarities, null["b"].similarities)
    again, other = (nulls.null_similarities({"a": kept}, *given, seed=seed)["a"] for seed in (0, 1))
    assert torch.equal(null["a"].similarities, again.similarities)
    assert not torch.equal(null["a"].similarities, other.similarities)
    values = nulls.p_values(labels.similarities[:, 0], null["a"])
    assert (values[:5] < 0.01).all()
    assert (values[5:] > 0.05).mean() > 0.8
    assert (nulls.p_values(torch.full((6,), torch.nan), null["a"]) == 1).all()


@pytest.mark.parametrize(
    ("name", "lam"), [("soft_wpmi", 1.0), ("soft_wpmi", 0.7), ("wpmi", 0.6), ("wpmi", 1.0)]
)
def test_a_null_unit_is_scored_as_a_real_one_in_its_place(name: str, lam: float) -> None:
    """Against a slow loop that labels the whole layer again for every draw, in double precision."""
    kept, matches = _planted()
    pooled = torch.cat([kept.everything[0], torch.ones(160, 1)], dim=1)
    kept = dissection.activations_of(pooled, torch.arange(160), 8, everything=False)
    row = pick_similarity(name, top_k=8, lam=lam)
    found = nulls.null_similarities({"a": kept}, matches, row, 40, seed=3)["a"]
    orders = nulls._random_orders(40, 160, 8, torch.Generator().manual_seed(3))
    for draw, order in enumerate(orders):
        top = kept.images[:6].clone()  # the seventh unit is constant
        top[draw % 6] = order
        exact = Matches(matches.images.double(), matches.concepts.double())
        blocks = row.blocks(LayerActivations(top, torch.zeros(6, 8)), exact)
        expected = torch.cat([block for _, block in blocks], dim=1)[draw % 6].max()
        assert float(found.similarities[draw]) == pytest.approx(float(expected), abs=1e-4)


def test_the_others_of_a_layer_are_summed_without_loss() -> None:
    logs = torch.tensor([[0.0, 80.0], [-60.0, 0.0], [-61.0, 1.0]])
    expected = [
        torch.cat([logs[:unit], logs[unit + 1 :]]).double().logsumexp(0) for unit in (0, 1, 2)
    ]
    found = nulls._log_sums_of_others(logs)
    assert torch.allclose(found.double(), torch.stack(expected), rtol=1e-5)
    assert nulls._log_sums_of_others(logs[:1]).tolist() == [[-np.inf, -np.inf]]


@pytest.mark.parametrize("name", ["rank_reorder", "cosine", "cosine_cubed"])
def test_units_without_a_concept_have_small_p_values_no_more_often_than_by_chance(
    name: str,
) -> None:
    """Of similarities that see activations, for units whose activations have unlike shapes."""
    generator = torch.Generator().manual_seed(1)
    vectors = [torch.randn(n, 4, generator=generator) for n in (80, 30)]
    matches = Matches(*(nn.functional.normalize(each, dim=1) for each in vectors))
    pooled = torch.rand(80, 60, generator=generator) ** torch.linspace(0.3, 6, 60)
    pooled += torch.arange(60)
    kept = dissection.activations_of(pooled, torch.arange(80), 40, everything=True)
    row = pick_similarity(name, **{"top_fraction": 0.5} if name == "rank_reorder" else {})
    own = concept_labels.label(kept, matches, row).similarities[:, 0]
    null = nulls.null_similarities({"a": kept}, matches, row, 6000, 0)["a"]
    values = nulls.p_values(own, null)
    assert (values <= 0.1).mean() < 0.25 and (values <= 0.5).mean() > 0.25
    assert null.owners is not None and (np.bincount(null.owners) == 100).all()


@pytest.mark.parametrize("name", ["soft_wpmi", "wpmi", "rank_reorder", "cosine", "cosine_cubed"])
def test_units_that_never_fire_count_nowhere(name: str) -> None:
    """With and without constant units, the others have the same labels, null and p-values."""
    live, matches = _planted()
    pooled, positions = live.everything
    mixed = torch.cat([torch.zeros(len(pooled), 2), pooled, torch.full((len(pooled), 1), 3.0)], 1)
    both = dissection.activations_of(mixed, positions, live.values.shape[1], everything=True)
    row = pick_similarity(name, **{"top_k": 20.0} if name.endswith("wpmi") else {})
    given = (matches, row)
    expected, found = (concept_labels.label(each, *given, count=2) for each in (live, both))
    units = len(live.values)
    assert found.silent.tolist() == [True, True, *[False] * units, True]
    assert torch.equal(found.concepts[2:-1], expected.concepts)
    assert torch.equal(found.similarities[2:-1], expected.similarities)
    null_units = [
        nulls.null_similarities({"a": each}, *given, 200, 0)["a"] for each in (live, both)
    ]
    assert torch.equal(null_units[1].similarities, null_units[0].similarities)
    values = [
        nulls.p_values(labels.similarities[:, 0], null)
        for labels, null in zip((expected, found), null_units, strict=True)
    ]
    assert values[1].tolist() == [1, 1, *values[0], 1]
    for drawn in probing_size.probing_effect(both, *given, [len(pooled)], 1, units + 3, 0):
        assert drawn.similarity == pytest.approx(float(expected.similarities[:, 0].mean()))
        assert drawn.stable == 1
        assert drawn.concepts == len(set(expected.concepts[:, 0].tolist()))


def test_a_layer_that_never_fires_has_no_labels_and_no_null() -> None:
    _, matches = _planted()
    dead = dissection.activations_of(torch.zeros(160, 3), torch.arange(160), 160, everything=True)
    for name in ("cosine", "soft_wpmi"):
        given = (matches, pick_similarity(name))
        labels = concept_labels.label(dead, *given)
        null = nulls.null_similarities({"a": dead}, *given, 2, 0)["a"]
        assert labels.silent.all() and not len(null.similarities)
        assert (nulls.p_values(labels.similarities[:, 0], null) == 1).all()


def test_parts_of_the_probing_set_are_drawn_by_both_rules() -> None:
    kept, matches = _planted()
    calls: list[None] = []
    sizes = (16, 80, 160, 1000)
    given = (kept, matches, pick_similarity("soft_wpmi", top_k=20))
    draws = probing_size.probing_effect(
        *given, sizes, 3, 4, seed=0, progress=lambda: calls.append(None)
    )
    assert len(draws) == 2 * (3 + 3 + 1)
    assert {(d.rule, d.size, d.top) for d in draws} == {
        ("fixed", 16, 16),
        ("share", 16, 2),
        ("fixed", 80, 20),
        ("share", 80, 10),
        ("fixed", 160, 20),
        ("share", 160, 20),
    }
    assert all(draw.stable == 1 for draw in draws if draw.size == 160)
    assert len(calls) == probing_size.probing_rounds(sizes, 3, 160, 2)


WNIDS = ("n01440764_tench", "n01443537_goldfish", "n01484850_great_white_shark", "n01514859_hen")


@pytest.fixture
def dissected(root: Path, tiny: Project, mirrored: Path) -> Project:
    """The study ``assignment`` with random networks, a tiny CLIP, and four small images."""
    folder = tiny.root / "probing"
    folder.mkdir()
    for (_, image), name in zip(_images(4), WNIDS, strict=True):
        PilImage.fromarray(image.pixels).save(folder / f"{name}.png")
    (tiny.root / "tiny.json").write_text(TINY_CLIP)
    (tiny.root / "words.txt").write_text("fish\nbird\nshark\ngoldfish\nred\nblue\nwater\nthe\n")
    published = Project(root).study_file("assignment").read_text(encoding="utf-8")
    asked = published[published.index("[dissection]") : published.index("[large_sample]")]
    asked, found = re.subn(r'(name = "resnet\w+") }', r'\1, weights = "random" }', asked)
    assert found == 3
    for old, new in (
        ('source = "imagenet-sample-images"', 'folder = "probing"'),
        ('concepts = "20k"', 'concepts = "words.txt"\nparameters = { top_k = 2 }'),
        ('model = "ViT-B-16"', 'model = "tiny.json"'),
        ('pretrained = "openai"', 'pretrained = "random"'),
        ("sizes = [20, 50, 100, 200, 500, 1000]", "sizes = [2, 3, 4]"),
        ("null_draws = 50_000", "null_draws = 300"),
    ):
        assert old in asked, old
        asked = asked.replace(old, new)
    path = tiny.study_file("tiny")
    text = path.read_text()
    path.write_text(text[: text.index("[lime]")] + asked)
    return tiny


@pytest.fixture
def one_network(dissected: Project) -> Project:
    """The same with one of the three networks, where it does not matter which."""
    for name in ("resnet18_places365", "resnet50"):
        change_study(dissected, f', {{ name = "{name}", weights = "random" }}', "")
    return dissected


@pytest.mark.slow
def test_the_assignments_dissection_runs_on_random_networks_to_its_tables(
    dissected: Project,
) -> None:
    told, planned, passes = counting()
    summary = run(dissected, load_study(dissected, "tiny"), progress=told)
    assert summary == Summary(computed=4 + 6, kept=0)
    assert sum(passes) == planned[0][0]
    store = Store(dissected, "tiny")
    tables = {name: store.table(name) for name in TABLES}
    for name, table in tables.items():
        assert list(table.columns) == list(TABLES[name])
        assert set(table["classifier"]) == {"resnet18", "resnet18_places365", "resnet50"}
    units = tables["units"]
    assert len(units) == 2 * (128 + 256 + 512) + 1000 + 365 + (512 + 1024 + 2048 + 1000)
    assert units["p_value"].between(0, 1, inclusive="right").all()
    live = units[units["label"] != "(constant)"]
    assert 0 < len(units) - len(live) == tables["layers"]["constant"].sum()
    assert units["similarity"].isna().tolist() == (units["label"] == "(constant)").tolist()
    assert (live["similarity"] >= live["runner_up_1_similarity"]).all()
    assert (live["runner_up_4_similarity"] >= live["runner_up_5_similarity"]).all()
    assert tables["concepts"]["units"].sum() == len(live)
    assert tables["layers"]["units"].sum() == len(units)
    assert len(tables["classes"]) == 1000 + 365 + 1000
    assert tables["classes"]["listed"].sum() >= 2
    assert tables["top_images"]["rank"].max() == 4
    assert set(tables["top_images"]["image"]) == {f"{name}.png" for name in WNIDS}
    provenance = store.provenance()["dissection"]
    assert provenance["concepts"]["count"] == 8
    assert [row["name"] for row in provenance["classifiers"]][2] == "resnet50"
    assert str(dissected.root) not in str(provenance)

    before = {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}
    assert run(dissected, load_study(dissected, "tiny")) == Summary(computed=0, kept=10)
    assert before == {path: path.read_bytes() for path in before}

    for name in ("resnet18_places365", "resnet50"):
        change_study(dissected, f', {{ name = "{name}", weights = "random" }}', "")
    change_study(dissected, "draws = 5", "draws = 2")
    assert run(dissected, load_study(dissected, "tiny")) == Summary(computed=1, kept=5)
    (dissected.root / "words.txt").write_text("fish\nbird\nshark\ngoldfish\nred\nblue\nair\n")
    assert run(dissected, load_study(dissected, "tiny")) == Summary(computed=2, kept=4)

    path = dissected.study_file("tiny")
    path.write_text(path.read_text().split("[dissection]")[0])
    assert run(dissected, load_study(dissected, "tiny")) == Summary(computed=0, kept=4)
    assert not (store.folder / "units.csv").exists()
    assert {"predictions", "maps", "costs"} <= {path.stem for path in store.folder.glob("*.csv")}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"layer4", "fc"]', '"layer4", "head"]', "has no layer 'head'.*Its stages are"),
        ("top_k = 2", "top_k = 5", "the 5 strongest images of each unit, but the probing set"),
        ("top_k = 2", "top_l = 2", "no parameter 'top_l'"),
        ('"soft_wpmi"', '"softwpmi"', "Did you mean 'soft_wpmi'"),
        ('pooling = "mean"', 'pooling = "median"', "no pooling 'median'"),
        ('"words.txt"', '"word.txt"', "no concept list 'word.txt'"),
        ('{ name = "resnet18", w', '{ name = "resnet19", w', "Did you mean 'resnet18'"),
        ('name = "clip"', 'name = "clop"', "Did you mean 'clip'"),
        (
            'name = "clip"',
            'name = "conse"\nprobabilities = "resnet18"',
            "'resnet18', which is diss",
        ),
        (
            'name = "clip"',
            'name = "conse"\nprobabilities = "mine"',
            "by 'mine': it takes the classes of a network of the table",
        ),
        (
            'folder = "probing"',
            'folder = "nowhere"',
            "'nowhere', named by dissection.images.folder",
        ),
    ],
)
def test_what_cannot_be_dissected_stops_the_run_before_the_long_pass(
    one_network: Project, old: str, new: str, said: str
) -> None:
    change_study(one_network, old, new)
    steps: list[str] = []
    with pytest.raises(StudyError, match=said):
        run(one_network, load_study(one_network, "tiny"), progress=Progress(step=steps.append))
    assert steps == []
    assert not (one_network.results / "tiny").exists()


@pytest.mark.slow
def test_what_is_no_image_in_a_probing_folder_is_left_out_and_said(one_network: Project) -> None:
    folder = one_network.root / "probing"
    run(one_network, load_study(one_network, "tiny"))
    before = Store(one_network, "tiny").table("units")
    (folder / "deep").mkdir()
    (folder / f"{WNIDS[3]}.png").rename(folder / "deep" / f"{WNIDS[3]}.png")
    whole = (folder / f"{WNIDS[0]}.png").read_bytes()
    (folder / "deep" / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "read me.txt").write_text("These are my images.")
    (folder / ".hidden.png").write_bytes(whole)
    assert run(one_network, load_study(one_network, "tiny")).computed == 2
    told = Store(one_network, "tiny").provenance()["dissection"]["probing_set"]
    assert told["images"] == 4
    assert set(told["left_out"]) == {"deep/half.png", "read me.txt"}
    assert all(file.split("/")[-1] in why for file, why in told["left_out"].items())
    line = encoder_line(StudyReport(Store(one_network, "tiny"), "resnet18")).data
    assert "Left out of the probing set, as no image that can be used is there: deep" in line
    files = [f"deep/{WNIDS[3]}.png", f"{WNIDS[1]}.png", f"{WNIDS[0]}.png", f"{WNIDS[2]}.png"]
    (one_network.root / "list.txt").write_text("\n".join([*files, "read me.txt", ""]))
    change_study(one_network, 'folder = "probing"', 'folder = "probing"\nfile_list = "list.txt"')
    assert run(one_network, load_study(one_network, "tiny")).computed == 2
    told = Store(one_network, "tiny").provenance()["dissection"]["probing_set"]
    assert told["images"] == 4 and set(told["left_out"]) == {"read me.txt"}
    after = Store(one_network, "tiny").table("units")
    assert len(after) == len(before)
    (one_network.root / "list.txt").unlink()
    with pytest.raises(StudyError, match="'list.txt', named by dissection.images.file_list, cann"):
        run(one_network, load_study(one_network, "tiny"))


def test_a_short_concept_list_stops_the_run(one_network: Project) -> None:
    (one_network.root / "words.txt").write_text("red\nblue\n")
    with pytest.raises(StudyError, match="has 2 concepts"):
        run(one_network, load_study(one_network, "tiny"))


@pytest.mark.slow
def test_conse_dissects_by_the_predictions_of_another_network(one_network: Project) -> None:
    conse = 'name = "conse"\nprobabilities = "efficientnet_lite0"\nweights = "random"'
    change_study(one_network, 'name = "clip"', conse)
    change_study(one_network, '"layer2", "layer3", "layer4", "fc"', '"layer4"')
    assert run(one_network, load_study(one_network, "tiny")).computed == 4 + 2
    assert len(Store(one_network, "tiny").table("units")) == 512

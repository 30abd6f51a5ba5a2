"""Other people's runs come into the store whole, or not at all."""

import os
import pickle
import re
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image as PilImage
from typer.testing import CliRunner

from conftest import Evil, contents, vitrine, write_study
from vitrine.cli import app
from vitrine.data.images import Frame, Image, read_image
from vitrine.data.printed import published_figures
from vitrine.errors import ResultsError, SourceError, StudyError, VitrineError
from vitrine.external import arrays as map_files
from vitrine.external.arrays import LOSSY_NOTE, read_map
from vitrine.external.labels import label_table, pair_tables
from vitrine.external.maps import frame_of, iou_table, map_file, read_in_frame
from vitrine.external.run import fetch, import_study
from vitrine.external.store import IMPORT_SCHEMAS, ImportStore, open_imported
from vitrine.external.study import (
    CropFrame,
    ImportStudy,
    LabelRun,
    MapRun,
    is_import_study,
    load_import_study,
)
from vitrine.external.unit_labels import read_arguments, read_labels
from vitrine.measures.agreement import intersection_over_union, top_region
from vitrine.measures.labels import paired_cosines, same_by_chance, same_words
from vitrine.measures.nonzero_overlap import nonzero_overlap
from vitrine.methods.heatmap import resample_to
from vitrine.project import Project

MAP = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)


SAVE: dict[str, Callable[[Path, np.ndarray], object]] = {
    "m.npy": np.save,
    "m.npz": lambda path, array: np.savez_compressed(path, mask=array),
    "m.pth": lambda path, array: torch.save(array, path),
    "m.pt": lambda path, array: torch.save({"mask": torch.from_numpy(array.copy())}, path),
    "m.pkl": lambda path, array: path.write_bytes(pickle.dumps(array)),
    "m.png": lambda path, array: PilImage.fromarray((255 * array).astype(np.uint8)).save(path),
}


@pytest.mark.parametrize("name", ["m.npy", "m.npz", "m.pth", "m.pt", "m.pkl"])
@pytest.mark.parametrize("channels", ["none", "last", "first", "one"])
def test_a_map_is_read_from_every_kind_of_file(tmp_path: Path, name: str, channels: str) -> None:
    array = {
        "none": MAP,
        "last": np.repeat(MAP[..., None], 3, axis=2),
        "first": np.repeat(MAP[None], 3, axis=0),
        "one": MAP[..., None],
    }[channels]
    SAVE[name](tmp_path / name, array)
    found, _ = read_map(tmp_path / name)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, MAP)


def test_an_image_in_colours_is_no_map(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:10, 5:20] = 255
    coloured = np.stack([mask, mask // 2, mask], axis=2)
    coloured[7:, :, 0] //= 3  # in one colour it would be a mask
    PilImage.fromarray(coloured).save(tmp_path / "coloured.png")
    with pytest.raises(SourceError, match="channels that differ: an image in colours"):
        read_map(tmp_path / "coloured.png")


DISC = (np.mgrid[:96, :96] - 48).__pow__(2).sum(0) < 30**2


def _layers(inside: tuple[int, ...], outside: tuple[int, ...]) -> PilImage.Image:
    return PilImage.fromarray(np.where(DISC[..., None], inside, outside).astype(np.uint8))


def _grey(inside: int, kind: type = np.uint8) -> PilImage.Image:
    return PilImage.fromarray((DISC * inside).astype(kind))


def _palette(*colours: int) -> PilImage.Image:
    image = PilImage.fromarray(DISC.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, *colours])
    return image


@pytest.mark.parametrize(
    ("name", "image", "lossy"),
    [
        ("m.png", _grey(255), False),
        ("m.png", _grey(255).convert("1"), False),
        ("m.png", _grey(255).convert("RGB"), False),
        ("m.jpg", _grey(255), True),
        ("m.jpg", _grey(200).convert("RGB"), True),
        ("m.webp", _grey(255).convert("RGB"), True),
        ("m.avif", _grey(255).convert("RGB"), True),
        ("m.png", _grey(200, np.uint16), False),
        ("m.tif", _grey(1, np.uint16), False),
        ("m.tif", _grey(1, np.int32), False),
        ("m.tif", _grey(1, np.float32), False),
        ("m.png", _layers((255, 255), (0, 0)), False),
        ("m.png", _layers((255,) * 4, (0,) * 4), False),
        ("m.png", _layers((255,) * 4, (255, 255, 255, 0)), False),
        ("m.png", _layers((0, 0, 0, 255), (9, 9, 9, 0)), False),
        ("m.png", _layers((200, 30, 30, 255), (0,) * 4), False),
        ("m.png", _layers((200, 30, 30), (0,) * 3), False),
        ("m.png", _palette(128, 0, 0), False),
        ("m.gif", _palette(255, 255, 255), False),
        ("m.bmp", _grey(255), False),
    ],
)
def test_a_mask_is_read_for_what_it_shows(
    tmp_path: Path, name: str, image: PilImage.Image, lossy: bool
) -> None:
    image.save(tmp_path / name)
    values, note = read_map(tmp_path / name, "region")
    assert (note == LOSSY_NOTE) == lossy
    assert (values.max(), values.min()) == (values[48, 48], 0)
    assert ((values != 0) != DISC).mean() < (0.005 if lossy else 1e-9)


def test_a_heatmap_in_a_lossy_image_keeps_its_values(tmp_path: Path) -> None:
    heat = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)
    PilImage.fromarray(heat).save(tmp_path / "heat.jpg")
    values, note = read_map(tmp_path / "heat.jpg", "heatmap")
    assert not note and np.abs(values * 255 - heat).max() < 8
    assert set(np.unique(read_map(tmp_path / "heat.jpg", "region")[0])) == {0, 1}


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([[1.0, np.nan]]), "not finite"),
        (np.array([[1.0, np.inf]]), "not finite"),
        (np.array([[1.0, 1e300]]), "too large for float32"),
        (np.repeat(np.array([[np.nan]])[..., None], 3, axis=2), "not finite"),
        (np.zeros(5), "of the shape (5,), which is no map"),
        (np.zeros((2, 3, 4, 5)), "which is no map"),
        (np.zeros((0, 5)), "which is no map"),
        (np.zeros((4, 5, 7)), "which is no map"),
        (np.ones((4, 5), complex), "complex128 and no numbers"),
        (np.array([["a"]]), "<U1 and no numbers"),
        (np.array([[Evil(os.mkdir, "it-ran")]], object), "cannot be read as an array of numbers"),
    ],
)
def test_what_is_no_map_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, array: np.ndarray, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("map.npy", array, allow_pickle=True)
    np.savez("map.npz", map=array)
    for name in ("map.npy", "map.npz"):
        with pytest.raises(SourceError, match=re.escape(said)):
            read_map(Path(name))
    assert not Path("it-ran").exists()


def _npy(shape: str, dtype: str = "<f8") -> bytes:
    """A file of NumPy that declares a shape and holds nothing."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


@pytest.mark.parametrize("shape", ["(100000, 100000)", "(9223372036854775807, 9)", "(4, 4)"])
def test_a_huge_declared_shape_is_not_believed(tmp_path: Path, shape: str) -> None:
    (tmp_path / "map.npy").write_bytes(_npy(shape))
    with zipfile.ZipFile(tmp_path / "map.npz", "w") as archive:
        archive.writestr("map.npy", _npy(shape))
    for name in ("map.npy", "map.npz"):
        with pytest.raises(SourceError, match="cannot be read as an array of numbers"):
            read_map(tmp_path / name)


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(map_files, "MAX_BYTES", 2**20)
    np.savez_compressed(tmp_path / "bomb.npz", map=np.zeros((1000, 1000)))
    assert (tmp_path / "bomb.npz").stat().st_size < 2**15
    with pytest.raises(SourceError, match="unpacks to more than 1 MiB"):
        read_map(tmp_path / "bomb.npz")


@pytest.mark.parametrize("name", ["m.npy", "m.npz", "m.pth", "m.png"])
@pytest.mark.parametrize("part", [0.0, 0.4, 0.95])
def test_a_truncated_map_is_one_message(tmp_path: Path, name: str, part: float) -> None:
    path = tmp_path / name
    SAVE[name](path, np.random.default_rng(0).random((40, 40)))
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(SourceError, match=name):
        read_map(path)


def test_several_maps_in_one_file_and_unknown_endings_are_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", one=MAP, two=MAP)
    with pytest.raises(SourceError, match=r"holds 2 arrays \(one, two\) and not one map"):
        read_map(tmp_path / "two.npz")
    (tmp_path / "text.pkl").write_bytes(pickle.dumps("hello"))
    with pytest.raises(SourceError, match="holds a str and not one map"):
        read_map(tmp_path / "text.pkl")
    with pytest.raises(SourceError, match=r"ending '.mat', which no reader of maps knows"):
        read_map(tmp_path / "map.mat")
    with pytest.raises(SourceError, match="No such file"):
        read_map(tmp_path / "map.npy")


IMAGE = Image("p", "", np.zeros((120, 200, 3), np.uint8))


def test_a_crop_of_a_resized_image_is_where_it_is_cut_from() -> None:
    generator = np.random.default_rng(0)
    pixels = np.kron(generator.integers(0, 255, (12, 20, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    frame = frame_of(CropFrame(resize=(256, 256), crop=224), IMAGE, (224, 224))
    assert frame.box == pytest.approx((7.5, 12.5, 105, 175))
    small = PilImage.fromarray(pixels).resize((256, 256), PilImage.Resampling.BILINEAR)
    cut = small.crop((16, 16, 240, 240))
    whole = Frame("p", (0, 0, 120, 200), (120, 200))
    found = np.stack([resample_to(pixels[..., c], whole, frame) for c in range(3)], axis=2)
    assert np.abs(found - np.asarray(cut, float)).mean() < 1.5


def test_a_map_of_another_shape_than_its_frame_is_said(tmp_path: Path) -> None:
    row = {"run": "r", "title": "t", "network": "n", "folder": ".", "method": "m"}
    whole = MapRun(**row, files="{stem}.npy")
    crop = MapRun(**row, files="{stem}.npy", frame={"resize": (256, 256), "crop": 224})
    path = tmp_path / "p.npy"
    np.save(path, np.ones((224, 200)))
    with pytest.raises(SourceError, match=r"has the shape \(224, 200\), and the.*\(224, 224\)"):
        read_in_frame(path, crop, IMAGE)
    np.save(path, np.ones((200, 120)))
    with pytest.raises(SourceError, match="lie on its side"):
        read_in_frame(path, whole, IMAGE)
    np.save(path, np.zeros((12, 20)))
    with pytest.raises(SourceError, match="zero everywhere"):
        read_in_frame(path, whole, IMAGE)
    assert map_file(whole, "a/kite.x.JPEG") == "kite.x.npy"


def test_nonzero_overlap_is_that_of_opencv() -> None:
    generator = np.random.default_rng(0)
    for size in ((50, 90), (33, 20)):
        mask = generator.choice([-1, 0, 1], (30, 30), p=[0.1, 0.7, 0.2]).astype(np.float32)
        heat = np.clip(generator.random(size) - 0.5, 0, None).astype(np.float32)
        shape = max(mask.shape, heat.shape, key=lambda s: s[0] * s[1])
        one, two = (
            cv2.resize(m, shape[::-1], interpolation=cv2.INTER_LINEAR) for m in (mask, heat)
        )
        both, either = np.logical_and(one, two).sum(), np.logical_or(one, two).sum()
        found = nonzero_overlap(mask, heat)
        assert found.iou == pytest.approx(both / either, abs=2e-3)
        assert found.first == pytest.approx(np.mean(one != 0), abs=2e-3)
    with pytest.raises(ValueError, match="neither map"):
        nonzero_overlap(np.zeros((2, 2)), np.zeros((2, 2)))
    independent = nonzero_overlap(np.ones((4, 4)), np.kron(np.eye(2), np.ones((2, 2))))
    assert independent.chance == independent.iou == 0.5


def test_twenty_of_twenty_printed_ious_are_recomputed(root: Path, mirror: Path) -> None:
    """Table I of Balwani and Kaharova, both columns, from that run's own masks."""
    (run,) = mirror.glob("balwanishivam/tml-assignment/*/Assignment-4")
    printed = published_figures(Project(root), "iou").query("source == 'balwani2024'")
    assert len(printed) == 20
    wrong = []
    for row in printed.itertuples():
        (cam,) = run.glob(f"task-3/results/gradcam_images/*_{row.image.replace(' ', '_')}.JPEG")
        boundary = "boundary_1" if row.pair.startswith("LIME 1") else "boundary_2"
        mask, _ = read_map(run / f"task-2/results/{boundary}/masks/{cam.name}.pth")
        found = nonzero_overlap(mask, read_map(cam / "masks.pth")[0]).iou
        if f"{found:.4f}" != f"{row.iou:.4f}":
            wrong.append((row.image, row.pair, row.iou, found))
    assert wrong == []


def test_the_committed_table_has_the_printed_ious(root: Path) -> None:
    ious = open_imported(Project(root), "published").table("ious")
    assert list(ious.columns) == list(IMPORT_SCHEMAS["ious"])
    printed = published_figures(Project(root), "iou").query("source == 'balwani2024'")
    own = ious[ious["second"] == "gradcam"].set_index(["first", "image"])
    for row in printed.itertuples():
        first = "lime_1" if row.pair.startswith("LIME 1") else "lime_2"
        assert f"{own.loc[(first, row.image), 'printed']:.4f}" == f"{row.iou:.4f}"
    assert (ious["iou_chance"] - ious["share"] / (2 - ious["share"])).abs().max() < 1e-6


def test_ious_are_compared_in_one_frame_at_equal_area() -> None:
    row = {"title": "t", "network": "n", "folder": ".", "files": "{stem}.npy", "method": "m"}
    region = MapRun(run="region", kind="region", frame={"resize": (40, 40), "crop": 20}, **row)
    heat = MapRun(run="heat", **row)
    generator = np.random.default_rng(0)
    maps, names = {}, ["a", "b"]
    for name in names:
        image = Image(name, "", np.zeros((40, 80, 3), np.uint8))
        mask = (generator.random((20, 20)) > 0.7).astype(np.float32)
        for run, values in ((region, mask), (heat, generator.random((40, 80)))):
            frame = frame_of(run.frame, image, values.shape)
            maps[run.run, name] = type("M", (), {"values": values, "frame": frame})()
    table = iou_table(region, heat, maps, names).set_index("image")
    mask = maps["region", "a"].values
    # The middle half of the image, which is twice as wide as high, at half its width.
    middle = maps["heat", "a"].values[10:30, 20:60].reshape(20, 20, 2).mean(axis=2)
    expected = intersection_over_union(mask, top_region(middle, mask.mean()))
    assert table.loc["a", "iou"] == pytest.approx(expected)
    assert table.loc["a", "share"] == pytest.approx(mask.mean())
    other = maps["heat", "b"].values[10:30, 20:60].reshape(20, 20, 2).mean(axis=2)
    elsewhere = intersection_over_union(mask, top_region(other, mask.mean()))
    assert table.loc["a", "iou_other_images"] == pytest.approx(elsewhere)


CLIP = "layer,unit,description,similarity\nlayer4,0,dog,0.2\nlayer4,1,nan,0.1\n"
NETDISSECT = "unit,category,label,score\n1,scene,dining_room-s,0.1\n2,color,red-c,0.05\n"
MILAN = 'layer,unit,description\nlayer4,0,"Dogs, and trees"\nlayer4,1,Nothing\n'


def test_labels_are_read_from_the_three_formats(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(CLIP)
    found = read_labels(path, "clip-dissect", None)
    assert found["label"].tolist() == ["dog", "nan"]
    assert found["kind"].isna().all()
    assert found["score"].tolist() == [0.2, 0.1]
    path.write_text(NETDISSECT)
    found = read_labels(path, "network-dissection", "layer4")
    assert found["unit"].tolist() == [0, 1]  # counted from 1 in the file
    assert found["label"].tolist() == ["dining room", "red"]
    assert found["kind"].tolist() == ["scene", "color"]
    with pytest.raises(SourceError, match="does not say which layer"):
        read_labels(path, "network-dissection", None)
    path.write_text(MILAN)
    found = read_labels(path, "milan", None)
    assert found["label"].tolist() == ["Dogs, and trees", "Nothing"]


CLIP_FAULTS = {
    "": "cannot be read as a CSV file",
    "layer,unit\xff": "cannot be read as a CSV file",
    "layer,unit,description,similarity\n": "labels no unit",
    MILAN: "is no file of CLIP-Dissect: it has no column similarity",
    CLIP.replace(",0.2", ",high"): "'high' in line 2 is no finite number",
    CLIP.replace(",0.2", ",inf"): "'inf' in line 2 is no finite number",
    CLIP.replace(",1,", ",one,"): "'one' in line 3 is no number of a unit",
    CLIP.replace(",1,", ",-1,"): "'-1' in line 3 is no number of a unit",
    CLIP.replace(",1,", ",0,"): "labels unit 0 of layer4 twice (its files: labels.csv)",
    CLIP.replace("dog", ""): "a unit without a label or a layer (line 2)",
    CLIP + "layer4,2,dog,0.2,more\n": "cannot be read as a CSV file",
    "\x00\x01\x02": "is no file of CLIP-Dissect",
}
NETDISSECT_FAULTS = {
    NETDISSECT.replace("1,scene", "0,scene"): "units begin at 0, not at 1",
    NETDISSECT.replace("scene", "sea"): "'sea' is no category of Broden",
}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        *(("clip-dissect", *fault) for fault in CLIP_FAULTS.items()),
        *(("network-dissection", *fault) for fault in NETDISSECT_FAULTS.items()),
    ],
)
def test_a_damaged_or_foreign_file_of_labels_is_said(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content, encoding="latin-1")
    row = {"run": "r", "title": "t", "network": "n", "folder": "."}
    run = LabelRun(**row, format=name, files=(path.name,), layers=("fc",))
    with pytest.raises(SourceError, match=re.escape(said)):
        label_table(run, {path.name: path})
    with pytest.raises(SourceError, match="no format of labels 'clip'.*Did you mean"):
        read_labels(path, "clip", None)


@pytest.mark.parametrize("content", ["[1]", "{", "\x00"])
def test_damaged_settings_of_a_run_are_said(tmp_path: Path, content: str) -> None:
    path = tmp_path / "args.txt"
    path.write_text(content)
    with pytest.raises(SourceError, match="cannot be read as the settings of a run"):
        read_arguments(path)


def test_labels_are_the_same_in_words() -> None:
    first = ["dogs", "Dining room", "church", "grass", "dog"]
    second = ["dog", "dining rooms", "churches", "gras", "hot dog"]
    assert same_words(first, second, within=False).tolist() == [True, True, True, False, False]
    sentences = ["A dog's head", "rooms", "Church towers", "grass", "hotdogs"]
    assert same_words(first, sentences, within=True).tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("within", [True, False])
def test_agreement_by_chance_is_that_of_all_other_pairs(within: bool) -> None:
    generator = np.random.default_rng(0)
    first = generator.choice(["dog", "cat", "bird"], 40).tolist()
    second = generator.choice(["dog", "cats", "a dog and a bird"], 40).tolist()
    counted = [
        same_words([one], [two], within=within)[0]
        for i, one in enumerate(first)
        for j, two in enumerate(second)
        if i != j
    ]
    assert same_by_chance(first, second, within=within) == pytest.approx(np.mean(counted))
    vectors = generator.random((40, 5)), generator.random((40, 5))
    own, others = paired_cosines(*vectors)
    matrix = vectors[0] @ vectors[1].T
    np.testing.assert_allclose(own, np.diagonal(matrix))
    assert others == pytest.approx(matrix[~np.eye(40, dtype=bool)].mean())


def test_pairs_of_runs_are_compared_layer_by_layer() -> None:
    row = {"title": "t", "network": "n", "folder": ".", "files": ("x.csv",)}
    one = LabelRun(run="one", format="clip-dissect", **row)
    two = LabelRun(run="two", format="milan", **row)
    labels = pd.DataFrame(
        [
            ("one", "layer3", 0, "dog"),
            ("one", "layer4", 0, "dog"),
            ("one", "layer4", 1, "sky"),
            ("two", "layer4", 1, "Blue skies"),
            ("two", "layer4", 0, "Cats"),
            ("two", "layer4", 7, "Cats"),
        ],
        columns=["run", "layer", "unit", "label"],
    )
    axes = np.eye(5, dtype=np.float32)
    vectors = dict(zip(["dog", "sky", "Blue skies", "Cats"], axes[[0, 1, 1, 3]], strict=True))
    examples, layers = pair_tables(one, two, labels, vectors)
    assert [(row["layer"], row["units"], row["same"], row["cosine"]) for row in layers] == [
        ("layer4", 2, 0.5, 0.5)
    ]
    assert sorted(examples[0]["cosine"]) == [0, 1]


STUDY = """
title = "others"
description = "Runs of others."

[images]
folder = "images"
files = ["n00000001_red_square.png", "n00000002_noise.png"]

[[labels]]
run = "dissected"
title = "MILAN"
network = "Net"
format = "milan"
folder = "runs"
files = ["milan.csv"]

[[maps]]
run = "lime"
title = "LIME"
network = "Net"
method = "lime"
kind = "region"
folder = "runs"
files = "lime/{file}.npy"
frame = { resize = [64, 64], crop = 56 }

[[maps]]
run = "cam"
title = "Grad-CAM"
network = "Net"
method = "gradcam"
folder = "runs"
files = "cam/{stem}.pth"
"""


@pytest.fixture
def others(tiny: Project) -> Project:
    """A project with a study of imported runs, whose files are there."""
    write_study(tiny, "others", STUDY)
    runs = tiny.root / "runs"
    for folder in ("lime", "cam"):
        (runs / folder).mkdir(parents=True)
    (runs / "milan.csv").write_text(MILAN)
    generator = np.random.default_rng(0)
    for path in (tiny.root / "images").iterdir():
        mask = (generator.random((56, 56)) > 0.7).astype(np.int64)
        np.save(runs / "lime" / f"{path.name}.npy", mask)
        height, width = read_image(path).size
        heat = np.repeat(generator.random((height, width, 1), dtype=np.float32), 3, axis=2)
        torch.save(heat, runs / "cam" / f"{path.stem}.pth")
    return tiny


def test_a_study_is_imported_once(others: Project) -> None:
    study = load_import_study(others, "others")
    assert is_import_study(others, "others") and not is_import_study(others, "tiny")
    first = import_study(others, study)
    assert (first.runs, first.files, first.changed) == (3, 5, True)
    store = open_imported(others, "others")
    assert store.table("labels")["label"].tolist() == ["Dogs, and trees", "Nothing"]
    ious = store.table("ious")
    assert len(ious) == 2 and set(ious["first"] + ious["second"]) == {"limecam"}
    values, frame = store.map_in_frame("cam", "red square")
    assert values.shape == frame.size and max(frame.size) <= 112
    assert {run["run"]: len(run["files"]) for run in store.provenance()["runs"]} == {
        "dissected": 1,
        "lime": 2,
        "cam": 2,
    }
    before = contents(store.folder)
    assert not import_study(others, study).changed
    assert contents(store.folder) == before
    (others.root / "runs" / "milan.csv").write_text(MILAN.replace("Nothing", "Something"))
    assert import_study(others, study).changed
    assert "Something" in store.table("labels")["label"].tolist()


def test_classes_are_fetched_only_where_words_are_compared_with_them(others: Project) -> None:
    study = load_import_study(others, "others")  # its labels are sentences
    run = study.labels[0].model_copy(update={"training_set": "ImageNet"})
    assert import_study(others, study.model_copy(update={"labels": (run,)})).changed


def _evil(path: Path) -> None:
    evil = Evil(os.mkdir, str(path.parent / "it-ran"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps(evil, protocol=2))
        archive.writestr("a/version", "3")


@pytest.mark.parametrize(
    ("file", "spoil", "said"),
    [
        ("cam/n00000002_noise.pth", _evil, "is refused: it names"),
        ("cam/n00000002_noise.pth", lambda p: os.truncate(p, 99), "damaged|refused"),
        ("cam/n00000002_noise.pth", lambda p: torch.save(np.zeros((7, 7)), p), "zero everywhere"),
        ("lime/n00000002_noise.png.npy", lambda p: np.save(p, np.ones((9, 9))), "has the shape"),
        ("lime/n00000002_noise.png.npy", lambda p: p.unlink(), "does not exist"),
        ("lime/n00000002_noise.png.npy", lambda p: np.save(p, np.ones((56, 56))), "covers all"),
        ("milan.csv", lambda p: p.write_text(CLIP.replace("description", "words")), "no column"),
    ],
)
def test_a_bad_file_leaves_the_store_as_it_was(
    others: Project, file: str, spoil: Callable[[Path], None], said: str
) -> None:
    study = load_import_study(others, "others")
    import_study(others, study)
    before = contents(others.results)
    spoil(others.root / "runs" / file)
    with pytest.raises(VitrineError, match=said):
        import_study(others, study)
    assert contents(others.results) == before
    assert not list(others.root.rglob("it-ran"))
    open_imported(others, "others")


@pytest.mark.parametrize("file", ["labels.csv", "tasks/cam/n00000002_noise.png.npz"])
def test_what_was_changed_by_hand_is_imported_again(others: Project, file: str) -> None:
    study = load_import_study(others, "others")
    import_study(others, study)
    before, path = contents(others.results), others.results / "others" / file
    path.write_bytes(path.read_bytes().replace(b"trees", b"bushes") + b"\n")
    store = open_imported(others, "others")
    with pytest.raises(ResultsError, match="is not as `vitrine import` wrote it"):
        store.table("labels") if "csv" in file else store.map_in_frame("cam", "noise")
    assert import_study(others, study).mended == (file,)
    assert contents(others.results) == before


def test_what_a_source_does_not_list_or_changes_is_refused(others: Project, mirrored: Path) -> None:
    path = others.study_file("others")
    text = path.read_text().replace(
        'folder = "runs"\nfiles = ["milan.csv"]',
        'source = "clip-dissect"\nfiles = ["MILAN_results/m_base_resnet18_places365.csv"]',
    )
    path.write_text(text)
    found = fetch(others, load_import_study(others, "others"))
    assert found["dissected"]["MILAN_results/m_base_resnet18_places365.csv"].is_file()
    path.write_text(text.replace("m_base_resnet18", "m_base_resnet19"))
    with pytest.raises(SourceError, match="has no file 'MILAN_results/m_base_resnet19"):
        import_study(others, load_import_study(others, "others"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('format = "milan"', 'format = "Milan"', "`labels.0.format`"),
        ('run = "cam"', 'run = "lime"', "listed twice: lime"),
        ('run = "cam"', 'run = "../cam"', "`maps.1.run`"),
        ("cam/{stem}.pth", "cam/x.pth", "write {file} or {stem}"),
        ("crop = 56", "crop = 99", "larger than what it is cut from"),
        ('folder = "runs"\nfiles = ["milan', 'files = ["milan', "name either a `source`"),
        ('kind = "region"', 'kinds = "region"', "unknown key `maps.0.kinds`; Did you mean 'kind'?"),
        ("[images]\nfolder", "[image]\nfolder", "unknown key `image`"),
        ('files = ["milan.csv"]', 'files = ["milan.csv"]\nlayers = ["a", "b"]', "as many `layers`"),
    ],
)
def test_a_mistake_in_the_study_file_is_said(
    others: Project, old: str, new: str, said: str
) -> None:
    path = others.study_file("others")
    path.write_text(STUDY.replace(old, new))
    with pytest.raises(StudyError, match=re.escape(said)):
        load_import_study(others, "others")


def test_a_computed_study_is_no_study_of_imports(others: Project) -> None:
    with pytest.raises(StudyError, match="'tiny' is computed"):
        load_import_study(others, "tiny")
    with pytest.raises(ResultsError, match="Run `vitrine import --study others`"):
        ImportStore(others, "others").provenance()


def test_the_command_imports_and_says_what_is_wrong(
    others: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = vitrine(others.root, "import", "--study", "others")
    assert "imported 3 runs from 5 files; results in data/results/others" in done.stdout
    monkeypatch.chdir(others.root)
    runner = CliRunner()
    again = runner.invoke(app, ["run", "--study", "others"])
    assert "nothing to do: all 3 runs of others" in again.output
    _evil(others.root / "runs" / "cam" / "n00000002_noise.pth")
    before = contents(others.data)
    failed = vitrine(others.root, "import", "-s", "others")
    assert failed.returncode == 1
    assert "n00000002_noise.pth is refused: it names" in failed.stderr
    assert "Traceback" not in failed.stderr
    for arguments, said in (
        (["import", "-s", "tiny"], "The study 'tiny' is computed"),
        (["import", "-s", "none"], "There is no study 'none'"),
    ):
        wrong = runner.invoke(app, arguments).exception
        assert isinstance(wrong, VitrineError) and said in str(wrong)
    assert contents(others.data) == before
    assert not list(others.root.rglob("it-ran"))


def test_the_study_file_that_the_readme_shows_is_one(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(title.*?)```", text, re.DOTALL)
    study = ImportStudy(name="mine", **tomllib.loads(shown))
    assert study.labels and study.maps


def test_a_file_of_an_import_that_cannot_be_read_is_one_message(
    others: Project, spoil: Callable[[Path], None]
) -> None:
    study = load_import_study(others, "others")
    spoil(others.root / "runs" / "milan.csv")
    with pytest.raises(SourceError, match=r"milan\.csv"):
        import_study(others, study)
    spoil(others.study_file("others"))
    with pytest.raises(StudyError, match=r"others|nothing"):
        load_import_study(others, "others")

"""A study compares all its methods, looks at many images, and hides regions of some."""

import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import change_study, counting, write_study
from vitrine.data.images import read_image
from vitrine.data.outlines import load_outlines, load_regions
from vitrine.errors import StudyError
from vitrine.experiments.agreement import AgreementExperiment, compared_methods
from vitrine.experiments.base import Context
from vitrine.experiments.region_occlusion import FILLS, hide, moved
from vitrine.experiments.registry import EXPERIMENTS
from vitrine.experiments.run import Summary, image_paths, run
from vitrine.measures.agreement import (
    chance_agreement,
    intersection_over_union,
    rank_correlation,
    top_region,
)
from vitrine.measures.image_complexity import edge_density, grey_entropy
from vitrine.measures.localisation import parts_of_frame
from vitrine.measures.thresholds import REGION_RULES
from vitrine.methods import lime
from vitrine.methods.cam import class_activation
from vitrine.methods.method import Query
from vitrine.methods.perturbation import mask
from vitrine.methods.superpixels import superpixels, top_superpixels
from vitrine.models.registry import load_classifier
from vitrine.project import Project
from vitrine.store import Store, TaskResult
from vitrine.study import load_study
from vitrine.study.sections import LargeSample

LARGE_SAMPLE = """
[large_sample]
sample = 5
methods = ["gradcam", "eigencam"]
samples = 12
segmentation = { method = "grid", rows = 2, columns = 3 }
batch = 3

[large_sample.images]
folder = "many"
"""


@pytest.fixture
def broad(done: Project) -> Project:
    """The study ``tiny`` with two more methods."""
    change_study(done, '["gradcam"]', '["gradcam", "layercam", "eigencam"]')
    return done


def _row(table: pd.DataFrame, **wanted: object) -> pd.Series:
    found = table[np.logical_and.reduce([table[key] == value for key, value in wanted.items()])]
    assert len(found) == 1
    return found.iloc[0]


def test_all_pairs_are_compared_as_one_pair_is(broad: Project) -> None:
    study = load_study(broad, "tiny")
    run(broad, study)
    store = Store(broad, "tiny")
    key, names = "efficientnet_lite0", ["red square", "noise"]
    methods = compared_methods(study)
    assert methods == ["lime", "gradcam", "layercam", "eigencam"]
    maps = {(m, p): store.heatmap(key, m, p) for m in methods for p in names}
    areas = {"share": dict.fromkeys(names, study.agreement.share), "lime1": {}, "lime2": {}}
    for name in names:
        found = store.read_task(f"{key}/lime/{store.files()[name]}").arrays
        for rule in ("lime1", "lime2"):
            best = top_superpixels(found["weights"], 10, positive_only=rule == "lime1")
            areas[rule][name] = np.isin(found["segments"], best).mean()
    table, regions = store.table("ious"), store.table("regions")
    assert len(table) == 6 * 2 * len(REGION_RULES)
    for rule, row in REGION_RULES.items():
        drawn = {
            (m, p): row.region(one.values, areas.get(rule, {}).get(p, 0.2))
            for (m, p), one in maps.items()
        }
        for (method, name), region in drawn.items():
            found = _row(regions, image=name, method=method, rule=rule)
            assert found["area"] == pytest.approx(region.mean(), abs=1e-6)
        for i, first in enumerate(methods):
            for second in methods[i + 1 :]:
                for name, other in (names, names[::-1]):
                    found = _row(table, image=name, first=first, second=second, rule=rule)
                    one = drawn[first, name]
                    _check(found["iou"], one, drawn[second, name])
                    _check(found["iou_other_images"], one, drawn[second, other])
                    wanted = chance_agreement(one.mean(), drawn[second, name].mean())
                    assert found["iou_chance"] == pytest.approx(wanted, abs=1e-5, nan_ok=True)
    _check_the_older_tables(store, maps, names)


def _check(found: float, one: np.ndarray, other: np.ndarray) -> None:
    if not one.any() or not other.any():
        assert np.isnan(found)
    else:
        assert found == pytest.approx(intersection_over_union(one, other), abs=1e-5)


def _check_the_older_tables(store: Store, maps: dict, names: list[str]) -> None:
    for _, row in store.table("agreement").iterrows():
        assert row["first"] == "lime" and row["second"] != "lime"
        one, other = (maps[row[side], row["image"]] for side in ("first", "second"))
        regions = [top_region(each.values, row["share"]) for each in (one, other)]
        assert row["iou"] == pytest.approx(intersection_over_union(*regions), abs=1e-6)
    for _, row in store.table("correlations").iterrows():
        one, other = (maps[row[side], row["image"]] for side in ("first", "second"))
        wanted = rank_correlation(one, other)
        assert row["rho"] == pytest.approx(wanted, abs=1e-6, nan_ok=True)
    complexity = store.table("complexity")
    assert list(complexity["image"]) == names


def test_a_method_without_a_map_of_an_image_has_no_agreement_there(broad: Project) -> None:
    study = load_study(broad, "tiny")
    run(broad, study)
    store = Store(broad, "tiny")
    (path,) = (broad.results / "tiny" / "tasks").rglob("eigencam/*noise.png.npz")
    path.unlink()
    images = {file: read_image(one) for file, one in image_paths(broad, study).items()}
    networks = {"efficientnet_lite0": load_classifier(broad, "efficientnet_lite0", "random")}
    rows = defaultdict(list)
    for name, found in AgreementExperiment(
        Context(broad, study, networks, images, {}, store)
    ).rows():
        rows[name] += found
    table = pd.DataFrame(rows["ious"]).query("rule == 'share' and first == 'lime'")
    found = table.set_index(["second", "image"])["iou"]
    assert np.isnan(found["eigencam", "noise"]) and found["eigencam", "red square"] >= 0
    correlations = pd.DataFrame(rows["correlations"])
    assert correlations.query("image == 'noise'")["rho"].isna().sum() == 3


def test_a_map_that_is_the_same_everywhere_has_no_region_and_no_agreement(broad: Project) -> None:
    run(broad, load_study(broad, "tiny"))
    store = Store(broad, "tiny")
    name = "efficientnet_lite0/eigencam/n00000002_noise.png"
    key, task = str(store.task_key(name)), store.read_task(name)
    store.reopen()
    blank = {array: np.full_like(values, 0.5) for array, values in task.arrays.items()}
    store.write_task(name, key, TaskResult(blank, task.facts))
    assert run(broad, load_study(broad, "tiny")).computed == 0
    for table, where in (("agreement", "share > 0"), ("ious", "rule != ''")):
        rows = store.table(table).query(f"first == 'lime' and second == 'eigencam' and {where}")
        # The maps of another image that the red square is compared with are this one alone.
        assert rows.query("image == 'noise'")["iou"].isna().all()
        assert rows.query("image == 'red square'")["iou_other_images"].isna().all()
    assert (
        not store.table("regions").query("method == 'eigencam' and image == 'noise'")["area"].any()
    )


def test_without_a_comparison_there_are_correlations_only(broad: Project) -> None:
    path = broad.study_file("tiny")
    path.write_text(path.read_text().split("[agreement]")[0])
    run(broad, load_study(broad, "tiny"))
    store = Store(broad, "tiny")
    assert len(store.table("correlations")) == 6 * 2
    assert not {"agreement", "regions", "ious", "complexity"} & set(store.tables())


@pytest.fixture
def sampled(done: Project) -> Project:
    """The study ``tiny`` with a large sample of five of six other images."""
    folder = done.root / "many"
    folder.mkdir()
    generator = np.random.default_rng(1)
    for index in range(6):
        pixels = generator.integers(0, 255, (64, 80, 3), dtype=np.uint8)
        pixels[10 : 20 + 5 * index, 10:40] = (30 * index, 200, 10)
        Image.fromarray(pixels).save(folder / f"n0144000{index}_thing.png")
    path = done.study_file("tiny")
    path.write_text(path.read_text() + LARGE_SAMPLE)
    return done


def test_a_large_sample_goes_on_where_it_was_and_is_computed_once(sampled: Project) -> None:
    study = load_study(sampled, "tiny")
    told, planned, passes = counting()
    assert run(sampled, study, progress=told) == Summary(computed=2, kept=8)
    assert sum(passes) == planned[0][0]
    assert run(sampled, study) == Summary(computed=0, kept=10)
    (chunk,) = (sampled.results / "tiny" / "tasks").rglob("large_sample/0003.npz")
    chunk.unlink()
    gone = "tasks/efficientnet_lite0/large_sample/0003.npz"
    assert run(sampled, study) == Summary(computed=1, kept=9, changed=(gone,))
    store = Store(sampled, "tiny")
    images, pairs = (store.table(name) for name in ("large_sample", "large_sample_iou"))
    assert len(images) == 5 and images["image"].is_unique
    assert len(pairs) == 5 * 3 and set(pairs["first"]) == {"lime", "gradcam"}
    _check_a_large_sample(sampled, images, pairs)


def _check_a_large_sample(project: Project, images: pd.DataFrame, pairs: pd.DataFrame) -> None:
    """One image of the last batch, explained again one by one."""
    study = load_study(project, "tiny")
    classifier = load_classifier(project, "efficientnet_lite0", "random")
    last = images.iloc[-1]
    both = [read_image(project.root / "many" / f) for f in images["image"].iloc[-2:]]
    parameters = study.lime.model_copy(update={"samples": study.large_sample.samples})
    maps = []
    for image in both:
        crop, frame = classifier.crop(image), classifier.frame(image)
        target = int(classifier.probabilities(crop[None])[0].argmax())
        segments = superpixels(crop, study.large_sample.segmentation, study.lime.seed)
        masked = mask(classifier, crop, segments, target)
        explained = lime.explain_by_lime(classifier, masked, parameters)
        cam = class_activation(Query("gradcam", classifier, crop, frame, target)).heatmap
        weights = replace(cam, values=explained.weights[segments].astype(np.float32))
        maps.append((explained, weights, cam))
    crop = classifier.crop(both[1])
    assert last["edges"] == pytest.approx(edge_density(crop))
    assert last["entropy"] == pytest.approx(grey_entropy(crop))
    assert last["superpixels"] == superpixels(crop, study.lime.segmentation, 0).max() + 1
    assert last["r_squared"] == pytest.approx(maps[1][0].r_squared, rel=1e-3)
    own = _row(pairs, image=last["image"], first="lime", second="gradcam")
    (*_, another), (_, weights, cam) = maps
    if not cam.is_constant:
        ours, theirs = (top_region(one.values, 0.2) for one in (weights, cam))
        assert own["iou"] == pytest.approx(intersection_over_union(ours, theirs), abs=1e-3)
        wanted = rank_correlation(weights, cam)
        assert own["rho"] == pytest.approx(wanted, abs=1e-2)
        if not another.is_constant:
            other = top_region(another.values, 0.2)
            wanted = intersection_over_union(ours, other)
            assert own["iou_other_images"] == pytest.approx(wanted, abs=1e-3)


def test_a_large_sample_of_too_many_or_too_slow_stops_before_work_starts(sampled: Project) -> None:
    change_study(sampled, "sample = 5", "sample = 8")
    with pytest.raises(StudyError, match="asks for 8 images, and there are 6"):
        run(sampled, load_study(sampled, "tiny"))
    change_study(sampled, "sample = 8", "sample = 5")
    change_study(sampled, '"gradcam", "eigencam"', '"scorecam"')
    with pytest.raises(StudyError, match="too often for a large sample"):
        run(sampled, load_study(sampled, "tiny"))
    assert "large_sample" not in Store(sampled, "tiny").tables()


def test_a_batch_of_one_image_has_no_other_to_compare_with() -> None:
    with pytest.raises(ValueError, match="the last `batch` would hold one image"):
        LargeSample.model_validate({"images": {"folder": "p"}, "sample": 41, "batch": 20})


def test_another_seed_of_a_large_sample_draws_other_images(sampled: Project) -> None:
    run(sampled, load_study(sampled, "tiny"))
    first = set(Store(sampled, "tiny").table("large_sample")["image"])
    change_study(sampled, "sample = 5", "sample = 5\nseed = 3")
    assert run(sampled, load_study(sampled, "tiny")).computed >= 1
    second = set(Store(sampled, "tiny").table("large_sample")["image"])
    assert len(second) == 5 and second != first


def test_what_is_hidden_is_filled_and_nothing_else() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    hidden = np.zeros((16, 20), dtype=bool)
    hidden[3:9, 4:12] = True
    grey = (10.0, 20.0, 30.0)
    for fill in FILLS:
        found = hide(crop, hidden, fill, grey)
        assert (found[~hidden] == crop[~hidden]).all(), fill
        assert (found[hidden] != crop[hidden]).any(), fill
        assert (hide(crop, np.zeros_like(hidden), fill, grey) == crop).all()
    assert (hide(crop, hidden, "grey", grey)[hidden] == grey).all()
    mean = np.round(crop[hidden].mean(axis=0))
    assert (hide(crop, hidden, "mean", grey)[hidden] == mean).all()


def test_a_control_has_the_same_shape_at_another_place() -> None:
    mask = np.zeros((12, 15), dtype=bool)
    mask[2:6, 3:5] = True
    places = moved(mask, 30, np.random.default_rng(0))
    assert len(places) == 30 and all(one.sum() == mask.sum() for one in places)
    assert len({one.tobytes() for one in places}) > 20


OCCLUDED = """
title = "few"
description = "One image."
classifiers = [{ name = "efficientnet_lite0", weights = "random" }]

[images]
source = "imagenet-sample-images"
files = ["n01616318_vulture.JPEG"]

[region_occlusion]
fills = ["grey"]
shifts = 2
"""


def test_hiding_regions_of_a_real_image(project: Project, root: Path, mirrored: Path) -> None:
    shutil.copytree(root / "data" / "objects", project.root / "data" / "objects")
    write_study(project, "few", OCCLUDED)
    study = load_study(project, "few")
    told, planned, passes = counting()
    assert run(project, study, progress=told).computed == 2
    assert sum(passes) == planned[0][0] == 1 + 1 + 4 * 2 * 3
    assert run(project, study).computed == 0
    table = Store(project, "few").table("region_occlusion").set_index(["region", "shown"])
    assert set(table.index) == {
        (region, shown)
        for region in ("the vultures", "the chimney", "the house", "the sky")
        for shown in ("rest", "region")
    }
    assert table.xs("rest", level="shown")["area"].sum() == pytest.approx(1)

    classifier = load_classifier(project, "efficientnet_lite0", "random")
    image = read_image(next((project.cache).rglob("*vulture*")))
    crop = classifier.crop(image)
    target = int(classifier.probabilities(crop[None])[0].argmax())
    stem, source = "n01616318_vulture", "imagenet-sample-images"
    parts = parts_of_frame(
        load_regions(project, source)[stem],
        load_outlines(project, source)[stem],
        classifier.frame(image),
        image.size,
    )
    for region, shown in table.index:
        hidden = parts[region] if shown == "rest" else ~parts[region]
        filled = hide(crop, hidden, "grey", classifier.preprocessing.mean)
        prediction = classifier.probabilities(filled[None])[0]
        row = table.loc[region, shown]
        assert row["area"] == pytest.approx(parts[region].mean())
        assert row["probability"] == pytest.approx(prediction[target], rel=1e-3)
        assert row["best_probability"] == pytest.approx(prediction.max(), rel=1e-3)


def test_region_occlusion_needs_regions_that_are_outlined(project: Project, mirrored: Path) -> None:
    write_study(project, "few", OCCLUDED.replace("n01616318_vulture", "n07747607_orange"))
    with pytest.raises(StudyError, match="No region of the study's images is outlined"):
        run(project, load_study(project, "few"))


def test_sections_name_what_they_build_on(tiny: Project) -> None:
    path = tiny.study_file("tiny")
    text = path.read_text()
    path.write_text(text + "\n[region_occlusion]\n")
    with pytest.raises(StudyError, match="`region_occlusion` needs images from a source"):
        load_study(tiny, "tiny")
    path.write_text(text.split("[lime]")[0] + LARGE_SAMPLE)
    with pytest.raises(StudyError, match="`large_sample` takes LIME's other parameters"):
        load_study(tiny, "tiny")


PROVENANCE = ("study", "signature", "computed", "classifiers", "methods", "images")
"""What every provenance tells."""

COLUMNS_OF = {name: columns for kind in EXPERIMENTS for name, columns in kind.TABLES.items()}
NAMES = {"classifier", "image", "method", "first", "second", "layer", "block", "category", "region"}
NAMES |= {"variant", "wnid", "label", "rule", "class", "concept", "kind", "reason", "curve"}
"""The columns that hold names and other words, in whichever table."""


def test_missing_numbers_are_read_as_numbers_and_words_as_words(tiny: Project) -> None:
    store = Store(tiny, "tiny")
    columns = ["classifier", "image", "first", "second", "rho", "rho_other_images"]
    rows = [("c", "nan", "null", "", 0.5, float("nan")), ("c", "p", "1", "2", float("nan"), 1.0)]
    table = pd.DataFrame(rows, columns=columns)
    store.write_tables({"correlations": (dict.fromkeys(columns, ""), table)})
    store.write_provenance(dict.fromkeys(PROVENANCE, ""))
    table = store.table("correlations")
    assert list(table["image"]) == ["nan", "p"] and list(table["first"]) == ["null", "1"]
    np.testing.assert_array_equal(table["rho"], [0.5, np.nan])
    np.testing.assert_array_equal(table["rho_other_images"], [np.nan, 1.0])


ODD = ("7", "007", "1e5", "NA", "nan", "None", "True", "")
"""Names that look like something else."""


@pytest.mark.parametrize("odd", [("7",), ("0", "1"), ("True", "False"), ODD])
def test_names_that_look_like_numbers_are_read_as_they_were_written(
    tiny: Project, odd: tuple[str, ...]
) -> None:
    store, tables = Store(tiny, "tiny"), {}
    for name, columns in COLUMNS_OF.items():
        names = {column: odd if column in NAMES else range(len(odd)) for column in columns}
        tables[name] = (columns, pd.DataFrame(names))
    store.write_tables(tables)
    store.write_provenance(dict.fromkeys(PROVENANCE, ""))
    for name, columns in COLUMNS_OF.items():
        for column in NAMES & {*columns}:
            assert list(store.table(name)[column]) == [*odd], (name, column)

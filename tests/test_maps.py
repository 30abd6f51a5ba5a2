"""A study explains its images in depth: other classes, layers, draws and superpixels."""

import numpy as np
import pytest
from pytorch_grad_cam.utils.image import scale_cam_image
from scipy.stats import spearmanr

from conftest import change_study, counting
from vitrine.data.images import read_image
from vitrine.errors import StudyError
from vitrine.experiments.lime_analysis import DRAWS
from vitrine.experiments.run import Summary, run
from vitrine.methods import lime
from vitrine.methods.cam import class_activation
from vitrine.methods.heatmap import upsample
from vitrine.methods.method import Query
from vitrine.methods.perturbation import fidelities, mask
from vitrine.methods.superpixels import superpixels
from vitrine.models.inference import InferenceOptions
from vitrine.models.registry import load_classifier
from vitrine.project import Project
from vitrine.store import Store
from vitrine.study import load_study
from vitrine.study.lime import Grid

pytestmark = pytest.mark.usefixtures("small_crops")

DEEP = """
[cam]
methods = ["gradcam", "ablationcam", "eigencam"]
second = ["gradcam"]
layers = ["blocks.2"]

[lime.stability]
seeds = 3
samples = 20
sample_sizes = [10, 20, 25]

[lime.search]
segmentations = [{ method = "grid", rows = 2, columns = 3 }, { method = "quickshift", ratio = 0.5 }]
samples = [10, 20]
features = [1, 3]
"""


@pytest.fixture
def deep(tiny: Project) -> Project:
    path = tiny.study_file("tiny")
    text = path.read_text().replace('[cam]\nmethods = ["gradcam"]\n', "")
    path.write_text(text + DEEP)
    return tiny


def test_a_study_in_depth_is_computed_once_and_its_tables_are_whole(deep: Project) -> None:
    study = load_study(deep, "tiny")
    told, planned, passes = counting()
    steps = 2 * (1 + 3 + 1 + 1 + 1 + 1 + 2 + 3)
    assert run(deep, study, progress=told) == Summary(computed=steps, kept=0)
    assert sum(passes) == planned[0][0]
    assert run(deep, study) == Summary(computed=0, kept=steps)
    store = Store(deep, "tiny")
    for name in store.tables():
        assert len(store.table(name)) > 0, name
    assert (store.table("correlations").groupby(["first", "second"]).size() == 2).all()
    costs = store.table("costs").set_index(["image", "method"])
    assert costs.loc[("noise", "ablationcam"), "head_passes"] == 1280
    assert costs.loc[("noise", "lime"), "passes"] == 24
    assert store.provenance()["passes"]["efficientnet_lite0"]["batch"] == 8

    _check_variants(deep, store)
    _check_stability(deep, store)
    _check_search(store)
    _check_fidelity(deep, store)
    _check_control(deep, store)


def _crop(project: Project, name: str):  # type: ignore[no-untyped-def]
    classifier = load_classifier(project, "efficientnet_lite0", "random")
    (path,) = (project.root / "images").glob(f"*{name}.png")
    image = read_image(path)
    return classifier, classifier.crop(image), classifier.frame(image)


def _check_variants(project: Project, store: Store) -> None:
    classifier, crop, frame = _crop(project, "noise")
    ranked = store.table("predictions").query("image == 'noise'").set_index("rank")
    rows = store.table("variants").query("image == 'noise'").set_index("variant")
    assert rows.loc["second", "target"] == ranked.loc[2, "target"]
    assert rows.loc["at-blocks.2", "target"] == ranked.loc[1, "target"]
    assert rows.loc["at-blocks.2", "layer"] == "blocks.2"
    first = store.heatmap("efficientnet_lite0", "gradcam", "noise")
    for variant, layer in (("second", None), ("at-blocks.2", "blocks.2")):
        stored = store.heatmap("efficientnet_lite0", "gradcam", "noise", variant)
        target = int(rows.loc[variant, "target"])
        expected = class_activation(
            Query("gradcam", classifier, crop, frame, target, layer=layer)
        ).heatmap
        np.testing.assert_allclose(stored.values, expected.values, atol=1e-5)
        rho = spearmanr(stored.values.ravel(), first.values.ravel()).statistic
        assert rows.loc[variant, "rho"] == pytest.approx(rho, abs=1e-6)


def _check_stability(project: Project, store: Store) -> None:
    """Written out for one image: three explanations of 20 samples, and two of 25."""
    classifier, crop, _ = _crop(project, "noise")
    study = load_study(project, "tiny")
    segments = superpixels(crop, study.lime.segmentation, 0)
    target = int(store.table("predictions").query("image == 'noise'")["target"].iloc[0])
    drawn = [study.lime.model_copy(update={"samples": 20, "seed": seed}) for seed in range(3)]
    options, masked = InferenceOptions(batch=8), mask(classifier, crop, segments, target)
    weights = [
        lime.explain_by_lime(classifier, masked, each, settings=options).weights for each in drawn
    ]
    repeats = store.table("repeats").query("image == 'noise'")
    np.testing.assert_allclose(repeats["mean"], np.mean(weights, axis=0), atol=1e-6)
    np.testing.assert_allclose(repeats["std"], np.std(weights, axis=0, ddof=1), atol=1e-6)
    stability = store.table("stability").query("image == 'noise'").set_index("samples")
    assert list(stability["runs"]) == [3, 3, 2]
    best = [set(np.argsort(-row)[:10][np.sort(-row)[:10] < 0]) for row in weights]
    pairs = [(0, 1), (0, 2), (1, 2)]
    jaccard = np.mean([len(best[a] & best[b]) / len(best[a] | best[b]) for a, b in pairs])
    assert stability.loc[20, "jaccard"] == pytest.approx(jaccard)


def _check_search(store: Store) -> None:
    table = store.table("search")
    assert len(table) == 2 * 2 * 2 * 2
    assert set(table["segmentation"]) == {"grid-2-3", "quickshift-4-200-0.5"}
    grid = table.query("method == 'grid' and image == 'noise' and features == 3")
    assert (grid["superpixels"] == 6).all()
    assert grid["area"].max() <= 3 / 6 + 1e-9
    assert table["jaccard"].between(0, 1).all()
    whole = store.table("predictions").query("rank == 1").set_index("image")["probability"]
    np.testing.assert_allclose(table["p_original"], whole.loc[table["image"]], rtol=1e-4)


def _check_fidelity(project: Project, store: Store) -> None:
    classifier, crop, _ = _crop(project, "noise")
    task = store.read_task(f"efficientnet_lite0/lime/{store.files()['noise']}")
    segments = task.arrays["segments"]
    weights = store.table("superpixels").query("image == 'noise'")["weight"].to_numpy()
    target = int(store.table("predictions").query("image == 'noise'")["target"].iloc[0])
    rows = store.table("fidelity").query("image == 'noise'").set_index("rule")
    both = np.argsort(-np.abs(weights), kind="stable")[:10]
    for rule, chosen in (("both signs", both), ("positive", [i for i in both if weights[i] > 0])):
        (found,) = fidelities(
            classifier, mask(classifier, crop, segments, target), [[int(i) for i in chosen]]
        )
        if rule == "both signs" or len(chosen) == 10:
            assert rows.loc[rule, "p_kept"] == pytest.approx(found.p_kept, rel=1e-4)
            assert rows.loc[rule, "p_removed"] == pytest.approx(found.p_removed, rel=1e-4)


def _check_control(project: Project, store: Store) -> None:
    """Written out for six rectangles, of which LIME was asked for one and three."""
    classifier, crop, _ = _crop(project, "noise")
    segments = superpixels(crop, Grid(rows=2, columns=3), 0)
    target = int(store.table("predictions").query("image == 'noise'")["target"].iloc[0])
    table = store.table("search").query("image == 'noise' and segmentation == 'grid-2-3'")
    drawn = np.random.default_rng(0)
    orders = [drawn.permutation(6) for _ in range(DRAWS)]
    for _, row in table[table["area"] > (table["features"] - 0.25) / 6].iterrows():
        chosen = [order[: row["features"]] for order in orders]
        found = fidelities(
            classifier, mask(classifier, crop, segments, target), [list(one) for one in chosen]
        )
        for name in ("p_kept", "p_removed"):
            mean = np.mean([getattr(one, name) for one in found])
            assert row[f"{name}_random"] == pytest.approx(mean, rel=1e-4)
        assert row["area_random"] == pytest.approx(row["features"] / 6, abs=0.01)


@pytest.mark.parametrize("size", [(7, 7), (14, 9), (56, 56)])
def test_a_map_is_enlarged_as_the_library_does(size: tuple[int, int]) -> None:
    evidence = np.random.default_rng(0).normal(size=size).astype(np.float32)
    once = scale_cam_image(np.maximum(evidence[None], 0), (224, 200))
    expected = scale_cam_image(np.maximum(once, 0))[0]
    np.testing.assert_allclose(upsample(evidence, (200, 224)), expected, atol=2e-6)
    assert (upsample(-np.abs(evidence), (8, 8)) == 0).all()


def test_an_image_without_superpixels_is_named_and_the_rest_is_kept(deep: Project) -> None:
    wide = "{ method = 'felzenszwalb', scale = 1e9, min_size = 1000000 }"
    change_study(deep, '{ method = "quickshift", ratio = 0.5 }', wide)
    with pytest.raises(StudyError, match="^red square: The segmentation found one superpixel"):
        run(deep, load_study(deep, "tiny"))
    assert Store(deep, "tiny").task_key("efficientnet_lite0/lime/n00000002_noise.png")


def test_settings_are_measured_once_and_kept(
    tiny: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_study(tiny, "[speed]\nbatch = 8\n", "")
    measured: list[str] = []

    def fastest(classifier: object) -> InferenceOptions:
        measured.append(str(classifier)[:10])
        return InferenceOptions(batch=4)

    monkeypatch.setattr("vitrine.experiments.base.fastest_options", fastest)
    run(tiny, load_study(tiny, "tiny"))
    assert len(measured) == 1
    assert Store(tiny, "tiny").provenance()["passes"]["efficientnet_lite0"]["batch"] == 4
    change_study(tiny, "n00000002_noise", "n00000001_noise")
    noise = tiny.root / "images" / "n00000002_noise.png"
    noise.rename(noise.with_name("n00000001_noise.png"))
    assert run(tiny, load_study(tiny, "tiny")).computed == 4
    assert len(measured) == 1

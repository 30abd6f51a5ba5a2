"""A study's maps are attributed and measured, resumably, and what cannot be done is said."""

import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

from conftest import MEASURES, STUDY, counting, new_tiny, write_study
from networks import CROP, FRAME, Awkward, asked, classifier_of
from oracles import infidelity
from vitrine.data.images import read_image
from vitrine.errors import NotApplicable, StudyError
from vitrine.experiments.evaluation import TABLES, measured_methods
from vitrine.experiments.run import Summary, check_study, run
from vitrine.experiments.trials import TRIALS, Case
from vitrine.measures.faithfulness import normalized_infidelity
from vitrine.measures.map_extent import gini
from vitrine.measures.mprt import values_correlation
from vitrine.measures.registry import VALUES
from vitrine.measures.sensitivity import perturbations
from vitrine.methods.attribution import ATTRIBUTION_METHODS, Parameters, attribute, explaining
from vitrine.methods.baselines import BASELINES
from vitrine.methods.cam import class_activation
from vitrine.methods.lime import explain_by_lime
from vitrine.methods.method import Explain, Query
from vitrine.methods.perturbation import mask
from vitrine.methods.registry import METHODS
from vitrine.methods.superpixels import superpixels
from vitrine.models.inference import InferenceOptions
from vitrine.models.registry import load_classifier
from vitrine.project import Project
from vitrine.store import Store
from vitrine.study import load_study
from vitrine.study.lime import Lime, Slic
from vitrine.study.sections import Measures

pytestmark = pytest.mark.usefixtures("small_crops")

MEASURED = (
    MEASURES
    + """
[attribution]
methods = ["gradient", "lrp", "smoothgrad_squared", "vargrad", "lrp_captum"]
batch = 4
samples = 2
noisy_steps = 2
lrp_networks = [{ name = "resnet18", weights = "random" }]
"""
)

WAYS = ("faithfulness", "sensitivity", "mprt")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A study run once: two images, one of them for the measures only."""
    text = STUDY.replace('"n00000002_noise.png"]', ']\nextra = ["n00000002_noise.png"]')
    project = new_tiny(tmp_path_factory.mktemp("measured"), text + MEASURED)
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(project.root / "images" / "n00000001_red_square.png")
    Image.fromarray(noise[:, ::-1]).save(project.root / "images" / "n00000002_noise.png")
    told, planned, passes = counting()
    study = load_study(project, "tiny")
    # gradcam and lime and five attributions, and two maps that see no network
    of_an_image = 3 + 5 + (7 + 2) * len(WAYS) + 4
    control, elsewhere = 1, 1 + 2 + 2
    summary = run(project, study, progress=told)
    assert summary == Summary(2 * of_an_image + control + elsewhere, 0)
    assert sum(passes) == planned[0][0]
    assert run(project, study) == Summary(0, summary.computed)
    return project


def test_every_table_is_there_and_every_method_has_every_measure(measured: Project) -> None:
    study, store = load_study(measured, "tiny"), Store(measured, "tiny")
    for name in (*TABLES, "attributions"):
        assert len(store.table(name)) > 0, name
    table = store.table("evaluation")
    assert set(table["classifier"]) == {"efficientnet_lite0"}
    assert set(table["image"]) == {"red square", "noise"}
    for method in measured_methods(study):
        own = set(table.query("method == @method")["measure"])
        assert own == VALUES.keys() - (set() if METHODS[method].stochastic else {"seed_stability"})
    silent = table["value"].isna()
    assert (table["reason"][silent] != "").all() and (table["reason"][~silent] == "").all()
    assert set(store.table("predictions")["image"]) == {"red square", "noise"}
    assert set(store.table("maps")["image"]) == {"red square"}


def test_a_method_that_a_network_cannot_support_is_named_and_the_rest_goes_on(
    measured: Project,
) -> None:
    store = Store(measured, "tiny")
    rows = store.table("attributions").set_index(["classifier", "method", "image"])
    reason = rows.loc[("efficientnet_lite0", "lrp_captum", "noise"), "reason"]
    assert reason == "Captum has no rule for the network's modules of the type Conv2dSame"
    assert np.isnan(rows.loc[("efficientnet_lite0", "lrp_captum", "noise"), "total"])
    table = store.table("evaluation").query("method == 'lrp_captum'")
    assert table["value"].isna().all() and (table["reason"] == reason).all()
    with pytest.raises(NotApplicable, match="has no rule"):
        store.heatmap("efficientnet_lite0", "lrp_captum", "noise")
    assert rows.loc[("efficientnet_lite0", "lrp", "noise"), "reason"] == ""


def test_relevance_is_kept_and_captums_is_not_where_a_shortcut_is_added(measured: Project) -> None:
    rows = Store(measured, "tiny").table("attributions")
    right = rows.query("method == 'lrp'")
    assert set(right["classifier"]) == {"efficientnet_lite0", "resnet18"}
    assert np.allclose(right["total"], right["logit"], rtol=1e-3)
    wrong = rows.query("classifier == 'resnet18' and method == 'lrp_captum'").iloc[0]
    assert abs(wrong["total"]) > 1000 * abs(wrong["logit"])
    moved = Store(measured, "tiny").table("sensitivities").set_index(["classifier", "method"])
    own, captums = (
        moved.loc[("resnet18", key), "by_channel"].item() for key in ("lrp", "lrp_captum")
    )
    assert own < captums


def test_a_stored_map_is_the_methods_map(measured: Project) -> None:
    store = Store(measured, "tiny")
    classifier = load_classifier(measured, "efficientnet_lite0", "random")
    image = read_image(measured.root / "images" / "n00000001_red_square.png")
    stored = store.heatmap("efficientnet_lite0", "gradient", "red square")
    crop, frame = classifier.crop(image), classifier.frame(image)
    settings = InferenceOptions(batch=8)
    query = Query("gradient", classifier, crop, frame, stored.target, Parameters(batch=4), settings)
    found = attribute(query).values
    assert np.allclose(stored.values, found, atol=1e-3 * np.abs(found).max())
    rows = store.table("evaluation").set_index(["image", "method", "measure"])["value"]
    assert rows["red square", "gradient", "gini"] == pytest.approx(gini(stored.values), rel=1e-6)
    drawn = BASELINES["edges"].draw(crop, 0)
    assert rows["red square", "edges", "gini"] == pytest.approx(gini(drawn), rel=1e-6)


def test_the_untrained_network_is_the_last_stage(measured: Project) -> None:
    store = Store(measured, "tiny")
    table = store.table("randomised").query("image == 'noise' and method == 'edges'")
    assert list(table["block"]) == ["classifier", "conv_stem"]
    assert np.allclose(table[["rho", "ssim"]], 1, atol=1e-3)  # edges do not see the network
    task = store.read_task("efficientnet_lite0/gradient.mprt/n00000002_noise.png")
    assert task.arrays["maps"].shape == (2, 48, 48)
    rows = store.table("evaluation").set_index(["image", "method", "measure"])["value"]
    last = max(0, task.arrays["rho"][-1], task.arrays["rho_absolute"][-1])
    assert rows["noise", "gradient", "mprt"] == pytest.approx(last)


def test_seeds_are_compared_in_pairs(measured: Project) -> None:
    store = Store(measured, "tiny")
    classifier = load_classifier(measured, "efficientnet_lite0", "random")
    crop = classifier.crop(read_image(measured.root / "images" / "n00000002_noise.png"))
    maps = [BASELINES["random"].draw(crop, seed).ravel() for seed in (1, 2)]
    expected = np.mean([spearmanr(*pair).statistic for pair in combinations(maps, 2)])
    rows = store.table("evaluation").set_index(["image", "method", "measure"])["value"]
    assert rows["noise", "random", "seed_stability"] == pytest.approx(expected, abs=1e-6)
    assert rows["noise", "lime", "seed_stability"] < 1


def test_only_the_measure_that_changed_is_computed_again(measured: Project) -> None:
    path = measured.study_file("tiny")
    before = path.read_text()
    path.write_text(before.replace("squares = 4", "squares = 5"))
    study = load_study(measured, "tiny")
    assert run(measured, study).computed == 2 * 9  # the faithfulness of each map, and no more


ASKED = Query(
    "", classifier_of(Awkward(), "last"), CROP, FRAME, 2, Parameters(), InferenceOptions(batch=7)
)
"""Of any method; LIME's parameters stand in ``LIME``."""

LIME = Lime(samples=40, seed=0, batch=7, segmentation=Slic(n_segments=9))


def _repeated(method: str, **changes: object) -> AbstractContextManager[Explain]:
    return METHODS[method].repeated(replace(ASKED, method=method, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["gradcam", "scorecam", "gradient", "lrp"])
def test_a_method_on_an_input_gives_the_map_of_the_image(method: str) -> None:
    classifier = ASKED.classifier
    inputs = classifier.normalise(CROP[None]).numpy()
    batch = np.concatenate([inputs, inputs[:, :, ::-1]])
    with _repeated(method) as maps:
        (found,) = maps(batch).values()
    if method in ATTRIBUTION_METHODS:
        expected = attribute(asked(method, classifier, 2)).values
        assert found.shape == (2, 3, 32, 32)
    else:
        expected = class_activation(asked(method, classifier, 2)).heatmap.values
        assert found.shape == (2, 1, 32, 32)
    assert np.allclose(found[0].sum(axis=0), expected, atol=1e-4 * np.abs(expected).max())
    assert not np.allclose(found[0], found[1])


def test_lime_on_an_input_is_lime_but_for_rounded_colours() -> None:
    inputs = ASKED.classifier.normalise(CROP[None]).numpy()
    with _repeated("lime", parameters=LIME) as maps:
        moved = inputs + perturbations((3, 32, 32), 0, 1, 0.02)
        found, other = maps(np.concatenate([inputs, moved]))["lime"]
    segments = superpixels(CROP, LIME.segmentation, LIME.seed)
    model = explain_by_lime(ASKED.classifier, mask(ASKED.classifier, CROP, segments, 2), LIME)
    alike = values_correlation(model.weights[segments], found[0])
    assert alike == pytest.approx(1, abs=0.02)
    assert not np.array_equal(found, other)


@pytest.mark.parametrize("method", ["smoothgrad_squared", "vargrad", "gradient_shap", "lime"])
def test_nothing_moves_a_stochastic_map_but_the_image_or_the_seed(method: str) -> None:
    inputs = ASKED.classifier.normalise(CROP[None]).numpy()
    parameters = LIME if method == "lime" else ASKED.parameters
    wanted = Measures(perturbations=2)
    query = replace(ASKED, method=method, parameters=parameters)
    still = wanted.model_copy(update={"radius": 0.0})
    case = Case(query, inputs, still, 2, lambda _: inputs[0, 0], False, {}, [query.method])
    facts = TRIALS["sensitivity"].compute(case)[method].facts
    assert facts["value"] == 0 and facts["by_channel"] == 0
    if method != "lime":  # another seed cuts other superpixels
        assert facts["seed_part"] > 0.01 and facts["seed_part_by_channel"] > 0.01
    moved = replace(case, wanted=wanted)
    assert TRIALS["sensitivity"].compute(moved)[method].facts["value"] > 0
    steady = replace(case, query=replace(ASKED, method="gradient"))
    assert "seed_part" not in TRIALS["sensitivity"].compute(steady)["gradient"].facts


def test_two_summaries_of_the_same_noise_are_each_methods_own() -> None:
    batch = ASKED.classifier.normalise(CROP[None]).repeat(2, 1, 1, 1)
    few = Parameters(samples=3, noisy_steps=3)
    with explaining(asked("vargrad", ASKED.classifier, 2, few)) as explained:
        together = explained(batch)
    assert set(together) == {"vargrad", "smoothgrad_squared"}
    for method, found in together.items():
        with explaining(asked(method, ASKED.classifier, 2, few)) as explained_alone:
            assert torch.equal(found, explained_alone(batch)[method])
    with explaining(replace(ASKED, method="gradient")) as explained:
        assert set(explained(batch)) == {"gradient"}


def test_the_memory_layout_changes_rounding_only() -> None:
    batch = ASKED.classifier.normalise(CROP[None])
    for method in ("gradient", "lrp", "guided_backpropagation", "integrated_gradients"):
        found = []
        for settings in (
            InferenceOptions(),
            InferenceOptions(channels_last=True, keep_memory=True),
        ):
            with explaining(replace(ASKED, method=method, settings=settings)) as explained:
                found.append(explained(batch)[method])
        assert torch.allclose(*found, rtol=1e-3, atol=1e-5 * float(found[0].abs().max()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_gives_the_maps_of_the_processor(root: Path) -> None:
    """To a rank correlation of 0.999: convolutions round otherwise there."""
    maps = []
    for device in ("cpu", "cuda"):
        classifier = load_classifier(Project(root), "efficientnet_lite0", "random", 0, device)
        batch = classifier.normalise(CROP.repeat(7, axis=0).repeat(7, axis=1)[None])
        with explaining(asked("integrated_gradients", classifier, 2)) as explained:
            maps.append(explained(batch)["integrated_gradients"].cpu().numpy().sum(axis=1).ravel())
    assert spearmanr(*maps).statistic > 0.999


def test_normalized_infidelity_is_scaled_infidelity_of_here_or_not() -> None:
    generator = np.random.default_rng(3)
    values, lost = generator.normal(size=(8, 8)), generator.normal(size=12) + 1
    places = generator.random((12, 8, 8)) < 0.3
    claimed = np.array([values[place].sum() for place in places])
    if claimed @ lost < 0:
        values, claimed = -values, -claimed
    error = infidelity(values[None], places[:, None].astype(np.float32), lost)
    assert normalized_infidelity(values, places, lost) == pytest.approx(error / np.mean(lost**2))
    # The reverse of the truth is no knowledge.
    assert normalized_infidelity(-values, places, lost) == 1
    assert normalized_infidelity(values, places, 3 * claimed) == pytest.approx(0, abs=1e-12)
    assert np.isnan(normalized_infidelity(values * 0, places, lost))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"lrp", ', '"lpr", ', "There is no attribution method 'lpr'. Did you mean 'lrp'"),
        ('"lrp", ', '"lrp", "lrp", ', "`attribution.methods`: listed twice: lrp"),
        ("stages = 2", "stages = 0", "measures.stages"),
        ("seeds = 2", "seeds = 1", "measures.seeds"),
        ("radius", "radios", "radios"),
        ('"efficientnet_lite0"', '"efficientnet_light0"', "Did you mean 'efficientnet_lite0'"),
        ('["gradcam"]', '["gradcam", "gradkam"]', "no CAM method 'gradkam'"),
        ('["gradcam"]', '["gradcam"]\nlayer = "x"', "has no layer 'x'"),
        ('["gradcam"]', '["gradcam"]\nlayers = ["blocks.22"]', "has no layer 'blocks.22'"),
        ('["gradcam"]', '["gradcam"]\nsecond = ["layercam"]', "but not the predicted class"),
        (
            '["gradcam"]',
            '["gradcam", "eigencam"]\nsecond = ["eigencam"]',
            "EigenCAM does not depend on the class",
        ),
        ("# lrp_networks", "lrp_networks", "attribution.lrp_networks names networks"),
    ],
)
def test_a_wrong_study_stops_before_work(tiny: Project, old: str, new: str, message: str) -> None:
    path = tiny.study_file("tiny")
    text = (path.read_text() + MEASURED).replace(
        "perturbations = 1", "perturbations = 1\nradius = 0.1"
    )
    path.write_text(text.replace("lrp_networks =", "# lrp_networks =").replace(old, new))
    with pytest.raises(StudyError, match=re.escape(message)):
        run(tiny, load_study(tiny, "tiny"))
    assert not (tiny.results / "tiny").exists()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("[measures]\ninfidelity_side = 225", "measures.infidelity_side is 225 pixels, and the in"),
        ("[attribution]\nmethods = ['occlusion']\nwindow = 225", "attribution.window is 225 pix"),
        ("[attribution]\nmethods = ['occlusion']\nwindow = 8", "stride is 16 pixels and attrib"),
        ("[attribution]\nmethods = ['gradient']\nwindow = 225", ""),
    ],
)
def test_a_square_larger_than_the_input_stops_before_work_starts(
    tiny: Project, section: str, said: str
) -> None:
    write_study(tiny, "tiny", STUDY + section)
    with pytest.raises(StudyError, match=said) if said else nullcontext():
        check_study(tiny, load_study(tiny, "tiny"))


def test_a_method_too_costly_to_repeat_says_so_and_is_measured_otherwise(tmp_path: Path) -> None:
    wanted = "[measures]\ncurve_steps = 2\ninfidelity_squares = 2\ninfidelity_side = 60\n"
    project = new_tiny(tmp_path, STUDY + wanted + "expensive_passes = 2\nexpensive_repeats = 0\n")
    run(project, load_study(project, "tiny"))
    rows = Store(project, "tiny").table("evaluation").query("method == 'lime'")
    values = rows.groupby("measure")["value"].count()
    assert values["sensitivity"] == 0 and values["mprt"] == 0 and values["insertion_mean"] == 2
    reasons = rows.query("measure == 'sensitivity'")["reason"]
    assert reasons.str.contains("more passes than the study repeats").all()

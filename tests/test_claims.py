"""Every claim of the earlier reports has its verdict, whatever study is shown."""

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claims import JUDGES, VERDICTS, Judgement, Part, claims_of, judged, ledger_table, verdicts
from claims.attribution import EIGHT
from claims.evidence import THREE
from claims.judgement import told
from claims.ledger import BY_CHAPTER, REPORTS
from conftest import ROOT
from stub_study import UNSOUND, stub_study
from vitrine.project import Project
from vitrine.report import tables
from vitrine.report.published import PublishedReport, open_published
from vitrine.report.study_report import StudyReport

NAMED = (
    "goldfish", "tiger shark", "American coot", "West Highland white terrier", "vulture", "orange",
    "racer",
)  # fmt: skip


@pytest.fixture(scope="module")
def published() -> Iterator[PublishedReport]:
    """The imported runs, of which claims read only what the store has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRINE_PROJECT", str(ROOT))
        found = open_published()
        patch.setattr(found.store, "table", cache(found.store.table))
        yield found


@st.composite
def studies(draw: st.DrawFn) -> StudyReport:
    """A study of any images, methods, parts and networks, with maps that may be blank."""
    generator = np.random.default_rng(draw(st.integers(0, 2**16)))
    images = draw(st.lists(st.sampled_from([*NAMED, "a", "b", "c"]), min_size=1, unique=True))
    blank = draw(st.booleans())

    def noise(*shape: int) -> np.ndarray:
        values = np.zeros(shape) if blank else generator.random(shape)
        return np.where(generator.random(shape) < 0.1, np.nan, values)

    methods = draw(st.sets(st.sampled_from([*THREE, "lime", *EIGHT])))
    found = _maps(images, methods, noise) | _pairs(images, noise) | _lime(images, noise)
    rows, tables = _dissection(draw, generator)
    found |= tables
    for name in draw(st.sets(st.sampled_from(sorted(found)))):
        del found[name]
    outlined = draw(st.booleans())
    chimney = np.tri(8, dtype=bool)
    masks = {image: np.tri(8, dtype=bool) for image in images if draw(st.booleans())}

    def heatmap(method: str, image: str) -> Any:
        return SimpleNamespace(values=np.nan_to_num(noise(8, 8)))

    return stub_study(
        found,
        {"lime": {"samples": 50}, "agreement": {"share": 0.2}, "dissection": draw(_probing())},
        images=images,
        objects=masks,
        heatmap=heatmap,
        parts=lambda image: {"the chimney": chimney, "the house": ~chimney} if outlined else {},
        segments=lambda image: np.arange(64).reshape(8, 8) // 16,
        prediction=lambda image: pd.Series({"category": "anything"}),
        dissection={"classifiers": rows} if rows else {},
        provenance={},
        store=SimpleNamespace(
            tables=lambda: list(found),
            table=lambda name: found[name].assign(classifier="shown"),
            project=Project(ROOT),
        ),
    )


def _probing() -> st.SearchStrategy[dict[str, Any]]:
    source = st.sampled_from(["imagenet-sample-images", "others"])
    return source.map(lambda name: {"images": {"source": name}})


def _maps(images: list[str], methods: set[str], noise: Any) -> dict[str, pd.DataFrame]:
    rows = pd.DataFrame(
        [(i, m) for i in images for m in sorted(methods)], columns=["image", "method"]
    )
    size = len(rows)
    cams, others = rows["method"].isin(THREE), rows["method"].isin(EIGHT)
    return {
        "maps": rows.assign(area_half_max=noise(size))[cams | (rows["method"] == "lime")],
        "costs": rows.assign(seconds=noise(size)),
        "attributions": rows.assign(seconds=noise(size), reason="")[others],
        "sensitivities": rows.assign(by_channel=noise(size)),
    }


def _pairs(images: list[str], noise: Any) -> dict[str, pd.DataFrame]:
    size = len(images)
    pair = pd.DataFrame({"image": images, "first": "lime", "second": "gradcam", "iou": noise(size)})
    return {
        "agreement": pair.assign(share=0.2),
        "ious": pd.concat([pair.assign(rule=rule, iou=noise(size)) for rule in ("lime1", "lime2")]),
        "large_sample": pd.DataFrame({"image": images, "edges": noise(size)}),
        "large_sample_iou": pair,
    }


def _lime(images: list[str], noise: Any) -> dict[str, pd.DataFrame]:

    def each(column: str, values: Iterable[Any]) -> pd.DataFrame:
        return pd.DataFrame(list(product(images, values)), columns=["image", column])

    repeated, weights = each("samples", (50, 600, 900)), each("superpixel", range(4))
    searched = each("segmentation", ("quickshift-4-200-0.2", "grid-7-7")).assign(samples=600)
    return {
        "lime": pd.DataFrame({"image": images, "reason": ""}),
        "stability": repeated.assign(jaccard=noise(len(repeated))),
        "search": searched.assign(p_kept=noise(len(searched)), p_removed=noise(len(searched))),
        "superpixels": weights.assign(weight=noise(len(weights))),
    }


def _dissection(
    draw: st.DrawFn, generator: np.random.Generator
) -> tuple[list[dict[str, Any]], dict[str, pd.DataFrame]]:
    names = draw(st.lists(st.sampled_from(["resnet50", "resnet18_places365", "x"]), unique=True))
    sets = st.sampled_from(["ImageNet", "Places365", "other"])
    rows = [{"name": name, "network": name, "training_set": draw(sets)} for name in names]
    units, layers = [], []
    for name in names:
        for layer in ("one", "two", "fc")[: draw(st.integers(1, 3))]:
            layers.append({"network": name, "layer": layer})
            units += [{"network": name, "layer": layer, "unit": unit} for unit in range(3)]
    table = pd.DataFrame(units, columns=["network", "layer", "unit"])
    size = len(table)
    words, kinds = ("dog", "red", "hill"), ("object", "color", "scene")
    table = table.assign(
        label=generator.choice(words, size),
        kind=generator.choice(kinds, size),
        similarity=generator.random(size),
        q_value=0.0,
        runner_up_1=generator.choice(words, size),
        runner_up_1_similarity=0.1,
    )
    layered = pd.DataFrame(layers, columns=["network", "layer"])
    means = {name: generator.random(len(layered)) for name in ("greatest", "mean", "null_mean")}
    probing = [layered.assign(rule="fixed", size=n, similarity=n / 100) for n in (20, 50)]
    return rows, {
        "units": table,
        "layers": layered.assign(**means),
        "classes": layered[layered["layer"] == "fc"],
        "probing": pd.concat(probing),
    }


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(study=studies())
def test_every_claim_is_judged_for_any_study(
    published: PublishedReport, study: StudyReport
) -> None:
    found = judged(study, published)
    assert set(found["verdict"]) <= set(VERDICTS)
    for text in found["why"]:
        assert text.endswith(".") and not UNSOUND.search(text), text
    assert str(len(found)) in verdicts(found).headline


def test_a_study_of_nothing_leaves_claims_undecided(published: PublishedReport) -> None:
    study = stub_study(
        {},
        images=["a"],
        objects={},
        dissection={},
        provenance={},
        store=SimpleNamespace(tables=list, project=Project(ROOT)),
    )
    found = judged(study, published).set_index("key")
    for key in ("chimney", "repeats", "samples_600", "occlusion_stable", "probing_grows"):
        assert found.loc[key, "verdict"] == "not decidable", key
        assert "This study" in found.loc[key, "why"]


def _of_places(units: pd.DataFrame) -> StudyReport:
    """The dissection of a network of places and of one of objects, with these units."""
    sets = {"p": "Places365", "i": "ImageNet"}
    networks = [{"network": name, "training_set": told} for name, told in sets.items()]
    layers = units[["network", "layer"]].drop_duplicates().assign(null_mean=[0.0, 1.0])
    return stub_study(
        {"units": units, "layers": layers},
        {"dissection": {"images": {"source": "imagenet-sample-images"}}},
        images=["a"],
        dissection={"classifiers": networks},
        store=SimpleNamespace(project=Project(ROOT)),
    )


def test_a_network_of_places_decides_the_claim_about_places(published: PublishedReport) -> None:
    units = pd.DataFrame(
        [
            (name, "layer4", place, place + higher)
            for name, higher in (("p", 0), ("i", 99))
            for place in range(30)
        ],
        columns=["network", "layer", "unit", "similarity"],
    )
    study = _of_places(units.assign(label="word", kind="object", q_value=0.0))
    assert JUDGES["places_less"](study, published).verdict == "confirmed"
    above = study.table("units").assign(
        similarity=lambda rows: rows["unit"] + (rows["network"] == "i")
    )
    alike = _of_places(above)
    assert JUDGES["places_less"](alike, published).verdict == "not decidable"  # above the null


def test_layers_without_units_leave_it_undecided_which_are_more_similar(
    published: PublishedReport,
) -> None:
    units = pd.DataFrame({"network": ["p", "i"], "layer": "fc"})
    study = _of_places(units.assign(label="constant", similarity=np.nan, q_value=np.nan))
    assert JUDGES["places_less"](study, published).verdict == "not decidable"


@pytest.mark.parametrize(("inside", "verdict"), [(0.0, "confirmed"), (0.3, "not decidable")])
def test_that_weight_lies_beside_a_small_object_is_judged_by_its_area(
    published: PublishedReport, inside: float, verdict: str
) -> None:
    mask, values = np.zeros((10, 10), dtype=bool), np.full((10, 10), 1 - inside)
    mask[0, 0], values[0, 0] = True, 99 * inside
    study = stub_study(
        {"maps": pd.DataFrame({"image": ["American coot"], "method": ["lime"]})},
        images=["American coot"],
        objects={"American coot": mask},
        heatmap=lambda method, image: SimpleNamespace(values=values),
    )
    assert JUDGES["coot"](study, published).verdict == verdict


@pytest.mark.parametrize(("q_value", "verdict"), [(0.0, "confirmed"), (1.0, "not decidable")])
def test_close_words_of_units_without_a_significant_label_decide_nothing(
    published: PublishedReport, q_value: float, verdict: str
) -> None:
    words = [f"word {place // 4}" for place in range(200)]
    runners = [f"word {place // 4 ^ 1}" for place in range(200)]
    units = pd.DataFrame({"network": "i", "layer": "fc", "label": words, "runner_up_1": runners})
    study = stub_study(
        {"units": units.assign(similarity=1.0, q_value=q_value)},
        dissection={"classifiers": [{"network": "i", "training_set": "ImageNet"}]},
    )
    assert JUDGES["close_concepts"](study, published).verdict == verdict


def test_relevance_propagation_is_judged_by_both_sets_of_rules(published: PublishedReport) -> None:
    values = {"lrp": 0.1, "lrp_captum": 9.0, "gradient": 0.5, "occlusion": 0.4}
    rows = pd.DataFrame(
        [(f"{place}", name, value) for place in range(9) for name, value in values.items()],
        columns=["image", "method", "by_channel"],
    )
    found = {"sensitivities": rows, "attributions": rows.assign(reason="")}
    judged_by_both = JUDGES["lrp_unstable"](stub_study(found, images=["0"]), published)
    assert judged_by_both.verdict == "in part" and "place 2 of 2" in judged_by_both.text


@pytest.mark.parametrize(
    ("halves", "verdict"),
    [
        ([(True, True)], "confirmed"),
        ([(True, None)], "confirmed"),
        ([(True,), (None,)], "in part"),
        ([(True, False)], "in part"),
        ([(False, None), (False,)], "refuted"),
        ([(None,), ()], "not decidable"),
    ],
)
def test_a_verdict_follows_from_its_comparisons(halves: list[Any], verdict: str) -> None:
    parts = tuple(Part("Said.", outcomes, str(n)) for n, outcomes in enumerate(halves))
    assert Judgement(parts).verdict == verdict


def test_outcomes_are_counted_in_words() -> None:
    assert told([True, True, None], "network") == "in two of three networks (one undecided)"
    assert told([False], "network") == "not in the one network"


def test_there_are_25_claims_of_four_reports(root: Path) -> None:
    claims = claims_of(Project(root))
    assert len(claims) == 25 and claims["key"].is_unique
    assert set(claims["source"]) == set(REPORTS)
    assert {key: chapter for chapter, judges in BY_CHAPTER.items() for key in judges} == dict(
        zip(claims["key"], claims["chapter"], strict=True)
    )


def test_every_claim_is_judged_once_with_a_number(
    embedded: StudyReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = judged(embedded, open_published()).set_index("key")
    assert set(found["verdict"]) <= set(VERDICTS)
    assert ledger_table(found.reset_index()).data.count("\n| ") >= len(found)
    known = {"low_alike": "confirmed", "roof": "in part", "classifier_highest": "in part"}
    assert {key: found.loc[key, "verdict"] for key in known} == known


def test_a_link_in_a_table_is_a_link_and_its_text_is_escaped() -> None:
    cell = tables.Link("a_b", "lime.qmd#sec-x")
    frame = pd.DataFrame({"where": pd.Series([cell], dtype=object)})
    assert r"[a\_b](lime.qmd#sec-x)" in tables.markdown_table(frame, {}, {})
    assert frame.to_csv(index=False).splitlines() == ["where", "lime.qmd#sec-x"]


@pytest.mark.usefixtures("embedded")
def test_published_maps_are_shown_in_any_frame_of_their_image() -> None:
    published = open_published()
    assert len(published.images) == 10
    frame, whole = (published.frame(run, "vulture") for run in ("lime_1", "gradcam"))
    assert frame.size == (224, 224) and whole.box == (0, 0, 500, 375)
    mask = published.map_in("lime_1", "vulture", frame)
    regions = published.table("regions").set_index(["run", "image"])
    assert (mask != 0).mean() == pytest.approx(regions.loc[("lime_1", "vulture"), "marked"])
    assert published.map_in("gradcam", "vulture", frame).shape == frame.size
    assert published.crop("vulture", frame, 60).shape == (60, 60, 3)
    assert published.on_object("kite").isna().all()  # it shows no bird

"""Findings about class activation maps, whichever way they come out."""

from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import ROOT
from stub_study import assert_sound, findings_of, stub_study
from vitrine.measures.agreement import matched_and_mismatched
from vitrine.measures.localisation import points_at
from vitrine.project import Project
from vitrine.report import cams
from vitrine.report.findings import cam
from vitrine.report.study_report import StudyReport
from vitrine.store import Store

METHODS = ["gradcam", "hirescam", "eigencam", "ablationcam", "scorecam", "layercam"]
FINDINGS = findings_of(cam)


def build(
    methods: list[str],
    count: int,
    rng: np.random.Generator,
    blank: float = 0.0,
    outlined: int | None = None,
    rho: float | None = None,
    **extra: Any,
) -> StudyReport:
    """A study with maps of 6 x 6 pixels, of which a share ``blank`` is zero everywhere."""
    images = [f"image {n}" for n in range(count)]
    maps = {(m, i): rng.random((6, 6)) * (rng.random() >= blank) for m in methods for i in images}
    masks = {i: np.arange(36).reshape(6, 6) < rng.integers(1, 35) for i in images[:outlined]}
    either = [(m, i) for m in methods for i in images]

    def correlation(first: str, second: str, image: str) -> float:
        known = np.ptp(maps[first, image]) and np.ptp(maps[second, image])
        return (rng.uniform(-1, 1) if rho is None else rho) if known else float("nan")

    def on_object(method: str) -> pd.Series:
        sums = {i: maps[method, i].sum() for i in masks}
        part = {i: maps[method, i][mask].sum() for i, mask in masks.items()}
        return pd.Series({i: part[i] / sums[i] if sums[i] else np.nan for i in masks}, dtype=float)

    facts = [{"method": m, "image": i, "is_constant": not np.ptp(maps[m, i])} for m, i in either]
    tables: dict[str, Any] = {
        "maps": [row | {"area_half_max": rng.random() * (not row["is_constant"])} for row in facts],
        "costs": [
            {"method": m, "image": i, "passes": rng.integers(1, 900), "head_passes": 0}
            | {"seconds": rng.uniform(0.01, 9)}
            for m, i in either
        ],
        "correlations": [
            {"first": a, "second": b, "image": i, "rho": correlation(a, b, i)}
            | {"rho_other_images": rng.uniform(-0.2, 0.2) if count > 1 else np.nan}
            for a, b in combinations(methods, 2)
            for i in images
        ]
        or [{"first": "lime", "second": methods[0], "image": images[0]}],
    } | extra
    tables["correlations"] = pd.DataFrame(tables["correlations"]).reindex(
        columns=["first", "second", "image", "rho", "rho_other_images"]
    )
    return stub_study(
        {name: pd.DataFrame(rows) for name, rows in tables.items()},
        {"cam": {"methods": methods, "layer": "last"}},
        images=images,
        objects=masks,
        object_areas=pd.Series({i: mask.mean() for i, mask in masks.items()}, dtype=float),
        on_object=on_object,
        heatmap=lambda method, image, variant="": SimpleNamespace(values=maps[method, image]),
    )


def variants(values: list[float], variant: str, layer: str) -> list[dict[str, Any]]:
    """Rows of the table ``variants``, one an image."""
    return [
        {"image": f"image {n}", "method": "gradcam", "variant": variant, "layer": layer}
        | {"rho": value, "is_constant": bool(np.isnan(value))}
        for n, value in enumerate(values)
    ]


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(METHODS), min_size=1, unique=True),
    st.integers(1, 8),
    st.integers(0, 8),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([None, 0.2, 0.97, 1.0]),
    st.lists(st.floats(-1, 1) | st.just(float("nan")), max_size=8),
    st.integers(0, 99),
)
def test_every_finding_is_sound(
    methods: list[str],
    count: int,
    outlined: int,
    blank: float,
    rho: float | None,
    others: list[float],
    seed: int,
) -> None:
    extra = {"variants": variants(others, "second", "last") + variants(others, "at-a", "a")}
    rng = np.random.default_rng(seed)
    study = build(methods, count, rng, blank, outlined, rho, **(extra if others else {}))
    for finding in FINDINGS:
        assert_sound(finding(study))


@pytest.mark.parametrize(("rho", "verdict"), [(0.99, "all"), (0.5, "none")])
def test_one_map_follows_the_correlations(rho: float, verdict: str) -> None:
    rng = np.random.default_rng(0)
    for methods in (METHODS[:2], METHODS[:3]):
        assert cam.one_map(build(methods, 8, rng, rho=rho)).verdict == verdict
    assert cam.beyond_baseline(build(METHODS[:2], 8, rng, rho=rho)).verdict == "all"
    assert cam.beyond_baseline(build(METHODS[:2], 8, rng, rho=-0.9)).verdict == "none"
    assert cam.beyond_baseline(build(METHODS[:2], 3, rng, rho=rho)).verdict == "too few"
    assert cam.one_map(build(METHODS[:1], 8, rng)).is_absent


def test_maps_that_are_one_are_tested_once() -> None:
    rng = np.random.default_rng(0)
    one, three = (build(METHODS[:3], 8, rng, outlined=8, rho=rho) for rho in (1.0, 0.9))
    assert cams.distinct(one) == METHODS[:1] and cams.distinct(three) == METHODS[:3]
    assert "not counted again" in cam.on_object(one).text
    assert "for three comparisons" in cam.on_object(three).text
    assert cam.beyond_baseline(one).is_absent


def test_maps_are_compared_where_one_alone_has_a_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    study = build(["eigencam", "layercam", "hirescam", "gradcam"], 4, np.random.default_rng(0))
    monkeypatch.setattr(cams, "METHOD_COLOURS", {"GRADCAM": "blue"})
    assert cams.main_methods(study) == ["gradcam", "eigencam", "layercam"]
    assert "the least alike are" in cam.differ_most(study).text


@pytest.mark.parametrize(("second", "said"), [(1.04, "about as long"), (3.0, "3.0 times as long")])
def test_methods_take_as_long_unless_they_clearly_differ(second: float, said: str) -> None:
    seconds = {"gradcam": 1.0, "eigencam": second}
    costs = [{"method": m, "passes": 1, "head_passes": 0, "seconds": s} for m, s in seconds.items()]
    many, few = (build(list(seconds), n, np.random.default_rng(0), costs=costs) for n in (6, 2))
    assert said in cam.cost(many).headline
    assert ("cannot be told" in cam.cost(few).headline) == (second > 1.5)


@pytest.mark.parametrize(
    ("values", "verdict"), [([0.99, 0.98], "all"), ([0.99, 0.3], "some"), ([0.1], "none")]
)
def test_the_second_class(values: list[float], verdict: str) -> None:
    extra: dict[str, Any] = {"variants": variants(values, "second", "last")}
    study = build(["gradcam"], 3, np.random.default_rng(0), **extra)
    assert cam.second_class(study).verdict == verdict
    assert cam.layers(study).is_absent


@pytest.mark.parametrize(("column", "hits"), [(100, 1.0), (114, 1.0), (118, 0.0)])
def test_a_maximum_points_at_what_is_within_15_of_224_pixels(column: int, hits: float) -> None:
    mask = np.zeros((224, 224), dtype=bool)
    mask[90:110, 90:101] = True
    values = np.zeros((224, 224))
    values[100, column] = 1
    assert points_at(values, mask) == hits
    assert np.isnan(points_at(np.ones((224, 224)), mask))
    assert np.isnan(points_at(values, np.zeros_like(mask)))


def test_the_edges_are_those_of_the_images_whose_maps_are_compared() -> None:
    rows = [("image 0", 1.0), ("image 1", 2.0), ("another image", 9.0)]
    edges = [{"image": i, "method": "edges", "measure": "inside", "value": v} for i, v in rows]
    study = build(METHODS[:2], 2, np.random.default_rng(0), evaluation=edges)
    assert "which know no network, 1.5 on average." in cam.on_object(study).text


def test_maxima_on_and_beside_small_objects() -> None:
    on, beside = np.zeros((6, 6)), np.zeros((6, 6))
    on[0, 0] = beside[5, 5] = 1.0
    mask = np.zeros((6, 6), dtype=bool)
    mask[0, 0] = True
    rng = np.random.default_rng(0)
    for values, verdict, said in (
        (on, "all", "for both images; a random place would for 3% of them"),
        (beside, "none", "for no image; a random place would for 3% of them"),
    ):
        study = build(["scorecam", "gradcam"], 2, rng)
        study.__dict__["objects"] = {"image 0": mask, "image 1": mask}
        study.__dict__["object_areas"] = pd.Series({"image 0": 1 / 36, "image 1": 1 / 36})
        study.__dict__["heatmap"] = lambda *_, shown=values: SimpleNamespace(values=shown)
        assert cam.small_objects(study).verdict == cam.maximum(study).verdict == verdict
        assert said in cam.maximum(study).text


def test_pairings_of_maps_are_of_the_rank_correlations_that_the_tables_have() -> None:
    study = StudyReport(Store(Project(ROOT), "embedded"), "efficientnet_lite0")
    rows = cams.correlations(study, ["gradcam", "scorecam"]).set_index("image")
    first, second = rows[["first", "second"]].iloc[0]
    found = matched_and_mismatched(study.rho_matrix(first, second))
    for column, values in zip(("rho", "rho_other_images"), found, strict=True):
        np.testing.assert_allclose(values, rows.loc[study.images, column], atol=1e-6)


def test_a_method_without_any_map_agrees_with_none(monkeypatch: pytest.MonkeyPatch) -> None:
    study = StudyReport(Store(Project(ROOT), "embedded"), "efficientnet_lite0")
    shown = study.map_or_none
    blank = lambda method, image: None if method == "scorecam" else shown(method, image)  # noqa: E731
    monkeypatch.setattr(study, "map_or_none", blank)
    for pair in (("gradcam", "scorecam"), ("scorecam", "gradcam"), ("scorecam", "scorecam")):
        for matrix in (study.rho_matrix(*pair), study.iou_matrix(*pair)):
            assert matrix.shape == (len(study.images),) * 2 and np.isnan(matrix).all()

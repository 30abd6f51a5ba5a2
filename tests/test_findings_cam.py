"""Findings about class activation maps, whichever way they come out."""

from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import ROOT
from stub_study import assert_sound, stub_study
from vitrine.measures.agreement import matched_and_mismatched
from vitrine.measures.localisation import points_at
from vitrine.project import Project
from vitrine.report import cams
from vitrine.report.findings import cam
from vitrine.report.parts import missing
from vitrine.report.study_report import StudyReport
from vitrine.store import Store

METHODS = ["gradcam", "hirescam", "eigencam", "ablationcam", "scorecam", "layercam"]


def build(
    methods: list[str],
    count: int,
    outlined: int | None = None,
    rho: float | None = None,
    **extra: Any,
) -> StudyReport:
    """A study with maps of 6 x 6 pixels."""
    rng = np.random.default_rng(0)
    images = [f"image {n}" for n in range(count)]
    maps = {(m, i): rng.random((6, 6)) for m in methods for i in images}
    masks = {i: np.arange(36).reshape(6, 6) < rng.integers(1, 35) for i in images[:outlined]}
    tables: dict[str, Any] = {
        "correlations": [
            {"first": a, "second": b, "image": i, "rho_other_images": rng.uniform(-0.2, 0.2)}
            | {"rho": rng.uniform(-1, 1) if rho is None else rho}
            for a, b in combinations(methods, 2)
            for i in images
        ]
        or [{"first": "lime", "second": methods[0], "image": images[0]}],
        "maps": [
            {"method": m, "image": i, "is_constant": False, "area_half_max": 0.1 + 0.01 * n}
            for m in methods
            for n, i in enumerate(images)
        ],
    } | extra
    tables["correlations"] = pd.DataFrame(tables["correlations"]).reindex(
        columns=["first", "second", "image", "rho", "rho_other_images"]
    )
    return stub_study(
        {name: pd.DataFrame(rows) for name, rows in tables.items()},
        {"cam": {"methods": methods, "layer": "last"}},
        images=images,
        objects=masks,
        heatmap=lambda method, image, variant="": SimpleNamespace(values=maps[method, image]),
    )


@pytest.mark.parametrize(("rho", "verdict"), [(0.99, "all"), (0.5, "none")])
def test_one_map_follows_the_correlations(rho: float, verdict: str) -> None:
    for methods in (METHODS[:2], METHODS[:3]):
        assert cam.one_map(build(methods, 8, rho=rho)).verdict == verdict
    assert cam.beyond_baseline(build(METHODS[:2], 8, rho=rho)).verdict == "all"
    assert cam.beyond_baseline(build(METHODS[:2], 8, rho=-0.9)).verdict == "none"
    assert cam.beyond_baseline(build(METHODS[:2], 3, rho=rho)).verdict == "too few"
    assert cam.one_map(build(METHODS[:1], 8)).is_absent


def test_the_only_map_is_shown_and_has_no_second_to_compare_with() -> None:
    study = build(["gradcam"], 2, outlined=2, correlations=[])
    assert missing(study, "maps") is None
    second = "This study has no second map to compare."
    for finding in (cam.one_map, cam.beyond_baseline, cam.differ_most, cam.same_weights):
        assert finding(study).text == second
    said = cam.half_maximum(study).text
    assert said.startswith("Half of the maximum of GRADCAM marks 10% to 11% of the frame;")
    for finding in (cam.on_object, cam.maximum, cam.second_class, cam.layers):
        assert "section [cam]" not in finding(study).text
    assert cam.on_object(study).verdict == "too few"


def test_maps_of_lime_alone_are_no_class_activation_maps() -> None:
    why = {"why_no_map": lambda method, image: "The network has no feature maps"}
    lime = [{"method": "lime", "image": "a", "is_constant": False}]
    asked = stub_study({"maps": lime}, {"cam": {"methods": ["gradcam"]}}, **why)
    for finding in (cam.on_object, cam.half_maximum):
        assert finding(asked).text == "The network has no feature maps."
    assert "section [cam]" in cam.on_object(stub_study({"maps": lime})).text


def test_maps_that_are_one_are_tested_once() -> None:
    one, three = (build(METHODS[:3], 8, outlined=8, rho=rho) for rho in (1.0, 0.9))
    assert cams.distinct(one) == METHODS[:1] and cams.distinct(three) == METHODS[:3]
    assert "not counted again" in cam.on_object(one).text
    assert "for three comparisons" in cam.on_object(three).text
    assert cam.beyond_baseline(one).is_absent


def test_maps_are_compared_where_one_alone_has_a_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    study = build(["eigencam", "layercam", "hirescam", "gradcam"], 4)
    monkeypatch.setattr(cams, "METHOD_COLOURS", {"GRADCAM": "blue"})
    assert cams.main_methods(study) == ["gradcam", "eigencam", "layercam"]
    assert "the least alike are" in cam.differ_most(study).text


@pytest.mark.parametrize(("second", "said"), [(1.04, "about as long"), (3.0, "3.0 times as long")])
def test_methods_take_as_long_unless_they_clearly_differ(second: float, said: str) -> None:
    seconds = {"gradcam": 1.0, "eigencam": second}
    costs = [{"method": m, "passes": 1, "head_passes": 0, "seconds": s} for m, s in seconds.items()]
    many, few = (build(list(seconds), n, costs=costs) for n in (6, 2))
    assert said in cam.cost(many).headline
    assert ("cannot be told" in cam.cost(few).headline) == (second > 1.5)


@pytest.mark.parametrize(
    ("values", "verdict"), [([0.99, 0.98], "all"), ([0.99, 0.3], "some"), ([0.1], "none")]
)
def test_the_second_class(values: list[float], verdict: str) -> None:
    rows = {"image": [f"image {n}" for n in range(len(values))], "method": "gradcam", "rho": values}
    second = pd.DataFrame(rows).assign(variant="second", layer="last")
    study = build(["gradcam"], 3, variants=second)
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
    study = build(METHODS[:2], 2, evaluation=edges)
    assert "which know no network, 1.5 on average." in cam.on_object(study).text
    edges += [row | {"measure": "share_inside", "value": 1.0} for row in edges]
    study = build(METHODS[:2], 2, evaluation=edges)
    said = "1.5 on average: none of the two methods have significantly more."
    assert said in cam.on_object(study).text


def test_maxima_on_and_beside_small_objects() -> None:
    on, beside = np.zeros((6, 6)), np.zeros((6, 6))
    on[0, 0] = beside[5, 5] = 1.0
    mask = np.zeros((6, 6), dtype=bool)
    mask[0, 0] = True
    for values, verdict, said in (
        (on, "all", "for both images; a random place would for 3% of them"),
        (beside, "none", "for no image; a random place would for 3% of them"),
    ):
        study = build(["scorecam", "gradcam"], 2, outlined=0)
        study.__dict__["objects"] = {"image 0": mask, "image 1": mask}
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


def test_the_main_methods_are_compared_pair_by_pair() -> None:
    three = ["gradcam", "ablationcam", "scorecam"]
    study = build([*three, "eigencam"], 3, rho=0.99)
    same = cam.main_alike(study)
    assert same.headline == "GRADCAM, ABLATIONCAM and SCORECAM are nearly one map."
    assert "0.990 for GRADCAM and ABLATIONCAM" in same.text and "EIGENCAM" not in same.text
    rows = study.table("correlations")
    apart = (rows["second"] == "scorecam") & (rows["image"] == "image 1")
    rows.loc[apart, "rho"] = 0.2
    some = cam.main_alike(build(three, 3, correlations=rows))
    assert some.verdict == "some"
    assert "The least alike are" in some.text and "SCORECAM on image 1 (0.20)." in some.text
    one = cam.main_alike(build(["gradcam", "eigencam"], 3, rho=0.5))
    assert one.headline == "GRADCAM and EIGENCAM are not the same map."
    assert_sound(one)
    assert cam.main_alike(build(["gradcam"], 3)).is_absent

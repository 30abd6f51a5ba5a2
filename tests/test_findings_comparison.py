"""Findings about agreement, large samples and occluded regions, whichever way they come out."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from any_study import any_study
from conftest import ROOT
from stub_study import stub_study
from vitrine.measures.agreement import matched_and_mismatched
from vitrine.measures.association import within_groups
from vitrine.measures.dispersion import between_columns, between_rows
from vitrine.measures.thresholds import REGION_RULES
from vitrine.project import Project
from vitrine.report import compared, regions
from vitrine.report.findings import Finding, agreement, large_sample, region_occlusion
from vitrine.report.study_report import StudyReport
from vitrine.store import Store

share = st.floats(0, 1, allow_subnormal=False)


def _images(count: int) -> list[str]:
    return [f"image {number}" for number in range(count)]


@given(any_study(least=6, lacks=0))
@settings(max_examples=20)
def test_verdicts_say_what_the_numbers_say(study: StudyReport) -> None:
    rows = compared.at_share(study)
    gain = rows[compared.IMAGE_SPECIFIC].dropna()
    verdict = agreement.same_image(study).verdict
    assert verdict != "larger" or gain.mean() > 0
    assert verdict != "smaller" or gain.mean() < 0
    below = agreement.below_baseline(study)
    assert below.is_absent or (below.verdict == "some") == bool((gain <= 0).any())
    tested = agreement.tested_rules(study)
    larger = sum(found.direction == "larger" for found in tested.values())
    said = agreement.rules(study).verdict
    assert (said == "all") == (larger == len(tested))
    assert (said == "some") == (0 < larger < len(tested))
    assert len({found.level for found in tested.values()}) == 1
    table = regions.occlusion(study)
    needed = (table["below"] == table["fills"])[table["area"] <= regions.LARGE]
    below = region_occlusion.below_control(study)
    assert below.is_absent == needed.empty
    assert (below.verdict == "none") == (not needed.any() and not needed.empty)
    assert (below.verdict == "all") == (needed.all() and not needed.empty)
    drawn = large_sample.draws(study)
    assert drawn.empty or (drawn[["low", "high"]].abs().max().max() <= 1 + 1e-9)


def _ious(
    pairs: Mapping[tuple[str, str, str], Any], other: Any = 0.3, images: int = 8
) -> pd.DataFrame:
    """The IoUs of two methods by a rule, of all images alike or of each."""
    rows = [
        pd.DataFrame({"image": _images(images), "iou": iou}).assign(first=a, second=b, rule=rule)
        for (a, b, rule), iou in pairs.items()
    ]
    return pd.concat(rows).assign(iou_chance=0.1, iou_other_images=other)


def _compared(iou: float, other: float, images: int = 8, method: str = "gradcam") -> StudyReport:
    pair = {("lime", method, "share"): iou + np.linspace(0, 0.01, images)}
    table = _ious(pair, other, images).assign(share=0.2)
    return stub_study({"agreement": table}, {"agreement": {"share": 0.2}})


def test_agreement_is_more_less_or_undecided() -> None:
    def headline(*numbers: float, **more: Any) -> str:
        return agreement.same_image(_compared(*numbers, **more)).headline

    assert headline(0.4, 0.2) == "LIME and GRADCAM agree more on an image than across images."
    assert headline(0.08, 0.2) == "LIME and GRADCAM agree less on an image than across images."
    assert "undecided" in headline(0.2, 0.205)
    assert headline(0.4, 0.2, images=2) == "LIME and GRADCAM are compared on two images."
    assert "one image" in headline(0.4, float("nan"), images=1)
    assert "EIGENCAM" in headline(0.4, 0.2, method="eigencam")


def test_why_an_iou_has_no_other_image_to_compare_with_is_said_as_it_is() -> None:
    study = _compared(0.4, float("nan"), images=3)
    rows = study.table("agreement").assign(iou=[0.4, np.nan, np.nan])
    three = stub_study({"agreement": rows}, {"agreement": {"share": 0.2}})
    assert "On no other image do both maps mark a region" in agreement.same_image(three).text
    alone = agreement.same_image(_compared(0.4, float("nan"), images=1)).text
    assert alone.endswith("There is no other image to compare with.")
    none = stub_study({"agreement": rows.assign(iou=np.nan)}, {"agreement": {"share": 0.2}})
    for finding in (agreement.same_image, agreement.shares):
        assert finding(none).text.startswith("On no image do both")


def _by_rule(columns: dict[str, np.ndarray]) -> StudyReport:
    pairs = {("lime", "gradcam", rule): values for rule, values in columns.items()}
    table = _ious(pairs, images=len(columns["share"]))
    areas = {"method": ["lime", "gradcam"], "rule": ["zero", "zero"], "area": [0.6, 0.99]}
    return stub_study({"ious": table, "agreement": table, "regions": areas})


def test_rule_and_image_are_compared_by_how_far_they_part_ious() -> None:
    near, apart = np.linspace(0.3, 0.32, 8), np.linspace(0.1, 0.8, 8)

    def found(share: np.ndarray, zero: np.ndarray) -> Finding:
        return agreement.rule_or_image(_by_rule({"share": share, "zero": zero}))

    assert found(near, near + 0.4).verdict == "larger"
    assert found(apart, apart).verdict == "smaller"
    assert found(near[:2], near[:2]).is_absent


def test_an_iou_that_is_one_area_is_called_so() -> None:
    study = _by_rule({"share": np.full(8, 0.3), "zero": np.full(8, 0.6)})
    found = agreement.largest_rule(study)
    assert found.verdict == "area"
    assert "reduces to LIME's area (60%)" in found.text
    assert agreement.rules(study).verdict == "some"


@pytest.mark.parametrize(
    ("ious", "headline"),
    [
        ((0.5, 0.5, 0.5), "All attribution methods agree more on an image than across images."),
        ((0.5, 0.2, 0.2), "One of three pairs of attribution methods agree"),
        ((0.2, 0.2, 0.2), "That two attribution methods agree more on an image than across"),
    ],
)
def test_no_pair_of_attribution_methods_is_said_not_to_agree_where_none_is_shown_to(
    ious: tuple[float, ...], headline: str
) -> None:
    methods = ["gradient", "lrp", "vargrad"]
    pairs = [(*pair, "share") for pair in combinations(methods, 2)]
    table = _ious(dict(zip(pairs, ious, strict=True)), np.tile(0.2 + 0.01 * np.arange(8), 3))
    sections = {"agreement": {"share": 0.2}, "attribution": {"methods": methods}}
    found = agreement.attributions(stub_study({"agreement": table, "ious": table}, sections))
    assert found.headline.startswith(headline)
    assert found.headline.endswith("cannot be shown.") == (found.verdict == "none")


@given(st.integers(3, 8), st.integers(2, 4), st.data())
def test_pseudo_values_have_the_mean_of_all_pairs(n: int, m: int, data: st.DataObject) -> None:
    table = np.array(data.draw(st.lists(share, min_size=n * m, max_size=n * m))).reshape(n, m)
    pairs = [np.abs(table[i] - table[j]).mean() for i, j in combinations(range(n), 2)]
    assert between_rows(table).mean() == pytest.approx(np.mean(pairs))
    columns = [np.abs(table[0, i] - table[0, j]) for i, j in combinations(range(m), 2)]
    assert between_columns(table)[0] == pytest.approx(np.mean(columns))


def _sample(signs: dict[str, int], count: int = 40) -> StudyReport:
    iou = np.linspace(0.1, 0.9, count)
    noise = np.random.default_rng(0).permutation(count) / count
    many = {name: iou * signs[name] if signs.get(name) else noise for name in compared.COMPLEXITY}
    images = {"image": _images(count)}
    pair = {"first": "lime", "second": "gradcam", "iou": iou, "iou_other_images": 0.2}
    extra = {"correct": ["True"] * (count // 2) + ["False"] * (count - count // 2)}
    table = pd.DataFrame(images | many | extra | {"r_squared": iou})
    return stub_study(
        {"large_sample": table, "large_sample_iou": pd.DataFrame(images | pair)}, images=_images(5)
    )


def test_complexity_for_each_outcome() -> None:
    def verdict(**signs: int) -> str:
        return large_sample.complexity(_sample(signs)).verdict

    assert verdict(edges=-1) == "simple"
    assert verdict(edges=1, probability=-1) == "complex"
    assert verdict(edges=-1, superpixels=1) == "mixed"
    assert verdict() == "undecided"
    assert large_sample.complexity(_sample({}, count=4)).verdict == "too few"


def test_a_p_value_below_the_uncorrected_level_is_no_correlation() -> None:
    """Four measures are four tests: 0.02 is not enough."""
    study = _sample({}, count=6)
    table = study.table("large_sample")
    table["edges"] = [6, 5, 4, 3, 1, 2]
    pairs = study.table("large_sample_iou")
    found = large_sample.complexity(
        stub_study({"large_sample": table, "large_sample_iou": pairs}, images=_images(3))
    )
    p_value = compared.associations(compared.sample(study).assign(edges=table["edges"].to_numpy()))
    assert 0.0125 < p_value["edges"].p_value < 0.05
    assert found.verdict == "undecided"


def test_what_was_asked_afterwards_is_decided_by_its_test() -> None:
    assert large_sample.fit(_sample({})).verdict == "larger"
    assert large_sample.correct(_sample({})).verdict == "smaller"


def _occluded(rows: list[tuple[str, str, str, float, float, float]], **areas: float) -> StudyReport:
    """A study of regions: image, region, fill, without it, control, alone; the whole has 0.5."""
    table = [
        {"image": image, "region": region, "area": areas.get(region, 0.25), "fill": fill}
        | {"shown": shown, "p_original": 0.5, "probability": value, "control": control}
        | {"category": "cat"}
        for image, region, fill, without, control, alone in rows
        for shown, value in (("rest", without), ("region", alone))
    ]
    names = {image: sorted({row[1] for row in rows if row[0] == image}) for image, *_ in rows}
    weight = np.zeros((4, 4), dtype=np.float32)
    weight[0] = 1
    masks = {
        image: {name: np.arange(4)[:, None] + np.zeros((4, 4)) == k for k, name in enumerate(found)}
        for image, found in names.items()
    }
    maps = [{"image": image, "method": method} for image in names for method in ("lime", "gradcam")]

    class Map:
        values = weight

    return stub_study(
        {"region_occlusion": pd.DataFrame(table), "maps": pd.DataFrame(maps)},
        {"cam": {"methods": ["gradcam"]}},
        parts=lambda image: masks[image],
        heatmap=lambda method, image: Map(),
    )


def test_a_region_is_needed_only_if_every_fill_says_so() -> None:
    study = _occluded(
        [
            ("a", "head", "mean", 0.0, 0.4, 0.4),
            ("a", "head", "grey", 0.1, 0.4, 0.4),
            ("a", "tail", "mean", 0.0, 0.4, 0.0),
            ("a", "tail", "grey", 0.6, 0.4, 0.0),
        ]
    )
    needed = region_occlusion.below_control(study)
    assert needed.headline.startswith("Hidden one at a time, one of two regions lowers")
    assert needed.text.endswith("probability. This holds whatever the fill for head (a).")
    rises = region_occlusion.rises(study)
    assert rises.headline == (
        "Hidden one at a time, no region raises the prediction whatever the fill."
    )
    assert rises.text.endswith("With some fills, not all, they are found for tail (a).")
    assert "tail (a): 0% to 60%" in region_occlusion.fills(study).text
    assert region_occlusion.alone(study).text == (
        "On average over fills this holds for head (a). "
        "The same shape elsewhere does so for both regions."
    )


def test_a_region_of_most_of_the_frame_has_no_control_and_is_named() -> None:
    study = _occluded(
        [("a", part, "grey", 0.0, 0.4, 0.4) for part in ("head", "tail")]
        + [("b", "sky", "grey", 0.0, 0.4, 0.4)],
        sky=0.6,
    )
    needed = region_occlusion.below_control(study)
    assert needed.headline.startswith("Hidden one at a time, both regions lower")
    assert needed.text.endswith(
        "Not counted: sky (b), which covers more than half of the frame and would lie nearly where "
        "its control would."
    )
    assert regions.occlusion(study)["control"].isna().tolist() == [False, False, True]


def test_weight_and_effect_go_together_within_images() -> None:
    study = _occluded(
        [
            (f"image {number}", region, "mean", without, 0.5, 0.1)
            for number in range(5)
            for region, without in (("a", 0.0), ("b", 0.4), ("c", 0.5))
        ]
    )
    found = region_occlusion.weight_and_effect(study)
    assert found.verdict == "larger"
    assert found.headline == "Hiding a region costs more where LIME and GRADCAM have more weight."


def test_the_order_of_groups_says_nothing_about_what_is_within() -> None:
    groups = ["a"] * 4 + ["b"] * 4
    rho, p_value = within_groups(
        np.array([0, 0, 1, 1, 10, 10, 11, 11]), np.array([1, 0, 1, 0, 21, 20, 21, 20]), groups
    )
    assert rho == pytest.approx(0) and p_value == 1
    assert np.isnan(within_groups(np.arange(2), np.arange(2), ["a", "b"])[0])


@pytest.mark.parametrize("rule", REGION_RULES)
def test_pairings_are_of_the_ious_that_the_tables_have(rule: str) -> None:
    study = StudyReport(Store(Project(ROOT), "embedded"), "efficientnet_lite0")
    second = compared.second_method(study, "ious")
    rows = compared.pair_rows(study, "ious").query("rule == @rule").set_index("image")
    found = matched_and_mismatched(study.iou_matrix("lime", second, rule))
    for column, values in zip(("iou", "iou_other_images"), found, strict=True):
        np.testing.assert_allclose(values, rows.loc[study.images, column], atol=1e-6)

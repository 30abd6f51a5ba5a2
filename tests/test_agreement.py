"""Regions have exactly the area asked for, overlaps mean what they say, and what goes with them."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr
from skimage.filters import threshold_otsu
from sklearn.metrics import jaccard_score

from vitrine.data.images import Frame
from vitrine.errors import FrameError
from vitrine.measures.agreement import (
    bootstrap_interval,
    chance_agreement,
    dice,
    intersection_over_union,
    ious,
    matched_and_mismatched,
    rank_correlation,
    top_region,
)
from vitrine.measures.association import few_of_many, least_significant, spearman
from vitrine.measures.image_complexity import edge_density, grey_entropy
from vitrine.measures.map_extent import area_above, centre_of_mass
from vitrine.measures.thresholds import REGION_RULES
from vitrine.methods.heatmap import Heatmap

FRAME = Frame("p", (0, 0, 8, 8), (8, 8))


def _map(values: np.ndarray, frame: Frame = FRAME, method: str = "m") -> Heatmap:
    return Heatmap(values.astype(np.float32), frame, True, method, 0, 0.0)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 1 / 3, 0.5, 0.99])
@pytest.mark.parametrize("levels", [2, 5, 10_000])
def test_a_region_covers_its_share_exactly_whatever_ties(share: float, levels: int) -> None:
    values = np.random.default_rng(0).integers(0, levels, (37, 41)).astype(float)
    region = top_region(values, share)
    assert region.sum() == pytest.approx(share * values.size)
    assert region.min() >= 0 and region.max() <= 1
    # Whatever is inside is at least as strong as whatever is outside.
    assert values[region > 0].min() >= values[region < 1].max()
    assert (top_region(values * 3, share) == region).all()


def test_ties_share_what_is_left_and_a_blank_map_the_whole_frame() -> None:
    region = top_region(np.array([[3.0, 1.0], [1.0, 0.0]]), 0.5)
    assert region.tolist() == [[1.0, 0.5], [0.5, 0.0]]
    np.testing.assert_allclose(top_region(np.zeros((4, 5)), 0.2), 0.2)


def test_iou_of_whole_pixels_is_the_usual_count() -> None:
    generator = np.random.default_rng(0)
    first, second = (1.0 * (generator.random((20, 20)) > 0.7) for _ in range(2))
    expected = jaccard_score(first.ravel(), second.ravel())
    assert intersection_over_union(first, second) == pytest.approx(expected)
    assert intersection_over_union(first, first) == 1
    assert intersection_over_union(first, 1 - first) == 0


def test_maps_are_numbers_of_one_frame_or_do_not_compare() -> None:
    other = Frame("p", (0, 0, 4, 8), (8, 8))
    values = np.random.default_rng(0).random((8, 8))
    with pytest.raises(FrameError, match="different frames"):
        rank_correlation(_map(values), _map(values, other))
    with pytest.raises(FrameError, match="do not compare"):
        intersection_over_union(np.ones((2, 2)), np.ones((3, 3)))
    with pytest.raises(FrameError, match="has the shape"):
        _map(np.zeros((4, 4)))
    with pytest.raises(FrameError, match="not finite"):
        _map(np.full((8, 8), np.nan))


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_share_lies_between_nothing_and_everything(share: float) -> None:
    with pytest.raises(ValueError, match="share must lie between 0 and 1"):
        top_region(np.zeros((2, 2)), share)


def test_a_bootstrap_interval_is_seeded_and_covers_the_mean() -> None:
    values = np.random.default_rng(0).normal(5, 1, 40)
    low, high = bootstrap_interval(values, 2000, seed=0)
    assert (low, high) == bootstrap_interval(values, 2000, seed=0)
    assert low < values.mean() < high
    # For a mean, the percentile interval is close to the normal one.
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(40), rel=0.1)


def test_the_extent_of_a_map() -> None:
    values = np.zeros((4, 4))
    values[0, 3] = 2.0
    values[0, 2] = 0.9
    values[3, 0] = -5.0
    assert area_above(values, 0.5) == 1 / 16
    assert centre_of_mass(np.where(values > 1, values, 0)) == (0.125, 0.875)
    row, column = centre_of_mass(values)
    assert row == 0.125 and column < 0.875


def test_a_map_without_positive_evidence_has_no_extent() -> None:
    assert np.isnan(area_above(np.zeros((3, 3)), 0.5))
    assert np.isnan(centre_of_mass(-np.ones((3, 3)))).all()


def _maps(count: int, levels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-levels, levels, (count, 12, 9)).astype(float)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_ious_at_once_are_those_of_one_pair_after_the_other(levels: int) -> None:
    shares = (0.07, 0.2, 1 / 3, 0.5, 0.9)
    first = np.stack([top_region(v, s) for v, s in zip(_maps(5, levels), shares, strict=True)])
    second = np.stack([top_region(values, 0.2) for values in _maps(4, levels, seed=1)])
    found = ious(first, second)
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            assert found[i, j] == pytest.approx(intersection_over_union(one, other), abs=1e-6)


def test_an_empty_region_overlaps_with_nothing_by_no_number() -> None:
    regions = np.array([[0.0, 0.0, 0.0], [1.0, 0.5, 0.5]])
    found = ious(regions, regions)
    assert np.isnan(found[0]).all() and np.isnan(found[:, 0]).all() and found[1, 1] == 1


def test_a_region_with_several_fractions_is_refused() -> None:
    with pytest.raises(ValueError, match="several fractions"):
        ious(np.array([[0.2, 0.5]]), np.array([[1.0, 0.0]]))


def test_dice_is_shared_area_over_the_mean_area() -> None:
    generator = np.random.default_rng(0)
    first, second = (generator.random(50) > 0.6).astype(float), (generator.random(50) > 0.3) * 1.0
    iou = intersection_over_union(first, second)
    wanted = 2 * (first * second).sum() / (first.sum() + second.sum())
    assert float(dice(iou)) == pytest.approx(wanted)


@pytest.mark.parametrize(("one", "other"), [(0.1, 0.1), (0.5, 0.5), (0.1, 0.45)])
def test_chance_is_what_random_regions_overlap_by(one: float, other: float) -> None:
    generator = np.random.default_rng(0)
    found = []
    for _ in range(200):
        first, second = generator.random(4000) < one, generator.random(4000) < other
        found.append((first & second).sum() / (first | second).sum())
    assert np.mean(found) == pytest.approx(chance_agreement(one, other), abs=0.002)
    assert chance_agreement(one, one) == chance_agreement(one)
    assert np.isnan(chance_agreement(one, 0.0))


def test_each_rule_highlights_what_it_says() -> None:
    values = np.random.default_rng(0).normal(size=(20, 20))
    found = {name: row.region(values, 0.3) for name, row in REGION_RULES.items()}
    assert (found["share"] == top_region(values, 0.3)).all()
    assert (found["zero"] == (values > 0)).all()
    assert (found["half"] == (values > values.max() / 2)).all()
    assert (found["otsu"] == (values > threshold_otsu(values))).all()
    assert (found["lime1"] == top_region(values, 0.3)).all()
    assert (found["lime2"] == top_region(np.abs(values), 0.3)).all()


def test_a_map_that_is_the_same_everywhere_highlights_nothing_by_any_rule() -> None:
    for name, row in REGION_RULES.items():
        assert not row.region(np.zeros((5, 5)), 0.2).any(), name


def test_a_map_against_the_class_has_nothing_above_half_of_its_maximum() -> None:
    against = -np.random.default_rng(0).random((6, 6)) - 0.1
    assert not REGION_RULES["half"].region(against, 0.2).any()
    assert not REGION_RULES["zero"].region(against, 0.2).any()


def test_mismatched_leaves_out_the_image_itself_and_what_is_missing() -> None:
    pair = np.array([[0.9, 0.1, 0.3], [np.nan, 0.8, 0.2], [np.nan, np.nan, np.nan]])
    matched, mismatched = matched_and_mismatched(pair)
    np.testing.assert_allclose(matched, [0.9, 0.8, np.nan])
    np.testing.assert_allclose(mismatched, [0.2, 0.2, np.nan])


def test_the_bootstrap_leaves_out_missing_images() -> None:
    values = np.array([0.1, 0.4, np.nan, 0.2, 0.3, 0.7])
    known = values[np.isfinite(values)]
    assert bootstrap_interval(values, 200, 0) == bootstrap_interval(known, 200, 0)
    assert np.isnan(bootstrap_interval(known[:4], 200, 0)).all()
    few = spearman(known[:4], known[1:])
    assert np.isfinite(few.rho) and np.isnan([few.low, few.high]).all()


def test_rho_is_that_of_scipy_and_its_p_value_the_exact_one() -> None:
    first, second = np.array([1.0, 2, 3, 4, 5, 6]), np.array([2.0, 1, 4, 3, 6, 6])
    found = spearman(first, second, draws=9999)  # 720 orders: all of them are tried
    assert found.rho == pytest.approx(spearmanr(first, second).statistic)
    everything = [spearmanr(first, second[[*each]]).statistic for each in permutations(range(6))]
    assert found.p_value == pytest.approx(2 * np.mean(np.array(everything) >= found.rho - 1e-12))
    assert found.low <= found.rho <= found.high and found.count == 6


def test_rho_of_many_is_that_of_scipy_with_a_p_value_near_its_own() -> None:
    generator = np.random.default_rng(0)
    first = generator.normal(size=60)
    second = 0.5 * first + generator.normal(size=60)
    wanted = spearmanr(first, second)
    found = spearman(first, second, draws=4999)
    assert found.rho == pytest.approx(wanted.statistic)
    assert found.p_value == pytest.approx(wanted.pvalue, abs=0.02)


def test_pairs_without_a_number_are_left_out() -> None:
    first, second = np.array([1.0, 2, 3, np.nan, 5]), np.array([2.0, 1, np.nan, 4, 6])
    assert spearman(first, second).count == 3
    assert np.isnan(spearman(np.ones(5), np.arange(5.0)).rho)


def test_few_images_show_about_anything() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=200), generator.normal(size=200)
    few, many = (few_of_many(first, second, size, draws=500) for size in (10, 100))
    assert few.std() > 3 * many.std()
    np.testing.assert_allclose(
        few_of_many(first, second, 200, draws=3), spearmanr(first, second).statistic
    )


def test_the_least_significant_rho_is_that_of_the_tables() -> None:
    # Zar (1984): 0.648 for ten pairs, two-sided at 5%.
    assert least_significant(10, draws=40_000) == pytest.approx(0.648, abs=0.02)
    assert least_significant(200) == pytest.approx(0.139, abs=0.01)


def test_edges_and_entropy_grow_with_what_there_is_in_an_image() -> None:
    flat = np.full((64, 64, 3), 90, dtype=np.uint8)
    square = flat.copy()
    square[16:48, 16:48] = 200
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert edge_density(flat) == 0 == grey_entropy(flat)
    assert 0 < edge_density(square) < edge_density(noise)
    # A quarter of the pixels at one level, the rest at another.
    assert grey_entropy(square) == pytest.approx(0.25 * 2 + 0.75 * np.log2(4 / 3))
    assert 6 < grey_entropy(noise) < 8

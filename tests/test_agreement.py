"""Regions have exactly the area that was asked for, and overlaps mean what they say."""

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from vitrine.data.images import Frame
from vitrine.errors import FrameError
from vitrine.measures.agreement import (
    bootstrap_interval,
    intersection_over_union,
    rank_correlation,
    top_region,
)
from vitrine.measures.map_extent import area_above, centre_of_mass
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


def test_without_ties_a_region_is_the_strongest_pixels() -> None:
    values = np.random.default_rng(0).permutation(100).reshape(10, 10).astype(float)
    assert (top_region(values, 0.2) == (values >= 80)).all()


def test_ties_share_what_is_left_and_a_blank_map_the_whole_frame() -> None:
    region = top_region(np.array([[3.0, 1.0], [1.0, 0.0]]), 0.5)
    assert region.tolist() == [[1.0, 0.5], [0.5, 0.0]]
    np.testing.assert_allclose(top_region(np.zeros((4, 5)), 0.2), 0.2)


def test_iou_of_whole_pixels_is_the_usual_count() -> None:
    first = np.array([[1.0, 1.0, 0.0, 0.0]])
    second = np.array([[0.0, 1.0, 1.0, 0.0]])
    assert intersection_over_union(first, second) == pytest.approx(1 / 3)
    assert intersection_over_union(first, first) == 1
    assert intersection_over_union(first, 1 - first) == 0


def test_iou_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    first, second = (generator.random((20, 20)) > 0.7 for _ in range(2))
    expected = jaccard_score(first.ravel(), second.ravel())
    assert intersection_over_union(first * 1.0, second * 1.0) == pytest.approx(expected)


def test_a_map_agrees_with_itself_and_not_with_its_negative() -> None:
    values = np.random.default_rng(0).normal(size=(8, 8))
    own, same, other = (top_region(found, 0.25) for found in (values, values * 3, -values))
    assert intersection_over_union(own, same) == pytest.approx(1)
    assert intersection_over_union(own, other) == pytest.approx(0)


def test_maps_of_different_frames_do_not_compare() -> None:
    other = Frame("p", (0, 0, 4, 8), (8, 8))
    values = np.random.default_rng(0).random((8, 8))
    with pytest.raises(FrameError, match="different frames"):
        rank_correlation(_map(values), _map(values, other))
    with pytest.raises(FrameError, match="do not compare"):
        intersection_over_union(np.ones((2, 2)), np.ones((3, 3)))


def test_a_map_has_the_shape_of_its_frame_and_only_numbers() -> None:
    with pytest.raises(FrameError, match="has the shape"):
        _map(np.zeros((4, 4)))
    with pytest.raises(FrameError, match="not finite"):
        _map(np.full((8, 8), np.nan))


def test_a_share_lies_between_nothing_and_everything() -> None:
    for share in (0.0, 1.0, -1.0):
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

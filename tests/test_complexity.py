"""Concentration is 0 for an even map and greatest for one pixel; baselines see no network."""

import numpy as np
import pytest

from vitrine.measures.map_extent import entropy, gini
from vitrine.methods.baselines import BASELINES


def test_an_even_map_is_not_concentrated() -> None:
    even = np.full((8, 8), 0.3)
    assert gini(even) == pytest.approx(0)
    assert entropy(even) == pytest.approx(np.log(64))
    assert entropy(-even) == pytest.approx(np.log(64))


def test_one_pixel_is_all_concentration() -> None:
    one = np.zeros((8, 8))
    one[3, 4] = -7
    assert gini(one) == pytest.approx(1 - 1 / 64)
    assert entropy(one) == pytest.approx(0)


def test_gini_is_half_the_relative_mean_difference() -> None:
    values = np.random.default_rng(0).normal(size=(6, 7))
    sizes = np.abs(values).ravel()
    expected = np.abs(sizes[:, None] - sizes).mean() / (2 * sizes.mean())
    assert gini(values) == pytest.approx(expected)


def test_scale_does_not_matter_and_zeros_say_nothing() -> None:
    values = np.random.default_rng(1).random((5, 5))
    assert gini(values * 1e-6) == pytest.approx(gini(values))
    assert entropy(values * 1e6) == pytest.approx(entropy(values))
    assert np.isnan(gini(np.zeros((3, 3)))) and np.isnan(entropy(np.zeros((3, 3))))


def test_the_random_baseline_is_seeded_and_knows_nothing_of_the_image() -> None:
    draw = BASELINES["random"].draw
    dark, light = (np.full((9, 7, 3), value, dtype=np.uint8) for value in (0, 255))
    assert (draw(dark, 3) == draw(light, 3)).all()
    assert (draw(dark, 3) != draw(dark, 4)).any()
    assert draw(dark, 3).shape == (9, 7) and draw(dark, 3).dtype == np.float32


def test_the_edges_are_where_brightness_changes() -> None:
    crop = np.zeros((16, 16, 3), dtype=np.uint8)
    crop[:, 8:] = 255
    edges = BASELINES["edges"].draw(crop, 0)
    assert (edges[:, 7:9] > 0.5).all() and (edges[:, :6] == 0).all() and (edges[:, 10:] == 0).all()

"""What all charts have in common: ticks, legends, still images, and marks that do not overlap."""

import re
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest

from vitrine.report import charts
from vitrine.report.placement import offsets


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.06, 0.9, [0.1, 0.2, 0.5]),
        (0.012, 1.1, [0.03, 0.1, 0.3, 1]),
        (0.02, 900, [0.1, 1, 10, 100]),
        (3, 3, [2, 5]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_round_and_in_equal_steps(
    low: float, high: float, ticks: list[float]
) -> None:
    shown = charts.log_ticks([low, high])
    assert [tick for tick in shown if low / 2 <= tick <= high * 2 and tick in ticks] == ticks
    assert [tick for tick in shown if low < tick < high] == [t for t in ticks if low < t < high]


@pytest.fixture
def drawn(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The static image of a line chart on logarithmic axes, beside bars with a tick."""
    monkeypatch.setenv("VITRINE_PROJECT", str(root))
    monkeypatch.chdir(tmp_path)
    rows = pd.DataFrame({"x": [0.0321, 0.5, 1.7], "y": [1 / 3, 2 / 3, 1.0], "kind": list("aab")})
    log = alt.X("x:Q", scale=alt.Scale(type="log"))
    line = alt.Chart(rows).mark_line(point=True).encode(x=log, y="y:Q", color="kind:N")
    legend = charts.legend_of({"a": "bar", "b": "tick"})
    bars = alt.Chart(rows).mark_bar().encode(x="y:Q", color=alt.Color("kind:N", legend=legend))
    both = alt.hconcat(line, bars).resolve_scale(color="independent")
    charts.chart(both, "c", "Two")
    return tmp_path / "notebook_files" / "figure-html" / "c.svg"


def test_a_still_chart_holds_no_words_for_its_marks_and_no_needless_digits(drawn: Path) -> None:
    svg = drawn.read_text()
    assert "aria-" not in svg and "role=" not in svg
    numbers = re.findall(r"\d+\.\d+", " ".join(re.findall(r' (?:d|transform)="([^"]*)"', svg)))
    assert numbers and all(len(one.partition(".")[2]) <= 2 for one in numbers)
    assert {"0.02", "0.05", "0.1", "0.2", "0.5", "1"} & set(re.findall(r">([\d.]+)</text>", svg))


def test_a_legend_shows_the_marks_that_it_stands_for(drawn: Path) -> None:
    symbols = re.findall(r'role-legend-symbol.*?\bd="([^"]+)"', drawn.read_text(), re.S)
    strokes, (bar, tick) = symbols[:2], symbols[2:]
    assert all(re.fullmatch(r"M-\d+,0L\d+,0", path) for path in strokes)
    assert "h10v10" in bar and tick != bar


@pytest.mark.parametrize("radius", [0.0, 6.0])
def test_boxes_beside_crowded_points_hide_neither_each_other_nor_a_point(radius: float) -> None:
    generator = np.random.default_rng(0)
    points = np.vstack([generator.uniform(40, 210, (7, 2)), [[100, 100], [103, 101], [98, 104]]])
    sizes = np.full_like(points, 27.0)
    middles = points + offsets(points, sizes, (250, 250), radius)
    apart = np.abs(middles[:, None] - middles[None]).max(axis=2)
    assert apart[~np.eye(len(points), dtype=bool)].min() >= 27
    assert middles.min() >= 13.5 and middles.max() <= 250 - 13.5
    if radius:
        assert np.abs(middles[:, None] - points[None]).max(axis=2).min() >= 13.5 + radius
    else:
        assert (middles == points).all(axis=1).any()

"""How the charts about agreement are drawn, from tables that the chapters compute."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from vitrine.report.charts import COLOURS, legend_of, scale, tooltips
from vitrine.report.compared import COMPLEXITY
from vitrine.report.placement import offsets
from vitrine.report.text import percent

SAME, OTHER, RANDOM = "the same image", "cross-image baseline", "at random"

LEVELS = {"iou": SAME, "iou_other_images": OTHER, "iou_chance": RANDOM}
"""An IoU and its two baselines, by column."""

LayeredChart = alt.LayerChart | alt.FacetChart

_LEVEL = scale([SAME, OTHER, RANDOM], ("blue", "orange", "grey"))

VIEW = (250, 230)
"""Width and height in pixels of one of several scatter charts."""

THUMBNAIL = 28
"""Side in pixels of an image as a mark."""


def bars(rows: pd.DataFrame, share: float, order: Sequence[str], both: str) -> LayeredChart:
    """The IoU of each image beside its baselines; the share of the frame can be chosen.

    rows : as ``compared.pair_rows``. share : at first. order : of the images. both : the methods.
    """
    shares = sorted(rows["share"].unique())
    names = [percent(one) for one in shares]
    chosen = alt.binding_select(options=shares, labels=names, name="Share of the frame: ")
    base = (
        alt.Chart(rows)
        .transform_filter("datum.share == share")
        .add_params(alt.param(name="share", value=share, bind=chosen))
    )
    levels = ((f"{key}:Q", name, ".2f") for key, name in LEVELS.items())
    tooltip = tooltips(("image:N", "Image"), *levels)
    y = alt.Y("image:N", title=None, sort=list(order))
    marks = legend_of({SAME: "bar", OTHER: "tick", RANDOM: "dashes"})
    colour = alt.Color("what:N", scale=_LEVEL, legend=marks)
    x = alt.X("iou:Q", title=f"IoU of {both}", scale=alt.Scale(domainMin=0))
    same, other, random = (base.transform_calculate(what=f"'{name}'") for name in LEVELS.values())
    return alt.layer(
        same.mark_bar(height=14, opacity=0.5).encode(x=x, y=y, color=colour, tooltip=tooltip),
        other.mark_tick(thickness=4, size=24, opacity=1).encode(
            x="iou_other_images:Q", y=y, color=colour, tooltip=tooltip
        ),
        random.mark_rule(strokeDash=[6, 3], strokeWidth=2).encode(
            x="mean(iou_chance):Q", color=colour
        ),
    ).properties(height=max(60, 30 * len(order)))


def curve(rows: pd.DataFrame) -> LayeredChart:
    """The mean IoU and its baselines against the share of the frame.

    rows : ``share``, ``what`` of ``LEVELS``, ``mean``, and its interval ``low`` to ``high``.
    """
    axis = alt.Axis(format="%", values=sorted(rows["share"].unique()), labelOverlap=True)
    base = alt.Chart(rows).encode(
        x=alt.X("share:Q", title="Share of the frame", axis=axis),
        color=alt.Color("what:N", scale=_LEVEL, legend=alt.Legend(symbolType="stroke")),
    )
    dash = scale([SAME, OTHER, RANDOM], ([1, 0], [6, 3], [2, 2]))
    band = base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q", title="Mean IoU"), y2="high:Q")
    line = base.mark_line(point=True).encode(
        y="mean:Q",
        strokeDash=alt.StrokeDash("what:N", scale=dash),
        tooltip=tooltips(
            ("what:N", "IoU"), ("share:Q", "Share of the frame", ".0%"), ("mean:Q", "Mean", ".2f")
        ),
    )
    return alt.layer(band, line).properties(height=280)


def matrix(cells: pd.DataFrame, names: Sequence[str], rules: Mapping[str, str]) -> LayeredChart:
    """The agreement of each two methods; its rule, and what is shown, can be chosen.

    cells : ``rule``, the titles ``first`` and ``second``, ``value``, ``baseline``, ``specific``.
    names : the titles in order. rules : their titles by key, the one shown at first in front.
    """
    shown = {"value": "agreement", "specific": "agreement minus the cross-image baseline"}
    params = []
    for name, titles in (("rule", rules), ("shown", shown)):
        keys, labels = list(titles), list(titles.values())
        menu = alt.binding_select(options=keys, labels=labels, name=f"{name.capitalize()}: ")
        params.append(alt.param(name=name, value=keys[0], bind=menu))

    def axis(**more: object) -> alt.Axis:
        return alt.Axis(labelLimit=190, labelFontSize=11, **more)  # type: ignore[arg-type]

    across = axis(labelAngle=-45, orient="bottom", labelOverlap=False)
    first, second = alt.Scale(domain=list(names[:-1])), alt.Scale(domain=list(names[1:]))
    base = (
        alt.Chart(cells.round(4))
        .transform_filter("datum.rule == rule")
        .transform_calculate(drawn="datum[shown]")
        .encode(
            x=alt.X("first:N", sort=list(names), title=None, scale=first, axis=across),
            y=alt.Y("second:N", sort=list(names), title=None, scale=second, axis=axis()),
        )
    )
    colour = alt.Scale(scheme="cividis", domain=[0, 1], clamp=True)
    numbers = [("value:Q", "agreement", ".2f"), ("baseline:Q", OTHER, ".2f")]
    squares = base.mark_rect().encode(
        color=alt.Color("drawn:Q", title=None, scale=colour),
        tooltip=tooltips(("first:N", "Method"), ("second:N", "and"), *numbers),
    )
    words = base.mark_text(fontSize=11, opacity=alt.expr("width < 380 ? 0 : 1")).encode(
        text=alt.Text("drawn:Q", format=".2f"),
        color=alt.condition("datum.drawn > 0.5", alt.value("#1a1a1a"), alt.value("#ffffff")),
    )
    drawn = alt.layer(squares, words).add_params(*params)
    return drawn.properties(height=max(120, 27 * len(names)))


def against(rows: pd.DataFrame, name: str, both: str) -> alt.Chart:
    """The axes of the IoU of ``both`` against a measure of complexity, without marks."""
    title, ticks = COMPLEXITY[name].axis, alt.Axis(tickCount=5)
    value = (f"{name}:Q", title, ".3~f")
    across = alt.X(f"{name}:Q", title=title, axis=ticks)
    upwards = alt.Y("iou:Q", title=f"IoU of {both}", axis=ticks)
    drawn = alt.Chart(rows).encode(
        x=across.scale(domain=[rows[name].min(), rows[name].max()], nice=False, padding=16),
        y=upwards.scale(domain=[0, rows["iou"].max()], nice=False, padding=18),
        tooltip=tooltips(("image:N", "Image"), value, ("iou:Q", "IoU", ".2f")),
    )
    return drawn.properties(width=VIEW[0], height=VIEW[1])


def thumbnails(rows: pd.DataFrame, name: str, both: str) -> LayeredChart:
    """Images as thumbnails that do not hide each other, with a line to the place of those moved.

    rows : with the address of each image's thumbnail in ``mark``.
    """
    shown = rows.dropna(subset=[name, "iou"])
    low = np.array([shown[name].min(), 0.0])
    extent = np.array([shown[name].max() - low[0] or 1.0, shown["iou"].max() or 1.0])
    inner = np.array(VIEW) - 2 * np.array([16, 18])
    points = (shown[[name, "iou"]].to_numpy() - low) / extent * inner + [16, 18]
    away = offsets(points, np.full_like(points, THUMBNAIL + 1), VIEW)
    beside = (points + away - [16, 18]) / inner * extent + low
    shown = shown.assign(_x=beside[:, 0], _y=beside[:, 1], _moved=(away != 0).any(axis=1))
    base = against(shown, name, both)
    title = COMPLEXITY[name].axis
    moved = base.transform_filter("datum._moved")
    return alt.layer(
        moved.mark_rule(color=COLOURS["grey"]).encode(x2="_x:Q", y2="_y:Q"),
        base.mark_image(width=THUMBNAIL, height=THUMBNAIL).encode(
            x=alt.X("_x:Q", title=title), y=alt.Y("_y:Q", title=f"IoU of {both}"), url="mark:N"
        ),
        moved.mark_point(size=30, filled=True, opacity=1, color=COLOURS["orange"]),
    )


def dots(rows: pd.DataFrame, quarters: pd.DataFrame, name: str, both: str) -> LayeredChart:
    """Images as dots, and the mean of each quarter of them (``compared.quarters``)."""
    orange = COLOURS["orange"]
    means = alt.Chart(quarters).encode(x=f"{name}:Q")
    return alt.layer(
        against(rows, name, both).mark_point(size=30, filled=True, opacity=0.4),
        means.mark_rule(strokeWidth=3, color=orange).encode(y="low:Q", y2="high:Q"),
        means.mark_point(size=100, filled=True, opacity=1, color=orange).encode(
            y="iou:Q", tooltip=alt.Tooltip("iou:Q", title="Mean of a quarter", format=".2f")
        ),
    )


def draws_chart(rows: pd.DataFrame) -> LayeredChart:
    """The range of rho over draws of few images; ``rows`` as ``large_sample.draws``."""
    titles = {"low": "from", "high": "to", "all": "whole sample", "study": "images of the study"}
    base = alt.Chart(rows).encode(
        x=alt.X("low:Q", title="Spearman's rho with the IoU", scale=alt.Scale(domain=[-1, 1])),
        y=alt.Y("measure:N", title=None, sort=list(rows["measure"])),
        tooltip=tooltips(*((f"{key}:Q", title, ".2f") for key, title in titles.items())),
    )
    zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(color=COLOURS["grey"], strokeDash=[4, 4])
    own = base.transform_filter("isValid(datum.study)").mark_point(
        shape="diamond", size=110, filled=True, opacity=1, color=COLOURS["orange"]
    )
    return alt.layer(
        base.mark_bar(height=16, opacity=0.35, color=COLOURS["blue"]).encode(x2="high:Q"),
        zero.encode(x="x:Q"),
        base.mark_tick(thickness=3, size=24, color=COLOURS["blue"]).encode(x="all:Q"),
        own.encode(x="study:Q"),
    ).properties(height=max(60, 42 * len(rows)))

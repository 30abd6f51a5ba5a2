"""Tables and figures of a study's dissection: its layers, counts and probing sets."""

from typing import Any

import altair as alt
import pandas as pd
from IPython.display import Markdown

from vitrine.report import charts, tables
from vitrine.report.dissected import Dissected
from vitrine.report.dissection import KIND_COLOURS, Networks, kind_title
from vitrine.report.page import this_page


def layer_table(found: Dissected) -> Markdown:
    """The layers: how many units have a significant label, and how great similarities are."""
    keys = ["network", "layer"]
    low = found.units.assign(low=found.units["p_value"] < 0.05).groupby(keys)["low"].sum()
    columns = {
        "network": "Network",
        "layer": "Layer",
        "units": "Units",
        "constant": "Constant",
        "low": "p < 0.05",
        "significant": "Significant",
        "concepts": "Labels",
        "significant_concepts": "Significant labels",
        "greatest": "Greatest similarity",
        "mean": "Mean similarity",
        "null_mean": "Mean of drawn units",
    }
    rows = found.layers.join(low, on=keys).fillna({"low": 0}).astype({"low": int})
    if not this_page().is_html:  # a long title once, so that the other rows are a line each
        rows["network"] = rows["network"].mask(rows["network"].duplicated(), "")
    digits = dict.fromkeys(("greatest", "mean", "null_mean"), 3)
    return tables.table(rows[list(columns)], "layers", headings=columns, formats=digits)


def diversity_table(found: Dissected) -> Markdown:
    """How many different significant labels each network has, in all and of each kind."""
    table = found.diversity
    table = table.assign(**{kind: 0 for kind in ("object", "scene") if kind not in table})
    kinds = {kind: kind_title(kind) for kind in KIND_COLOURS if kind in table}
    columns = {
        "network": "Network",
        "training_set": "Trained on",
        "units": "Units",
        "significant": "Significant",
        "labels": "Different labels",
        "equal": "At equal units",
    } | kinds
    table = table.astype(dict.fromkeys(kinds, int))[list(columns)]
    return tables.table(table, "kinds", headings=columns, formats={"equal": 1})


RULES = {"fixed": "same number of strongest", "share": "same share of strongest"}


def probing_chart(found: Dissected) -> Markdown:
    """Similarity and stability of labels against the size of the probing set."""
    probing = found.study.networks_table("probing")
    keys = ["rule", "size", "draw"]
    means = probing.groupby(keys)[["similarity", "stable"]].mean().reset_index()
    values = means.melt(keys, var_name="what").groupby(["rule", "size", "what"])["value"]
    lines = values.agg(["mean", "min", "max"]).reset_index()
    lines["Rule"] = lines["rule"].map(RULES)
    views = [
        _probing_view(lines[lines["what"] == what], title, form)
        for what, title, form in (
            ("similarity", "Mean similarity", ".2f"),
            ("stable", "Share of units with the same label", "%"),
        )
    ]
    words = "Two line charts: mean similarity and label stability against the size of the probing "
    return charts.chart(alt.hconcat(*views), "probing", f"{words}set.")


def _probing_view(lines: pd.DataFrame, title: str, form: str) -> Any:
    present = [name for name in RULES.values() if (lines["Rule"] == name).any()]
    colours = [charts.COLOURS["blue"], charts.COLOURS["orange"]][: len(present)]
    legend = alt.Legend(symbolType="stroke")
    dashes = alt.Scale(domain=present, range=[[1, 0], [6, 3]][: len(present)])
    axis = alt.Axis(values=sorted(int(size) for size in lines["size"].unique()))
    log = alt.Scale(type="log")
    base = alt.Chart(lines).encode(
        x=alt.X("size:Q", title="Images in the probing set", scale=log, axis=axis),
        color=alt.Color("Rule:N", scale=alt.Scale(domain=present, range=colours), legend=legend),
    )
    band = base.mark_area(opacity=0.2).encode(
        y=alt.Y("min:Q", title=title, axis=alt.Axis(format=form)), y2="max:Q"
    )
    line = base.mark_line(point=True).encode(
        y=alt.Y("mean:Q", title=title),
        strokeDash=alt.StrokeDash("Rule:N", scale=dashes),
        tooltip=charts.tooltips(("Rule:N",), ("size:Q", "Images"), ("mean:Q", title, form)),
    )
    return (band + line).properties(width=300, height=220)


def common_layers(found: Dissected) -> Networks:
    """The networks with the layers that all of them have, by name."""
    shared = set.intersection(*(set(found.layers_of(title)) for title in found.titles))
    return Networks(found.titles, [name for name in found.networks.layers if name in shared])

"""Charts and tables about labelled units, whoever labelled them.

``units`` is a table with a row a unit and the columns network, layer, unit, label, kind and
similarity, and ``significant`` where it is known; the networks are told apart by their titles, in
one colour each. Networks may have layers of other names.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from IPython.display import Markdown

from vitrine.report import charts, tables
from vitrine.report.dissected import RULES, Dissected
from vitrine.report.explorer import explorer
from vitrine.report.page import this_page
from vitrine.report.text import count, percent

FREQUENT = 20
"""Concepts of a layer, and of all layers together, that are shown."""

DASHES = ([1, 0], [6, 3], [2, 2])

KIND_COLOURS = dict(
    zip(
        ("object", "scene", "part", "texture", "material", "color", "other"),
        [*charts.COLOURS.values(), "#b9b9b9"],
        strict=True,
    )
)
"""One colour a kind of concept, the same in every chart."""

WRAPPED = 5
"""So many panels stand in a row."""


def similarity_chart(found: Dissected) -> Markdown:
    """How the similarity of labels is distributed over the units of each layer."""
    units = found.units
    edges = np.linspace(units["similarity"].min(), units["similarity"].max(), 31)
    bins = []
    for (network, layer), group in units.groupby(["network", "layer"], sort=False):
        heights, _ = np.histogram(group["similarity"], edges)
        for left, right, height in zip(edges[:-1], edges[1:], heights / len(group), strict=True):
            bins.append((network, layer, (left + right) / 2, height))
    told = [alt.Tooltip("similarity:Q", format=".2f"), alt.Tooltip("share:Q", format=".1%")]
    drawing = (
        alt.Chart(pd.DataFrame(bins, columns=["Network", "layer", "similarity", "share"]))
        .mark_line(interpolate="step", strokeWidth=2)
        .encode(
            x=alt.X("similarity:Q", title="Similarity"),
            y=alt.Y("share:Q", title="Share of units", axis=alt.Axis(format="%")),
            color=alt.Color("Network:N", scale=charts.scale(found.titles)),
            strokeDash=alt.StrokeDash("Network:N", scale=charts.scale(found.titles, DASHES)),
            tooltip=["Network:N", *told],
        )
        .properties(width=125, height=170 if this_page().is_html else 105)
        .facet(**_panels("layer:N", found.layer_names))
    )
    words = "Step charts of the similarity of labels for each layer and network."
    return charts.chart(drawing, "similarity", words)


def _panels(field: str, order: Sequence[str]) -> dict[str, Any]:
    """A panel for each value, in one row or in several."""
    if len(order) <= WRAPPED:
        return {"column": alt.Column(field, sort=list(order), title=None)}
    return {"facet": alt.Facet(field, sort=list(order), title=None), "columns": WRAPPED - 1}


def concept_units(units: pd.DataFrame) -> pd.DataFrame:
    """A row for each label of a layer: its kind, its units, and their mean similarity."""
    grouped = units.groupby(["network", "layer", "label"], sort=True)
    table = grouped.agg(kind=("kind", "first"), units=("unit", "size"), mean=("similarity", "mean"))
    return table.reset_index().rename(columns={"label": "concept"})


Destination = Callable[[Any], str]
"""Where a mark leads, by its row."""


def unit_link(bar: Any) -> str:
    """The units of a bar's concept in a table of all units on the same page."""
    return f"#units?q={bar.concept}&Network={bar.network}&Layer={bar.layer}".replace(" ", "%20")


def frequent_chart(
    concepts: pd.DataFrame,
    titles: Sequence[str],
    shown: Mapping[str, str],
    width: int = 190,
    link: Destination = unit_link,
) -> Markdown:
    """The concepts that label most units; the reader chooses the layer.

    concepts : network, layer, concept, kind, units, mean, and ``significant`` where it is known:
        then bars are parted into units whose label is significant and others, by ``part``.
    titles : of the networks, in order.
    shown : by network the layer that comes first. Networks whose layers have the same names share
        one choice, and that of the first.
    link : where a bar leads.
    """
    ordered = concepts.sort_values(["units", "mean"], ascending=False)
    frequent = ordered.groupby(["network", "layer"]).head(FREQUENT).copy()
    longest = int(frequent["units"].max())
    frequent = _parted(frequent)
    frequent["link"] = [link(bar) for bar in frequent.itertuples()]
    layers = {
        title: own
        for title in titles
        if (own := list(dict.fromkeys(concepts.loc[concepts["network"] == title, "layer"])))
    }
    alike = len({frozenset(own) for own in layers.values()}) == 1
    bars, choices = [], []
    for place, (title, own) in enumerate(layers.items()):
        if place == 0 or not alike:
            of = "" if alike else f" of {title}"
            start = shown[title] if shown.get(title) in own else own[-1]
            select = alt.binding_select(options=own, name=f"Layer{of}: ")
            choices.append(alt.param(name=f"layer{place or ''}", value=start, bind=select))
        colour = charts.scale(titles).range[titles.index(title)]
        bars.append(_frequent_of(frequent, title, colour, choices[-1], width, longest))
    # Each network has its own colour, so each panel its own legend.
    per_row = alt.concat(*bars, columns=3) if len(bars) > 3 else alt.hconcat(*bars)
    per_row = per_row.resolve_scale(color="independent")
    words = "Bar charts of the labels that most units of one layer have, a chart for each network."
    return charts.chart(per_row.add_params(*choices), "frequent", words)


PARTS = {"significant": "significant", "others": "not significant"}


def _parted(frequent: pd.DataFrame) -> pd.DataFrame:
    """A row for the units of each concept whose label is significant, and one for the others."""
    if "significant" not in frequent:
        return frequent.assign(part="", number=frequent["units"], rank=0)
    numbers = (frequent["significant"], frequent["units"] - frequent["significant"])
    rows = pd.concat(
        frequent.assign(part=part, number=number, rank=rank)
        for rank, (part, number) in enumerate(zip(PARTS.values(), numbers, strict=True))
    )
    return rows[rows["number"] > 0]


def _frequent_of(
    frequent: pd.DataFrame, title: str, colour: str, choice: alt.Parameter, width: int, longest: int
) -> Any:
    parted = "significant" in frequent
    room, ticks = alt.Scale(domain=[0, longest], nice=True), alt.Axis(tickMinStep=1, grid=False)
    order = alt.EncodingSortField("units", op="max", order="descending")
    names = alt.Axis(minExtent=105, labelLimit=105)
    told = [("concept:N", "Concept"), ("kind:N", "Kind"), ("units:Q", "Units")]
    told += [("significant:Q", "Significant")] * parted
    shade = alt.Scale(domain=list(PARTS.values()), range=[colour, "#b9b9b9"])
    legend = alt.Legend(title=None, orient="bottom", direction="vertical")
    heading = alt.TitleParams(alt.ExprRef(f"[{json.dumps(title)}, 'Layer ' + {choice.name}]"))
    return (
        alt.Chart(frequent[frequent["network"] == title], title=heading)
        .transform_filter(alt.datum.layer == choice)
        .mark_bar(cursor="pointer", color=alt.Undefined if parted else colour)
        .encode(
            x=alt.X("number:Q", title="Units", stack="zero", scale=room, axis=ticks),
            y=alt.Y("concept:N", title=None, sort=order, axis=names),
            order="rank:Q",
            href="link:N",
            tooltip=charts.tooltips(*told, ("mean:Q", "Mean similarity", ".3f")),
            **({"color": alt.Color("part:N", scale=shade, legend=legend)} if parted else {}),
        )
        .properties(width=width, height=310)
    )


def scatter_chart(found: Dissected, link: Destination) -> Markdown:
    """The similarity of the last layers' units whose label is one of the most frequent there."""
    layers = found.last_layers()
    deep = found.units[found.units["layer"].isin(layers)]
    twenty = deep["label"].value_counts().head(FREQUENT).index
    columns = ["label", "similarity", "network", "layer", "unit"]
    points = deep.loc[deep["label"].isin(twenty), columns]
    names = ["network:N", "layer:N", "unit:Q", "label:N"]
    drawing = (
        alt.Chart(points.assign(link=[link(point) for point in points.itertuples()]))
        .mark_point(size=34, filled=True, opacity=0.6, cursor="pointer")
        .encode(
            y=alt.Y("label:N", title=None, sort=list(twenty)),
            x=alt.X("similarity:Q", title="Similarity"),
            yOffset=alt.YOffset("network:N", sort=found.titles),
            color=alt.Color("network:N", scale=charts.scale(found.titles)),
            shape=alt.Shape("layer:N", sort=layers),
            href="link:N",
            tooltip=[*names, alt.Tooltip("similarity:Q", format=".3f")],
        )
        .properties(height=420)
    )
    words = "Scatter chart of similarity against concept for the twenty most frequent labels."
    return charts.chart(drawing, "scatter", words)


def named_classes(found: Dissected) -> Markdown:
    """How well the classifier's units are named: exactly, and by the cosine of names."""
    classes = found.study.networks_table("classes")
    by, known = (rows.groupby("network") for rows in (classes, classes[classes["listed"]]))
    listed = {"listed": by["listed"].sum(), "exact_listed": known["exact"].mean()}
    means = by[["exact", "cosine", "cosine_shuffled"]].mean().assign(classes=by.size(), **listed)
    right = means.loc[[title for title in found.titles if title in means.index]]
    headings = {
        "network": "Network",
        "classes": "Classes",
        "exact": "Named exactly",
        "listed": "Classes with a name in the list",
        "exact_listed": "Of these, named exactly",
        "cosine": "Cosine of label and class",
        "cosine_shuffled": "Cosine with labels of other units",
    }
    return tables.table(
        right.reset_index()[list(headings)],
        "classes",
        headings,
        {"exact": percent, "exact_listed": percent, "cosine": 2, "cosine_shuffled": 2},
    )


def top_table(found: Dissected) -> Markdown:
    """The labels of the fifty classifier units of greatest similarity, with their numbers."""
    columns = {}
    for title in found.titles:
        own = found.of_classes[found.of_classes["network"] == title]
        counted = own.nlargest(50, "similarity")["label"].value_counts().head(12)
        cells = [f"{label} ({number})" for label, number in counted.items()]
        if cells:
            columns[title] = pd.Series(cells)
    return tables.table(pd.DataFrame(columns).fillna(""), "top50")


def kind_title(kind: str) -> str:
    """A kind at the head of a column; Broden writes "color"."""
    return {"color": "Colour"}.get(kind, kind.capitalize())


def kind_chart(found: Dissected) -> Markdown:
    """Units with a significant label by its kind, layer by layer."""
    shares = (
        found.significant.groupby(["network", "layer", "kind"]).size().rename("units").reset_index()
    )
    shares["Kind"] = shares["kind"].map(kind_title)
    shares["rank"] = shares["kind"].map({kind: rank for rank, kind in enumerate(KIND_COLOURS)})
    present = [kind for kind in KIND_COLOURS if (shares["kind"] == kind).any()]
    scale = alt.Scale(
        domain=[kind_title(kind) for kind in present], range=[KIND_COLOURS[k] for k in present]
    )
    shown = alt.Axis(format="%")
    titles = [title for title in found.titles if (shares["network"] == title).any()]
    drawing = (
        alt.Chart(shares)
        .mark_bar()
        .encode(
            x=alt.X("units:Q", title="Share of these units", stack="normalize", axis=shown),
            y=alt.Y("layer:N", sort=found.layer_names, title=None),
            color=alt.Color("Kind:N", scale=scale),
            order="rank:Q",
            tooltip=charts.tooltips(
                ("network:N",), ("layer:N",), ("Kind:N", "Kind"), ("units:Q", "Units")
            ),
        )
        .properties(width=195, height=alt.Step(26))
        .facet(**_panels("network:N", titles))
        .resolve_scale(y="independent")
    )
    words = "Stacked bars: the kinds of labels in each layer of each network."
    return charts.chart(drawing, "kinds", words)


def shared_table(units: pd.DataFrame, titles: Sequence[str], layers: Sequence[str]) -> Markdown:
    """Different labels that all, all but one ... and only one of the networks have, by layer.

    A row for each of the ``layers``, which all networks have, and for all units that are no class
    where a column ``is_class`` says which are.
    """
    rows, whole = [], len(titles)
    groups = {layer: units[units["layer"] == layer] for layer in layers}
    if "is_class" in units:
        groups["all before the classifiers"] = units[~units["is_class"]]
    for name, chosen in (groups | {"all": units}).items():
        holders = chosen.groupby("label")["network"].nunique()
        single = chosen["label"].isin(holders.index[holders == 1])
        alone = chosen[single].groupby("network")["label"].nunique()
        together = {count(many): int((holders == many).sum()) for many in range(whole, 1, -1)}
        own = {title: int(alone.get(title, 0)) for title in titles}
        rows.append({"layer": name, **together, **own})
    headings = {"layer": "Layer"} | {count(many): f"In {count(many)}" for many in range(2, whole)}
    headings[count(whole)] = "In both" if whole == 2 else f"In all {count(whole)}"
    only = {title: f"Only {title}" for title in titles}
    return tables.table(pd.DataFrame(rows), "shared", headings=headings | only)


def units_explorer(
    units: pd.DataFrame, columns: Sequence[str], headings: Mapping[str, str], label: str
) -> Markdown:
    """Every unit with its label, to be searched."""
    return explorer(
        units[list(columns)],
        "units",
        label,
        filters=("network", "layer", "kind"),
        headings=headings,
        digits={"unit": 0, "similarity": 3, "p_value": 5, "q_value": 5},
    )


def layers_overview(found: Dissected) -> Markdown:
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
        "null_mean": "Mean of null units",
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
    legend = alt.Legend(symbolType="stroke")
    axis = alt.Axis(values=sorted(int(size) for size in lines["size"].unique()))
    log = alt.Scale(type="log")
    base = alt.Chart(lines).encode(
        x=alt.X("size:Q", title="Images in the probing set", scale=log, axis=axis),
        color=alt.Color("Rule:N", scale=charts.scale(present), legend=legend),
    )
    band = base.mark_area(opacity=0.2).encode(
        y=alt.Y("min:Q", title=title, axis=alt.Axis(format=form)), y2="max:Q"
    )
    line = base.mark_line(point=True).encode(
        y=alt.Y("mean:Q", title=title),
        strokeDash=alt.StrokeDash("Rule:N", scale=charts.scale(present, DASHES)),
        tooltip=charts.tooltips(("Rule:N",), ("size:Q", "Images"), ("mean:Q", title, form)),
    )
    return (band + line).properties(width=300, height=220)

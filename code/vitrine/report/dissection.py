"""Charts and tables about labelled units, whoever labelled them.

``units`` is a table with a row a unit and the columns network, layer, unit, label, kind and
similarity; the networks are told apart by their titles, in one colour each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from IPython.display import Markdown

from vitrine.report import charts, tables
from vitrine.report.explorer import explorer
from vitrine.report.text import percent

FREQUENT = 20
"""Concepts of a layer, and of all layers together, that are shown."""

DASHES = ([1, 0], [6, 3], [2, 2])


@dataclass(frozen=True)
class Networks:
    """The networks of a page: their titles in order, and the names of their layers in order."""

    titles: Sequence[str]
    layers: Sequence[str]

    @property
    def colours(self) -> alt.Scale:
        """One colour a network, the same in every chart."""
        known = [charts.COLOURS[name] for name in ("blue", "orange", "green")]
        return alt.Scale(domain=list(self.titles), range=known[: len(self.titles)])

    @property
    def dashes(self) -> alt.Scale:
        return alt.Scale(domain=list(self.titles), range=list(DASHES[: len(self.titles)]))

    @property
    def count(self) -> str:
        """How many there are, as alternative texts say it."""
        return {2: "two", 3: "three"}.get(len(self.titles), str(len(self.titles)))


def similarity_chart(units: pd.DataFrame, networks: Networks, width: int = 125) -> Markdown:
    """How the similarity of labels is distributed over the units of each layer."""
    edges = np.linspace(units["similarity"].min(), units["similarity"].max(), 31)
    bins = []
    for (network, layer), group in units.groupby(["network", "layer"], sort=False):
        heights, _ = np.histogram(group["similarity"], edges)
        for left, right, height in zip(edges[:-1], edges[1:], heights / len(group), strict=True):
            bins.append(
                {
                    "Network": network,
                    "layer": layer,
                    "similarity": (left + right) / 2,
                    "share": height,
                }
            )
    drawing = (
        alt.Chart(pd.DataFrame(bins))
        .mark_line(interpolate="step", strokeWidth=2)
        .encode(
            x=alt.X("similarity:Q", title="Similarity"),
            y=alt.Y("share:Q", title="Share of units", axis=alt.Axis(format="%")),
            color=alt.Color("Network:N", scale=networks.colours),
            strokeDash=alt.StrokeDash("Network:N", scale=networks.dashes),
            tooltip=[
                "Network:N",
                alt.Tooltip("similarity:Q", format=".2f"),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
        .properties(width=width, height=170)
        .facet(column=alt.Column("layer:N", sort=list(networks.layers), title=None))
    )
    return charts.chart(
        drawing,
        "similarity",
        "Step charts of the similarity of labels for each layer and network.",
    )


def concepts_of(units: pd.DataFrame) -> pd.DataFrame:
    """A row for each label of a layer: its kind, its units, and their mean similarity."""
    grouped = units.groupby(["network", "layer", "label"], sort=True)
    table = grouped.agg(kind=("kind", "first"), units=("unit", "size"), mean=("similarity", "mean"))
    return table.reset_index().rename(columns={"label": "concept"})


def frequent_chart(
    concepts: pd.DataFrame, networks: Networks, shown: str, width: int = 190
) -> Markdown:
    """The concepts that label most units; the reader chooses the layer, ``shown`` comes first.

    concepts : network, layer, concept, kind, units, mean, and ``significant`` where it is known.
    """
    ordered = concepts.sort_values(["units", "mean"], ascending=False)
    frequent = ordered.groupby(["network", "layer"]).head(FREQUENT).copy()
    frequent["link"] = [
        f"#units?q={concept}&Network={network}&Layer={layer}".replace(" ", "%20")
        for concept, network, layer in zip(
            frequent["concept"], frequent["network"], frequent["layer"], strict=True
        )
    ]
    choice = alt.param(
        name="layer",
        value=shown,
        bind=alt.binding_select(options=list(networks.layers), name="Layer: "),
    )
    bars = [
        _frequent_of(frequent, title, colour, choice, width)
        for title, colour in zip(networks.titles, networks.colours.range, strict=True)
    ]
    return charts.chart(
        alt.hconcat(*bars).add_params(choice),
        "frequent",
        f"Bar charts of the most frequent labels of the layer {shown} in each of the "
        f"{networks.count} networks.",
    )


def _frequent_of(
    frequent: pd.DataFrame, title: str, colour: str, choice: alt.Parameter, width: int
) -> Any:
    carried = [alt.Tooltip("significant:Q", title="Carry it (p < 0.05)")]
    return (
        alt.Chart(frequent, title=title)
        .transform_filter((alt.datum.network == title) & (alt.datum.layer == choice))
        .mark_bar(color=colour, opacity=0.85, cursor="pointer")
        .encode(
            x=alt.X("units:Q", title="Units", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("concept:N", title=None, sort=alt.SortField("units", order="descending")),
            href="link:N",
            tooltip=[
                alt.Tooltip("concept:N", title="Concept"),
                alt.Tooltip("kind:N", title="Kind"),
                alt.Tooltip("units:Q", title="Units"),
                *(carried if "significant" in frequent else []),
                alt.Tooltip("mean:Q", title="Mean similarity", format=".3f"),
            ],
        )
        .properties(width=width, height=370)
    )


def scatter_chart(units: pd.DataFrame, networks: Networks, layers: Sequence[str]) -> Markdown:
    """The similarity of every unit of ``layers`` whose label is one of the most frequent there."""
    deep = units[units["layer"].isin(layers)]
    twenty = deep["label"].value_counts().head(FREQUENT).index
    drawing = (
        alt.Chart(
            deep[deep["label"].isin(twenty)][["label", "similarity", "network", "layer", "unit"]]
        )
        .mark_point(size=34, filled=True, opacity=0.6)
        .encode(
            y=alt.Y("label:N", title=None, sort=list(twenty)),
            x=alt.X("similarity:Q", title="Similarity"),
            yOffset=alt.YOffset("network:N", sort=list(networks.titles)),
            color=alt.Color("network:N", scale=networks.colours),
            shape=alt.Shape("layer:N", sort=list(layers)),
            tooltip=[
                "network:N",
                "layer:N",
                "unit:Q",
                "label:N",
                alt.Tooltip("similarity:Q", format=".3f"),
            ],
        )
        .properties(height=420)
    )
    return charts.chart(
        drawing,
        "scatter",
        "Scatter chart of similarity against concept for the twenty most frequent labels.",
    )


def class_table(classes: pd.DataFrame, networks: Networks) -> Markdown:
    """How well the classifier's units are named: exactly, and by the cosine of names."""
    known = classes[classes["listed"]]
    right = pd.DataFrame(
        {
            "classes": classes.groupby("network").size(),
            "exact": classes.groupby("network")["exact"].mean(),
            "listed": classes.groupby("network")["listed"].sum(),
            "exact_listed": known.groupby("network")["exact"].mean(),
            "cosine": classes.groupby("network")["cosine"].mean(),
            "cosine_shuffled": classes.groupby("network")["cosine_shuffled"].mean(),
        }
    ).loc[list(networks.titles)]
    return tables.table(
        right.reset_index(),
        "classes",
        headings={
            "network": "Network",
            "classes": "Classes",
            "exact": "Exact",
            "listed": "In the list",
            "exact_listed": "Exact of those",
            "cosine": "Cosine",
            "cosine_shuffled": "Shuffled",
        },
        formats={"exact": percent, "exact_listed": percent, "cosine": 2, "cosine_shuffled": 2},
    )


def top_table(units: pd.DataFrame, networks: Networks, layer: str) -> Markdown:
    """The labels of the fifty units of greatest similarity of a layer, with their numbers."""
    columns = {}
    for title in networks.titles:
        own = units[(units["network"] == title) & (units["layer"] == layer)]
        counted = own.nlargest(50, "similarity")["label"].value_counts()
        columns[title] = [f"{label} ({number})" for label, number in counted.items()][:12]
    longest = max(map(len, columns.values()))
    filled = {title: [*cells, *[""] * (longest - len(cells))] for title, cells in columns.items()}
    return tables.table(pd.DataFrame(filled), "top50")


def kind_table(units: pd.DataFrame, networks: Networks) -> Markdown:
    """Different labels by kind."""
    kinds = units.groupby(["network", "kind"])["label"].nunique().unstack(fill_value=0)
    kinds = kinds.loc[list(networks.titles)]
    kinds.insert(0, "all", units.groupby("network")["label"].nunique())
    headings = {"network": "Network"} | {str(kind): str(kind).capitalize() for kind in kinds}
    return tables.table(kinds.reset_index(), "kinds", headings=headings)


def kind_chart(units: pd.DataFrame, networks: Networks, width: int = 195) -> Markdown:
    """Units by the kind of their label, layer by layer."""
    shares = units.groupby(["network", "layer", "kind"]).size().rename("units").reset_index()
    x = alt.X(
        "units:Q",
        title="Share of the layer's units",
        stack="normalize",
        axis=alt.Axis(format="%"),
    )
    drawing = (
        alt.Chart(shares)
        .mark_bar()
        .encode(
            x=x,
            y=alt.Y("layer:N", sort=list(networks.layers), title=None),
            color=alt.Color("kind:N", scale=alt.Scale(range=[*charts.COLOURS.values(), "#b9b9b9"])),
            tooltip=[
                "network:N",
                "layer:N",
                alt.Tooltip("kind:N", title="Kind"),
                alt.Tooltip("units:Q", title="Units"),
            ],
        )
        .properties(width=width, height=140)
        .facet(column=alt.Column("network:N", sort=list(networks.titles), title=None))
    )
    return charts.chart(
        drawing, "kinds", "Stacked bars: the kinds of labels in each layer of each network."
    )


def shared_labels(units: pd.DataFrame, networks: Networks) -> pd.DataFrame:
    """Different labels that all, all but one ... and only one of the networks have, by layer."""
    titles, rows = networks.titles, []
    for layer in [*networks.layers, "all"]:
        chosen = units if layer == "all" else units[units["layer"] == layer]
        holders = chosen.groupby("label")["network"].nunique()
        single = chosen["label"].isin(holders.index[holders == 1])
        alone = chosen[single].groupby("network")["label"].nunique()
        together = {
            _NUMBERS[many]: int((holders == many).sum()) for many in range(len(titles), 1, -1)
        }
        rows.append(
            {"layer": layer} | together | {title: int(alone.get(title, 0)) for title in titles}
        )
    return pd.DataFrame(rows)


_NUMBERS = {2: "two", 3: "three"}


def shared_table(shared: pd.DataFrame, networks: Networks) -> Markdown:
    """``shared_labels`` as a table."""
    together = {
        _NUMBERS[many]: f"In all {_NUMBERS[many]}" if many == len(networks.titles) else "In two"
        for many in range(len(networks.titles), 1, -1)
    }
    if len(networks.titles) == 2:
        together["two"] = "In both"
    only = {title: f"Only {title}" for title in networks.titles}
    return tables.table(shared, "shared", headings={"layer": "Layer"} | together | only)


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
        digits={"unit": 0, "similarity": 3} | ({"p_value": 3} if "p_value" in columns else {}),
    )

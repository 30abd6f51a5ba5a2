"""The gallery of units: each with its label, its strongest images and where it is active on them.

The page holds what its first view needs to know; the units of a layer, the images' names and the
sheets of thumbnails are files of their own, which assets/gallery.js loads when they are needed.
"""

import base64
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import Markdown

from vitrine.data.image_sets import files_of
from vitrine.data.images import Pixels, image_name
from vitrine.errors import ResultsError
from vitrine.experiments.dissection_tables import CONSTANT, RUNNERS_UP
from vitrine.report import figures
from vitrine.report.dissected import Dissected
from vitrine.report.dissection import PARTS, Destination
from vitrine.report.page import block, data_file, fenced, raw_html, this_page
from vitrine.report.text import count, number, slug
from vitrine.store import TaskResult
from vitrine.study.sections import ProbingSet

TILE = 64
ACROSS = 8
"""Thumbnails are squares of 64 pixels, 64 on a sheet."""

MOST_IMAGES = 2000
"""Thumbnails that a site holds: of units with a significant label first, the most similar first."""

OPENING = 600
"""Units that the layer has at most with which the page opens."""

SHORT_UNITS, SHORT_IMAGES = 6, 5
"""What is shown on paper, and to readers without JavaScript."""


@dataclass(frozen=True)
class Layer:
    """The units of a layer of the network of a key and a title.

    table : a row a unit, with ``strongest``, its ``k`` positions in the probing set; where it has
        ``cells``, ``fired``, where it is active, ``bool [k, h, w]``; ``histogram``, ``int32 [16]``,
        and of that ``start``, the first bin, and ``exponent``.
    cells : ``h, w``, or ``None`` for units without positions.
    frame : the part of the image's middle square that the network saw, as a share of its side.
    """

    network: str
    title: str
    name: str
    table: pd.DataFrame
    cells: tuple[int, ...] | None
    frame: float

    @property
    def file(self) -> str:
        return f"units-{slug(self.network)}-{slug(self.name)}"


@dataclass(frozen=True)
class Gallery:
    """Every unit of a study's dissection."""

    found: Dissected

    @cached_property
    def files(self) -> list[str]:
        """The probing set, in the order of its positions."""
        store = self.found.study.store
        images = ProbingSet(**store.provenance()["study"]["dissection"]["images"])
        files = files_of(store.project, images, "dissection.images")
        if len(files) != self.found.study.dissection["probing_set"]["images"]:
            problem = f"The probing set has {len(files)} files, not those that were dissected"
            raise ResultsError(problem, f"Restore them, or run `vitrine run --study {store.study}`")
        return list(files)

    def name(self, image: int) -> str:
        """What an image shows, by its position."""
        return image_name(self.files[image])[0]

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers of all networks, from early to late."""
        found = []
        for row in self.found.study.dissection["classifiers"]:
            task = self.found.study.store.read_task(f"{row['name']}/dissection/labels")
            for place, name in enumerate(row["layers"]):
                found.append(self._layer(task, row["name"], row["network"], place, name))
        return found

    def _layer(self, task: TaskResult, network: str, title: str, place: int, name: str) -> Layer:
        units, cells = self.found.all_units, None
        own = units[(units["network"] == title) & (units["layer"] == name)].reset_index(drop=True)
        parts = {"start": "histogram_start", "exponent": "histogram_exponent"}
        for column in ("strongest", "histogram", *parts):
            own[column] = list(task.arrays[f"{place}_{parts.get(column, column)}"])
        if (packed := task.arrays.get(f"{place}_fired")) is not None:
            cells = tuple(int(side) for side in task.arrays[f"{place}_cells"])
            bits = np.unpackbits(packed, axis=-1)[..., : int(np.prod(cells))]
            own["fired"] = list(bits.reshape(*bits.shape[:2], *cells).astype(bool))
        return Layer(network, title, name, own, cells, float(task.facts["frame"]))

    @cached_property
    def first(self) -> Layer:
        """The last layer of the first network that is no classifier and has not too many units."""
        own = [layer for layer in self.layers if layer.title == self.found.titles[0]]
        hidden = [layer for layer in own if not layer.table["is_class"].any()] or own
        return ([layer for layer in hidden if len(layer.table) <= OPENING] or hidden)[-1]

    @cached_property
    def images(self) -> list[int]:
        """The images that are on the sheets: those of the first view stand on the first sheet."""
        units = pd.concat([layer.table for layer in self.layers]).dropna(subset="similarity")
        units = units.sort_values(["significant", "similarity"], ascending=False, kind="stable")
        held: dict[int, None] = {}
        for strongest in units["strongest"]:
            if len(held.keys() | set(wanted := strongest.tolist())) <= MOST_IMAGES:
                held |= dict.fromkeys(wanted)
        order = self.first.table["similarity"].fillna(-1).argsort(kind="stable")[::-1]
        opening = np.concatenate(list(self.first.table["strongest"].iloc[order])).tolist()
        return list(dict.fromkeys([*(one for one in opening if one in held), *held]))

    @cached_property
    def with_images(self) -> int:
        """The units all of whose images are on the sheets."""
        held = set(self.images)
        live = [layer.table.dropna(subset="similarity") for layer in self.layers]
        return sum(held.issuperset(one.tolist()) for table in live for one in table["strongest"])


def address(network: str, layer: str, unit: int | None = None, **query: str) -> str:
    """Where the gallery shows a unit, or a layer's units, of the network of that key."""
    parts = (network, layer) if unit is None else (network, layer, str(unit))
    place, asked = "/".join(quote(part, "") for part in parts), urlencode(query, quote_via=quote)
    return f"units.html#{place}" + (f"?{asked}" if asked else "")


def bar_link(found: Dissected) -> Destination:
    """A bar of the concept histogram leads to the units that it counts."""

    def link(bar: Any) -> str:
        which = "yes" if bar.part == PARTS["significant"] else "no"
        return address(found.keys[bar.network], bar.layer, q=f'"{bar.concept}"', significant=which)

    return link


def point_link(found: Dissected) -> Destination:
    """A point of the similarity scatter leads to its unit."""
    return lambda point: address(found.keys[point.network], point.layer, int(point.unit))


def images_line(found: Dissected) -> Markdown:
    """How many units a page shows with how many images, and by which rule."""
    shown, units = Gallery(found), len(found.units)
    images = max(len(layer.table["strongest"].iloc[0]) for layer in shown.layers)
    every = f"{units:,} units that respond to some images more than to others"
    if not this_page().is_html:
        few = _examples(shown)
        here = f"Here are {count(len(few))} of them, each with {count(min(SHORT_IMAGES, images))}: "
        here += "of a layer the unit of greatest similarity among those with a significant label."
        return block(
            f"The site has all {every}, with {count(images)} images each.", here * bool(few)
        )
    if shown.with_images == units:
        return block(f"All {every} are here, with {count(images)} images each.")
    return block(
        f"Images are shown of {shown.with_images:,} of {units:,} units: the site holds at most "
        f"{MOST_IMAGES:,} of the {len(shown.files):,} images, those of units with a significant "
        "label first, the most similar first."
    )


def gallery(found: Dissected) -> Markdown:
    """The gallery on the site, and on paper the most similar significant units of the layers."""
    shown, page = Gallery(found), this_page()
    short = str(_short(shown).data)
    if not page.is_html:
        return block(short)
    place = {image: index for index, image in enumerate(shown.images)}
    head = {
        "sheets": [
            page.write(f"sheet-{start // ACROSS**2}.webp", _sheet(shown, start))
            for start in range(0, len(place), ACROSS**2)
        ],
        "tile": TILE,
        "across": ACROSS,
        "first": shown.layers.index(shown.first),
        "names": data_file(page, "units-names", [shown.name(image) for image in place]),
        "labels": data_file(page, "units-labels", _labels(shown)),
        "layers": [
            {
                "network": layer.network,
                "title": layer.title,
                "name": layer.name,
                "units": len(layer.table),
                "cells": layer.cells,
                "frame": round(layer.frame, 4),
                "data": data_file(page, layer.file, _units(layer, place)),
            }
            for layer in shown.layers
        ],
    }
    text = json.dumps(head, separators=(",", ":")).replace("<", "\\u003c")
    data = raw_html(f'<script type="application/json" class="vitrine-units">{text}</script>')
    # Within noscript, or a browser would load its images and throw them away.
    without = (raw_html("<noscript>"), short, raw_html("</noscript>"))
    return block(fenced(".vitrine-gallery", data, *without))


def _sheet(shown: Gallery, start: int) -> bytes:
    """A sheet of thumbnails as WebP, from the image at ``start``."""
    some = shown.images[start : start + ACROSS**2]
    rows = -(-len(some) // ACROSS)
    sheet = np.zeros((rows * TILE, ACROSS * TILE, 3), dtype=np.uint8)
    for index, image in enumerate(some):
        top, left = index // ACROSS * TILE, index % ACROSS * TILE
        pixels = shown.found.study.probing_image(shown.files[image], TILE)
        sheet[top : top + TILE, left : left + TILE] = pixels
    return figures.encoded(sheet, "WEBP", quality=56, method=6)


def _labels(shown: Gallery) -> dict[str, list[list[int]]]:
    """The units of each label, significant or not: ``[layer, unit]``."""
    found: dict[str, list[list[int]]] = {}
    for place, layer in enumerate(shown.layers):
        live = layer.table[layer.table["similarity"].notna()]
        for label, unit in zip(live["label"], live["unit"].tolist(), strict=True):
            found.setdefault(label, []).append([place, unit])
    return found


def _units(layer: Layer, place: dict[int, int]) -> dict[str, Any]:
    """What the site knows of a layer: words once, then a row a unit.

    A row is the label and the runners-up (places in ``words``), similarity, q-value, the images
    (places on the sheets, −1 for none), and as base64 the histogram (16 bit) and the active cells
    (bits); then the first bin and the exponent of the histogram.
    """
    columns = ["label", *(f"runner_up_{rank}" for rank in range(1, RUNNERS_UP + 1))]
    words = list(dict.fromkeys(layer.table[columns].to_numpy().ravel()))
    numbers = {word: index for index, word in enumerate(words)}
    rows: list[list[Any] | None] = []
    for unit in layer.table.to_dict("records"):
        if unit["label"] == CONSTANT or pd.isna(unit["similarity"]):
            rows.append(None)
            continue
        bits = np.packbits(unit["fired"]).tobytes() if layer.cells else b""
        counts = unit["histogram"].clip(max=65535).astype("<u2")
        rows.append(
            [
                [numbers[unit[column]] for column in columns],
                round(unit["similarity"], 3),
                float(f"{unit['q_value']:.3g}"),
                int(unit["significant"]),
                [place.get(int(image), -1) for image in unit["strongest"]],
                *(base64.b64encode(each).decode() for each in (counts.tobytes(), bits)),
                int(unit["start"]),
                int(unit["exponent"]),
            ]
        )
    return {"words": words, "rows": rows}


def _short(shown: Gallery) -> Markdown:
    """Some units with their images and where they are active."""
    cards = [_card(shown, layer, unit) for layer, unit in _examples(shown)]
    if not cards:
        return block("No unit has a significant label.")
    return figures.grid(cards, "units", columns=2, paper_columns=1)


def _examples(shown: Gallery) -> list[tuple[Layer, dict[Any, Any]]]:
    """The most similar significant unit of each layer, or of every second one and so on."""
    found = []
    for layer in shown.layers:
        best = layer.table[layer.table["significant"]].nlargest(1, "similarity")
        found += [(layer, unit) for unit in best.to_dict("records")]
    return found[:: max(1, -(-len(found) // SHORT_UNITS))]


def _card(shown: Gallery, layer: Layer, unit: dict[Any, Any]) -> figures.Card:
    index, panels = int(unit["unit"]), []
    for rank, image in enumerate(unit["strongest"][:SHORT_IMAGES]):
        pixels = shown.found.study.probing_image(shown.files[image], 112)
        cells = unit["fired"][rank] if layer.cells else None
        name = shown.name(image)
        words = f"{name}, rank {rank + 1} for unit {index} of {layer.name} of {layer.title}"
        panels.append(figures.Panel(name, dimmed(pixels, cells, layer.frame), words))
    note = f"similarity {number(unit['similarity'], 3)}, q = {unit['q_value']:.2g}"
    title = f"{layer.title}, {layer.name}, unit {index}: {unit['label']}"
    return figures.Card(title, tuple(panels), note)


def dimmed(pixels: Pixels, cells: npt.NDArray[np.bool_] | None, frame: float) -> Pixels:
    """An image ``uint8 [side, side, 3]`` that is dark but for the active cells ``bool [h, w]``.

    frame : the share of the image's side, in its middle, over which the cells lie.
    """
    if cells is None:
        return pixels
    side = len(pixels)
    inside = (np.arange(side) + 0.5) / side
    inside = (inside - (1 - frame) / 2) / frame
    seen = (inside >= 0) & (inside < 1)
    rows, columns = ((inside * count).astype(int).clip(0, count - 1) for count in cells.shape)
    bright = cells[np.ix_(rows, columns)] & seen[:, None] & seen[None]
    return np.where(bright[..., None], pixels, (pixels * 0.4).astype(np.uint8))

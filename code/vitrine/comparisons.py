"""How far all methods of a study agree: tables that need no step of their own."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from vitrine import study as studies
from vitrine.errors import NotApplicable
from vitrine.inputs.classifiers import Classifier
from vitrine.inputs.pictures import Picture
from vitrine.measures.agreement import (
    Region,
    chance_agreement,
    dice,
    overlaps,
    own_and_elsewhere,
    standard_ranks,
    top_region,
)
from vitrine.measures.clutter import edge_density, grey_entropy
from vitrine.measures.region_rules import REGION_RULES
from vitrine.measures.stability import strongest
from vitrine.methods.heatmap import Heatmap
from vitrine.results import COMPARISON_SCHEMAS, SCHEMAS, Store, TaskResult, heatmap_from
from vitrine.steps import Progress, Step
from vitrine.study import Study
from vitrine.variants import RULES

Rows = dict[str, list[tuple[Any, ...]]]
Table = npt.NDArray[np.float64]

DIGITS = 6
"""After the decimal point, of overlaps: tables of all pairs of methods are long."""


def mapped_methods(study: Study) -> list[str]:
    """All methods of a study that give each picture a map, in the order of the report."""
    cams = study.cam.methods if study.cam else ()
    attributions = study.attribution.methods if study.attribution else ()
    return [*(["lime"] if study.lime else []), *cams, *attributions]


class Comparer:
    """The part of a study that compares the maps of all its methods, as the store holds them.

    A method that has no map of a picture, or one that is the same everywhere, has no agreement
    there: the number is missing, not zero.
    """

    def __init__(
        self, study: Study, classifiers: dict[str, Classifier], pictures: dict[str, Picture]
    ) -> None:
        self.study = study
        self.classifiers = classifiers
        self.pictures = {file: pictures[file] for file in study.pictures.files}

    @property
    def steps(self) -> list[Step]:
        return []

    @property
    def tables(self) -> set[str]:
        return set(COMPARISON_SCHEMAS) if self.study.comparison else {"correlations"}

    def seen(self, step: Step) -> tuple[str, str]:
        raise KeyError(step.name)

    def preparation(self, todo: list[Step]) -> int:
        return 0

    def compute(self, step: Step, progress: Progress) -> TaskResult:
        raise KeyError(step.name)

    def provenance(self) -> dict[str, Any]:
        return {}

    def write_tables(self, store: Store) -> None:
        rows: Rows = {name: [] for name in sorted(self.tables)}
        for classifier in self.classifiers.values():
            _Comparison(self.study, store, classifier, self.pictures, rows).add()
        for name, found in rows.items():
            store.write_table(name, pd.DataFrame(found, columns=list(SCHEMAS[name])))


class _Comparison:
    """The rows of one classifier."""

    def __init__(
        self,
        study: Study,
        store: Store,
        classifier: Classifier,
        pictures: dict[str, Picture],
        rows: Rows,
    ) -> None:
        self.study, self.store, self.classifier = study, store, classifier
        self.pictures, self.rows, self.key = pictures, rows, classifier.name
        self.names = [picture.name for picture in pictures.values()]
        maps = {
            method: [self._map(method, file) for file in pictures]
            for method in mapped_methods(study)
        }
        # A method that the network does not support is not compared at all.
        maps = {method: found for method, found in maps.items() if any(found)}
        self.methods, self.maps = list(maps), list(maps.values())

    def _map(self, method: str, file: str) -> Heatmap | None:
        name = f"{self.key}/{method}/{file}"
        if not self.store.has_task(name):
            return None
        try:
            return heatmap_from(self.store.read_task(name), method)
        except NotApplicable:
            return None

    def add(self) -> None:
        self._add_correlations()
        if self.study.comparison:
            self._add_agreement(self.study.comparison)
            for rule in REGION_RULES:
                self._add_overlaps(rule, self.study.comparison)
            self._add_complexity()

    def _add_correlations(self) -> None:
        if len(self.methods) < 2:
            return
        pixels = max((one.values.size for row in self.maps for one in row if one), default=0)
        nothing = np.full(pixels, np.nan)
        ranks = np.stack(
            [standard_ranks(one.values) if one else nothing for row in self.maps for one in row]
        )
        rho = self._by_method(ranks @ ranks.T)
        for first, second in combinations(range(len(self.methods)), 2):
            own, elsewhere = own_and_elsewhere(rho[first, :, second])
            self.rows["correlations"] += self._rows(first, second, own, elsewhere)

    def _add_agreement(self, comparison: studies.Comparison) -> None:
        """LIME against every other method, for all shares of the frame."""
        if "lime" not in self.methods:
            return
        lime = self.methods.index("lime")
        others = [place for place in range(len(self.methods)) if place != lime]
        found: Rows = {self.methods[other]: [] for other in others}
        for share in comparison.shares:
            regions = self._regions(lambda one, _picture, s=share: top_region(one.values, s))
            iou = self._by_method(overlaps(regions, regions))
            for other in others:
                own, elsewhere = own_and_elsewhere(iou[lime, :, other])
                chance = np.full(len(own), chance_agreement(share))
                fixed = np.full(len(own), share)
                found[self.methods[other]] += self._rows(lime, other, fixed, own, chance, elsewhere)
        for rows in found.values():
            self.rows["agreement"] += rows

    def _add_overlaps(self, rule: str, comparison: studies.Comparison) -> None:
        """Every method against every other, with one rule for what a map highlights."""
        row = REGION_RULES[rule]
        kept = self._kept(row.area) if row.area in RULES else None
        regions = self._regions(
            lambda one, picture: row.region(one.values, kept[picture] if kept else comparison.share)
        )
        areas = regions.mean(axis=1, dtype=np.float64).reshape(len(self.methods), -1)
        iou = self._by_method(overlaps(regions, regions))
        for place, method in enumerate(self.methods):
            self.rows["regions"] += [
                (self.key, name, method, rule, round(float(area), DIGITS))
                for name, area in zip(self.names, areas[place], strict=True)
            ]
        for first, second in combinations(range(len(self.methods)), 2):
            pair = iou[first, :, second]
            own, elsewhere = own_and_elsewhere(pair)
            chance = [
                chance_agreement(*each) for each in zip(areas[first], areas[second], strict=True)
            ]
            _, dice_elsewhere = own_and_elsewhere(np.asarray(dice(pair)))
            columns = (own, np.array(chance), elsewhere, dice_elsewhere)
            rounded = [np.round(column, DIGITS) for column in columns]
            self.rows["overlaps"] += self._rows(first, second, [rule] * len(own), *rounded)

    def _add_complexity(self) -> None:
        for file, picture in self.pictures.items():
            crop = self.classifier.crop(picture)
            superpixels = len(self.store.read_task(f"{self.key}/lime/{file}").arrays["weights"])
            predictions = self.store.read_task(f"{self.key}/predictions/{file}").arrays
            best = float(predictions["probabilities"].max())
            values = (edge_density(crop), grey_entropy(crop), superpixels, best)
            self.rows["complexity"].append((self.key, picture.name, *values))

    # --- helpers ---------------------------------------------------------------------------------

    def _regions(self, draw: Any) -> npt.NDArray[np.float32]:
        """The region of every map ``[methods · pictures, pixels]``; empty where there is no map."""
        size = next(one.values.shape for row in self.maps for one in row if one)
        found = np.zeros((len(self.methods), len(self.names), *size), dtype=np.float32)
        for method, row in enumerate(self.maps):
            for picture, one in enumerate(row):
                if one is not None:
                    region: Region = draw(one, picture)
                    found[method, picture] = region
        return found.reshape(len(self.methods) * len(self.names), -1)

    def _kept(self, rule: str) -> list[float]:
        """The share of each picture that the superpixels which LIME keeps cover."""
        assert self.study.lime is not None
        found = []
        for file in self.pictures:
            arrays = self.store.read_task(f"{self.key}/lime/{file}").arrays
            chosen = strongest(
                arrays["weights"], self.study.lime.features, positive_only=RULES[rule]
            )
            found.append(float(np.isin(arrays["segments"], chosen).mean()))
        return found

    def _by_method(self, matrix: Table) -> Table:
        """``[methods, pictures, methods, pictures]`` from one row and column a map."""
        shape = (len(self.methods), len(self.names))
        return matrix.reshape(*shape, *shape)

    def _rows(self, first: int, second: int, *columns: Any) -> list[tuple[Any, ...]]:
        """One row a picture for a pair of methods."""
        pair = (self.methods[first], self.methods[second])
        return [
            (self.key, name, *pair, *values)
            for name, *values in zip(self.names, *columns, strict=True)
        ]

"""How far all methods of a study agree: tables that need no step of their own."""

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrine.data.images import Image
from vitrine.errors import NotApplicable
from vitrine.experiments.base import Columns, Experiment, Row, Rows
from vitrine.measures.agreement import (
    Region,
    chance_agreement,
    dice,
    ious,
    matched_and_mismatched,
    standard_ranks,
    top_region,
)
from vitrine.measures.image_complexity import edge_density, grey_entropy
from vitrine.measures.thresholds import REGION_RULES
from vitrine.methods.heatmap import Heatmap, heatmap_from
from vitrine.methods.lime import LIME_METHODS
from vitrine.methods.registry import methods_of
from vitrine.methods.superpixels import KEPT, top_superpixels
from vitrine.models.classifier import Classifier
from vitrine.store import Store
from vitrine.study import Study, sections

Table = npt.NDArray[np.float64]

DIGITS = 6
"""After the decimal point, of IoUs: tables of all pairs of methods are long."""


TABLES = {
    "correlations": {
        "classifier": "key of the classifier",
        "image": "name of the image",
        "first": "key of the first method",
        "second": "key of the second method",
        "rho": "Spearman's rank correlation of the two maps over all pixels",
        "rho_other_images": "mean of that with the second maps of the other images",
    },
    "agreement": {
        "classifier": "key of the classifier",
        "image": "name of the image",
        "first": "key of the first method",
        "second": "key of the second method",
        "share": "share of the frame that each region covers",
        "iou": "intersection over union of the two regions",
        "iou_chance": "IoU of two independent regions of that share",
        "iou_other_images": "mean IoU of the first map with the second maps of the other images",
    },
    "regions": {
        "classifier": "key of the classifier",
        "image": "name of the image",
        "method": "key of the method",
        "rule": "key of the rule that says which pixels a map highlights",
        "area": "share of the frame that the region covers; 0 where it highlights nothing",
    },
    "ious": {
        "classifier": "key of the classifier",
        "image": "name of the image",
        "first": "key of the first method",
        "second": "key of the second method",
        "rule": "key of the rule that says which pixels a map highlights",
        "iou": "intersection over union of the two regions",
        "iou_chance": "IoU of two independent regions of their areas",
        "iou_other_images": "mean IoU of the first region with the second ones of the other images",
        "dice_other_images": "mean Dice coefficient of the same regions",
    },
    "complexity": {
        "classifier": "key of the classifier",
        "image": "name of the image",
        "edges": "share of the frame that lies on an edge (Canny)",
        "entropy": "entropy of the frame's levels of brightness, in bits",
        "superpixels": "number of superpixels of the study's segmentation for LIME",
        "probability": "probability of the most probable class",
    },
}


def compared_methods(study: Study) -> list[str]:
    """All methods that give each image a map; LIME first, with which the report's pairs begin."""
    return sorted(methods_of(study), key=lambda method: method not in LIME_METHODS)


class Agreement(Experiment):
    """Compares the maps of all methods of a study, as the store holds them; it has no tasks.

    A method that has no map of an image, or one that is the same everywhere, has no agreement
    there: the number is missing, not zero.
    """

    TABLES = TABLES

    @property
    def tables(self) -> dict[str, Columns]:
        return TABLES if self.study.agreement else {"correlations": TABLES["correlations"]}

    def rows(self) -> Rows:
        rows: Rows = {name: [] for name in self.tables}
        for classifier in self.context.classifiers.values():
            _OneNetwork(self.study, self.store, classifier, self.context.explained, rows).add()
        return rows


class _OneNetwork:
    """The rows of one classifier."""

    def __init__(
        self,
        study: Study,
        store: Store,
        classifier: Classifier,
        images: dict[str, Image],
        rows: Rows,
    ) -> None:
        self.study, self.store, self.classifier = study, store, classifier
        self.images, self.rows, self.key = images, rows, classifier.name
        self.names = [image.name for image in images.values()]
        maps = {
            method: [self._map(method, file) for file in images]
            for method in compared_methods(study)
        }
        # A method that the network does not support is not compared at all.
        maps = {method: found for method, found in maps.items() if any(found)}
        self.methods, self.maps = list(maps), list(maps.values())

    def _map(self, method: str, file: str) -> Heatmap | None:
        name = f"{self.key}/{method}/{file}"
        if not self.store.has_task(name):
            return None
        try:
            result = self.store.read_task(name)
            return heatmap_from(result.arrays, result.facts, method)
        except NotApplicable:
            return None

    def add(self) -> None:
        self._add_correlations()
        if self.study.agreement:
            self._add_agreement(self.study.agreement)
            for rule in REGION_RULES:
                self._add_ious(rule, self.study.agreement)
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
            matched, mismatched = matched_and_mismatched(rho[first, :, second])
            self.rows["correlations"] += self._rows(
                first, second, rho=matched, rho_other_images=mismatched
            )

    def _add_agreement(self, section: sections.Agreement) -> None:
        """LIME against every other method, for all shares of the frame."""
        if "lime" not in self.methods:
            return
        lime = self.methods.index("lime")
        others = [place for place in range(len(self.methods)) if place != lime]
        found: Rows = {self.methods[other]: [] for other in others}
        for share in section.shares:
            regions = self._regions(lambda one, _image, s=share: top_region(one.values, s))
            iou = self._by_method(ious(regions, regions))
            for other in others:
                matched, mismatched = matched_and_mismatched(iou[lime, :, other])
                chance = np.full(len(matched), chance_agreement(share))
                fixed = np.full(len(matched), share)
                found[self.methods[other]] += self._rows(
                    lime,
                    other,
                    share=fixed,
                    iou=matched,
                    iou_chance=chance,
                    iou_other_images=mismatched,
                )
        for rows in found.values():
            self.rows["agreement"] += rows

    def _add_ious(self, rule: str, section: sections.Agreement) -> None:
        """Every method against every other, with one rule for what a map highlights."""
        row = REGION_RULES[rule]
        kept = self._kept(row.area) if row.area in KEPT else None
        regions = self._regions(
            lambda one, image: row.region(one.values, kept[image] if kept else section.share)
        )
        areas = regions.mean(axis=1, dtype=np.float64).reshape(len(self.methods), -1)
        iou = self._by_method(ious(regions, regions))
        for place, method in enumerate(self.methods):
            self.rows["regions"] += [
                {
                    "classifier": self.key,
                    "image": name,
                    "method": method,
                    "rule": rule,
                    "area": round(float(area), DIGITS),
                }
                for name, area in zip(self.names, areas[place], strict=True)
            ]
        for first, second in combinations(range(len(self.methods)), 2):
            pair = iou[first, :, second]
            matched, mismatched = matched_and_mismatched(pair)
            chance = [
                chance_agreement(*each) for each in zip(areas[first], areas[second], strict=True)
            ]
            _, dice_mismatched = matched_and_mismatched(np.asarray(dice(pair)))
            columns = {
                "iou": matched,
                "iou_chance": np.array(chance),
                "iou_other_images": mismatched,
                "dice_other_images": dice_mismatched,
            }
            rounded = {name: np.round(column, DIGITS) for name, column in columns.items()}
            rules = [rule] * len(matched)
            self.rows["ious"] += self._rows(first, second, rule=rules, **rounded)

    def _add_complexity(self) -> None:
        for file, image in self.images.items():
            crop = self.classifier.crop(image)
            superpixels = len(self.store.read_task(f"{self.key}/lime/{file}").arrays["weights"])
            predictions = self.store.read_task(f"{self.key}/predictions/{file}").arrays
            best = float(predictions["probabilities"].max())
            self.rows["complexity"].append(
                {
                    "classifier": self.key,
                    "image": image.name,
                    "edges": edge_density(crop),
                    "entropy": grey_entropy(crop),
                    "superpixels": superpixels,
                    "probability": best,
                }
            )

    # --- helpers ---------------------------------------------------------------------------------

    def _regions(self, draw: Any) -> npt.NDArray[np.float32]:
        """The region of every map ``[methods · images, pixels]``; empty where there is no map."""
        size = next(one.values.shape for row in self.maps for one in row if one)
        found = np.zeros((len(self.methods), len(self.names), *size), dtype=np.float32)
        for method, row in enumerate(self.maps):
            for image, one in enumerate(row):
                if one is not None:
                    region: Region = draw(one, image)
                    found[method, image] = region
        return found.reshape(len(self.methods) * len(self.names), -1)

    def _kept(self, rule: str) -> list[float]:
        """The share of each image that the superpixels which LIME keeps cover."""
        assert self.study.lime is not None
        found = []
        for file in self.images:
            arrays = self.store.read_task(f"{self.key}/lime/{file}").arrays
            chosen = top_superpixels(
                arrays["weights"], self.study.lime.features, positive_only=KEPT[rule]
            )
            found.append(float(np.isin(arrays["segments"], chosen).mean()))
        return found

    def _by_method(self, matrix: Table) -> Table:
        """``[methods, images, methods, images]`` from one row and column a map."""
        shape = (len(self.methods), len(self.names))
        return matrix.reshape(*shape, *shape)

    def _rows(self, first: int, second: int, **columns: Any) -> list[Row]:
        """One row an image for a pair of methods, each column with a value for each image."""
        about = {"classifier": self.key, "first": self.methods[first]}
        about["second"] = self.methods[second]
        return [
            about | {"image": name} | dict(zip(columns, values, strict=True))
            for name, *values in zip(self.names, *columns.values(), strict=True)
        ]

"""How far all methods of a study agree: tables that need no step of their own."""

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrine.errors import NotApplicable
from vitrine.experiments.base import OF_IMAGE, OF_MAP, Columns, Context, Experiment, Row, Rows
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
from vitrine.study import Study, sections

Table = npt.NDArray[np.float64]

DIGITS = 6
"""After the decimal point, of IoUs: tables of all pairs of methods are long."""


TABLES = {
    "correlations": {
        **OF_IMAGE,
        "first": "key of the first method",
        "second": "key of the second method",
        "rho": "Spearman's rank correlation of the two maps over all pixels",
        "rho_other_images": "mean of that with the second maps of the other images",
    },
    "agreement": {
        **OF_IMAGE,
        "first": "key of the first method",
        "second": "key of the second method",
        "share": "share of the frame that each region covers",
        "iou": "intersection over union of the two regions",
        "iou_chance": "IoU of two independent regions of that share",
        "iou_other_images": "mean IoU of the first map with the second maps of the other images",
    },
    "regions": {
        **OF_MAP,
        "rule": "key of the rule that says which pixels a map highlights",
        "area": "share of the frame that the region covers; 0 where it highlights nothing",
    },
    "ious": {
        **OF_IMAGE,
        "first": "key of the first method",
        "second": "key of the second method",
        "rule": "key of the rule that says which pixels a map highlights",
        "iou": "intersection over union of the two regions",
        "iou_chance": "IoU of two independent regions of their areas",
        "iou_other_images": "mean IoU of the first region with the second ones of the other images",
        "dice_other_images": "mean Dice coefficient of the same regions",
    },
    "complexity": {
        **OF_IMAGE,
        "edges": "share of the frame that lies on an edge (Canny)",
        "entropy": "entropy of the frame's levels of brightness, in bits",
        "superpixels": "number of superpixels of the study's segmentation for LIME",
        "probability": "probability of the most probable class",
    },
}


def compared_methods(study: Study) -> list[str]:
    """All methods that give each image a map; LIME first, with which the report's pairs begin."""
    return sorted(methods_of(study), key=lambda method: method not in LIME_METHODS)


class AgreementExperiment(Experiment):
    """Compares the maps of all methods of a study, as the store holds them; it has no tasks.

    A method that has no map of an image, or one that is the same everywhere, has no agreement
    there: the number is missing, not zero.
    """

    TABLES = TABLES

    @property
    def tables(self) -> dict[str, Columns]:
        return TABLES if self.study.agreement else {"correlations": TABLES["correlations"]}

    def rows(self) -> Rows:
        for classifier in self.context.classifiers.values():
            yield from _OneNetwork(self.context, classifier).rows()


class _OneNetwork:
    """The rows of one classifier."""

    def __init__(self, context: Context, classifier: Classifier) -> None:
        self.context, self.study, self.store = context, context.study, context.store
        self.classifier, self.key = classifier, classifier.name
        self.names = [image.name for image in context.explained.values()]
        maps = {
            method: [self._map(method, file) for file in context.explained]
            for method in compared_methods(self.study)
        }
        # A method that the network does not support is not compared at all.
        maps = {method: found for method, found in maps.items() if any(found)}
        self.methods, self.maps = list(maps), list(maps.values())

    def _map(self, method: str, file: str) -> Heatmap | None:
        result = self.store.task_or_none(f"{self.key}/{method}/{file}")
        try:
            return heatmap_from(result.arrays, result.facts, method) if result else None
        except NotApplicable:
            return None

    def rows(self) -> Rows:
        yield from self._correlations()
        if self.study.agreement:
            yield from self._agreement(self.study.agreement)
            for rule in REGION_RULES:
                yield from self._ious(rule, self.study.agreement)
            yield from self._complexity()

    def _correlations(self) -> Rows:
        if len(self.methods) < 2:
            return
        nothing = np.full(max(one.values.size for row in self.maps for one in row if one), np.nan)
        ranks = np.stack(
            [standard_ranks(one.values) if one else nothing for row in self.maps for one in row]
        )
        rho = self._by_method(ranks @ ranks.T)
        for first, second in combinations(range(len(self.methods)), 2):
            matched, mismatched = matched_and_mismatched(rho[first, :, second])
            columns = {"rho": matched, "rho_other_images": mismatched}
            yield "correlations", self._rows(first, second, {}, columns)

    def _agreement(self, section: sections.Agreement) -> Rows:
        """LIME, which is the first, against every other method, for all shares of the frame."""
        found = []
        for share in section.shares:
            regions = self._regions(lambda one, _image, s=share: top_region(one.values, s))
            found.append((share, self._by_method(ious(regions, regions))))
        for other in range(1, len(self.methods)):
            for share, iou in found:
                matched, mismatched = matched_and_mismatched(iou[0, :, other])
                fixed = {"share": share, "iou_chance": chance_agreement(share)}
                columns = {"iou": matched, "iou_other_images": mismatched}
                yield "agreement", self._rows(0, other, fixed, columns)

    def _ious(self, rule: str, section: sections.Agreement) -> Rows:
        """Every method against every other, with one rule for what a map highlights."""
        row = REGION_RULES[rule]
        kept = self._kept(row.area) if row.area in KEPT else None
        regions = self._regions(
            lambda one, image: row.region(one.values, kept[image] if kept else section.share)
        )
        areas = regions.mean(axis=1, dtype=np.float64).reshape(len(self.methods), -1)
        iou = self._by_method(ious(regions, regions))
        for place, method in enumerate(self.methods):
            for name, area in zip(self.names, areas[place], strict=True):
                about = {"classifier": self.key, "image": name, "method": method, "rule": rule}
                yield "regions", [about | {"area": round(float(area), DIGITS)}]
        for first, second in combinations(range(len(self.methods)), 2):
            pair = iou[first, :, second]
            matched, mismatched = matched_and_mismatched(pair)
            chance = [*map(chance_agreement, areas[first], areas[second])]
            columns = {
                "iou": matched,
                "iou_chance": np.array(chance),
                "iou_other_images": mismatched,
                "dice_other_images": matched_and_mismatched(dice(pair))[1],
            }
            rounded = {name: np.round(column, DIGITS) for name, column in columns.items()}
            yield "ious", self._rows(first, second, {"rule": rule}, rounded)

    def _complexity(self) -> Rows:
        for file, image in self.context.explained.items():
            crop = self.classifier.crop(image)
            weights = self.store.read_task(f"{self.key}/lime/{file}").arrays["weights"]
            row = {
                "classifier": self.key,
                "image": image.name,
                "edges": edge_density(crop),
                "entropy": grey_entropy(crop),
                "superpixels": len(weights),
                "probability": float(self.context.probabilities(self.key, file).max()),
            }
            yield "complexity", [row]

    # --- helpers ---------------------------------------------------------------------------------

    def _regions(self, draw: Any) -> npt.NDArray[np.float32]:
        """The region of every map ``[methods · images, pixels]``; empty where it says nothing."""
        size = next(one.values.shape for row in self.maps for one in row if one)
        found = np.zeros((len(self.methods), len(self.names), *size), dtype=np.float32)
        for method, row in enumerate(self.maps):
            for image, one in enumerate(row):
                if one is not None and not one.is_constant:
                    region: Region = draw(one, image)
                    found[method, image] = region
        return found.reshape(len(self.methods) * len(self.names), -1)

    def _kept(self, rule: str) -> list[float]:
        """The share of each image that the superpixels which LIME keeps cover."""
        assert self.study.lime is not None
        found = []
        for file in self.context.explained:
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

    def _rows(self, first: int, second: int, fixed: Row, columns: dict[str, Table]) -> list[Row]:
        """One row an image for a pair of methods: what is fixed, and a value of each column."""
        pair = {"first": self.methods[first], "second": self.methods[second]}
        about = fixed | pair | {"classifier": self.key}
        return [
            about | {"image": name} | {key: column[place] for key, column in columns.items()}
            for place, name in enumerate(self.names)
        ]

"""The tables about a study's pictures, assembled from the stored tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from vitrine import study as studies
from vitrine.inputs.classifiers import Classifier
from vitrine.inputs.pictures import Picture
from vitrine.measures.agreement import rank_correlation
from vitrine.measures.extent import area_above, centre_of_mass
from vitrine.measures.stability import (
    chance_overlap,
    mean_overlap,
    relative_spread,
    strongest,
    weight_spread,
)
from vitrine.methods import lime
from vitrine.methods.heatmap import Heatmap
from vitrine.methods.perturbation import draw
from vitrine.results import (
    EXPLANATION_SCHEMAS,
    SCHEMAS,
    SEARCH_SCHEMAS,
    STABILITY_SCHEMAS,
    VARIANT_SCHEMAS,
    Store,
    TaskResult,
    heatmap_from,
)
from vitrine.study import Study
from vitrine.variants import RULES, SECOND, STABILITY, at_layer, searched, segmentation_key

Rows = dict[str, list[tuple[Any, ...]]]
Maps = dict[tuple[str, str], Heatmap]
"""Heatmaps by method and picture file."""


def table_names(study: Study) -> list[str]:
    """The tables that a study of pictures asks for."""
    names = list(EXPLANATION_SCHEMAS)
    if study.cam and (study.cam.second or study.cam.layers):
        names += VARIANT_SCHEMAS
    if study.lime and study.lime.stability:
        names += STABILITY_SCHEMAS
    if study.lime and study.lime.search:
        names += SEARCH_SCHEMAS
    return names


def write_tables(
    study: Study,
    store: Store,
    classifiers: dict[str, Classifier],
    pictures: dict[str, Picture],
) -> None:
    """Write all of them, so that they say what the store holds.

    pictures : by file name. Of those that only the measures look at, the predictions are told.
    """
    rows: Rows = {name: [] for name in table_names(study)}
    for classifier in classifiers.values():
        _Tables(study, store, classifier, pictures, rows).add()
    for name, found in rows.items():
        store.write_table(name, pd.DataFrame(found, columns=list(SCHEMAS[name])))


class _Tables:
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
        self.predicted, self.rows, self.key = pictures, rows, classifier.name
        self.pictures = {file: pictures[file] for file in study.pictures.files}
        cams = study.cam.methods if study.cam else ()
        self.methods = [*cams, *(["lime"] if study.lime else [])]
        self.maps: Maps = {}

    def add(self) -> None:
        for file, picture in self.predicted.items():
            self._add_predictions(file, picture)
        for file, picture in self.pictures.items():
            for method in self.methods:
                self._add_map(method, file, picture)
            if self.study.lime:
                self._add_lime(file, picture, self.study.lime)
            if self.study.cam:
                self._add_variants(file, picture, self.study.cam)

    def _task(self, way: str, file: str) -> TaskResult:
        return self.store.read_task(f"{self.key}/{way}/{file}")

    def _probabilities(self, file: str) -> np.ndarray:
        return self._task("predictions", file).arrays["probabilities"]

    # --- predictions and maps --------------------------------------------------------------------

    def _add_predictions(self, file: str, picture: Picture) -> None:
        probabilities = self._probabilities(file)
        best = np.argsort(-probabilities, kind="stable")[: self.study.predictions.top]
        self.rows["predictions"] += [
            (
                self.key,
                picture.name,
                picture.wnid,
                rank,
                int(target),
                self.classifier.categories[target],
                float(probabilities[target]),
            )
            for rank, target in enumerate(best, start=1)
        ]

    def _add_map(self, method: str, file: str, picture: Picture) -> None:
        task = self._task(method, file)
        heatmap = self.maps[method, file] = heatmap_from(task, method)
        facts = task.facts
        self.rows["maps"].append(
            (
                self.key,
                picture.name,
                method,
                heatmap.target,
                facts["layer"],
                heatmap.signed,
                heatmap.is_blank,
                facts.get("strength", max(float(heatmap.values.max()), 0.0)),
                float(heatmap.values.min()),
                float(heatmap.values.max()),
                area_above(heatmap.values, 0.5),
                *centre_of_mass(heatmap.values),
            )
        )
        self._add_cost(picture, method, facts["passes"], facts["seconds"], facts)

    def _add_cost(
        self, picture: Picture, way: str, passes: int, seconds: float, facts: dict[str, Any]
    ) -> None:
        head = facts.get("head_passes", 0)
        self.rows["costs"].append((self.key, picture.name, way, passes, head, seconds))

    def _add_variants(self, file: str, picture: Picture, wanted: studies.Cam) -> None:
        ways = [(method, SECOND) for method in wanted.second]
        ways += [(wanted.layer_method, at_layer(layer)) for layer in wanted.layers]
        for method, variant in ways:
            task = self._task(f"{method}.{variant}", file)
            heatmap = heatmap_from(task, method)
            self.rows["variants"].append(
                (
                    self.key,
                    picture.name,
                    method,
                    variant,
                    heatmap.target,
                    self.classifier.categories[heatmap.target],
                    task.facts["layer"],
                    task.facts["strength"],
                    heatmap.is_blank,
                    area_above(heatmap.values, 0.5),
                    *centre_of_mass(heatmap.values),
                    rank_correlation(heatmap, self.maps[method, file]),
                )
            )

    # --- LIME ------------------------------------------------------------------------------------

    def _add_lime(self, file: str, picture: Picture, wanted: studies.Lime) -> None:
        task = self._task("lime", file)
        facts, weights = task.facts, task.arrays["weights"]
        probability = float(self._probabilities(file)[facts["target"]])
        self.rows["lime"].append(
            (
                self.key,
                picture.name,
                facts["target"],
                len(weights),
                wanted.samples,
                facts["intercept"],
                facts["r_squared"],
                facts["local_prediction"],
                probability,
            )
        )
        shares = _shares(task.arrays["segments"])
        self.rows["superpixels"] += [
            (self.key, picture.name, index, float(weight), float(share))
            for index, (weight, share) in enumerate(zip(weights, shares, strict=True))
        ]
        for rule in RULES:
            found = facts["fidelity"][rule]
            values = (found["superpixels"], probability, found["kept"], found["removed"])
            self.rows["fidelity"].append((self.key, picture.name, rule, *values))
        if wanted.stability:
            self._add_stability(file, picture, wanted, wanted.stability)
        if wanted.search:
            for segmentation in wanted.search.segmentations:
                self._add_search(file, picture, segmentation, wanted.search)

    def _add_stability(
        self, file: str, picture: Picture, wanted: studies.Lime, more: studies.Stability
    ) -> None:
        task = self._task(f"lime.{STABILITY}", file)
        count = int(task.facts["superpixels"])
        draws = range(wanted.seed, wanted.seed + more.seeds)
        parts = [
            lime.Neighbourhood(draw(more.samples, count, seed), probabilities)
            for seed, probabilities in zip(draws, task.arrays["probabilities"], strict=True)
        ]
        for samples in more.numbers:
            runs = lime.pooled(parts, samples)
            models = [lime.fit(run, wanted.kernel_width) for run in runs]
            best = [strongest(model.weights, wanted.features) for model in models]
            self.rows["stability"].append(
                (
                    self.key,
                    picture.name,
                    samples,
                    len(runs),
                    mean_overlap(best),
                    _chance(best, count),
                    relative_spread(np.stack([model.weights for model in models])),
                    float(np.mean([model.r_squared for model in models])),
                )
            )
        models = [lime.fit(part, wanted.kernel_width) for part in parts]
        weights = np.stack([model.weights for model in models])
        best = [strongest(row, wanted.features) for row in weights]
        chosen = np.bincount(np.concatenate(best).astype(int), minlength=count) / len(best)
        self.rows["repeats"] += [
            (self.key, picture.name, index, *(float(value) for value in values))
            for index, values in enumerate(
                zip(weights.mean(axis=0), weight_spread(weights), chosen, strict=True)
            )
        ]

    def _add_search(
        self,
        file: str,
        picture: Picture,
        segmentation: studies.Segmentation,
        wanted: studies.Search,
    ) -> None:
        way = f"lime.{searched(segmentation)}"
        task = self._task(way, file)
        arrays = task.arrays
        segments = arrays["segments"]
        shares = _shares(segments)
        for row, samples in enumerate(wanted.samples):
            for column, features in enumerate(wanted.features):
                best = [strongest(weights[row], features) for weights in arrays["weights"]]
                self.rows["search"].append(
                    (
                        self.key,
                        picture.name,
                        segmentation_key(segmentation),
                        segmentation.method,
                        len(shares),
                        samples,
                        features,
                        float(arrays["r_squared"][:, row].mean()),
                        mean_overlap(best),
                        _chance(best, len(shares)),
                        task.facts["whole"],
                        float(arrays["kept"][:, row, column].mean()),
                        float(arrays["removed"][:, row, column].mean()),
                        float(np.mean([shares[chosen].sum() for chosen in best])),
                        float(np.mean([_off_centre(segments, chosen) for chosen in best])),
                    )
                )
        samples = wanted.samples[-1]
        self._add_cost(picture, way, samples, task.facts["seconds"], {})


def _shares(segments: np.ndarray) -> np.ndarray:
    """The share of the frame that each superpixel covers."""
    return np.bincount(segments.ravel()) / segments.size


def _chance(runs: list[list[int]], superpixels: int) -> float:
    """The overlap of random choices as large as these are on average."""
    return chance_overlap(round(float(np.mean([len(chosen) for chosen in runs]))), superpixels)


def _off_centre(segments: np.ndarray, chosen: list[int]) -> float:
    """How far the chosen superpixels' centre of mass lies from the frame's, in its width."""
    row, column = centre_of_mass(np.isin(segments, chosen).astype(np.float64))
    return float(np.hypot(row - 0.5, column - 0.5))

"""The tables about attributions and about what the maps of all methods are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vitrine.inputs.classifiers import Classifier
from vitrine.inputs.objects import outlines_of
from vitrine.inputs.pictures import Picture
from vitrine.measures.baselines import BASELINES
from vitrine.measures.catalogue import MEASURES
from vitrine.measures.complexity import entropy, gini
from vitrine.measures.localisation import Mask, gain_inside, object_mask, share_inside
from vitrine.results import (
    ATTRIBUTION_SCHEMAS,
    MEASURE_SCHEMAS,
    SCHEMAS,
    Store,
    TaskResult,
    heatmap_from,
)
from vitrine.study import Study
from vitrine.variants import FAITHFULNESS, SANITY, SEEDS, SENSITIVITY

Rows = dict[str, list[tuple[Any, ...]]]

NO_OUTLINE = "No object is outlined in the picture"


def table_names(study: Study) -> list[str]:
    """The tables about attributions and measures that a study asks for."""
    found = list(ATTRIBUTION_SCHEMAS) if study.attribution else []
    return found + (list(MEASURE_SCHEMAS) if study.measures else [])


def write_tables(
    study: Study,
    store: Store,
    networks: dict[str, Classifier],
    pictures: dict[str, Picture],
    methods: Sequence[str],
) -> None:
    """Write all of them, so that they say what the store holds.

    networks : by name, in the order of the study. pictures : by file name. methods : that are
    measured, the maps that see no network among them.
    """
    rows: Rows = {name: [] for name in table_names(study)}
    for row in study.networks:
        _Tables(study, store, networks[row.name], pictures, methods, rows).add()
    for name, found in rows.items():
        table = pd.DataFrame(found, columns=list(SCHEMAS[name]))
        store.write_table(name, _mean_curves(table) if name == "curves" else table)


class _Tables:
    """The rows of one network."""

    def __init__(
        self,
        study: Study,
        store: Store,
        classifier: Classifier,
        pictures: dict[str, Picture],
        methods: Sequence[str],
        rows: Rows,
    ) -> None:
        self.study, self.store, self.classifier, self.rows = study, store, classifier, rows
        self.pictures, self.methods, self.key = pictures, methods, classifier.name

    def add(self) -> None:
        for file, picture in self.pictures.items():
            for method in self.study.attribution.methods if self.study.attribution else ():
                self._add_attribution(method, file, picture)
        if self.study.measures is None:
            return
        for file, picture in self.pictures.items():
            mask = self._object(file, picture)
            for method in self.methods:
                self._add_measures(method, file, picture, mask)

    def _task(self, way: str, file: str) -> TaskResult | None:
        name = f"{self.key}/{way}/{file}"
        return self.store.read_task(name) if self.store.has_task(name) else None

    # --- attributions ----------------------------------------------------------------------------

    def _add_attribution(self, method: str, file: str, picture: Picture) -> None:
        task = self._task(method, file)
        if task is None:
            return
        facts = task.facts
        if "reason" in facts:
            nothing = [float("nan")]
            self.rows["attributions"].append(
                (self.key, picture.name, method, *nothing, "", *nothing * 6, facts["reason"])
            )
            return
        values = heatmap_from(task, method).values.astype(np.float64)
        sizes = np.abs(values).sum()
        self.rows["attributions"].append(
            (
                self.key,
                picture.name,
                method,
                facts["target"],
                facts["signed"],
                facts["total"],
                facts["logit"],
                facts["logit_of_nothing"],
                float(np.clip(values, 0, None).sum() / sizes) if sizes else float("nan"),
                facts["passes"],
                facts["seconds"],
                "" if sizes else "The map is zero everywhere",
            )
        )

    # --- measures --------------------------------------------------------------------------------

    def _object(self, file: str, picture: Picture) -> Mask | None:
        frame = self.classifier.frame(picture)
        project, source = self.store.project, self.study.pictures.source
        outlines = outlines_of(project, source, file) if source else None
        if outlines is None or not outlines.outlines:
            return None
        return object_mask(outlines.in_frame(frame, picture.size), frame.size)

    def _add_measures(self, method: str, file: str, picture: Picture, mask: Mask | None) -> None:
        tasks = {
            measure: self._task(f"{method}.{measure}", file)
            for measure in (FAITHFULNESS, SENSITIVITY, SANITY, SEEDS)
        }
        about = (self.key, picture.name, method)
        for measure, value, reason in self._values(method, file, picture, tasks, mask):
            self.rows["assessment"].append((*about, measure, value, reason))
        one = tasks[FAITHFULNESS]
        if one and "scores" in one.arrays:
            for name, scores in zip(one.facts["curves"], one.arrays["scores"], strict=True):
                shares = np.linspace(0, 1, len(scores))
                self.rows["curves"] += [
                    (self.key, method, name, share, float(score), 0.0, 1)
                    for share, score in zip(shares, scores, strict=True)
                ]
        one = tasks[SENSITIVITY]
        if one and "value" in one.facts:
            coloured = one.facts["channels"] > 1
            by_channel = one.facts["by_channel"] if coloured else float("nan")
            self.rows["sensitivities"].append((*about, by_channel, one.facts["value"]))
        one = tasks[SANITY]
        if one and "rho" in one.arrays:
            arrays = one.arrays
            columns = zip(arrays["rho"], arrays["rho_of_sizes"], arrays["ssim"], strict=True)
            self.rows["randomised"] += [
                (*about, place, block, *(float(value) for value in values))
                for place, (block, values) in enumerate(
                    zip(one.facts["blocks"], columns, strict=True), start=1
                )
            ]

    def _values(
        self,
        method: str,
        file: str,
        picture: Picture,
        tasks: dict[str, TaskResult | None],
        mask: Mask | None,
    ) -> Iterator[tuple[str, float, str]]:
        """Measure, value and, where there is none, the reason."""
        nothing = float("nan")

        def told(task: TaskResult, value: float, why: str) -> tuple[float, str]:
            if "reason" in task.facts:
                return nothing, str(task.facts["reason"])
            return (value, "") if np.isfinite(value) else (nothing, why)

        one = tasks[FAITHFULNESS]
        if one is None:
            return
        areas, unforetold = one.facts.get("areas", {}), one.facts.get("infidelity", nothing)
        for name in MEASURES:
            if name.startswith(("deletion", "insertion")):
                yield name, *told(one, areas.get(name, nothing), "")
        yield "infidelity", *told(one, unforetold, "The map has no weight in any square")
        if (one := tasks[SENSITIVITY]) is not None:
            why = "A perturbed picture's map is not finite"
            yield "sensitivity", *told(one, one.facts.get("value", nothing), why)
        if (one := tasks[SEEDS]) is not None:
            why = "A map is the same everywhere"
            yield "seeds", *told(one, one.facts.get("value", nothing), why)
        if (one := tasks[SANITY]) is not None:
            last = _likeness(one) if "rho" in one.arrays else nothing
            why = "The map of the untrained network is the same everywhere"
            yield "sanity", *told(one, last, why)
        values = self._map(method, file, picture)
        if isinstance(values, str):
            reasons = dict.fromkeys(("inside", "share_inside", "gini", "entropy"), values)
            yield from ((name, nothing, reason) for name, reason in reasons.items())
            return
        for name, measure in (("inside", gain_inside), ("share_inside", share_inside)):
            value = nothing if mask is None else measure(values, mask)
            why = NO_OUTLINE if mask is None else "The map has no positive weight"
            yield name, value, "" if np.isfinite(value) else why
        yield "gini", gini(values), ""
        yield "entropy", entropy(values), ""

    def _map(self, method: str, file: str, picture: Picture) -> np.ndarray | str:
        """A method's map, or why there is none."""
        if method in BASELINES:
            seed = self.study.measures.seed if self.study.measures else 0
            return BASELINES[method].draw(self.classifier.crop(picture), seed)
        task = self._task(method, file)
        if task is None:
            return "It was not computed"
        if "reason" in task.facts:
            return str(task.facts["reason"])
        heatmap = heatmap_from(task, method)
        return "The map is the same everywhere" if heatmap.is_blank else heatmap.values


def _likeness(task: TaskResult) -> float:
    """How much the untrained network's map is like the trained one's, with or without its signs.

    Whichever rank correlation is greater, as a reader recognises a map by either; a negative one
    is no likeness.
    """
    both = (float(task.arrays[name][-1]) for name in ("rho", "rho_of_sizes"))
    return float(np.clip(np.max(list(both)), 0, None))


def _mean_curves(table: pd.DataFrame) -> pd.DataFrame:
    """The mean over pictures, its standard error and how many they are, at each share."""
    keys = ["classifier", "method", "curve", "share"]
    scores = table.groupby(keys, sort=False)["score"]
    found = scores.agg(["mean", "sem", "size"]).reset_index()
    found.columns = pd.Index(list(SCHEMAS["curves"]))
    return found

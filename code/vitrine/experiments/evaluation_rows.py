"""The tables of the evaluation: one network's rows from what the store holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vitrine.experiments.base import Context, Rows
from vitrine.inputs.classifier import Classifier
from vitrine.inputs.objects import outlines_of
from vitrine.measures.catalogue import MEASURES
from vitrine.measures.complexity import entropy, gini
from vitrine.measures.localisation import Mask, gain_inside, object_mask, share_inside
from vitrine.methods.baselines import BASELINES
from vitrine.methods.heatmap import heatmap_from
from vitrine.store import TaskResult

FAITHFULNESS, SENSITIVITY, SANITY, SEEDS = "faithfulness", "sensitivity", "sanity", "seeds"
"""The variants of a method that are its measures, as the store names their tasks."""

NO_OUTLINE = "No object is outlined in the picture"

TABLES = {
    "assessment": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "method": "key of the method, or of a map that sees no network",
        "measure": "key of the measure",
        "value": "the measure's value; empty where there is none",
        "reason": "why there is none",
    },
    "curves": {
        "classifier": "key of the classifier",
        "method": "key of the method, or of a map that sees no network",
        "curve": "deletion or insertion, and what stands in the place of pixels",
        "share": "share of the pixels that are deleted, or inserted",
        "score": "mean probability of the class over the pictures",
        "error": "standard error of that mean",
        "pictures": "number of pictures",
    },
    "randomised": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "method": "key of the method, or of a map that sees no network",
        "place": "1 where the least is randomised",
        "block": "the lowest block that is randomised",
        "rho": "Spearman's rank correlation with the trained network's map",
        "rho_of_sizes": "that of both maps' absolute values",
        "ssim": "structural similarity with the trained network's map",
    },
    "sensitivities": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "method": "key of the method, or of a map that sees no network",
        "by_channel": "maximum sensitivity of the attributions of each colour channel",
        "value": "maximum sensitivity of the map",
    },
}


class NetworkRows:
    """The rows of one network, added to those of all."""

    def __init__(self, context: Context, classifier: Classifier, rows: Rows) -> None:
        self.context, self.study, self.store = context, context.study, context.store
        self.classifier, self.key, self.rows = classifier, classifier.name, rows

    def add(self, methods: Sequence[str]) -> None:
        for file, image in self.context.images.items():
            mask = self._object(file)
            for method in methods:
                self._add_measures(method, file, image.name, mask)

    def _task(self, way: str, file: str) -> TaskResult | None:
        return self.store.task_or_none(f"{self.key}/{way}/{file}")

    def _object(self, file: str) -> Mask | None:
        picture = self.context.images[file]
        frame = self.classifier.frame(picture)
        project, source = self.context.project, self.study.pictures.source
        outlines = outlines_of(project, source, file) if source else None
        if outlines is None or not outlines.outlines:
            return None
        return object_mask(outlines.in_frame(frame, picture.size), frame.size)

    def _add_measures(self, method: str, file: str, name: str, mask: Mask | None) -> None:
        tasks = {
            measure: self._task(f"{method}.{measure}", file)
            for measure in (FAITHFULNESS, SENSITIVITY, SANITY, SEEDS)
        }
        about = {"classifier": self.key, "picture": name, "method": method}
        for measure, value, reason in self._values(method, file, tasks, mask):
            row = about | {"measure": measure, "value": value, "reason": reason}
            self.rows["assessment"].append(row)
        one = tasks[FAITHFULNESS]
        if one and "scores" in one.arrays:
            for curve, scores in zip(one.facts["curves"], one.arrays["scores"], strict=True):
                shares = np.linspace(0, 1, len(scores))
                self.rows["curves"] += [
                    about | {"curve": curve, "share": share, "score": float(score)}
                    for share, score in zip(shares, scores, strict=True)
                ]
        one = tasks[SENSITIVITY]
        if one and "value" in one.facts:
            coloured = one.facts["channels"] > 1
            by_channel = one.facts["by_channel"] if coloured else float("nan")
            found = {"by_channel": by_channel, "value": one.facts["value"]}
            self.rows["sensitivities"].append(about | found)
        one = tasks[SANITY]
        if one and "rho" in one.arrays:
            self.rows["randomised"] += [
                about
                | {"place": place, "block": block}
                | {
                    way: float(one.arrays[way][place - 1])
                    for way in ("rho", "rho_of_sizes", "ssim")
                }
                for place, block in enumerate(one.facts["blocks"], start=1)
            ]

    def _values(
        self,
        method: str,
        file: str,
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
        values = self._map(method, file)
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

    def _map(self, method: str, file: str) -> np.ndarray | str:
        """A method's map, or why there is none."""
        if method in BASELINES:
            seed = self.study.measures.seed if self.study.measures else 0
            return BASELINES[method].draw(self.classifier.crop(self.context.images[file]), seed)
        task = self._task(method, file)
        if task is None:
            return "It was not computed"
        if "reason" in task.facts:
            return str(task.facts["reason"])
        heatmap = heatmap_from(task.arrays, task.facts, method)
        return "The map is the same everywhere" if heatmap.is_blank else heatmap.values


def _likeness(task: TaskResult) -> float:
    """How much the untrained network's map is like the trained one's, with or without its signs.

    Whichever rank correlation is greater, as a reader recognises a map by either; a negative one
    is no likeness.
    """
    both = (float(task.arrays[name][-1]) for name in ("rho", "rho_of_sizes"))
    return float(np.clip(np.max(list(both)), 0, None))

"""Evaluation: what the maps of all methods are worth, by measures that ask the network again."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from vitrine.arrays import Values
from vitrine.data.images import Image
from vitrine.data.outlines import outlines_of
from vitrine.errors import NotApplicable
from vitrine.experiments.base import (
    OF_IMAGE,
    Context,
    Experiment,
    Progress,
    Row,
    Rows,
    Task,
    check_side,
)
from vitrine.experiments.maps import BOTH_WAYS, map_tasks, tried_elsewhere
from vitrine.experiments.trials import TRIALS, Case
from vitrine.measures.localisation import Mask, object_mask
from vitrine.measures.registry import FAITHFULNESS, MPRT, SENSITIVITY, VALUES
from vitrine.methods.baselines import BASELINES
from vitrine.methods.heatmap import heatmap_from
from vitrine.methods.method import Query
from vitrine.methods.registry import methods_of, pick_method
from vitrine.models.classifier import Classifier
from vitrine.models.own import architecture_of
from vitrine.project import Project
from vitrine.store import TaskResult
from vitrine.study import Study
from vitrine.study.sections import Measures

SENSITIVITIES = ("by_channel", "value", "seed_part_by_channel", "seed_part")
_SIMILARITIES = ("rho", "rho_absolute", "ssim")

NO_OUTLINE = "No object is outlined in the image"

TABLES = {
    "evaluation": {
        **OF_IMAGE,
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
        "score": "mean probability of the class over the images",
        "error": "standard error of that mean",
        "images": "number of images",
    },
    "randomised": {
        **OF_IMAGE,
        "method": "key of the method, or of a map that sees no network",
        "stage": "1 where the least is randomised",
        "block": "the lowest block that is randomised",
        "rho": "Spearman's rank correlation with the trained network's map",
        "rho_absolute": "that of both maps' absolute values",
        "ssim": "structural similarity with the trained network's map",
    },
    "sensitivities": {
        **OF_IMAGE,
        "method": "key of the method, or of a map that sees no network",
        "by_channel": "maximum sensitivity of the attributions of each colour channel",
        "value": "maximum sensitivity of the map",
        "seed_part_by_channel": "by_channel of the unperturbed image's map from another seed; "
        "empty for methods without noise, and for LIME (table stability)",
        "seed_part": "the same of the map, without any perturbation",
    },
}


def measured_methods(study: Study) -> list[str]:
    """All methods of the study that give maps, then the maps that see no network."""
    return [*methods_of(study), *BASELINES]


def evaluation_tasks(study: Study) -> Iterator[Task]:
    """Each measure of each method on each image."""
    maps = {
        (task.classifier, task.method, task.file): task.parameters
        for task in map_tasks(study)
        if not task.variant
    }
    for network in study.classifiers:
        for file in study.images.all:
            for method in measured_methods(study):
                basis = maps.get((network.name, method, file), {})
                for name, trial in TRIALS.items():
                    if pick_method(method).stochastic or not trial.stochastic:
                        yield _task(study, network.name, method, file, name, basis)
    for other, file in tried_elsewhere(study):
        for method in BOTH_WAYS:
            yield _task(study, other, method, file, SENSITIVITY, maps[other, method, file])


def _task(
    study: Study, network: str, method: str, file: str, name: str, basis: dict[str, Any]
) -> Task:
    assert study.measures is not None
    wanted, row, trial = study.measures, pick_method(method), TRIALS[name]
    parameters = wanted.model_dump(include=set(trial.uses))
    parameters |= {"revision": trial.revision_for(row), "map": basis}
    once = row.cost(study, architecture_of(study, network), again=trial.again)
    times = trial.times_for(wanted, once)
    if trial.times:
        parameters |= {"times": times, "samples": row.fewer_samples(study)}
    passes = max(1, trial.passes(wanted, times, once))
    return Task(network, method, file, passes, parameters, name)


class EvaluationExperiment(Experiment):
    """Computes the measures of all maps."""

    SECTION = "measures"
    TABLES = TABLES
    wanted: Measures

    @classmethod
    def check(cls, project: Project, study: Study) -> None:
        wanted: Measures = cls.section(study)
        check_side(study, "measures.infidelity_side", wanted.infidelity_side)

    @classmethod
    def methods(cls, study: Study) -> list[dict[str, str]]:
        return [{"name": k, "title": row.title, "paper": row.paper} for k, row in BASELINES.items()]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._names = {task.name for task in self.tasks}
        self._ready: dict[str, TaskResult] = {}
        # What the trials of an image by one network leave each other.
        self._shared: tuple[tuple[str, str], dict[str, Any]] = (("", ""), {})

    @cached_property
    def tasks(self) -> list[Task]:
        return list(evaluation_tasks(self.study))

    def together(self, task: Task) -> str:
        return f"{task.classifier}/{task.variant}/{task.file}"

    # --- one task --------------------------------------------------------------------------------

    def compute(self, task: Task, progress: Progress) -> TaskResult:
        if task.name in self._ready:
            return self._ready.pop(task.name)
        query = Query(
            task.method,
            *self.context.seen(task),
            self.context.ranked(task.classifier, task.file)[0],
            pick_method(task.method).section(self.study, again=TRIALS[task.variant].again),
            self.context.settings(task.classifier),
            self.study.cam.layer if self.study.cam else None,
            progress.advance,
        )
        if task.parameters.get("times") == 0:
            raise NotApplicable(
                "A map takes more passes than the study repeats (expensive_passes in [measures])"
            )
        about = (task.classifier, task.file)
        if self._shared[0] != about:
            self._shared = (about, {})
        case = Case(
            query,
            np.asarray(query.classifier.normalise(query.crop[None]).cpu().numpy()),
            self.wanted,
            task.parameters.get("times", 0),
            lambda method: self._map(task.classifier, method, task.file),
            task.file in self.study.images.extra,
            self._shared[1],
            measured_methods(self.study),
        )
        return self._keep_others(task, TRIALS[task.variant].compute(case))

    def _map(self, network: str, method: str, file: str) -> Values:
        """The map that is measured. Raises ``NotApplicable`` where there is none or it is blank."""
        if method in BASELINES:
            crop = self.context.networks[network].crop(self.context.images[file])
            return BASELINES[method].draw(crop, self.wanted.seed)
        result = self.store.read_task(f"{network}/{method}/{file}")
        heatmap = heatmap_from(result.arrays, result.facts, method)
        if heatmap.is_constant:
            raise NotApplicable("The map is the same everywhere")
        return heatmap.values

    def _keep_others(self, task: Task, results: dict[str, TaskResult]) -> TaskResult:
        """The task's own result; those of methods that came of the same passes wait for theirs."""
        for method, result in results.items():
            other = replace(task, method=method)
            if method != task.method and other.name in self._names:
                self._ready[other.name] = result
        return results[task.method]

    # --- tables ----------------------------------------------------------------------------------

    def rows(self) -> Rows:
        curves: list[Row] = []
        for name, network in self.context.networks.items():
            for file, image in self.context.images.items():
                mask = self._object(network, file, image)
                for method in measured_methods(self.study):
                    for table, found in self._measures(name, method, file, mask):
                        if table == "curves":
                            curves += found
                        else:
                            yield table, found
        yield "curves", _mean_curves(curves)

    def _object(self, network: Classifier, file: str, image: Image) -> Mask | None:
        frame, source = network.frame(image), self.study.images.source
        outlines = outlines_of(self.context.project, source, file) if source else None
        if outlines is None or not outlines.outlines:
            return None
        return object_mask(outlines.in_frame(frame, image.size), frame.size)

    def _measures(self, network: str, method: str, file: str, mask: Mask | None) -> Rows:
        """The rows of one map; those of curves are of one image yet."""
        read, folder = self.store.task_or_none, f"{network}/{method}"
        tasks = {trial: read(f"{folder}.{trial}/{file}") for trial in TRIALS}
        image = self.context.images[file].name
        about = {"classifier": network, "image": image, "method": method}
        for measure, value, reason in self._values(network, method, file, tasks, mask):
            yield "evaluation", [about | {"measure": measure, "value": value, "reason": reason}]
        one = tasks[FAITHFULNESS]
        if one and "scores" in one.arrays:
            for curve, scores in zip(one.facts["curves"], one.arrays["scores"], strict=True):
                own, shares = about | {"curve": curve}, np.linspace(0, 1, len(scores))
                for share, score in zip(shares, scores, strict=True):
                    yield "curves", [own | {"share": share, "score": float(score)}]
        one = tasks[SENSITIVITY]
        if one and "value" in one.facts:
            missing = float("nan")
            found = {name: one.facts.get(name, missing) for name in SENSITIVITIES}
            if one.facts["channels"] == 1:
                found |= {"by_channel": missing, "seed_part_by_channel": missing}
            yield "sensitivities", [about | found]
        one = tasks[MPRT]
        if one and "rho" in one.arrays:
            for stage, block in enumerate(one.facts["blocks"], start=1):
                alike = {way: float(one.arrays[way][stage - 1]) for way in _SIMILARITIES}
                yield "randomised", [about | {"stage": stage, "block": block} | alike]

    def _values(
        self,
        network: str,
        method: str,
        file: str,
        tasks: dict[str, TaskResult | None],
        mask: Mask | None,
    ) -> Iterator[tuple[str, float, str]]:
        """Measure, value and, where there is none, the reason."""
        if tasks[FAITHFULNESS] is None:  # another network's, of which only some trials are asked
            return
        try:
            heatmap: Values | str = self._map(network, method, file)
        except NotApplicable as error:
            heatmap = error.problem
        for name, row in VALUES.items():
            value, why = float("nan"), row.why
            if row.read is not None:
                if (one := tasks[row.trial]) is None:
                    continue
                value, why = row.read(one.arrays, one.facts), one.facts.get("reason") or why
            elif isinstance(heatmap, str):
                why = heatmap
            elif row.of_map is not None:
                value = row.of_map(heatmap)
            elif mask is None:
                why = NO_OUTLINE
            elif row.of_object is not None:
                value = row.of_object(heatmap, mask)
            yield (name, value, "") if np.isfinite(value) else (name, float("nan"), why)


def _mean_curves(rows: list[Row]) -> list[Row]:
    """The mean over images, its standard error and how many they are, at each share."""
    keys = ["classifier", "method", "curve", "share"]
    scores = pd.DataFrame(rows).groupby(keys, sort=False)["score"]
    found = scores.agg(["mean", "sem", "size"]).reset_index()
    return [dict(zip(TABLES["curves"], row, strict=True)) for row in found.itertuples(index=False)]

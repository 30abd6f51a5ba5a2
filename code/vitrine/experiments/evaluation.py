"""Evaluation: what the maps of all methods are worth, by measures that ask the network again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from vitrine.errors import NotApplicable
from vitrine.experiments.base import Context, Experiment, Progress, Row, Task
from vitrine.experiments.evaluation_rows import (
    FAITHFULNESS,
    SANITY,
    SEEDS,
    SENSITIVITY,
    TABLES,
    NetworkRows,
)
from vitrine.experiments.maps import BOTH_WAYS, map_task, map_tasks
from vitrine.inputs.classifiers import pick_architecture
from vitrine.measures import faithfulness, sanity, sensitivity
from vitrine.methods.baselines import BASELINES
from vitrine.methods.heatmap import heatmap_from
from vitrine.methods.method import Inputs, Maps, Query
from vitrine.methods.randomisation import cascade, cascading
from vitrine.methods.registry import methods_of, pick_method
from vitrine.methods.scoring import scoring
from vitrine.store import TaskResult
from vitrine.study import Measures, Study

REVISION = 1
"""Raised whenever a measure here computes something else from the same parameters."""

_USED = {
    FAITHFULNESS: {"curve", "squares", "side", "batch", "seed"},
    SENSITIVITY: {"radius", "seed"},
    SANITY: {"seed"},
    SEEDS: {"seeds"},
}
"""The keys of the study's ``[measures]`` on which each depends."""

Values = npt.NDArray[np.float32]


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
        for file in study.pictures.all:
            for method in measured_methods(study):
                basis = maps.get((network.name, method, file), {})
                for measure in _USED:
                    if measure != SEEDS or pick_method(method).stochastic:
                        yield _task(study, network.name, method, file, measure, basis)
    explained = {row.name for row in study.classifiers}
    for network in study.attribution.also if study.attribution else ():
        for file in study.pictures.more if network.name not in explained else ():
            for method in BOTH_WAYS:
                basis = map_task(study, network.name, method, file).parameters
                yield _task(study, network.name, method, file, SENSITIVITY, basis)


def _task(
    study: Study, network: str, method: str, file: str, measure: str, basis: dict[str, Any]
) -> Task:
    wanted, row = _wanted(study), pick_method(method)
    known = wanted.model_dump(include=_USED[measure]) | {"revision": REVISION, "map": basis}
    once = row.cost(study, pick_architecture(network), again=measure != SEEDS)
    times = {
        SENSITIVITY: _times(wanted, once, wanted.perturbations),
        SANITY: _times(wanted, once, wanted.stages),
    }
    if measure in times:
        # Under the name that it had when only LIME drew fewer, so that what is stored holds.
        known |= {"times": times[measure], "lime": row.fewer_samples(study)}
    passes = {
        FAITHFULNESS: 2 * len(faithfulness.REPLACEMENTS) * (wanted.curve + 1),
        SENSITIVITY: (times[SENSITIVITY] + 1) * once,
        SANITY: times[SANITY] * once,
        SEEDS: (wanted.seeds - 1) * once,
    }
    return Task(network, method, file, max(1, passes[measure]), known, measure)


def _times(wanted: Measures, passes: int, full: int) -> int:
    """How many more maps a method gets that takes so many passes for one."""
    return min(full, wanted.few) if passes > wanted.many else full


def _wanted(study: Study) -> Measures:
    assert study.measures is not None
    return study.measures


class Evaluation(Experiment):
    """Computes the measures of all maps."""

    TABLES = TABLES

    @classmethod
    def is_asked(cls, study: Study) -> bool:
        return study.measures is not None

    @classmethod
    def methods(cls, study: Study) -> list[dict[str, str]]:
        return [{"name": k, "title": row.title, "paper": row.paper} for k, row in BASELINES.items()]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.wanted, self._maps = _wanted(self.study), map_tasks(self.study)
        self._ready: dict[str, TaskResult] = {}
        self._squares: tuple[str, str, Inputs, npt.NDArray[np.float64]] | None = None

    @cached_property
    def tasks(self) -> list[Task]:
        return list(evaluation_tasks(self.study))

    # --- one task --------------------------------------------------------------------------------

    def compute(self, task: Task, progress: Progress) -> TaskResult:
        if task.name in self._ready:
            return self._ready.pop(task.name)
        classifier = self.context.networks[task.classifier]
        image = self.context.images[task.file]
        query = Query(
            task.method,
            classifier,
            classifier.crop(image),
            classifier.frame(image),
            self.context.ranked(task.classifier, task.file)[0],
            pick_method(task.method).section(self.study, again=task.variant != SEEDS),
            self.context.settings(task.classifier, self._maps),
            self.study.cam.layer if self.study.cam else None,
            progress.advance,
        )
        inputs = np.asarray(classifier.normalise(query.crop[None]).cpu().numpy())
        values = self._values(task, query)
        compute = {
            FAITHFULNESS: self._faithfulness,
            SENSITIVITY: self._sensitivity,
            SANITY: self._sanity,
            SEEDS: self._seeds,
        }
        return compute[task.variant](task, query, inputs, values)

    def _values(self, task: Task, query: Query) -> Values:
        """The map that is measured. Raises ``NotApplicable`` where there is none or it is blank."""
        if task.method in BASELINES:
            return BASELINES[task.method].draw(query.crop, self.wanted.seed)
        result = self.store.read_task(f"{task.classifier}/{task.method}/{task.file}")
        heatmap = heatmap_from(result.arrays, result.facts, task.method)
        if heatmap.is_blank:
            raise NotApplicable("The map is the same everywhere")
        return heatmap.values

    def _keep_others(self, task: Task, results: dict[str, TaskResult]) -> TaskResult:
        """The task's own result; those of methods that came of the same passes wait for theirs."""
        for method, result in results.items():
            other = replace(task, method=method)
            if method != task.method and other.name in self._names:
                self._ready[other.name] = result
        return results[task.method]

    @cached_property
    def _names(self) -> set[str]:
        return {task.name for task in self.tasks}

    # --- the measures ----------------------------------------------------------------------------

    def _faithfulness(self, task: Task, query: Query, inputs: Inputs, values: Values) -> TaskResult:
        wanted = self.wanted
        curves = {}
        with scoring(query.classifier, query.target, query.settings) as scores:
            for name, curve in faithfulness.CURVES.items():
                for replacement in faithfulness.REPLACEMENTS:
                    curves[f"{name}_{replacement}"] = curve(
                        scores,
                        inputs,
                        values,
                        replacement=replacement,
                        steps=wanted.curve,
                        batch=wanted.batch,
                    )
                    query.progress(wanted.curve + 1)
        removed, lost = self._removed(task, query, inputs)
        places = (removed != 0).any(axis=1)
        return TaskResult(
            {"scores": np.stack([one.scores for one in curves.values()]).astype(np.float32)},
            {
                "curves": list(curves),
                "areas": {name: one.area for name, one in curves.items()},
                "infidelity": faithfulness.unforetold(values, places, lost),
            },
        )

    def _removed(
        self, task: Task, query: Query, inputs: Inputs
    ) -> tuple[Inputs, npt.NDArray[np.float64]]:
        """Squares of an image, and what the logit loses with each; the same for all methods."""
        wanted = self.wanted
        if self._squares is None or self._squares[:2] != (task.classifier, task.file):
            squares = faithfulness.squares(inputs, wanted.seed, wanted.squares, wanted.side)
            with scoring(query.classifier, query.target, query.settings, "logit") as scores:
                lost = faithfulness.losses(scores, inputs, squares, batch=wanted.batch)
            self._squares = (task.classifier, task.file, squares, lost)
        return self._squares[2:]

    def _sensitivity(self, task: Task, query: Query, inputs: Inputs, _values: Values) -> TaskResult:
        wanted, times = self.wanted, task.parameters["times"]
        shape = inputs.shape[1:]
        moved = inputs + sensitivity.perturbations(shape, wanted.seed, times, wanted.radius)
        with pick_method(task.method).repeated(query) as explain:
            original, others = explain(inputs), explain(moved)
        return self._keep_others(
            task, {name: _moved(original[name], others[name], times) for name in original}
        )

    def _sanity(self, task: Task, query: Query, inputs: Inputs, _values: Values) -> TaskResult:
        blocks = cascade(query.classifier)
        # Evenly from the whole network, which is always among them, to the classifier alone.
        places = np.linspace(len(blocks) - 1, 0, min(task.parameters["times"], len(blocks)))
        chosen = [blocks[int(place)] for place in sorted(np.round(places))]
        found: dict[str, list[Values]] = {}
        with cascading(query.classifier, self.wanted.seed) as randomised:
            for block in randomised:
                if block in chosen:
                    for name, values in _once(query, inputs).items():
                        found.setdefault(name, []).append(values)
        results = {}
        shown = task.file in self.study.pictures.more  # maps that are kept to be looked at
        for name, maps in found.items():
            try:
                trained = self._values(replace(task, method=name), query)
                results[name] = _likeness(trained, maps, chosen, shown)
            except NotApplicable as error:
                results[name] = TaskResult({}, {"reason": str(error.problem)})
        return self._keep_others(task, results)

    def _seeds(self, task: Task, query: Query, inputs: Inputs, values: Values) -> TaskResult:
        found, seed = [values], query.parameters.seed
        for more in range(1, self.wanted.seeds):
            parameters = query.parameters.model_copy(update={"seed": seed + more})
            again = replace(query, parameters=parameters)
            found.append(pick_method(task.method).redrawn(again, inputs))
        rho = [sanity.rank_correlation(*pair) for pair in combinations(found, 2)]
        return TaskResult({"rho": np.array(rho)}, {"value": float(np.mean(rho))})

    # --- tables ----------------------------------------------------------------------------------

    def rows(self) -> dict[str, pd.DataFrame]:
        rows: dict[str, list[Row]] = {name: [] for name in TABLES}
        for network in self.context.networks.values():
            NetworkRows(self.context, network, rows).add(measured_methods(self.study))
        frames = {name: pd.DataFrame(found) for name, found in rows.items()}
        return frames | {"curves": _mean_curves(frames["curves"])}


def _once(query: Query, inputs: Inputs) -> dict[str, Values]:
    """One map; zero everywhere where a randomised network does not support the method."""
    try:
        with pick_method(query.method).repeated(query) as explain:
            return {name: each[0].sum(axis=0) for name, each in explain(inputs).items()}
    except NotApplicable:
        return {query.method: np.zeros(inputs.shape[2:], dtype=np.float32)}


def _moved(original: Maps, others: Maps, times: int) -> TaskResult:
    """How far maps ``[n, c, h, w]`` of a perturbed picture lie from its own ``[1, c, h, w]``."""
    return TaskResult(
        {},
        {
            "channels": original.shape[1],
            "perturbations": times,
            "by_channel": sensitivity.greatest_change(original, others),
            "value": sensitivity.greatest_change(original.sum(axis=1), others.sum(axis=1)),
        },
    )


def _likeness(
    trained: Values, randomised: list[Values], blocks: list[str], shown: bool
) -> TaskResult:
    """How much the maps of randomised networks are like the trained one's."""
    ways: dict[str, Callable[[Values, Values], float]] = {
        "rho": sanity.rank_correlation,
        "rho_of_sizes": partial(sanity.rank_correlation, absolute=True),
        "ssim": sanity.similarity,
    }
    arrays: dict[str, npt.NDArray[Any]] = {
        name: np.array([way(trained, each) for each in randomised]) for name, way in ways.items()
    }
    if shown:
        arrays["maps"] = np.stack([_shrunk(each) for each in randomised])
    return TaskResult(arrays, {"blocks": blocks})


def _shrunk(values: Values) -> npt.NDArray[np.float16]:
    """Means of two by two pixels, scaled to a greatest size of 1: to be looked at, not measured."""
    height, width = (side // 2 * 2 for side in values.shape)
    blocks = values[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    return np.asarray(blocks / (np.abs(blocks).max() or 1.0), dtype=np.float16)


def _mean_curves(table: pd.DataFrame) -> pd.DataFrame:
    """The mean over images, its standard error and how many they are, at each share."""
    keys = ["classifier", "method", "curve", "share"]
    scores = table.groupby(keys, sort=False)["score"]
    found = scores.agg(["mean", "sem", "size"]).reset_index()
    found.columns = pd.Index(list(TABLES["curves"]))
    return found

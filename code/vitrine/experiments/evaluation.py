"""Evaluation: what the maps of all methods are worth, by measures that ask the network again."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from vitrine.errors import NotApplicable
from vitrine.experiments.base import Context, Experiment, Progress, Row, Task
from vitrine.experiments.evaluation_rows import TABLES, NetworkRows, measured_map
from vitrine.experiments.maps import BOTH_WAYS, map_tasks, tried_elsewhere
from vitrine.experiments.trials import TRIALS, Case
from vitrine.measures.registry import SENSITIVITY
from vitrine.methods.baselines import BASELINES
from vitrine.methods.method import Query
from vitrine.methods.registry import methods_of, pick_method
from vitrine.models.own import architecture_of
from vitrine.store import TaskResult
from vitrine.study import Study
from vitrine.study.sections import Measures


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


class Evaluation(Experiment):
    """Computes the measures of all maps."""

    SECTION = "measures"
    TABLES = TABLES
    wanted: Measures

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
            lambda method: measured_map(self.context, task.classifier, method, task.file),
            task.file in self.study.images.extra,
            self._shared[1],
            measured_methods(self.study),
        )
        return self._keep_others(task, TRIALS[task.variant].compute(case))

    def _keep_others(self, task: Task, results: dict[str, TaskResult]) -> TaskResult:
        """The task's own result; those of methods that came of the same passes wait for theirs."""
        for method, result in results.items():
            other = replace(task, method=method)
            if method != task.method and other.name in self._names:
                self._ready[other.name] = result
        return results[task.method]

    # --- tables ----------------------------------------------------------------------------------

    def rows(self) -> dict[str, pd.DataFrame]:
        rows: dict[str, list[Row]] = {name: [] for name in TABLES}
        for network in self.context.networks.values():
            NetworkRows(self.context, network, rows).add(measured_methods(self.study))
        frames = {name: pd.DataFrame(found) for name, found in rows.items()}
        return frames | {"curves": _mean_curves(frames["curves"])}


def _mean_curves(table: pd.DataFrame) -> pd.DataFrame:
    """The mean over images, its standard error and how many they are, at each share."""
    keys = ["classifier", "method", "curve", "share"]
    scores = table.groupby(keys, sort=False)["score"]
    found = scores.agg(["mean", "sem", "size"]).reset_index()
    found.columns = pd.Index(list(TABLES["curves"]))
    return found

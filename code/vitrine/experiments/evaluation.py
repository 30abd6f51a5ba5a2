"""Evaluation: what the maps of all methods are worth, by measures that ask the network again."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from vitrine.data.images import Pixels
from vitrine.errors import NotApplicable
from vitrine.experiments.base import Context, Experiment, Progress, Row, Task
from vitrine.experiments.evaluation_rows import TABLES, NetworkRows
from vitrine.experiments.maps import BOTH_WAYS, map_task, map_tasks
from vitrine.experiments.trials import TRIALS, Case
from vitrine.measures.registry import SENSITIVITY
from vitrine.methods.baselines import BASELINES
from vitrine.methods.heatmap import heatmap_from
from vitrine.methods.method import Query
from vitrine.methods.registry import methods_of, pick_method
from vitrine.models.own import architecture_of
from vitrine.store import TaskResult
from vitrine.study import Study
from vitrine.study.sections import Measures

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
        for file in study.images.all:
            for method in measured_methods(study):
                basis = maps.get((network.name, method, file), {})
                for name, trial in TRIALS.items():
                    if pick_method(method).stochastic or not trial.stochastic:
                        yield _task(study, network.name, method, file, name, basis)
    explained = {row.name for row in study.classifiers}
    for network in study.attribution.lrp_networks if study.attribution else ():
        for file in study.images.extra if network.name not in explained else ():
            for method in BOTH_WAYS:
                basis = map_task(study, network.name, method, file).parameters
                yield _task(study, network.name, method, file, SENSITIVITY, basis)


def _task(
    study: Study, network: str, method: str, file: str, name: str, basis: dict[str, Any]
) -> Task:
    wanted, row, trial = _wanted(study), pick_method(method), TRIALS[name]
    parameters = wanted.model_dump(include=set(trial.uses))
    parameters |= {"revision": trial.revision_for(row), "map": basis}
    once = row.cost(study, architecture_of(study, network), again=trial.again)
    times = trial.times_for(wanted, once)
    if trial.times:
        parameters |= {"times": times, "samples": row.fewer_samples(study)}
    passes = max(1, trial.passes(wanted, times, once))
    return Task(network, method, file, passes, parameters, name)


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
        classifier = self.context.networks[task.classifier]
        image = self.context.images[task.file]
        query = Query(
            task.method,
            classifier,
            classifier.crop(image),
            classifier.frame(image),
            self.context.ranked(task.classifier, task.file)[0],
            pick_method(task.method).section(self.study, again=TRIALS[task.variant].again),
            self.context.settings(task.classifier, self._maps),
            self.study.cam.layer if self.study.cam else None,
            progress.advance,
        )
        if task.parameters.get("times") == 0:
            raise NotApplicable(
                "A map takes more passes than the study repeats (expensive_passes in [measures])"
            )
        case = Case(
            query,
            np.asarray(classifier.normalise(query.crop[None]).cpu().numpy()),
            self.wanted,
            task.parameters.get("times", 0),
            lambda method: self._map(replace(task, method=method), query.crop),
            task.file in self.study.images.extra,
            self._shared_with(task),
            measured_methods(self.study),
        )
        return self._keep_others(task, TRIALS[task.variant].compute(case))

    def _shared_with(self, task: Task) -> dict[str, Any]:
        """What the trials of an image by one network leave each other."""
        about = (task.classifier, task.file)
        if self._shared[0] != about:
            self._shared = (about, {})
        return self._shared[1]

    def _map(self, task: Task, crop: Pixels) -> Values:
        """The map that is measured. Raises ``NotApplicable`` where there is none or it is blank."""
        if task.method in BASELINES:
            return BASELINES[task.method].draw(crop, self.wanted.seed)
        result = self.store.read_task(f"{task.classifier}/{task.method}/{task.file}")
        heatmap = heatmap_from(result.arrays, result.facts, task.method)
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

    @cached_property
    def _names(self) -> set[str]:
        return {task.name for task in self.tasks}

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

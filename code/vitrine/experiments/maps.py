"""The maps of all methods for a study's images, each image's predictions before them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vitrine.errors import StudyError
from vitrine.experiments.base import (
    OF_IMAGE,
    OF_MAP,
    SECOND,
    Columns,
    Context,
    Experiment,
    Progress,
    Row,
    Rows,
    Task,
    at_layer,
    check_side,
    searched,
)
from vitrine.measures.agreement import rank_correlation
from vitrine.measures.map_extent import area_above, centre_of_mass
from vitrine.methods import attribution, cam
from vitrine.methods.heatmap import Heatmap, frame_facts, heatmap_from
from vitrine.methods.method import Query
from vitrine.methods.registry import methods_of, pick_method
from vitrine.models.classifier import Classifier
from vitrine.models.inference import PLAIN
from vitrine.models.own import architecture_of
from vitrine.project import Project
from vitrine.store import TaskResult
from vitrine.study import Study, sections

BOTH_WAYS = ("lrp", "lrp_captum")
"""What is tried on the networks under ``attribution.lrp_networks``."""

TABLES = {
    "predictions": {
        **OF_IMAGE,
        "wnid": "WordNet id of the image's true category",
        "rank": "1 for the most probable class",
        "target": "index of the class",
        "category": "name of the class",
        "probability": "softmax probability, 0 to 1",
    },
    "maps": {
        **OF_MAP,
        "target": "index of the explained class",
        "layer": "layer of the class activation map; empty for LIME",
        "signed": "whether values below zero speak against the class",
        "is_constant": "whether the map is the same everywhere",
        "maximum": "greatest value before a class activation map is scaled; greatest LIME weight",
        "scaled_minimum": "smallest value",
        "scaled_maximum": "greatest value",
        "area_half_max": "share of the frame above half of the maximum",
        "centre_row": "row of the positive evidence's centre, 0 (top) to 1",
        "centre_column": "column of the positive evidence's centre, 0 (left) to 1",
    },
    "costs": {
        **OF_IMAGE,
        "method": "key of the method, with its variant",
        "passes": "forward passes of the whole network",
        "head_passes": "passes of what follows the explained layer alone",
        "seconds": "wall-clock time",
    },
    "variants": {
        **OF_MAP,
        "variant": "second: for the second most probable class; at-LAYER: at another layer",
        "target": "index of the explained class",
        "category": "name of that class",
        "layer": "layer of the class activation map",
        "maximum": "greatest value before the map is scaled",
        "is_constant": "whether the map is the same everywhere",
        "area_half_max": "share of the frame above half of the maximum",
        "centre_row": "row of the positive evidence's centre, 0 (top) to 1",
        "centre_column": "column of the positive evidence's centre, 0 (left) to 1",
        "rho": "Spearman's rank correlation with the method's map of the predicted class",
    },
    "attributions": {
        **OF_MAP,
        "target": "index of the explained class",
        "signed": "whether values below zero speak against the class",
        "total": "sum of all attributions",
        "logit": "the class's logit",
        "logit_of_nothing": "that of an input of zeros, the mean colour",
        "positive": "share of the attributions' sizes that is positive",
        "passes": "forward passes",
        "seconds": "wall-clock time",
        "reason": "why the method is not applicable; empty where it is",
    },
}


def map_task(
    study: Study, network: str, method: str, file: str, layer: str | None = None, variant: str = ""
) -> Task:
    """The task that makes a method's map of an image."""
    row, architecture = pick_method(method), architecture_of(study, network)
    parameters = row.parameters(study, layer, variant)
    return Task(network, method, file, row.cost(study, architecture), parameters, variant)


def variants(study: Study) -> Iterator[tuple[str, str | None, str]]:
    """Method, layer and variant of each further class activation map of an image."""
    if study.cam:
        for method in study.cam.second:
            yield method, study.cam.layer, SECOND
        for layer in study.cam.layers:
            yield study.cam.layer_method, layer, at_layer(layer)


def map_tasks(study: Study) -> list[Task]:
    """Everything that the study asks of its images, in the order in which it is computed."""
    explained = [
        task
        for row in study.classifiers
        for file in study.images.all
        for task in _tasks_of_image(study, row.name, file)
    ]
    elsewhere = [
        task
        for network, file in tried_elsewhere(study)
        for task in (
            Task(network, "predictions", file, 1, {"revision": 1}),
            *(map_task(study, network, method, file) for method in BOTH_WAYS),
        )
    ]
    return explained + elsewhere


def _tasks_of_image(study: Study, network: str, file: str) -> Iterator[Task]:
    yield Task(network, "predictions", file, 1, {"revision": 1})
    layer = study.cam.layer if study.cam else None
    for method in methods_of(study):
        yield map_task(study, network, method, file, layer)
    if file in study.images.files:
        for method, other, variant in variants(study):
            yield map_task(study, network, method, file, other, variant)


def tried_elsewhere(study: Study) -> list[tuple[str, str]]:
    """The networks that are named for ``BOTH_WAYS`` alone, each with the images it is tried on."""
    named = [row.name for row in study.attribution.lrp_networks] if study.attribution else []
    others = [name for name in named if name not in {row.name for row in study.classifiers}]
    return [(name, file) for name in others for file in study.images.extra]


def _check_window(study: Study, wanted: sections.Attribution) -> None:
    check_side(study, "attribution.window", wanted.window)
    if wanted.stride > wanted.window:
        raise StudyError(
            f"attribution.stride is {wanted.stride} pixels and attribution.window {wanted.window}, "
            "so that places between them are never hidden",
            "Set the stride to half the window, or to less than the window at least",
        )


class MapsExperiment(Experiment):
    """Computes the maps of all methods, one after the other.

    Raises ``StudyError`` at once for a layer that a network does not have.
    """

    TABLES = TABLES

    @classmethod
    def check(cls, project: Project, study: Study) -> None:
        for name in study.attribution.methods if study.attribution else ():
            if study.attribution and "window" in attribution.pick_attribution_method(name).uses:
                _check_window(study, study.attribution)
        if study.attribution and study.attribution.lrp_networks and not study.images.extra:
            raise StudyError(
                "attribution.lrp_networks names networks, but no image is there to try them on",
                "Name one under images.extra",
            )
        if study.cam:
            _check_cam(study.cam)

    @classmethod
    def methods(cls, study: Study) -> list[dict[str, str]]:
        rows = ((name, pick_method(name)) for name in methods_of(study))
        return [{"name": name, "title": row.title, "paper": row.paper} for name, row in rows]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        layers = {layer for _, layer, _ in variants(self.study)}
        layers |= {self.study.cam.layer} if self.study.cam else set()
        for classifier in context.classifiers.values():
            for layer in sorted(filter(None, layers)):
                classifier.layer(layer)

    @property
    def tasks(self) -> Sequence[Task]:
        return self.context.maps

    @property
    def tables(self) -> dict[str, Columns]:
        left_out = set() if self.study.attribution else {"attributions"}
        if not list(variants(self.study)):
            left_out.add("variants")
        return {name: columns for name, columns in TABLES.items() if name not in left_out}

    def provenance(self) -> dict[str, Any]:
        """How the passes of each classifier were run, as the stored results say."""
        known = {name: self.context.stored_settings(name) for name in self.context.classifiers}
        return {"passes": {name: settings for name, settings in known.items() if settings}}

    def waves(self, todo: Sequence[Task]) -> list[list[Task]]:
        predictions = [task for task in todo if task.method == "predictions"]
        return [predictions, [task for task in todo if task.method != "predictions"]]

    def compute(self, task: Task, progress: Progress) -> TaskResult:
        """One task's result. Those of an image build on its predictions in the store."""
        classifier, crop, frame = self.context.seen(task)
        if task.method == "predictions":
            probabilities = classifier.probabilities(crop[None])[0]
            return TaskResult({"probabilities": probabilities}, {"frame": frame_facts(frame)})
        ranked = self.context.ranked(task.classifier, task.file)
        row = pick_method(task.method)
        query = Query(
            task.method,
            classifier,
            crop,
            frame,
            ranked[1 if task.variant == SECOND else 0],
            row.section(self.study),
            self.context.settings(task.classifier) if row.takes_settings else PLAIN,
            task.parameters.get("layer"),
            progress.advance,
        )
        return TaskResult(*row.explain(query))

    # --- tables ----------------------------------------------------------------------------------

    def rows(self) -> Rows:
        for classifier in self.context.classifiers.values():
            for file in self.context.images:
                yield "predictions", self._predictions(classifier, file)
            for file in self.context.explained:
                yield from self._maps(classifier, file)
        if self.study.attribution:
            yield "attributions", self._attributions(self.study.attribution.methods)

    def _about(self, network: str, file: str) -> Row:
        return {"classifier": network, "image": self.context.images[file].name}

    def _predictions(self, classifier: Classifier, file: str) -> list[Row]:
        probabilities = self.context.probabilities(classifier.name, file)
        best = self.context.ranked(classifier.name, file)[: self.study.predictions.top]
        return [
            self._about(classifier.name, file)
            | {
                "wnid": self.context.images[file].wnid,
                "rank": rank,
                "target": target,
                "category": classifier.categories[target],
                "probability": float(probabilities[target]),
            }
            for rank, target in enumerate(best, start=1)
        ]

    def _maps(self, classifier: Classifier, file: str) -> Rows:
        """The methods whose map has a layer or superpixels, their variants and what each cost."""
        about, maps = self._about(classifier.name, file), {}
        for method in methods_of(self.study):
            task = self.store.read_task(f"{classifier.name}/{method}/{file}")
            if "layer" not in task.facts:
                continue
            heatmap = maps[method] = heatmap_from(task.arrays, task.facts, method)
            yield "maps", [about | {"method": method} | _map_columns(heatmap, task.facts)]
            yield "costs", [about | _cost(method, task.facts["passes"], task.facts)]
        for method, _, variant in variants(self.study):
            task = self.store.read_task(f"{classifier.name}/{method}.{variant}/{file}")
            heatmap = heatmap_from(task.arrays, task.facts, method)
            row = {
                **about,
                **_map_columns(heatmap, task.facts),
                "method": method,
                "variant": variant,
                "category": classifier.categories[heatmap.target],
                "rho": rank_correlation(heatmap, maps[method]),
            }
            yield "variants", [{name: row[name] for name in TABLES["variants"]}]
        if self.study.lime and (search := self.study.lime.search):
            for way in (f"lime.{searched(one)}" for one in search.segmentations):
                facts = self.store.facts(f"{classifier.name}/{way}/{file}")
                yield "costs", [about | _cost(way, search.samples[-1], facts)]

    def _attributions(self, methods: Sequence[str]) -> list[Row]:
        return [
            self._about(network, file) | {"method": method} | _attribution_columns(task, method)
            for network in self.context.networks
            for file in self.context.images
            for method in methods
            if (task := self.store.task_or_none(f"{network}/{method}/{file}"))
        ]


def _check_cam(wanted: sections.Cam) -> None:
    for method in (*wanted.methods, *wanted.second, wanted.layer_method):
        cam.pick_cam_method(method)
    strange = [method for method in wanted.second if method not in wanted.methods]
    if strange or (wanted.layers and wanted.layer_method not in wanted.methods):
        raise StudyError(
            f"The method {[*strange, wanted.layer_method][0]!r} explains another class or layer "
            "in this study, but not the predicted class",
            "List it under cam.methods too",
        )
    blind = [name for name in wanted.second if not cam.CAM_METHODS[name].knows_class]
    if blind:
        raise StudyError(
            f"{cam.CAM_METHODS[blind[0]].title} does not depend on the class, so its map of the "
            "second class is that of the first",
            f"Remove {blind[0]!r} from cam.second",
        )


def _map_columns(heatmap: Heatmap, facts: dict[str, Any]) -> Row:
    values = heatmap.values
    row, column = centre_of_mass(values)
    return {
        "target": heatmap.target,
        "layer": facts["layer"],
        "signed": heatmap.signed,
        "is_constant": heatmap.is_constant,
        "maximum": facts.get("maximum", max(float(values.max()), 0.0)),
        "scaled_minimum": float(values.min()),
        "scaled_maximum": float(values.max()),
        "area_half_max": area_above(values, 0.5),
        "centre_row": row,
        "centre_column": column,
    }


def _cost(way: str, passes: int, facts: dict[str, Any]) -> Row:
    return {
        "method": way,
        "passes": passes,
        "head_passes": facts.get("head_passes", 0),
        "seconds": facts["seconds"],
    }


def _attribution_columns(task: TaskResult, method: str) -> Row:
    facts, nothing = task.facts, float("nan")
    numbers = ("target", "total", "logit", "logit_of_nothing", "passes", "seconds")
    found: Row = {name: facts.get(name, nothing) for name in numbers}
    if "reason" in facts:
        return found | {"signed": "", "positive": nothing, "reason": facts["reason"]}
    values = heatmap_from(task.arrays, facts, method).values.astype(np.float64)
    sizes = np.abs(values).sum()
    return found | {
        "signed": facts["signed"],
        "positive": float(np.clip(values, 0, None).sum() / sizes) if sizes else nothing,
        "reason": "" if sizes else "The map is zero everywhere",
    }

"""The explanations of a study's pictures: the steps, and computing each of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from vitrine import study as studies
from vitrine.errors import StudyError
from vitrine.explanation_tables import table_names, write_tables
from vitrine.inputs.classifiers import Classifier, pick_architecture
from vitrine.inputs.pictures import Picture
from vitrine.inputs.speed import PLAIN, Settings, fastest_settings
from vitrine.measures.baselines import BASELINES
from vitrine.measures.stability import strongest
from vitrine.methods import attribution, cam, lime
from vitrine.methods.heatmap import Heatmap
from vitrine.methods.segmentation import SEGMENTATIONS, superpixels
from vitrine.results import Store, TaskResult, frame_facts
from vitrine.steps import Progress, Step
from vitrine.study import Study
from vitrine.variants import RULES, SECOND, STABILITY, at_layer, searched


def check(study: Study) -> None:
    """Stop before work starts if the study names a method that does not exist, or does not fit."""
    if not study.cam:
        return
    for method in (*study.cam.methods, *study.cam.second, study.cam.layer_method):
        cam.pick_cam_method(method)
    strange = [method for method in study.cam.second if method not in study.cam.methods]
    if strange or (study.cam.layers and study.cam.layer_method not in study.cam.methods):
        raise StudyError(
            f"The method {[*strange, study.cam.layer_method][0]!r} explains another class or layer "
            "in this study, but not the predicted class",
            "List it under cam.methods too",
        )
    blind = [name for name in study.cam.second if not cam.CAM_METHODS[name].knows_class]
    if blind:
        raise StudyError(
            f"{cam.CAM_METHODS[blind[0]].title} does not depend on the class, so its map of the "
            "second class is that of the first",
            f"Remove {blind[0]!r} from cam.second",
        )


def steps(study: Study) -> list[Step]:
    """Everything that the study asks of its pictures, in the order in which it is computed."""
    return [step for row in study.classifiers for step in _steps(study, row.name)]


def _steps(study: Study, classifier: str) -> Iterator[Step]:
    files = study.pictures.files
    speed = study.speed.model_dump() if study.speed else None
    for file in study.pictures.all:
        yield Step(classifier, "predictions", file, 1, {"revision": 1})
        for method, layer, variant in _maps(study):
            if variant and file in study.pictures.more:
                continue
            row = cam.pick_cam_method(method)
            parameters: dict[str, Any] = {"revision": row.revision, "layer": layer}
            parameters["variant"] = variant
            if study.cam and study.cam.backend == "reference":
                parameters["backend"] = "reference"
            elif row.passes_a_channel:
                parameters["speed"] = speed
            passes = row.expected_passes(pick_architecture(classifier).channels)
            yield Step(classifier, method, file, passes, parameters, variant)
        if study.lime:
            yield _lime_step(classifier, file, study.lime, speed)
    if study.lime and study.lime.stability:
        more = study.lime.stability
        wanted = more.model_dump(include={"seeds", "samples"})
        for file in files:
            parameters = _common(study.lime, speed) | wanted
            passes = more.seeds * more.samples
            yield Step(classifier, "lime", file, passes, parameters, STABILITY)
    if study.lime and study.lime.search:
        search = study.lime.search
        wanted = search.model_dump(exclude={"segmentations"})
        for segmentation in search.segmentations:
            for file in files:
                parameters = _common(study.lime, speed) | wanted
                parameters["segmentation"] = segmentation.model_dump()
                passes = search.seeds * search.samples[-1]
                yield Step(classifier, "lime", file, passes, parameters, searched(segmentation))


def _maps(study: Study) -> Iterator[tuple[str, str | None, str]]:
    """Method, layer and variant of each class activation map of a picture."""
    if study.cam:
        for method in study.cam.methods:
            yield method, study.cam.layer, ""
        for method in study.cam.second:
            yield method, study.cam.layer, SECOND
        for layer in study.cam.layers:
            yield study.cam.layer_method, layer, at_layer(layer)


def _common(wanted: studies.Lime, speed: dict[str, Any] | None) -> dict[str, Any]:
    """What every explanation by LIME depends on."""
    found = wanted.model_dump(include={"kernel_width", "seed", "segmentation"})
    return found | {"speed": speed, "revision": lime.REVISION}


def _lime_step(
    classifier: str, file: str, wanted: studies.Lime, speed: dict[str, Any] | None
) -> Step:
    parameters = _common(wanted, speed) | wanted.model_dump(include={"samples", "features"})
    if wanted.backend == "reference":
        parameters |= {"speed": None, "backend": "reference", "batch": wanted.batch}
    return Step(classifier, "lime", file, wanted.samples, parameters)


class Explainer:
    """Computes the explanations of a study's pictures, one step after the other.

    pictures, digests : by file name; the latter of their bytes. Raises ``StudyError`` at once for a
        layer that a network does not have.
    """

    def __init__(
        self,
        study: Study,
        classifiers: dict[str, Classifier],
        pictures: dict[str, Picture],
        digests: dict[str, str],
        store: Store,
    ) -> None:
        self.study = study
        self.classifiers = classifiers
        self.pictures = pictures
        self.digests = digests
        self.store = store
        self._settings: dict[str, Settings] = {}
        for classifier in classifiers.values():
            for _, layer, _ in _maps(study):
                classifier.layer(layer or classifier.last_convolution)

    @cached_property
    def steps(self) -> list[Step]:
        return steps(self.study)

    @property
    def tables(self) -> set[str]:
        return set(table_names(self.study))

    def seen(self, step: Step) -> tuple[str, str]:
        return self.classifiers[step.classifier].digest, self.digests[step.file]

    def preparation(self, todo: list[Step]) -> int:
        return 0

    def write_tables(self, store: Store) -> None:
        write_tables(self.study, store, self.classifiers, self.pictures)

    def provenance(self) -> dict[str, Any]:
        """How the passes of each classifier were run, as the stored results say."""
        found: dict[str, dict[str, Any]] = {}
        for step in self.steps:
            settings = self.store.facts(step.name).get("settings")
            if settings:
                found.setdefault(step.classifier, settings)
        return {"passes": found}

    def settings(self, classifier: str) -> Settings:
        """How passes are run: as the study says, as the store's results were, or measured here."""
        if self.study.speed:
            return Settings(**self.study.speed.model_dump())
        if classifier not in self._settings:
            own = [step for step in self.steps if step.classifier == classifier]
            stored = (self.store.facts(step.name).get("settings") for step in own)
            known = next((facts for facts in stored if facts), None)
            self._settings[classifier] = (
                Settings(**known) if known else fastest_settings(self.classifiers[classifier])
            )
        return self._settings[classifier]

    def compute(self, step: Step, progress: Progress) -> TaskResult:
        """One step's result. The steps of a picture build on its predictions in the store."""
        picture = self.pictures[step.file]
        variant = f" ({step.variant})" if step.variant else ""
        progress.step(f"{step.method}{variant} · {picture.name}")
        told = 0

        def advance(passes: int) -> None:
            nonlocal told
            told += passes
            progress.advance(passes)

        try:
            result = self._compute(step, picture, advance)
        except StudyError as error:
            raise StudyError(f"{picture.name}: {error.problem}", error.remedy) from error
        progress.advance(step.passes - told)
        return result

    def _compute(self, step: Step, picture: Picture, advance: lime.Progress) -> TaskResult:
        classifier = self.classifiers[step.classifier]
        crop, frame = classifier.crop(picture), classifier.frame(picture)
        if step.method == "predictions":
            return predict(classifier, picture)
        best = ranked(self.store, step.classifier, step.file)
        target = best[1 if step.variant == SECOND else 0]
        if step.method != "lime":
            return self._activation(step, classifier, crop, target, advance)
        assert self.study.lime is not None
        segmentation = (
            self._search(step.variant) if step.variant.startswith("search-") else None
        ) or self.study.lime.segmentation
        segments = superpixels(crop, segmentation, self.study.lime.seed)
        explained = lime.Picture(crop, frame, target, segments)
        if step.variant == STABILITY:
            return self._repeat(step, classifier, explained, advance)
        if step.variant:
            return self._judge(step, classifier, explained, advance)
        return self._explain(step, classifier, explained, advance)

    def _search(self, variant: str) -> studies.Segmentation:
        assert self.study.lime is not None and self.study.lime.search is not None
        rows = self.study.lime.search.segmentations
        return next(row for row in rows if searched(row) == variant)

    # --- one step --------------------------------------------------------------------------------

    def _activation(
        self,
        step: Step,
        classifier: Classifier,
        crop: np.ndarray,
        target: int,
        advance: lime.Progress,
    ) -> TaskResult:
        assert self.study.cam is not None
        many = cam.pick_cam_method(step.method).passes_a_channel > 0
        settings = self.settings(step.classifier) if many else PLAIN
        layer = step.parameters["layer"] or classifier.last_convolution
        found = cam.class_activation(
            classifier,
            crop,
            classifier.frame(self.pictures[step.file]),
            step.method,
            target,
            layer,
            backend=self.study.cam.backend,
            settings=settings,
            progress=advance,
        )
        evidence = found.evidence
        facts = _heatmap_facts(found.heatmap) | {
            "layer": layer,
            "strength": found.strength,
            "passes": evidence.passes,
            "head_passes": evidence.head_passes,
            "note": evidence.note,
        }
        if many:
            facts["settings"] = evidence.settings.facts()
        # As small as the feature maps; whoever reads it enlarges it.
        return TaskResult({"evidence": evidence.values}, facts)

    def _explain(
        self, step: Step, classifier: Classifier, picture: lime.Picture, advance: lime.Progress
    ) -> TaskResult:
        assert self.study.lime is not None
        wanted, settings = self.study.lime, self.settings(step.classifier)
        found = lime.explain(
            classifier,
            picture.crop,
            picture.frame,
            picture.target,
            wanted,
            picture.segments,
            advance,
            backend=wanted.backend,
            settings=settings,
        )
        sets = [
            strongest(found.weights, wanted.features, positive_only=positive)
            for positive in RULES.values()
        ]
        kept = lime.fidelities(
            classifier, picture.crop, picture.segments, sets, picture.target, settings
        )
        facts = _heatmap_facts(found.heatmap) | {
            "layer": "",
            "intercept": found.intercept,
            "r_squared": found.r_squared,
            "local_prediction": found.local_prediction,
            "passes": wanted.samples,
            "fidelity": {
                rule: {"kept": one.kept, "removed": one.removed, "superpixels": len(chosen)}
                for rule, one, chosen in zip(RULES, kept, sets, strict=True)
            },
        }
        if found.reason:
            facts["reason"] = found.reason
        if wanted.backend == "fast":
            facts["settings"] = settings.facts()
        return TaskResult({"segments": found.segments, "weights": found.weights}, facts)

    def _neighbourhoods(
        self,
        step: Step,
        classifier: Classifier,
        picture: lime.Picture,
        advance: lime.Progress,
        seeds: int,
        samples: int,
    ) -> list[lime.Neighbourhood]:
        assert self.study.lime is not None
        first = self.study.lime.seed
        return lime.neighbourhoods(
            classifier,
            [picture] * seeds,
            self.study.lime.model_copy(update={"samples": samples}),
            advance,
            self.settings(step.classifier),
            range(first, first + seeds),
        )

    def _repeat(
        self, step: Step, classifier: Classifier, picture: lime.Picture, advance: lime.Progress
    ) -> TaskResult:
        """The probabilities of all draws; the draws themselves follow from the seeds."""
        assert self.study.lime is not None and self.study.lime.stability is not None
        wanted = self.study.lime.stability
        found = self._neighbourhoods(
            step, classifier, picture, advance, wanted.seeds, wanted.samples
        )
        return TaskResult(
            {"probabilities": np.stack([one.probabilities for one in found])},
            {
                "superpixels": int(picture.segments.max()) + 1,
                "settings": self.settings(step.classifier).facts(),
            },
        )

    def _judge(
        self, step: Step, classifier: Classifier, picture: lime.Picture, advance: lime.Progress
    ) -> TaskResult:
        """LIME with another segmentation: its models, and how they hold, for all numbers asked."""
        assert self.study.lime is not None and self.study.lime.search is not None
        wanted = self.study.lime.search
        width = self.study.lime.kernel_width
        start = time.perf_counter()
        around = self._neighbourhoods(
            step, classifier, picture, advance, wanted.seeds, wanted.samples[-1]
        )
        models = [[lime.fit(one, width, samples) for samples in wanted.samples] for one in around]
        seconds = (time.perf_counter() - start) / wanted.seeds
        sets = [
            strongest(model.weights, features)
            for row in models
            for model in row
            for features in wanted.features
        ]
        found = lime.fidelities(
            classifier,
            picture.crop,
            picture.segments,
            sets,
            picture.target,
            self.settings(step.classifier),
        )
        shape = (wanted.seeds, len(wanted.samples), len(wanted.features))
        return TaskResult(
            {
                "segments": picture.segments,
                "weights": np.array([[model.weights for model in row] for row in models]),
                "r_squared": np.array([[model.r_squared for model in row] for row in models]),
                "kept": np.array([one.kept for one in found]).reshape(shape),
                "removed": np.array([one.removed for one in found]).reshape(shape),
            },
            {
                "whole": found[0].whole,
                "seconds": seconds,
                "settings": self.settings(step.classifier).facts(),
            },
        )


def predict(classifier: Classifier, picture: Picture) -> TaskResult:
    """The probabilities of all classes, with the frame that the network sees."""
    probabilities = classifier.probabilities(classifier.crop(picture)[None])[0]
    facts = {"frame": frame_facts(classifier.frame(picture))}
    return TaskResult({"probabilities": probabilities}, facts)


def ranked(store: Store, classifier: str, file: str) -> list[int]:
    """The classes of a picture from the most probable one, as its stored predictions say."""
    probabilities = store.read_task(f"{classifier}/predictions/{file}").arrays["probabilities"]
    return [int(target) for target in np.argsort(-probabilities, kind="stable")]


def _heatmap_facts(heatmap: Heatmap) -> dict[str, Any]:
    return {
        "frame": frame_facts(heatmap.frame),
        "target": heatmap.target,
        "signed": heatmap.signed,
        "seconds": heatmap.seconds,
    }


def methods(study: Study) -> list[dict[str, str]]:
    """The methods of a study with their titles, and the papers as keys of the bibliography."""
    rows = [(name, cam.pick_cam_method(name)) for name in (study.cam.methods if study.cam else ())]
    found = [{"name": name, "title": row.title, "paper": row.paper} for name, row in rows]
    if study.lime:
        found.append({"name": "lime", "title": "LIME", "paper": "ribeiro2016"})
        wanted = [study.lime.segmentation]
        wanted += study.lime.search.segmentations if study.lime.search else ()
        for name in dict.fromkeys(one.method for one in wanted):
            segmentation = SEGMENTATIONS[name]
            row = {"name": name, "title": segmentation.title, "paper": segmentation.paper}
            found.append(row)
    for key in study.attribution.methods if study.attribution else ():
        known = attribution.pick_attribution_method(key)
        found.append({"name": key, "title": known.title, "paper": known.paper})
    if study.measures:
        found += [{"name": k, "title": row.title, "paper": ""} for k, row in BASELINES.items()]
    return found

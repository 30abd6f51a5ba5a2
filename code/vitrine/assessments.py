"""Attribution of a study's pictures, and what the maps of all its methods are worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from itertools import combinations, count
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrine import explanations
from vitrine.assessment_tables import table_names, write_tables
from vitrine.errors import NotApplicable, StudyError
from vitrine.explanations import Explainer
from vitrine.inputs.classifiers import Classifier, pick_architecture
from vitrine.inputs.pictures import Picture, Pixels
from vitrine.inputs.speed import PLAIN, Settings
from vitrine.measures import faithfulness, sanity, sensitivity
from vitrine.measures.baselines import BASELINES
from vitrine.methods import attribution, cam
from vitrine.methods.randomisation import cascade, cascading
from vitrine.methods.repeated import Asked, Maps, repeated
from vitrine.methods.scoring import Inputs, scoring
from vitrine.methods.segmentation import superpixels
from vitrine.results import Store, TaskResult, frame_facts, heatmap_from
from vitrine.steps import Progress, Step
from vitrine.study import Measures, Study
from vitrine.variants import FAITHFULNESS, SANITY, SEEDS, SENSITIVITY

REVISION = 1
"""Raised whenever a measure here computes something else from the same parameters."""

BOTH_WAYS = ("lrp", "lrp_captum")
"""What is tried on the networks under ``attribution.also``."""

_USED = {
    FAITHFULNESS: {"curve", "squares", "side", "batch", "seed"},
    SENSITIVITY: {"radius", "seed"},
    SANITY: {"seed"},
    SEEDS: {"seeds"},
}
"""The keys of the study's ``[measures]`` on which each depends."""

BACKWARD = 2
"""A gradient takes about so many forward passes beside its own."""

Values = npt.NDArray[np.float32]


def check(study: Study) -> None:
    """Stop before work starts if the study names a method that does not exist."""
    for method in study.attribution.methods if study.attribution else ():
        attribution.pick_attribution_method(method)
    if study.attribution and study.attribution.also and not study.pictures.more:
        raise StudyError(
            "attribution.also names networks, but no picture is there to try them on",
            "Name one under pictures.more",
        )


def methods(study: Study) -> list[str]:
    """All methods of the study that give maps, then the maps that see no network."""
    found = [*(study.cam.methods if study.cam else ()), *(["lime"] if study.lime else [])]
    found += study.attribution.methods if study.attribution else ()
    return [*found, *BASELINES]


def draws(method: str) -> bool:
    """Whether the method's map depends on a seed."""
    if method in BASELINES:
        return BASELINES[method].draws
    known = attribution.ATTRIBUTION_METHODS.get(method)
    return known.draws if known else method == "lime"


def steps(study: Study) -> list[Step]:
    """The maps by attribution, then each measure of each method on each picture."""
    return [
        *(step for row in study.classifiers for step in _attribution_steps(study, row.name)),
        *(step for row in study.classifiers for step in _measure_steps(study, row.name)),
        *_steps_elsewhere(study),
    ]


def _attribution_steps(study: Study, classifier: str) -> Iterator[Step]:
    for file in study.pictures.all:
        for method in study.attribution.methods if study.attribution else ():
            yield _map_step(study, classifier, method, file)


def _map_step(study: Study, classifier: str, method: str, file: str) -> Step:
    assert study.attribution is not None
    row = attribution.pick_attribution_method(method)
    used = study.attribution.model_dump(include={"batch", "seed", *row.uses})
    known = {"revision": row.revision, "speed": _speed(study), "parameters": used}
    return Step(classifier, method, file, _passes(study, classifier, method), known)


def _measure_steps(study: Study, classifier: str) -> Iterator[Step]:
    if study.measures is None:
        return
    own = explanations.steps(study)
    maps = {(step.method, step.file): step for step in own if not step.variant}
    for step in _attribution_steps(study, classifier):
        maps[step.method, step.file] = step
    for file in study.pictures.all:
        for method in methods(study):
            basis = maps[method, file].parameters if (method, file) in maps else {}
            for measure in _USED:
                if measure != SEEDS or draws(method):
                    yield _measure_step(study, classifier, method, file, measure, basis)


def _measure_step(
    study: Study, classifier: str, method: str, file: str, measure: str, basis: dict[str, Any]
) -> Step:
    assert study.measures is not None
    wanted = study.measures
    known = wanted.model_dump(include=_USED[measure]) | {"revision": REVISION, "map": basis}
    once = _passes(study, classifier, method, repeated_lime=measure != SEEDS)
    times = {
        SENSITIVITY: _times(wanted, once, wanted.perturbations),
        SANITY: _times(wanted, once, wanted.stages),
        SEEDS: wanted.seeds,
    }
    if measure in (SENSITIVITY, SANITY):
        known |= {"times": times[measure], "lime": method == "lime" and wanted.lime_samples}
    passes = {
        FAITHFULNESS: 2 * len(faithfulness.REPLACEMENTS) * (wanted.curve + 1),
        SENSITIVITY: (times[SENSITIVITY] + 1) * once,
        SANITY: times[SANITY] * once,
        SEEDS: (wanted.seeds - 1) * once,
    }
    return Step(classifier, method, file, max(1, passes[measure]), known, measure)


def _times(wanted: Measures, passes: int, full: int) -> int:
    """How many more maps a method gets that takes so many passes for one."""
    return min(full, wanted.few) if passes > wanted.many else full


def _steps_elsewhere(study: Study) -> Iterator[Step]:
    """Relevance by its correct rules and as Captum does it, on networks named for that alone."""
    explained = {row.name for row in study.classifiers}
    for row in study.attribution.also if study.attribution else ():
        if row.name in explained:
            continue
        for file in study.pictures.more:
            yield Step(row.name, "predictions", file, 1, {"revision": 1})
            for method in BOTH_WAYS:
                basis = _map_step(study, row.name, method, file)
                yield basis
                if study.measures:
                    known = basis.parameters
                    yield _measure_step(study, row.name, method, file, SENSITIVITY, known)


def _passes(study: Study, classifier: str, method: str, *, repeated_lime: bool = False) -> int:
    """About how long one map takes, in forward passes."""
    if method in BASELINES:
        return 0
    if method == "lime":
        assert study.lime is not None
        repeats = study.measures.lime_samples if study.measures else 0
        return repeats if repeated_lime else study.lime.samples
    architecture = pick_architecture(classifier)
    if method in cam.CAM_METHODS:
        return cam.CAM_METHODS[method].expected_passes(architecture.channels)
    assert study.attribution is not None
    row = attribution.ATTRIBUTION_METHODS[method]
    passes = row.passes(_parameters(study), architecture.preprocessing.crop)
    return passes if method == "occlusion" else (1 + BACKWARD) * passes


def _speed(study: Study) -> dict[str, Any] | None:
    return study.speed.model_dump() if study.speed else None


def _parameters(study: Study) -> attribution.Parameters:
    assert study.attribution is not None
    return attribution.Parameters(**study.attribution.model_dump(exclude={"methods", "also"}))


class Assessor:
    """Computes the attributions of a study's pictures and the measures of all its maps.

    networks : by name, those under ``attribution.also`` too. pictures : by file name. explainer :
    computes the class activation maps and LIME, which are measured here.
    """

    def __init__(
        self,
        study: Study,
        networks: dict[str, Classifier],
        pictures: dict[str, Picture],
        explainer: Explainer,
    ) -> None:
        self.study, self.networks, self.pictures = study, networks, pictures
        self.explainer, self.store = explainer, explainer.store
        self._ready: dict[str, TaskResult] = {}
        self._squares: tuple[str, str, Inputs, npt.NDArray[np.float64]] | None = None

    @cached_property
    def steps(self) -> list[Step]:
        return steps(self.study)

    @property
    def tables(self) -> set[str]:
        return set(table_names(self.study))

    def seen(self, step: Step) -> tuple[str, str]:
        return self.networks[step.classifier].digest, self.explainer.digests[step.file]

    def preparation(self, todo: list[Step]) -> int:
        return 0

    def write_tables(self, store: Store) -> None:
        write_tables(self.study, store, self.networks, self.pictures, methods(self.study))

    def provenance(self) -> dict[str, Any]:
        return {}

    def settings(self, classifier: str) -> Settings:
        """How passes are run; a network that only tries relevance takes the study's or none."""
        if self.study.speed or classifier in self.explainer.classifiers:
            return self.explainer.settings(classifier)
        return PLAIN

    @property
    def _wanted(self) -> Measures:
        assert self.study.measures is not None
        return self.study.measures

    # --- one step --------------------------------------------------------------------------------

    def compute(self, step: Step, progress: Progress) -> TaskResult:
        """One step's result; where a method is not applicable, the reason and nothing else."""
        picture = self.pictures[step.file]
        told = 0

        def advance(passes: int) -> None:
            nonlocal told
            more = min(passes, step.passes - told)  # the estimate may be too low
            told += more
            progress.advance(more)

        if step.name in self._ready:
            progress.advance(step.passes)
            return self._ready.pop(step.name)
        progress.step(
            f"{step.method}{f' ({step.variant})' if step.variant else ''} · {picture.name}"
        )
        try:
            result = self._compute(step, picture, advance)
        except NotApplicable as error:
            result = TaskResult({}, {"reason": str(error.problem)})
        except StudyError as error:
            raise StudyError(f"{picture.name}: {error.problem}", error.remedy) from error
        progress.advance(step.passes - told)
        return result

    def _compute(self, step: Step, picture: Picture, advance: Callable[[int], None]) -> TaskResult:
        classifier = self.networks[step.classifier]
        if step.method == "predictions":
            return explanations.predict(classifier, picture)
        target = explanations.ranked(self.store, step.classifier, step.file)[0]
        asked = self._asked(step, classifier, target, advance)
        if not step.variant:
            return self._attribute(step, picture, asked)
        crop = classifier.crop(picture)
        values = self._values(step, crop)
        if step.variant == FAITHFULNESS:
            return self._faithfulness(step, asked, crop, values)
        inputs = np.asarray(classifier.normalise(crop[None]).cpu().numpy())
        if step.variant == SENSITIVITY:
            return self._sensitivity(step, asked, inputs)
        if step.variant == SANITY:
            return self._sanity(step, asked, inputs, crop)
        return self._seeds(step, asked, inputs, crop)

    def _asked(
        self, step: Step, classifier: Classifier, target: int, advance: Callable[[int], None]
    ) -> Asked:
        study, segments, wanted = self.study, None, None
        if step.method == "lime" and study.lime:
            crop = classifier.crop(self.pictures[step.file])
            segments = superpixels(crop, study.lime.segmentation, study.lime.seed)
            wanted = study.lime
            if study.measures and step.variant != SEEDS:
                wanted = wanted.model_copy(update={"samples": study.measures.lime_samples})
        return Asked(
            classifier,
            target,
            layer=study.cam.layer if study.cam else None,
            attribution=_parameters(study) if study.attribution else attribution.Parameters(),
            lime=wanted,
            segments=segments,
            settings=self.settings(step.classifier),
            progress=advance,
        )

    def _attribute(self, step: Step, picture: Picture, asked: Asked) -> TaskResult:
        classifier = asked.classifier
        crop, frame = classifier.crop(picture), classifier.frame(picture)
        how = (asked.target, asked.attribution, asked.progress, asked.settings)
        found = attribution.attribute(classifier, crop, frame, step.method, *how)
        with scoring(classifier, asked.target, asked.settings, "logit") as scores:
            inputs = np.asarray(classifier.normalise(crop[None]).cpu().numpy())
            logit, nothing = scores(np.concatenate([inputs, np.zeros_like(inputs)]))
        values = found.heatmap.values.astype(np.float64)
        scale = float(np.abs(values).max()) or 1.0
        facts = {
            "frame": frame_facts(frame),
            "target": asked.target,
            "signed": found.heatmap.signed,
            "seconds": found.heatmap.seconds,
            "passes": found.passes,
            "scale": scale,
            "total": float(values.sum()),
            "logit": float(logit),
            "logit_of_nothing": float(nothing),
            "rule": found.note,
        }
        # Half precision of values up to 1 is finer than any screen, and a tenth of the size.
        return TaskResult({"values": (values / scale).astype(np.float16)}, facts)

    def _values(self, step: Step, crop: Pixels) -> Values:
        """The map that is measured. Raises ``NotApplicable`` where there is none or it is blank."""
        if step.method in BASELINES:
            return BASELINES[step.method].draw(crop, self._wanted.seed)
        task = self.store.read_task(f"{step.classifier}/{step.method}/{step.file}")
        if "reason" in task.facts:
            raise NotApplicable(task.facts["reason"])
        heatmap = heatmap_from(task, step.method)
        if heatmap.is_blank:
            raise NotApplicable("The map is the same everywhere")
        return heatmap.values

    @contextmanager
    def _maps(self, method: str, asked: Asked) -> Iterator[Callable[[Inputs], dict[str, Maps]]]:
        """As ``repeated``, with the maps that see no network among the methods."""
        if method not in BASELINES:
            with repeated(method, asked) as explain:
                yield explain
            return
        seeds = count(1)
        preprocessing = asked.classifier.preprocessing
        mean, deviation = np.array(preprocessing.mean), np.array(preprocessing.deviation)

        def draw(inputs: Inputs) -> dict[str, Maps]:
            pixels = np.clip(inputs.transpose(0, 2, 3, 1) * deviation + mean, 0, 255) / 255
            drawn = [BASELINES[method].draw(each, next(seeds)) for each in pixels]
            return {method: np.stack(drawn)[:, None].astype(np.float32)}

        yield draw

    def _keep_others(self, step: Step, results: dict[str, TaskResult]) -> TaskResult:
        """The step's own result; those of methods that came of the same passes wait for theirs."""
        for method, result in results.items():
            other = replace(step, method=method)
            if method != step.method and other.name in self._names:
                self._ready[other.name] = result
        return results[step.method]

    @cached_property
    def _names(self) -> set[str]:
        return {step.name for step in self.steps}

    # --- the measures ----------------------------------------------------------------------------

    def _faithfulness(self, step: Step, asked: Asked, crop: Pixels, values: Values) -> TaskResult:
        wanted = self._wanted
        inputs = np.asarray(asked.classifier.normalise(crop[None]).cpu().numpy())
        curves = {}
        with scoring(asked.classifier, asked.target, asked.settings) as scores:
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
                    asked.progress(wanted.curve + 1)
        removed, lost = self._removed(step, asked, inputs)
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
        self, step: Step, asked: Asked, inputs: Inputs
    ) -> tuple[Inputs, npt.NDArray[np.float64]]:
        """Squares of a picture, and what the logit loses with each; the same for all methods."""
        wanted = self._wanted
        if self._squares is None or self._squares[:2] != (step.classifier, step.file):
            squares = faithfulness.squares(inputs, wanted.seed, wanted.squares, wanted.side)
            with scoring(asked.classifier, asked.target, asked.settings, "logit") as scores:
                lost = faithfulness.losses(scores, inputs, squares, batch=wanted.batch)
            self._squares = (step.classifier, step.file, squares, lost)
        return self._squares[2:]

    def _sensitivity(self, step: Step, asked: Asked, inputs: Inputs) -> TaskResult:
        wanted, times = self._wanted, step.parameters["times"]
        shape = inputs.shape[1:]
        moved = inputs + sensitivity.perturbations(shape, wanted.seed, times, wanted.radius)
        with self._maps(step.method, asked) as explain:
            original, others = explain(inputs), explain(moved)
        return self._keep_others(
            step, {name: _moved(original[name], others[name], times) for name in original}
        )

    def _sanity(self, step: Step, asked: Asked, inputs: Inputs, crop: Pixels) -> TaskResult:
        blocks = cascade(asked.classifier)
        # Evenly from the whole network, which is always among them, to the classifier alone.
        places = np.linspace(len(blocks) - 1, 0, min(step.parameters["times"], len(blocks)))
        chosen = [blocks[int(place)] for place in sorted(np.round(places))]
        found: dict[str, list[Values]] = {}
        with cascading(asked.classifier, self._wanted.seed) as randomised:
            for block in randomised:
                if block in chosen:
                    for name, values in self._once(step.method, asked, inputs).items():
                        found.setdefault(name, []).append(values)
        results = {}
        for name, maps in found.items():
            try:
                trained = self._values(replace(step, method=name), crop)
                results[name] = _likeness(trained, maps, chosen, step.file in self._shown)
            except NotApplicable as error:
                results[name] = TaskResult({}, {"reason": str(error.problem)})
        return self._keep_others(step, results)

    @property
    def _shown(self) -> tuple[str, ...]:
        """The pictures whose maps of randomised networks are kept to be looked at."""
        return self.study.pictures.more

    def _once(self, method: str, asked: Asked, inputs: Inputs) -> dict[str, Values]:
        """One map; zero everywhere where a randomised network does not support the method."""
        try:
            with self._maps(method, asked) as explain:
                return {name: each[0].sum(axis=0) for name, each in explain(inputs).items()}
        except NotApplicable:
            return {method: np.zeros(inputs.shape[2:], dtype=np.float32)}

    def _seeds(self, step: Step, asked: Asked, inputs: Inputs, crop: Pixels) -> TaskResult:
        wanted = self._wanted
        found = [self._values(step, crop)]
        for more in range(1, wanted.seeds):
            again = asked.attribution
            again = replace(again, seed=again.seed + more)
            lime = asked.lime and asked.lime.model_copy(update={"seed": asked.lime.seed + more})
            found.append(
                self._once(step.method, replace(asked, attribution=again, lime=lime), inputs)[
                    step.method
                ]
                if step.method not in BASELINES
                else BASELINES[step.method].draw(crop, wanted.seed + more)
            )
        rho = [sanity.rank_correlation(*pair) for pair in combinations(found, 2)]
        return TaskResult({"rho": np.array(rho)}, {"value": float(np.mean(rho))})


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

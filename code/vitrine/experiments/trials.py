"""Trials: what is computed of a map by asking the network again; measures are read from them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrine.arrays import Inputs, Maps, Values
from vitrine.errors import NotApplicable
from vitrine.measures import faithfulness, mprt, sensitivity
from vitrine.measures.registry import FAITHFULNESS, MPRT, SEED_STABILITY, SENSITIVITY
from vitrine.methods.method import Method, Query
from vitrine.methods.randomisation import cascade, cascading, untrained
from vitrine.methods.registry import pick_method
from vitrine.models.inference import scoring
from vitrine.store import TaskResult
from vitrine.study.sections import Measures


@dataclass(frozen=True)
class Case:
    """A map that is tried.

    inputs : ``float32 [1, 3, h, w]``, the image as the network's input.
    times : how many more maps are made of it.
    map_of : the image's map of a method. Raises ``NotApplicable``.
    shown : whether maps that are made on the way are kept to be looked at.
    shared : what trials of other maps of the same image and network have left here.
    measured : the methods whose maps the study measures; others may come of the same passes.
    """

    query: Query
    inputs: Inputs
    wanted: Measures
    times: int
    map_of: Callable[[str], Values]
    shown: bool
    shared: dict[str, Any]
    measured: Collection[str]


@dataclass(frozen=True)
class Trial:
    """A row of ``TRIALS``.

    uses : the keys of the study's ``[measures]`` on which the result depends.
    compute : the results, by method: the one that is asked, and any other that comes of the same
        passes. Raises ``NotApplicable``.
    passes : its cost in forward passes, by the study's ``[measures]``, how many more maps it makes,
        and what one takes.
    times : the key of the study that says how many more maps are made, of methods that take a
        moment; empty where that does not depend on the method.
    again : whether maps are made with the parameters for perturbed copies.
    stochastic : whether it is for methods that draw alone.
    revision : raised whenever it computes something else from the same parameters.
    revision_of_draws : added to it for the methods whose draws are held (``Method.holds_draws``).
    """

    uses: frozenset[str]
    compute: Callable[[Case], dict[str, TaskResult]]
    passes: Callable[[Measures, int, int], int]
    times: str = ""
    again: bool = True
    stochastic: bool = False
    revision: int = 1
    revision_of_draws: int = 0

    def revision_for(self, method: Method) -> int:
        """The revision of the trial of a method's maps."""
        return self.revision + (self.revision_of_draws if method.holds_draws else 0)

    def times_for(self, wanted: Measures, once: int) -> int:
        """How many more maps a method gets that takes so many passes for one."""
        if not self.times:
            return 0
        full = int(getattr(wanted, self.times))
        return min(full, wanted.expensive_repeats) if once > wanted.expensive_passes else full


def _faithfulness(case: Case) -> dict[str, TaskResult]:
    query, wanted, curves = case.query, case.wanted, {}
    values = case.map_of(query.method)
    with scoring(query.classifier, query.target, query.settings) as scores:
        for name, curve in faithfulness.CURVES.items():
            for replacement in faithfulness.REPLACEMENTS:
                curves[f"{name}_{replacement}"] = curve(
                    scores,
                    case.inputs,
                    values,
                    replacement=replacement,
                    steps=wanted.curve_steps,
                    batch=wanted.batch,
                )
                query.progress(wanted.curve_steps + 1)
    if "squares" not in case.shared:
        case.shared["squares"] = _removed(case)
    removed, lost = case.shared["squares"]
    places = (removed != 0).any(axis=1)
    result = TaskResult(
        {"scores": np.stack([one.scores for one in curves.values()]).astype(np.float32)},
        {
            "curves": list(curves),
            "areas": {name: one.area for name, one in curves.items()},
            "infidelity": faithfulness.normalized_infidelity(values, places, lost),
        },
    )
    return {query.method: result}


def _removed(case: Case) -> tuple[Inputs, npt.NDArray[np.float64]]:
    """Squares of an image, and what the logit loses with each; the same for all methods."""
    query, wanted = case.query, case.wanted
    squares = faithfulness.squares(
        case.inputs, wanted.seed, wanted.infidelity_squares, wanted.infidelity_side
    )
    with scoring(query.classifier, query.target, query.settings, "logit") as scores:
        lost = faithfulness.losses(scores, case.inputs, squares, batch=wanted.batch)
    return squares, lost


def _sensitivity(case: Case) -> dict[str, TaskResult]:
    wanted, shape = case.wanted, case.inputs.shape[1:]
    noise = sensitivity.perturbations(shape, wanted.seed, case.times, wanted.radius)
    case.map_of(case.query.method)
    with pick_method(case.query.method).repeated(case.query) as explain:
        original, others = explain(case.inputs), explain(case.inputs + noise)
    redrawn = _redrawn(case)
    return {
        name: _moved(original[name], others[name], redrawn.get(name), case.times)
        for name in original
    }


def _redrawn(case: Case) -> dict[str, Maps]:
    """The maps of the image itself from another seed; none of methods that do not draw."""
    method = pick_method(case.query.method)
    if not method.holds_draws:
        return {}
    seed = case.query.parameters.seed + 1
    parameters = case.query.parameters.model_copy(update={"seed": seed})
    with method.repeated(replace(case.query, parameters=parameters)) as explain:
        return explain(case.inputs)


def _mprt(case: Case) -> dict[str, TaskResult]:
    case.map_of(case.query.method)
    blocks = cascade(case.query.classifier)
    # Evenly from the whole network, which is always among them, to the classifier alone.
    places = np.linspace(len(blocks) - 1, 0, min(case.times, len(blocks)))
    chosen = [blocks[int(place)] for place in sorted(np.round(places))]
    found: dict[str, list[Values]] = {}
    if "untrained" not in case.shared:
        case.shared["untrained"] = untrained(case.query.classifier, case.wanted.seed)
    with cascading(case.query.classifier, case.shared["untrained"]) as randomised:
        for block in randomised:
            if block in chosen:
                for name, values in _once(case.query, case.inputs).items():
                    found.setdefault(name, []).append(values)
    results = {}
    for name in found.keys() & {*case.measured}:
        maps = found[name]
        try:
            results[name] = _similarity(case.map_of(name), maps, chosen, case.shown)
        except NotApplicable as error:
            results[name] = TaskResult({}, {"reason": str(error.problem)})
    return results


def _seed_stability(case: Case) -> dict[str, TaskResult]:
    query = case.query
    found, seed = [case.map_of(query.method)], query.parameters.seed
    for more in range(1, case.wanted.seeds):
        parameters = query.parameters.model_copy(update={"seed": seed + more})
        again = replace(query, parameters=parameters)
        found.append(pick_method(query.method).redrawn(again, case.inputs))
    rho = [mprt.values_correlation(*pair) for pair in combinations(found, 2)]
    return {query.method: TaskResult({"rho": np.array(rho)}, {"value": float(np.mean(rho))})}


def _once(query: Query, inputs: Inputs) -> dict[str, Values]:
    """One map; zero everywhere where a randomised network does not support the method."""
    try:
        with pick_method(query.method).repeated(query) as explain:
            return {name: each[0].sum(axis=0) for name, each in explain(inputs).items()}
    except NotApplicable:
        return {query.method: np.zeros(inputs.shape[2:], dtype=np.float32)}


def _moved(original: Maps, others: Maps, redrawn: Maps | None, times: int) -> TaskResult:
    """How far maps ``[n, c, h, w]`` of a perturbed image lie from its own ``[1, c, h, w]``.

    redrawn : its map from another seed, of methods that draw; how far that lies stands beside.
    """

    def change(maps: Maps) -> tuple[float, float]:
        whole = sensitivity.greatest_change(original.sum(axis=1), maps.sum(axis=1))
        return sensitivity.greatest_change(original, maps), whole

    by_channel, value = change(others)
    facts: dict[str, Any] = {"channels": original.shape[1], "perturbations": times}
    facts |= {"by_channel": by_channel, "value": value}
    if redrawn is not None:
        by_channel, value = change(redrawn)
        facts |= {"seed_part_by_channel": by_channel, "seed_part": value}
    return TaskResult({}, facts)


def _similarity(
    trained: Values, randomised: list[Values], blocks: list[str], shown: bool
) -> TaskResult:
    """How much the maps of randomised networks are like the trained one's."""
    ways: dict[str, Callable[[Values, Values], float]] = {
        "rho": mprt.values_correlation,
        "rho_absolute": partial(mprt.values_correlation, absolute=True),
        "ssim": mprt.similarity,
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


TRIALS: dict[str, Trial] = {
    FAITHFULNESS: Trial(
        frozenset({"curve_steps", "infidelity_squares", "infidelity_side", "batch", "seed"}),
        _faithfulness,
        lambda wanted, _times, _once: 2 * len(faithfulness.REPLACEMENTS) * (wanted.curve_steps + 1),
    ),
    SENSITIVITY: Trial(
        frozenset({"radius", "seed"}),
        _sensitivity,
        lambda _wanted, times, once: (times + 1) * once if times else 0,
        times="perturbations",
        revision_of_draws=1,
    ),
    MPRT: Trial(
        frozenset({"seed"}),
        _mprt,
        lambda _wanted, times, once: times * once,
        times="stages",
    ),
    SEED_STABILITY: Trial(
        frozenset({"seeds"}),
        _seed_stability,
        lambda wanted, _times, once: (wanted.seeds - 1) * once,
        again=False,
        stochastic=True,
    ),
}
"""In the order in which the trials of a map are run."""

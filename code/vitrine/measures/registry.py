"""The measures: what each says, which of its values are the better ones, and how it is computed.

A measure of a map alone is a function of it. One that asks the network again is read from the
result of a trial, of which several measures may come; the trials are in ``experiments.trials``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrine.arrays import Values
from vitrine.measures.localisation import Mask, gain_inside, share_inside
from vitrine.measures.map_extent import entropy, gini
from vitrine.measures.ranking import Better

_Arrays = Mapping[str, npt.NDArray[Any]]
Facts = Mapping[str, Any]

FAITHFULNESS, SENSITIVITY = "faithfulness", "sensitivity"
MPRT, SEED_STABILITY = "mprt", "seed_stability"
"""The trials, as the store names their tasks."""


@dataclass(frozen=True)
class Measure:
    """A row of ``VALUES``: exactly one of ``read``, ``of_map`` and ``of_object`` is given.

    question : what it answers, in one line.
    direction : which values are the better ones; ``None`` where that cannot be said, so that the
        measure is in the tables but not on the scoreboard.
    baselines : the maps without a network that a method has to beat. A map that never looks at the
        network cannot fail where only a change of the network shows, so not each is one everywhere.
    paper : its key in the bibliography.
    trial, read : the trial that asks the network, and the value in the arrays and facts of its
        result; ``nan`` where there is none.
    of_map : the value of a map ``float32 [h, w]``.
    of_object : the value of a map and the mask ``bool [h, w]`` of what is outlined in the image.
    why : the reason where the value is not finite.
    """

    title: str
    question: str
    direction: Better | None
    paper: str
    baselines: tuple[str, ...] = ("random", "edges")
    trial: str = ""
    read: Callable[[_Arrays, Facts], float] | None = None
    of_map: Callable[[Values], float] | None = None
    of_object: Callable[[Values, Mask], float] | None = None
    why: str = ""


def _area(curve: str, _arrays: _Arrays, facts: Facts) -> float:
    return float(facts.get("areas", {}).get(curve, np.nan))


def _fact(key: str, _arrays: _Arrays, facts: Facts) -> float:
    return float(facts.get(key, np.nan))


def _similarity(arrays: _Arrays, _facts: Facts) -> float:
    """How much the untrained network's map is like the trained one's, with or without its signs.

    Whichever rank correlation is greater, as a reader recognises a map by either; a negative one
    is no similarity.
    """
    if "rho" not in arrays:
        return float("nan")
    both = [float(arrays[name][-1]) for name in ("rho", "rho_absolute")]
    return float(np.clip(np.max(both), 0, None))


VALUES: dict[str, Measure] = {
    "deletion_blurred": Measure(
        "Deletion (blurred)",
        "does the class go when the strongest pixels are blurred first?",
        "lower",
        "petsiuk2018",
        trial=FAITHFULNESS,
        read=partial(_area, "deletion_blurred"),
    ),
    "deletion_mean": Measure(
        "Deletion (mean colour)",
        "does the class go when the strongest pixels are painted in the mean colour?",
        "lower",
        "petsiuk2018",
        trial=FAITHFULNESS,
        read=partial(_area, "deletion_mean"),
    ),
    "insertion_blurred": Measure(
        "Insertion (blurred)",
        "does it come when the strongest pixels are sharpened first?",
        "higher",
        "petsiuk2018",
        trial=FAITHFULNESS,
        read=partial(_area, "insertion_blurred"),
    ),
    "insertion_mean": Measure(
        "Insertion (mean colour)",
        "does the class come when the strongest pixels are shown first on a plain ground?",
        "higher",
        "petsiuk2018",
        trial=FAITHFULNESS,
        read=partial(_area, "insertion_mean"),
    ),
    "infidelity": Measure(
        "Infidelity",
        "how much of the logit's loss without random squares do the weights there not predict?",
        "lower",
        "yeh2019",
        trial=FAITHFULNESS,
        read=partial(_fact, "infidelity"),
        why="The map has no weight in any square",
    ),
    "sensitivity": Measure(
        "Maximum sensitivity",
        "by which share of its norm does the map change under imperceptible noise on the image?",
        "lower",
        "yeh2019",
        baselines=("random",),
        trial=SENSITIVITY,
        read=partial(_fact, "value"),
        why="A perturbed image's map is not finite",
    ),
    "seed_stability": Measure(
        "Stability over seeds",
        "how alike are the maps of two seeds?",
        "higher",
        "yeh2019",
        baselines=("random",),
        trial=SEED_STABILITY,
        read=partial(_fact, "value"),
        why="A map is the same everywhere",
    ),
    "mprt": Measure(
        "Randomised network",
        "how like the map is that of the untrained network, with or without signs?",
        "lower",
        "adebayo2018",
        baselines=("edges",),
        trial=MPRT,
        read=_similarity,
        why="The map of the untrained network is the same everywhere or not finite",
    ),
    "inside": Measure(
        "On the object",
        "how many times more weight lies on the object than its area would hold?",
        "higher",
        "arras2022",
        of_object=gain_inside,
        why="The map has no positive weight",
    ),
    "share_inside": Measure(
        "Share on the object",
        "which share of the positive weight lies on the object?",
        None,
        "arras2022",
        of_object=share_inside,
        why="The map has no positive weight",
    ),
    "gini": Measure(
        "Concentration",
        "is the weight in few pixels (Gini index near 1) or everywhere (near 0)?",
        "higher",
        "chalasani2020",
        of_map=gini,
    ),
    "entropy": Measure(
        "Entropy",
        "over how many pixels is the weight spread, as the entropy of its shares?",
        None,
        "bhatt2020",
        of_map=entropy,
    ),
}
"""In the order of the rows of the table `evaluation`."""

MEASURES: dict[str, Measure] = {
    name: row for name, row in VALUES.items() if row.direction is not None
}
"""The measures of the scoreboard."""

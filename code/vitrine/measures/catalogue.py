"""The measures of the scoreboard: what each says, and which values of it are the better ones."""

from __future__ import annotations

from dataclasses import dataclass

from vitrine.measures.ranking import Direction


@dataclass(frozen=True)
class Measure:
    """A row of ``MEASURES``.

    question : what it answers, in one line.
    direction : which values are the better ones.
    bar : the maps without a network that a method has to beat. A map that never looks at the
        network cannot fail where only a change of the network shows, so not each is one everywhere.
    paper : its key in the bibliography.
    """

    title: str
    question: str
    direction: Direction
    paper: str
    bar: tuple[str, ...] = ("random", "edges")


MEASURES: dict[str, Measure] = {
    "deletion_blurred": Measure(
        "Deletion, blurred",
        "does the class go when the strongest pixels are blurred first?",
        "lower",
        "petsiuk2018",
    ),
    "deletion_mean": Measure(
        "Deletion, mean colour",
        "does it go when they are painted in the mean colour?",
        "lower",
        "petsiuk2018",
    ),
    "insertion_blurred": Measure(
        "Insertion, blurred",
        "does it come when the strongest pixels are sharpened first?",
        "higher",
        "petsiuk2018",
    ),
    "insertion_mean": Measure(
        "Insertion, mean colour",
        "does it come when they are the first on a plain ground?",
        "higher",
        "petsiuk2018",
    ),
    "infidelity": Measure(
        "Infidelity",
        "which share of what the logit loses with a square does the map's weight there not tell?",
        "lower",
        "yeh2019",
    ),
    "sensitivity": Measure(
        "Maximum sensitivity",
        "by how much of itself does the map change when the picture does so invisibly?",
        "lower",
        "yeh2019",
        bar=("random",),
    ),
    "seeds": Measure(
        "Stability over seeds",
        "how much alike are maps that were drawn anew?",
        "higher",
        "yeh2019",
        bar=("random",),
    ),
    "sanity": Measure(
        "Randomised network",
        "how much is the untrained network's map like it, with or without signs?",
        "lower",
        "adebayo2018",
        bar=("edges",),
    ),
    "inside": Measure(
        "On the object",
        "how many times more weight lies on the object than its area would hold?",
        "higher",
        "arras2022",
    ),
    "gini": Measure(
        "Concentration",
        "is the weight in few pixels (Gini index near 1) or everywhere (near 0)?",
        "higher",
        "chalasani2020",
    ),
}

"""The scoreboard: each method's mean, rank and standing against the baselines, by measure."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
import pandas as pd

from vitrine.measures import ranking
from vitrine.measures.difference import Difference
from vitrine.measures.ranking import Standing
from vitrine.measures.registry import MEASURES, SEED_STABILITY
from vitrine.methods.baselines import BASELINES
from vitrine.report import cams
from vitrine.report.study_report import StudyReport

POSITIVE_BASELINE = ("sensitivity",)
"""Measures whose baseline has positive weights alone, so that a signed map has none to beat."""

Key = tuple[str, str, str]
"""A measure, a method and a baseline."""


def family_of(study: StudyReport, method: str) -> str:
    """A method's family: the section of the study that asks for it."""
    if method in BASELINES:
        return "baseline"
    if method in study.parameters("cam").get("methods", ()):
        return "class activation map"
    return "LIME" if method == "lime" else "attribution"


def signed_methods(study: StudyReport) -> frozenset[str]:
    """The methods whose maps have negative values, as the tables of maps say."""
    tables = [study.table(name) for name in ("maps", "attributions") if study.has(name)]
    # A column of truth values with a gap, where a method has no map, is read as text.
    signed = (table.loc[table["signed"].astype(str) == "True", "method"] for table in tables)
    return frozenset(chain.from_iterable(signed))


class Scoreboard:
    """What the table ``evaluation`` of a study says of each method by each measure.

    methods, baselines : those with a value; of class activation maps, those that are not the maps
        of another one. measures : those with a value of a method.
    ranked : the measures that enter the mean rank: all but that of stochastic methods alone.
    values : by measure, ``[image, method]``.
    scores : by measure and method. mean : ``[method, measure]``, baselines too.
    rank : ``[method, measure]``, of the methods alone that have a value on at least half of the
        images on which any method has one. overall : their mean rank, best first.
    signed : the methods whose maps have negative values.
    """

    def __init__(self, study: StudyReport) -> None:
        wanted, table = study.parameters("measures"), study.table("evaluation")
        known = table[np.isfinite(table["value"].astype(float))]
        same = {*cams.cam_methods(study)} - {*cams.distinct(study)}
        everyone = [m for m in dict.fromkeys(known["method"]) if m not in same]
        self.signed = signed_methods(study)
        self.baselines = [m for m in BASELINES if m in everyone]
        self.methods = [m for m in everyone if m not in BASELINES]
        measured = set(known.loc[~known["method"].isin(BASELINES), "measure"])
        self.measures = [m for m in MEASURES if m in measured]
        self.ranked = [m for m in self.measures if m != SEED_STABILITY]
        rows = [*self.methods, *self.baselines]
        self.values = {
            m: table[table["measure"] == m]
            .pivot(index="image", columns="method", values="value")
            .reindex(columns=rows)
            .astype(float)
            for m in self.measures
        }
        draws, seed = wanted.get("bootstrap", 2000), wanted.get("seed", 0)
        self.scores = {
            (m, method): ranking.score(list(self.values[m][method]), draws, seed)
            for m in self.measures
            for method in rows
        }
        self.mean = self._of_scores("mean", rows)
        counts = self._of_scores("images", self.methods)
        told = self.mean.loc[self.methods].where(counts * 2 >= counts.max())
        self.rank = pd.DataFrame(
            {
                m: ranking.ranks(list(told[m]), MEASURES[m].direction or "higher")
                for m in self.measures
            },
            index=self.methods,
        )
        self.overall = self.rank[self.ranked].mean(axis=1).dropna().sort_values(kind="stable")

    def _of_scores(self, what: str, methods: list[str]) -> pd.DataFrame:
        """A field of the scores, ``[method, measure]``."""
        told = {m: [getattr(self.scores[m, one], what) for one in methods] for m in self.measures}
        return pd.DataFrame(told, index=methods)

    def is_known(self, measure: str, method: str) -> bool:
        """Whether a method has a value on half of the images or more on which any method has."""
        most = max(self.scores[measure, one].images for one in self.methods)
        return self.scores[measure, method].images * 2 >= most

    def pairs(self, measure: str | None = None) -> list[Key]:
        """What is compared: each method with the baselines of a measure, or of all ranked ones.

        Only where an image has both values, and the baseline is a fair one.
        """
        return [
            (name, method, baseline)
            for name in ([measure] if measure else self.ranked)
            if name in self.measures
            for method in self.methods
            for baseline in MEASURES[name].baselines
            if baseline in self.baselines
            and not self.without_baseline(name, method)
            and (self.values[name][method] - self.values[name][baseline]).notna().any()
        ]

    def without_baseline(self, measure: str, method: str) -> bool:
        """Whether the baselines of a measure are none for a method, as its map is signed."""
        return measure in POSITIVE_BASELINE and method in self.signed

    def gains(self, measure: str | None = None) -> dict[Key, Difference]:
        """The test of each of ``pairs``, corrected for their number."""
        return _gains(self, measure)

    def taus(self) -> dict[tuple[str, str], float]:
        """Kendall's τ between the rankings by every two measures, where there is one."""
        rankings: dict[str, Sequence[float]] = {m: list(self.rank[m]) for m in self.ranked}
        return {(a, b): t for a, b, t in ranking.disagreement(rankings) if np.isfinite(t)}


@lru_cache(maxsize=64)
def _gains(board: Scoreboard, measure: str | None) -> dict[Key, Difference]:
    pairs, found = board.pairs(measure), {}
    for name, method, baseline in pairs:
        values, direction = board.values[name], MEASURES[name].direction or "higher"
        own, other = list(values[method]), list(values[baseline])
        found[name, method, baseline] = ranking.advantage(own, other, direction, len(pairs))
    return found


def stands(gains: dict[Key, Difference]) -> dict[tuple[str, str], Standing]:
    """By measure and method: the worst standing against any baseline of the measure."""
    found: dict[tuple[str, str], set[Standing]] = {}
    for (measure, method, _), gain in gains.items():
        found.setdefault((measure, method), set()).add(ranking.standing_of(gain))
    order: tuple[Standing, ...] = ("worse", "too few", "undecided", "better")
    return {key: next(kind for kind in order if kind in kinds) for key, kinds in found.items()}


def marks(board: Scoreboard) -> dict[tuple[str, str], Standing]:
    """How each method stands by each measure, corrected for the comparisons by it."""
    by_measure = (stands(board.gains(measure)) for measure in board.measures)
    return {key: kind for found in by_measure for key, kind in found.items()}


@lru_cache(maxsize=4)
def scoreboard(study: StudyReport) -> Scoreboard:
    """The scoreboard of a study that has the table ``evaluation``."""
    return Scoreboard(study)

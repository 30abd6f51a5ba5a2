"""Claims about dissection, judged by our three networks and by published labels."""

from __future__ import annotations

from functools import cached_property

import pandas as pd

from claims.judgement import Judgement
from vitrine.data.printed import published_figures
from vitrine.measures.diversity import expected_different
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.text import percent

IMAGENET_DOGS = (151, 275)
"""The first and the last of ImageNet's classes of dogs and wild dogs."""


class Dissected:
    """What the verdicts and the chapter's prose both quote.

    units, layers : tables of the study with a column ``network``, its title.
    """

    def __init__(self, study: StudyReport, published: PublishedReport) -> None:
        self.study, self.published = study, published
        known = {row["name"]: row["title"] for row in study.provenance["dissection"]["classifiers"]}
        asked = study.provenance["study"]["dissection"]["classifiers"]
        self.titles = [known[row["name"]] for row in asked]
        self._known = known
        self.units, self.layers = self.table("units"), self.table("layers")
        self.probing = self.table("probing")
        self.layer_names = list(dict.fromkeys(self.layers["layer"]))
        self.runners_up = [f"runner_up_{rank}" for rank in range(1, 6)]

    def table(self, name: str) -> pd.DataFrame:
        """A table of the dissection with the networks' titles."""
        table = self.study.store.table(name)
        table.insert(0, "network", table["classifier"].map(self._known))
        return table.drop(columns="classifier")

    def by_layer(self, what: str) -> pd.DataFrame:
        """A column of the layers' table: a row a layer, a column a network."""
        wide = self.layers.pivot(index="layer", columns="network", values=what)
        return wide.loc[self.layer_names, self.titles]

    def in_classifier(self, what: str) -> pd.Series:
        """For each network whether the classifier has the greatest value of its layers."""
        return self.by_layer(what).idxmax().eq(self.layer_names[-1])

    @cached_property
    def excess(self) -> pd.Series:
        """By layer: the mean similarity above that of permuted images, over the networks."""
        return (self.by_layer("mean") - self.by_layer("null_mean")).mean(axis=1)

    @cached_property
    def printed(self) -> pd.DataFrame:
        """The highest similarities that Sagimbayeva and Adhithya print: layers by networks."""
        figures = published_figures(self.study.store.project, "highest_similarity")
        wide = figures.pivot(index="layer", columns="network", values="highest_similarity")
        return wide.loc[["layer3", "layer4", "fc"]]

    @cached_property
    def places_less(self) -> pd.Series:
        """For each printed layer whether Places365 is below ImageNet."""
        return self.printed["resnet18_places365"] < self.printed["resnet18_imagenet"]

    @cached_property
    def imagenet18(self) -> pd.DataFrame:
        return self.published.labels("resnet18_imagenet")

    @cached_property
    def places18(self) -> pd.DataFrame:
        return self.published.labels("resnet18_places365")

    @cached_property
    def authors50(self) -> pd.DataFrame:
        return self.published.labels("resnet50_imagenet")

    @cached_property
    def authors18(self) -> pd.DataFrame:
        return self.published.labels("resnet18_places365_authors")

    @cached_property
    def labels50_equal(self) -> float:
        """Different labels expected of as many units of ResNet-50 as ResNet-18 has."""
        return expected_different(self.authors50["label"], len(self.authors18))

    def with_runner_up(self, label: str, other: str) -> tuple[int, int]:
        """Of the units with a label, how many there are and how many have the other next."""
        chosen = self.units[self.units["label"] == label]
        return len(chosen), int((chosen[self.runners_up] == other).any(axis=1).sum())

    def size_mean(self, rule: str, size: int, what: str) -> float:
        """A mean over the draws, layers and networks of one size of the probing set."""
        chosen = self.probing[(self.probing["rule"] == rule) & (self.probing["size"] == size)]
        return float(chosen[what].mean())

    @cached_property
    def basename_fc(self) -> pd.DataFrame:
        """The published classifier units labelled *basename*, the most similar first."""
        named = self.imagenet18[
            (self.imagenet18["label"] == "basename") & (self.imagenet18["layer"] == "fc")
        ]
        return named.sort_values("similarity", ascending=False)

    @property
    def basename_dogs(self) -> int:
        """How many of those are classes of dogs."""
        return int(self.basename_fc["unit"].between(*IMAGENET_DOGS).sum())


def share_of(labels: pd.DataFrame, kind: str, layer: str | None = None) -> float:
    """The share of units whose label is of a kind."""
    chosen = labels if layer is None else labels[labels["layer"] == layer]
    return float((chosen["kind"] == kind).mean())


def judge(study: StudyReport, published: PublishedReport) -> dict[str, Judgement]:
    """The eight verdicts, by the claims' keys."""
    found = Dissected(study, published)
    return _of_layers(found) | _of_concepts(found) | _of_labels(found)


def _of_layers(found: Dissected) -> dict[str, Judgement]:
    greatest, mean = found.in_classifier("greatest"), found.in_classifier("mean")
    before, last = found.excess.iloc[:-1], found.excess.iloc[-1]
    sizes = found.probing["size"]
    small, large = int(sizes.min()), int(sizes.max())
    at = {size: found.size_mean("fixed", size, "similarity") for size in (small, large)}
    count = len(found.titles)
    return {
        "classifier_highest": Judgement(
            "confirmed" if greatest.all() else "refuted",
            "Contradicted for the greatest, supported for the mean",
            f"Greatest: {int(greatest.sum())} of {count} networks; mean: {int(mean.sum())} "
            f"of {count}",
        ),
        "places_less": Judgement(
            "not decidable",
            "Cannot be decided with these networks; its own table disagrees with itself",
            f"Less in {int(found.places_less.sum())} of {len(found.places_less)} printed layers",
        ),
        "probing_grows": Judgement(
            "confirmed" if at[large] > at[small] else "refuted",
            "Supported, and no gain",
            f"{at[small]:.2f} at {small} images, {at[large]:.2f} at {large:,}",
        ),
        "depth": Judgement(
            "in part",
            "Supported for the classifier; in the layers before, similarity hardly rises here",
            f"Above chance by {before.min():.2f} to {before.max():.2f} before the classifier, "
            f"by {last:.2f} in it",
        ),
    }


def _of_concepts(found: Dissected) -> dict[str, Judgement]:
    labels50, labels18 = (t["label"].nunique() for t in (found.authors50, found.authors18))
    spiders, spiders_insect = found.with_runner_up("spider", "insect")
    terriers, terriers_dog = found.with_runner_up("terrier", "dog")
    return {
        "most_concepts": Judgement(
            "in part",
            "Supported as counted, contradicted at equal numbers of units",
            f"{labels50 / labels18:.1f} times as counted, "
            f"{found.labels50_equal / labels18:.2f} times at equal numbers",
        ),
        "close_concepts": Judgement(
            "confirmed",
            "Supported, but a unit has only one label",
            f"insect among the runners-up of {spiders_insect} of {spiders} spider units, "
            f"dog of {terriers_dog} of {terriers} terrier units",
        ),
    }


def _of_labels(found: Dissected) -> dict[str, Judgement]:
    scenes = [percent(share_of(t, "scene")) for t in (found.imagenet18, found.places18)]
    return {
        "odd_labels": Judgement(
            "in part",
            "Contradicted for basename; for deg it cannot be decided",
            f"{found.basename_dogs} of {len(found.basename_fc)} classifier units named basename "
            "are classes of dogs",
        ),
        "objects_scenes": Judgement(
            "in part",
            "First half supported by published labels; second cannot be decided",
            f"Scenes: {scenes[0]} and {scenes[1]} of the units",
        ),
    }

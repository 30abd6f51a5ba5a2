"""A study's dissected networks: their units, as findings and charts take them."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain

import numpy as np
import pandas as pd
from IPython.display import Markdown

from vitrine.experiments.dissection_tables import SIGNIFICANT
from vitrine.measures.labels import expected_different
from vitrine.report.page import block
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing, safe

UNTRAINED, NOT_STATED = "no images", "images that are not stated"
"""The training set of a network with random weights."""

RULES = {"fixed": "same number of strongest", "share": "same share of strongest"}
"""How many images are looked at when the probing set has another size."""


@dataclass(frozen=True)
class Dissected:
    """The dissection of a study. Its tables name a network by its title, in a column ``network``.

    units : with ``significant``, and ``is_class`` for those that are the classes; without the units
        that respond to every image alike.
    """

    study: StudyReport

    @cached_property
    def titles(self) -> list[str]:
        """The networks that were dissected, in the order of the study."""
        return list(self.training_sets)

    @cached_property
    def keys(self) -> dict[str, str]:
        """The key of each network."""
        return {row["network"]: row["name"] for row in self.study.dissection["classifiers"]}

    @cached_property
    def training_sets(self) -> dict[str, str]:
        """What each network was trained on."""
        sets = {row["network"]: row["training_set"] for row in self.study.dissection["classifiers"]}
        return {
            key: UNTRAINED if name.startswith("none") else name or NOT_STATED
            for key, name in sets.items()
        }

    @cached_property
    def all_units(self) -> pd.DataFrame:
        """Also those that respond to every image alike, which have no similarity."""
        units = self.study.networks_table("units")
        units["significant"] = (units["q_value"] <= SIGNIFICANT) & units["similarity"].notna()
        pairs = pd.MultiIndex.from_frame(units[["network", "layer"]])
        units["is_class"] = pairs.isin(self.class_layers)
        return units

    @cached_property
    def units(self) -> pd.DataFrame:
        return self.all_units[self.all_units["similarity"].notna()]

    @property
    def hidden(self) -> pd.DataFrame:
        """The units of the layers before the classifier."""
        return self.units[~self.units["is_class"]]

    @property
    def of_classes(self) -> pd.DataFrame:
        """The units of classifier layers, each of which is a class."""
        return self.units[self.units["is_class"]]

    @property
    def significant(self) -> pd.DataFrame:
        """The units whose label is significant."""
        return self.units[self.units["significant"]]

    @cached_property
    def class_layers(self) -> list[tuple[str, str]]:
        """The classifier layer of each network that had it dissected."""
        if not self.study.has("classes"):
            return []
        classes = self.study.networks_table("classes")
        return list(dict.fromkeys(zip(classes["network"], classes["layer"], strict=True)))

    @cached_property
    def layers(self) -> pd.DataFrame:
        """A row a layer, with the ``ceiling`` of similarities that compare within a layer."""
        layers = self.study.networks_table("layers")
        with np.errstate(divide="ignore"):
            return layers.assign(ceiling=np.log(layers["units"] - layers["constant"]))

    @cached_property
    def classes(self) -> pd.DataFrame:
        """A row a class, with ``significant`` of its unit; the units that have a label."""
        classes = self.study.networks_table("classes").rename(columns={"target": "unit"})
        known = self.units[["network", "layer", "unit", "significant"]]
        return classes.merge(known, on=["network", "layer", "unit"])

    @cached_property
    def layer_names(self) -> list[str]:
        """The names of the layers of all networks, from early to late."""
        return list(dict.fromkeys(self.all_units["layer"]))

    @property
    def common_layers(self) -> list[str]:
        """Those that all networks have."""
        known = [set(self.layers_of(title)) for title in self.titles]
        return [name for name in self.layer_names if all(name in own for own in known)]

    def layers_of(self, network: str) -> list[str]:
        """A network's layers, from early to late."""
        own = self.all_units[self.all_units["network"] == network]
        return list(dict.fromkeys(own["layer"]))

    @cached_property
    def last_hidden(self) -> dict[str, str]:
        """The last layer before each network's classifier; the classifier where it is alone."""
        layers = {title: self.layers_of(title) for title in self.titles}
        of_classes = dict(self.class_layers)
        return {
            title: next((one for one in reversed(own) if one != of_classes.get(title)), own[-1])
            for title, own in layers.items()
            if own
        }

    def last_layers(self) -> list[str]:
        """The last layer before each network's classifier, and the classifier."""
        of_classes = dict(self.class_layers)
        pairs = ((layer, of_classes.get(title)) for title, layer in self.last_hidden.items())
        return list(dict.fromkeys(layer for layer in chain.from_iterable(pairs) if layer))

    @cached_property
    def diversity(self) -> pd.DataFrame:
        """How many different significant labels each network has, a row a network.

        equal : expected for a random choice of as many units as the smallest network has.
        """
        counts = self.units.groupby("network").size().reindex(self.titles, fill_value=0)
        rows = []
        for title, trained in self.training_sets.items():
            own, units = self.significant.query("network == @title"), int(counts[title])
            kinds = own.drop_duplicates("label")["kind"].value_counts()
            equal = expected_different(own["label"], int(counts.min()), units)
            rows.append(
                {"network": title, "training_set": trained, "units": units, "significant": len(own)}
                | {"labels": own["label"].nunique(), "equal": equal}
                | {str(kind): int(number) for kind, number in kinds.items()}
            )
        return pd.DataFrame(rows).fillna(0)


@lru_cache(maxsize=2)
def dissected(study: StudyReport) -> Dissected:
    """The dissection of a study, whose tables are read once for a page."""
    return Dissected(study)


def encoder_line(study: StudyReport) -> Markdown:
    """What the study's encoder places an image by, in a line; nothing without a dissection."""
    encoder = study.dissection.get("encoder")
    if not encoder:
        return block("")
    said = (
        f"The encoder of this study is {safe(encoder['title'])} [@{encoder['paper']}]. "
        f"{safe(encoder['about'])}"
    )
    return block(f"{said}{_left_out(study)}")


def _left_out(study: StudyReport) -> str:
    """Which files of the probing set could not be used, as a sentence; nothing where all were."""
    files = [safe(file) for file in study.dissection["probing_set"].get("left_out", {})]
    named = listing([*files[:5], *([f"{len(files) - 5} more"] if files[5:] else [])])
    said = f" Left out of the probing set, as no image that can be used is there: {named}."
    return said if files else ""


def dissection_badge(study: StudyReport) -> Markdown:
    """The line that says what a page shows: the dissected networks, where there are some."""
    if not study.dissection:
        return study.badge()
    found = dissected(study)
    sets = dict.fromkeys(found.training_sets.values())
    images = int(found.study.dissection["probing_set"]["images"])
    return study.badge(listing(found.titles), images, listing(sets))

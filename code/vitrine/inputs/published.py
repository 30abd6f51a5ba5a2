"""What other people published about the same questions: figures they printed, labels of units.

Figures are copied into ``data/published/*.csv``, each row with the key of its source in the
bibliography. Labels of units are files of their runs, fetched like any other source.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from vitrine.errors import SourceError
from vitrine.inputs import sources
from vitrine.inputs.kinds import kind_of, load_kinds
from vitrine.project import Project
from vitrine.study import suggestion


@dataclass(frozen=True)
class PublishedUnits:
    """A row of ``PUBLISHED_UNITS``: one run of CLIP-Dissect and the file of its labels.

    paper : key of the bibliography.
    """

    title: str
    paper: str
    training_set: str
    source: str
    file: str


_AUTHORS = "CLIP_Dissect_results"

# All four ran CLIP ViT-B/16, soft WPMI, the 20,000 words and the pictures of Broden (the authors'
# together with those of ImageNet's validation set).
PUBLISHED_UNITS: dict[str, PublishedUnits] = {
    "resnet18_imagenet": PublishedUnits(
        "ResNet-18",
        "balwani2024",
        "ImageNet",
        "balwani2024",
        "task-1/result_final/resnet18_24_07_24_15_58/descriptions.csv",
    ),
    "resnet18_places365": PublishedUnits(
        "ResNet-18 Places365",
        "balwani2024",
        "Places365",
        "balwani2024",
        "task-1/result_final/resnet18_places_24_07_24_15_45/descriptions.csv",
    ),
    "resnet50_imagenet_authors": PublishedUnits(
        "ResNet-50",
        "oikarinen2023",
        "ImageNet",
        "clip-dissect",
        f"{_AUTHORS}/resnet50_imagenet_broden.csv",
    ),
    "resnet18_places365_authors": PublishedUnits(
        "ResNet-18 Places365",
        "oikarinen2023",
        "Places365",
        "clip-dissect",
        f"{_AUTHORS}/resnet18_places_imagenet_broden.csv",
    ),
}


def published_figures(project: Project, name: str) -> pd.DataFrame:
    """The figures of ``data/published/NAME.csv``. Raises ``SourceError``."""
    folder = project.data / "published"
    path = folder / f"{name}.csv"
    if not path.is_file():
        known = sorted(each.stem for each in folder.glob("*.csv"))
        raise SourceError(
            f"There are no published figures {name!r}", suggestion(name, known, "There are")
        )
    return pd.read_csv(path, keep_default_na=False)


def published_units(project: Project, name: str) -> pd.DataFrame:
    """The labels that a run of ``PUBLISHED_UNITS`` gave: one row a unit.

    Columns: layer, unit, label, similarity, and kind, by the same rule as for our own labels.
    Raises ``SourceError``.
    """
    if name not in PUBLISHED_UNITS:
        raise SourceError(
            f"No labels of units are published as {name!r}",
            suggestion(name, sorted(PUBLISHED_UNITS), "There are"),
        )
    row = PUBLISHED_UNITS[name]
    path = sources.fetch_one(project, row.source, row.file)
    table = pd.read_csv(path, keep_default_na=False)
    kinds = load_kinds(project)
    table = table.rename(columns={"description": "label"})
    return table.assign(kind=[kind_of(label, kinds) for label in table["label"]])

"""What other people published is read as they published it, and compared on equal terms."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from vitrine.data.printed import published_figures
from vitrine.errors import SourceError
from vitrine.external.store import open_imported
from vitrine.external.study import load_import_study
from vitrine.measures.labels import expected_different
from vitrine.project import Project


def test_every_figure_names_its_source_in_the_bibliography(root: Path) -> None:
    bibliography = (root / "references.bib").read_text(encoding="utf-8")
    files = sorted((root / "data" / "published").glob("*.csv"))
    assert files
    for path in files:
        figures = published_figures(Project(root), path.stem)
        assert len(figures) and figures.columns[0] == "source", path.stem
        for key in figures["source"].unique():
            assert f"{{{key}," in bibliography, key
    for run in load_import_study(Project(root), "published").runs:
        assert f"{{{run.paper}," in bibliography, run.run


def test_figures_that_are_not_there_are_named(root: Path) -> None:
    with pytest.raises(SourceError, match=r"no table of published figures 'top_50'"):
        published_figures(Project(root), "top_50")


@pytest.mark.parametrize(
    ("run", "units", "labels", "greatest"),
    [
        ("resnet18_imagenet", 1768, 573, 0.86022949),
        ("resnet18_places365", 1133, 489, 0.9736328),
        ("resnet50_imagenet", 3904, 1110, 0.8918762),
        ("resnet18_places365_authors", 1024, 457, 0.8062439),
    ],
)
def test_labels_of_published_runs_are_in_the_store(
    root: Path, run: str, units: int, labels: int, greatest: float
) -> None:
    table = open_imported(Project(root), "published").table("labels")
    found = table[table["run"] == run]
    assert (len(found), found["label"].nunique()) == (units, labels)
    assert found["score"].astype(float).max() == pytest.approx(greatest, rel=1e-5)


def test_different_labels_are_counted_at_equal_numbers_of_units() -> None:
    labels = ["a"] * 5 + ["b"] * 2 + ["c"]
    for drawn in (0, 1, 3, 7, 8):
        every = [len({labels[place] for place in some}) for some in combinations(range(8), drawn)]
        assert expected_different(labels, drawn) == pytest.approx(np.mean(every))
    with pytest.raises(ValueError, match="9 of 8 units"):
        expected_different(labels, 9)

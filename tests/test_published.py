"""What other people published is read as they published it, and compared on equal terms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import false_discovery_control, hypergeom

from vitrine.errors import SourceError
from vitrine.imports.store import open_imported
from vitrine.imports.study import load_import_study
from vitrine.inputs.published import published_figures
from vitrine.measures.diversity import expected_different
from vitrine.measures.significance import discoveries
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
    with pytest.raises(SourceError, match=r"no published figures 'top_50'"):
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


@pytest.mark.parametrize("seed", range(4))
def test_discoveries_are_those_of_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    p_values = np.round(np.concatenate([generator.random(90), generator.random(30) ** 8]), 3)
    expected = false_discovery_control(p_values, method="bh") <= 0.05
    assert discoveries(p_values, 0.05).tolist() == expected.tolist()
    assert not discoveries(np.full(5, 0.06), 0.05).any()


def test_different_labels_are_counted_at_equal_numbers_of_units() -> None:
    labels = ["a"] * 50 + ["b"] * 9 + ["c"]
    for drawn in (0, 1, 7, 59, 60):
        expected = sum(1 - hypergeom.pmf(0, 60, count, drawn) for count in (50, 9, 1))
        assert expected_different(labels, drawn) == pytest.approx(expected)
    with pytest.raises(ValueError, match="61 of 60 units"):
        expected_different(labels, 61)

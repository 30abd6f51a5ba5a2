"""A study for the tests of findings: tables as they are given, and nothing else."""

import re
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from conftest import ROOT
from vitrine.project import Project
from vitrine.report.findings import Finding
from vitrine.report.replication import questions
from vitrine.report.study_report import StudyReport

UNSOUND = re.compile(r"\bnan\b|\bNone\b|\bno of\b|\(none\)|\(\)|\b[Ii]nf\b|Error|  |\ban? \.|^\.")
"""What no page may say."""

NETWORK = {"name": "net", "title": "a network", "wordnet": False}
"""What is known of the network that is explained."""


def stub_study(
    tables: Mapping[str, pd.DataFrame | Mapping[str, Sequence[Any]]],
    sections: Mapping[str, Any] | None = None,
    images: Sequence[str] | None = None,
    provenance: Mapping[str, Any] | None = None,
    **attributes: Any,
) -> StudyReport:
    """A study of given tables.

    tables : by name; a table that is not among them the study does not have.
    sections : of the study file, nested as there. images : those of the tables by default.
    provenance : what it says beside that. attributes : what is not to be read from the store.
    """
    return _Stub(tables, sections or {}, images, provenance or {}, attributes)


class _Stub(StudyReport):
    facts = NETWORK

    def __init__(
        self, given: Any, sections: Any, images: Any, provenance: Any, attributes: Any
    ) -> None:
        tables = {name: _of_store(pd.DataFrame(table)) for name, table in given.items()}
        self.store = SimpleNamespace(
            tables=lambda: list(tables), table=tables.__getitem__, project=Project(ROOT)
        )  # type: ignore[assignment]
        self.classifier, self._tables = str(NETWORK["name"]), {}
        if images is None:
            named = (table["image"] for table in tables.values() if "image" in table)
            images = pd.unique(pd.concat([pd.Series(dtype=str), *named]))
        rows = [{"name": image, "extra": False} for image in images]
        self.provenance = {"study": sections, "classifiers": [NETWORK], "images": rows}
        self.provenance |= provenance
        self.__dict__.update({"objects": {}, "method_titles": _Titles()} | attributes)

    def iou_matrix(
        self, first: str, second: str, rule: str = "share", share: float | None = None
    ) -> npt.NDArray[np.float64]:
        """One that the tables' IoUs and cross-image baselines are of."""
        rows = self.table("agreement" if rule == "share" and self.has("agreement") else "ious")
        if {first, second} - {*rows["first"], *rows["second"]}:
            rows = self.table("ious")
        rows = rows[(rows["first"] == first) & (rows["second"] == second)]
        if rule in set(rows.get("rule", ())):
            rows = rows[rows["rule"] == rule]
        if "share" in rows:
            rows = rows[rows["share"] == (share or self.parameters("agreement")["share"])]
        return self._matrix(rows, "iou")

    def rho_matrix(self, first: str, second: str) -> npt.NDArray[np.float64]:
        """Likewise, of the table of rank correlations."""
        rows = self.table("correlations").query("first == @first and second == @second")
        return self._matrix(rows, "rho")

    def _matrix(self, rows: pd.DataFrame, column: str) -> npt.NDArray[np.float64]:
        rows = rows.set_index("image").reindex(self.images)
        others = rows[f"{column}_other_images"].to_numpy(dtype=float)
        matrix = np.tile(others[:, None], len(rows))
        np.fill_diagonal(matrix, rows[column])
        return matrix


def _of_store(table: pd.DataFrame) -> pd.DataFrame:
    """With the key of the network that each row is of."""
    if "network" in table:
        return table.rename(columns={"network": "classifier"})
    return table.assign(classifier=NETWORK["name"])


class _Titles(dict[str, str]):
    def __missing__(self, method: str) -> str:
        return method.upper()


def findings_of(*rooms: ModuleType) -> list[Callable[[StudyReport], Finding]]:
    """The findings of these modules that are asked of a study alone."""
    names = [room.__name__ for room in rooms]
    return [ask for *_, ask in questions() if ask.__module__ in names]


def assert_sound(finding: Finding) -> None:
    """A finding is a sentence that a page may print."""
    said = f"{finding.headline} {finding.text}".strip()
    assert said
    assert not UNSOUND.search(said), said
    for part in (finding.headline, finding.text):
        assert not part or part.rstrip().endswith((".", "?", "!")), part

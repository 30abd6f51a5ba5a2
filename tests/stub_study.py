"""A study for the tests of findings: tables as they are given, and nothing else."""

import re
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from vitrine.report.findings import Finding
from vitrine.report.replication import questions
from vitrine.report.study_report import StudyReport

UNSOUND = re.compile(r"\bnan\b|\bNone\b|\bno of\b|\(none\)|\(\)|\b[Ii]nf\b|Error|  |\ban? \.|^\.")
"""What no page may say."""


def stub_study(
    tables: Mapping[str, pd.DataFrame | Mapping[str, Sequence[Any]]],
    sections: Mapping[str, Any] | None = None,
    **attributes: Any,
) -> StudyReport:
    """What findings read of a study.

    tables : by name; a table that is not among them the study does not have.
    sections : of the study file, nested as there. attributes : of the report, e.g. ``images``.
    """
    return cast(StudyReport, _Stub(tables, sections or {}, attributes))


class _Stub:
    def __init__(self, tables: Any, sections: Any, attributes: Any) -> None:
        self._tables = {name: pd.DataFrame(table) for name, table in tables.items()}
        self._sections = sections
        self.title = "a network"
        for table in self._tables.values():
            if "image" in table:
                self.images = list(dict.fromkeys(table["image"]))
        self.__dict__.update(attributes)

    def table(self, name: str) -> pd.DataFrame:
        return self._tables[name].copy()

    def networks_table(self, name: str) -> pd.DataFrame:
        return self.table(name)

    def has(self, name: str) -> bool:
        return name in self._tables and not self._tables[name].empty

    def parameters(self, section: str) -> dict[str, Any]:
        found = self._sections
        for key in section.split("."):
            found = (found or {}).get(key)
        return dict(found or {})

    def iou_matrix(
        self, first: str, second: str, rule: str = "share", share: float | None = None
    ) -> npt.NDArray[np.float64]:
        """One that the tables' IoUs and cross-image baselines are of."""
        rows = self._tables["agreement"] if rule == "share" else self._tables["ious"]
        if {first, second} - {*rows["first"], *rows["second"]}:
            rows = self._tables["ious"]
        rows = rows[(rows["first"] == first) & (rows["second"] == second)]
        if rule in set(rows.get("rule", ())):
            rows = rows[rows["rule"] == rule]
        if "share" in rows:
            rows = rows[rows["share"] == (share or self.parameters("agreement")["share"])]
        return self._matrix(rows, "iou")

    def rho_matrix(self, first: str, second: str) -> npt.NDArray[np.float64]:
        """Likewise, of the table of rank correlations."""
        rows = self._tables["correlations"].query("first == @first and second == @second")
        return self._matrix(rows, "rho")

    def _matrix(self, rows: pd.DataFrame, column: str) -> npt.NDArray[np.float64]:
        rows = rows.set_index("image").reindex(self.images)
        others = rows[f"{column}_other_images"].to_numpy(dtype=float)
        matrix = np.tile(others[:, None], len(rows))
        np.fill_diagonal(matrix, rows[column])
        return matrix

    @property
    def method_titles(self) -> Mapping[str, str]:
        return _Titles()


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

"""The scripts of ``bench/`` run in their smallest case, with the columns that the pages show."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from conftest import LITE
from vitrine.models import engine
from vitrine.models.inference import PLAIN

REFERENCE = "def soft_wpmi(matches, activations, device):\n    return activations.T @ matches\n"

ROWS: dict[str, tuple[str, Callable[[Any, Path], Any]]] = {
    "cam": ("cam", lambda bench, _: bench.compare(LITE, 64, PLAIN, ["gradcam"], 1)),
    "lime_images": ("lime", lambda bench, _: bench.compare(LITE, 64, PLAIN, 30, 1)),
    "runtimes": ("runtimes", lambda bench, _: bench.compare(LITE, 64, PLAIN, 1)),
    "dissection": ("dissection", lambda bench, folder: [bench.compare(120, folder, 1)]),
}
"""The table of each script, and how its rows are made."""


@pytest.mark.parametrize("script", ROWS)
def test_a_benchmark_makes_the_table_that_is_shown(
    script: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(root / "bench"))
    bench, table, (name, rows) = import_module(script), tmp_path / "table.csv", ROWS[script]
    monkeypatch.setattr(bench, "ask", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(engine, "installed", lambda: False)
    monkeypatch.setattr(bench, "UNITS", 9, raising=False)
    monkeypatch.setattr(bench, "CONCEPTS", 20, raising=False)
    for runtime in {*getattr(bench, "RUNTIMES", ())} - {"PyTorch"}:
        monkeypatch.delitem(bench.RUNTIMES, runtime)
    (tmp_path / "similarity.py").write_text(REFERENCE)
    import_module("measure").Sheet(table).table("network", rows(bench, tmp_path))
    shown = pd.read_csv(root / "data" / "bench" / f"{name}.csv", comment="#")
    assert list(pd.read_csv(table, comment="#")) == list(shown)

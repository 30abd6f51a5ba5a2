"""A method is one function and one row: whatever else there is takes it from there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from vitrine.experiments.run import run
from vitrine.measures.catalogue import MEASURES
from vitrine.methods.attribution import ATTRIBUTION_METHODS, AttributionMethod
from vitrine.methods.registry import METHODS, methods_of
from vitrine.methods.subject import Subject
from vitrine.project import Project
from vitrine.store import Store
from vitrine.study import load_study

SECTIONS = """
[attribution]
methods = ["brightness"]

[measures]
curve = 2
squares = 4
perturbations = 1
stages = 1
batch = 4
lime_samples = 8
"""


def _brightness(subject: Subject) -> Callable[[Tensor], Tensor]:
    """The input times the class's logit."""
    return lambda batch: batch * subject.forward(batch)[:, subject.target, None, None, None]


def test_a_new_method_is_run_measured_and_in_every_table(
    tiny: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = AttributionMethod("Brightness", _brightness, lambda _parameters, _side: 1, "nobody2026")
    monkeypatch.setitem(ATTRIBUTION_METHODS, "brightness", row)
    path = tiny.studies / "tiny.toml"
    path.write_text(path.read_text() + SECTIONS)
    study = load_study(tiny, "tiny")
    assert methods_of(study) == ["gradcam", "lime", "brightness"]
    run(tiny, study)
    store = Store(tiny, "tiny")
    told = {"name": "brightness", "title": "Brightness", "paper": "nobody2026"}
    assert told in store.provenance()["methods"]
    assert set(store.table("attributions")["method"]) == {"brightness"}
    own = store.table("assessment").query("method == 'brightness' and picture == 'noise'")
    assert set(own["measure"]) == {*MEASURES, "share_inside", "entropy"} - {"seeds"}
    assert own.set_index("measure").loc["deletion_mean", "value"] > 0
    for name in ("correlations", "overlaps"):
        assert "brightness" in set(store.table(name)["second"])
    assert store.heatmap("efficientnet_lite0", "brightness", "noise").signed


def test_every_method_says_what_the_rest_needs_to_know() -> None:
    for name, row in METHODS.items():
        assert row.title and row.revision > 0, name
        assert bool(row.paper) == row.sees_network, name
        assert row.signed in (True, False) and row.stochastic in (True, False), name

"""A method, and a measure, is one function and one row: all else takes it from there."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from conftest import MEASURES
from vitrine.experiments.run import run
from vitrine.experiments.trials import TRIALS, Case, Trial
from vitrine.measures.registry import VALUES, Measure
from vitrine.methods.attribution import ATTRIBUTION_METHODS, AttributionMethod
from vitrine.methods.attribution_query import AttributionQuery
from vitrine.methods.baselines import BASELINES
from vitrine.methods.ideas import IDEAS
from vitrine.methods.registry import METHODS, methods_of
from vitrine.project import Project
from vitrine.store import Store, TaskResult
from vitrine.study import load_study

ASKED = '[attribution]\nmethods = ["brightness"]\n'


def _brightness(asked: AttributionQuery) -> Callable[[Tensor], Tensor]:
    """The input times the class's logit."""
    return lambda batch: batch * asked.forward(batch)[:, asked.target, None, None, None]


def _answer(case: Case) -> dict[str, TaskResult]:
    """The network's logit for the image, whatever the map."""
    logits = case.query.classifier.logits(torch.from_numpy(case.inputs))
    return {case.query.method: TaskResult({}, {"logit": float(logits[0, case.query.target])})}


def test_a_new_method_is_run_and_measured_and_so_are_all_by_a_new_measure(
    tiny: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(frozenset({"seed"}), _answer, lambda _wanted, _times, _once: 1)
    monkeypatch.setitem(TRIALS, "answer", trial)
    told_by = {
        "logit": Measure(
            "Logit", "?", "higher", "x", trial="answer", read=lambda _, facts: facts["logit"]
        ),
        "mean": Measure("Mean", "?", "higher", "x", of_map=lambda values: float(values.mean())),
    }
    for name, measure in told_by.items():
        monkeypatch.setitem(VALUES, name, measure)
    row = AttributionMethod("Brightness", _brightness, paper="nobody2026")
    monkeypatch.setitem(ATTRIBUTION_METHODS, "brightness", row)
    path = tiny.study_file("tiny")
    one = path.read_text().replace('"n00000001_red_square.png", ', "")
    path.write_text(one + ASKED + MEASURES)
    study = load_study(tiny, "tiny")
    assert methods_of(study) == ["gradcam", "lime", "brightness"]
    run(tiny, study)
    store = Store(tiny, "tiny")
    told = {"name": "brightness", "title": "Brightness", "paper": "nobody2026"}
    assert told in store.provenance()["methods"]
    assert set(store.table("attributions")["method"]) == {"brightness"}
    own = store.table("evaluation").query("method == 'brightness' and image == 'noise'")
    assert set(own["measure"]) == VALUES.keys() - {"seed_stability"}
    values = own.set_index("measure")["value"]
    assert values["deletion_mean"] > 0
    heatmap = store.heatmap("efficientnet_lite0", "brightness", "noise")
    assert heatmap.signed and values["mean"] == pytest.approx(heatmap.values.mean(), abs=1e-6)
    rows = store.table("attributions").query("image == 'noise'")
    assert values["logit"] == pytest.approx(rows["logit"].item(), rel=1e-3)
    for name in ("correlations", "ious"):
        assert "brightness" in set(store.table(name)["second"])


def test_every_method_says_what_the_rest_needs_to_know() -> None:
    assert IDEAS.keys() == METHODS.keys()
    for name, row in METHODS.items():
        assert row.title and row.revision > 0, name
        assert bool(row.paper) == (name not in BASELINES), name
        assert row.signed in (True, False) and row.stochastic in (True, False), name
        assert IDEAS[name].idea and IDEAS[name].formula, name

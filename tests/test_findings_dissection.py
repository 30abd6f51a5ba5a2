"""Findings about dissection, whichever way they come out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from any_study import KINDS, layers_of
from stub_study import stub_study
from vitrine.report.findings import dissection, labels
from vitrine.report.study_report import StudyReport, distinct_titles


def _study(
    units: pd.DataFrame,
    sets: dict[str, str],
    exact: Sequence[bool] | None = None,
) -> StudyReport:
    """A dissection of given units: network, layer, unit, label, similarity (or nan), q_value."""
    units = units.assign(kind=units["label"].map(KINDS), p_value=units["q_value"])
    tables: dict[str, Any] = {"units": units, "layers": layers_of(units)}
    of_fc = units.loc[units["layer"] == "fc", ["network", "layer", "unit"]].reset_index(drop=True)
    if len(of_fc):
        target = of_fc.pop("unit")
        right = target % 2 == 0 if exact is None else np.array(exact)
        known = {"target": target, "exact": right, "listed": right | (target % 3 == 0)}
        tables["classes"] = of_fc.assign(**known, cosine=0.5, cosine_shuffled=0.2)
    rows = [
        {"title": name, "name": name, "training_set": training_set}
        for name, training_set in sets.items()
    ]
    return stub_study(tables, provenance={"dissection": {"classifiers": rows}})


def _units(**labels: Sequence[str]) -> pd.DataFrame:
    """Units with significant labels by network and layer, as ``a_fc=["dog", "dog"]``."""
    rows = [
        (key.split("_")[0], key.split("_")[1], unit, label, 1.0 + unit, 0.01)
        for key, several in labels.items()
        for unit, label in enumerate(several)
    ]
    columns = ["network", "layer", "unit", "label", "similarity", "q_value"]
    return pd.DataFrame(rows, columns=columns)


def test_the_most_frequent_concept() -> None:
    dogs, birds = ["dog"] * 8 + ["bird"] * 2, ["bird"] * 10
    one = dissection.frequent(_study(_units(a_x=dogs), {"a": "ImageNet"}))
    assert one.headline == "The concept that most units of a learned is “dog”."
    assert one.text == "a: “dog” (eight units), then “bird” (two units)."
    both = {"a": "ImageNet", "b": "ImageNet"}
    same = dissection.frequent(_study(_units(a_x=dogs, b_x=dogs), both))
    assert same.headline == "The concept that most units of both networks learned is “dog”."
    differ = dissection.frequent(_study(_units(a_x=dogs, b_x=birds), both))
    assert differ.verdict == "differ"
    few = dissection.frequent(_study(_units(a_x=["dog"] * 9, b_x=birds), both))
    assert few.headline == "The concept that most units of b learned is “bird”."
    assert few.text == (
        "a: nine units with a significant label, too few to compare. b: “bird” (ten units)."
    )
    ties = _units(a_x=[*dogs, "cat", "cat"])
    ties = dissection.frequent(_study(ties, {"a": "ImageNet"}))
    assert ties.text == "a: “dog” (eight units), then “bird” and “cat” (two units each)."
    none = dissection.frequent(_study(_units(a_x=["dog", "dog", "cat"]), {"a": "x"}))
    assert none.verdict == "too few"
    assert dissection.frequent(_study(_units(a_x=["dog"]), {"a": "x"})).verdict == "single"
    classes = _units(a_x=["cat"] * 10, a_fc=["dog"] * 15)
    hidden = dissection.frequent(_study(classes, {"a": "ImageNet"}))
    assert "“cat”" in hidden.headline and hidden.text.startswith("Before the classifiers, a: ")
    none = _units(a_x=["dog"]).assign(q_value=0.2)
    assert dissection.frequent(_study(none, {"a": "x"})).verdict == "none"


def test_what_networks_share_leaves_out_their_classifiers() -> None:
    many = [f"concept {n}" for n in range(24)]
    sets = {"a": "ImageNet", "b": "ImageNet"}
    alike = dissection.networks_alike(_study(_units(a_x=many, b_x=many), sets))
    assert alike.verdict == "same"
    only = _units(a_x=many[:12], b_x=many[12:], a_fc=many, b_fc=many)
    few = dissection.networks_alike(_study(only, sets))
    assert (few.verdict, few.headline) == ("few", "The networks share few of their concepts.")
    assert "none of them occur in both networks" in few.text
    assert "100% of the labels occur in both networks" in few.text
    one_has_few = _units(a_x=many, b_x=many, a_fc=many, b_fc=many[:2])
    assert "classifier layers" not in dissection.networks_alike(_study(one_has_few, sets)).text
    classifiers = dissection.networks_alike(_study(_units(a_fc=many, b_fc=many), sets))
    assert classifiers.verdict == "too few"
    assert dissection.networks_alike(_study(_units(a_x=many), {"a": "x"})).is_absent


def test_training_sets_are_compared_by_the_share_of_scenes(monkeypatch: Any) -> None:
    for n in range(40):
        monkeypatch.setitem(KINDS, f"object {n}", "object")
        monkeypatch.setitem(KINDS, f"scene {n}", "scene")
    objects, scenes = ([f"{kind} {n}" for n in range(40)] for kind in ("object", "scene"))
    sets = {"a": "ImageNet", "b": "Places365"}
    found = dissection.training_sets(_study(_units(a_x=objects, b_x=scenes), sets))
    assert found.headline == (
        "Networks trained on Places365 learned a larger share of scenes than on ImageNet."
    )
    both = objects[:20] + scenes[:20]
    assert dissection.training_sets(_study(_units(a_x=both, b_x=both), sets)).verdict == "undecided"
    few = dissection.training_sets(_study(_units(a_x=["dog"], b_x=["room"]), sets))
    assert few.verdict == "too few"
    one = dissection.training_sets(_study(_units(a_x=["dog"]), {"a": "ImageNet"}))
    assert one.is_absent and "ImageNet" in one.text


def test_what_survives_and_what_the_test_can_see() -> None:
    units = _units(a_x=["dog", "bird"], a_fc=["dog"] * 4)
    units.loc[:3, "q_value"] = 0.3  # both of x, and two of fc
    study = _study(units, {"a": "ImageNet"}, exact=[True, True, True, False])
    assert labels.layers_without(study).text.endswith("This is x of a.")
    assert labels.significant_units(study).verdict == "few"
    assert "None of the two units" not in labels.significant_units(study).text
    power = labels.power(study)
    assert power.headline == "The test misses 67% of the labels that are known to be right."
    none = _study(units.assign(q_value=1.0), {"a": "x"}, exact=[True] * 4)
    assert labels.significant_units(none).headline.startswith("For no unit")
    assert labels.power(none).verdict == "none"
    wrong = _study(units, {"a": "x"}, exact=[False] * 4)
    assert labels.power(wrong).is_absent


def test_networks_of_one_architecture_have_titles_of_their_own() -> None:
    sets = {"r": "ImageNet", "p": "Places365"}
    rows = [{"title": "R", "training_set": told, "name": name} for name, told in sets.items()]
    assert distinct_titles(rows) == ["R ImageNet", "R Places365"]
    assert distinct_titles(rows[:1]) == ["R"]
    assert distinct_titles([rows[0], rows[0] | {"name": "q"}]) == ["R r", "R q"]


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=30), st.data())
def test_q_values_count_the_units_that_have_a_label(p: list[float], data: st.DataObject) -> None:
    from vitrine.experiments.dissection_tables import q_values

    silent = np.array(data.draw(st.lists(st.booleans(), min_size=len(p), max_size=len(p))))
    found = q_values(np.array(p), silent)
    assert (found[silent] == 1).all()
    assert (found >= np.array(p))[~silent].all()
    if not silent.all():
        expected = false_discovery_control(np.array(p)[~silent])
        assert found[~silent].tolist() == expected.tolist()

"""Findings about dissection, whichever way they come out."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from stub_study import assert_sound, findings_of, stub_study
from vitrine.report.findings import Finding, dissection, labels
from vitrine.report.study_report import StudyReport, distinct_titles

FINDINGS = findings_of(dissection, labels)

KINDS = {
    **dict.fromkeys(("dog", "bird"), "object"),
    **dict.fromkeys(("room", "forest"), "scene"),
    **{"red": "color", "the": "other", "nan": "other"},
}


def _study(
    units: pd.DataFrame,
    sets: dict[str, str],
    lam: float = 1.0,
    probing: pd.DataFrame | None = None,
    exact: Sequence[bool] | None = None,
) -> StudyReport:
    """A dissection of given units: network, layer, unit, label, similarity (or nan), q_value."""
    units = units.assign(kind=units["label"].map(KINDS), p_value=units["q_value"])
    layers = units.groupby(["network", "layer"], sort=False).agg(
        units=("unit", "size"),
        constant=("similarity", lambda values: values.isna().sum()),
        greatest=("similarity", "max"),
    )
    tables: dict[str, Any] = {"units": units, "layers": layers.reset_index()}
    if probing is not None:
        tables["probing"] = probing
    of_fc = units.loc[units["layer"] == "fc", ["network", "layer", "unit"]].reset_index(drop=True)
    if len(of_fc):
        target = of_fc.pop("unit")
        right = target % 2 == 0 if exact is None else np.array(exact)
        known = {"target": target, "exact": right, "listed": right | (target % 3 == 0)}
        tables["classes"] = of_fc.assign(**known, cosine=0.5, cosine_shuffled=0.2)
    images = units.assign(rank=1, image="n02084071_dog.JPEG")
    tables["top_images"] = images[["network", "layer", "unit", "rank", "image"]]
    rows = [
        {"network": name, "title": name, "name": name, "training_set": training_set}
        for name, training_set in sets.items()
    ]
    similarity = {"within_layer": True, "parameters": {"lam": lam}}
    return stub_study(tables, dissection={"classifiers": rows, "similarity": similarity})


@st.composite
def studies(draw: st.DrawFn) -> StudyReport:
    sets = {
        f"Network {n}": draw(st.sampled_from(["ImageNet", "Places365", "none (random weights)"]))
        for n in range(draw(st.integers(1, 3)))
    }
    rows = []
    for network in sets:
        for layer in draw(st.lists(st.sampled_from(["a", "b", "fc"]), min_size=1, unique=True)):
            for unit in range(draw(st.integers(1, 8))):
                label = draw(st.sampled_from(list(KINDS)))
                similarity = draw(st.just(float("nan")) | st.floats(-3, 3, allow_subnormal=False))
                q_value = 1.0 if np.isnan(similarity) else draw(st.sampled_from([0.01, 0.05, 0.9]))
                rows.append((network, layer, unit, label, similarity, q_value))
    columns = ["network", "layer", "unit", "label", "similarity", "q_value"]
    share = st.just(float("nan")) | st.floats(0, 1, allow_subnormal=False)
    probing = [
        {"rule": rule, "size": size, "draw": n, "similarity": draw(share), "stable": draw(share)}
        for rule in draw(st.sets(st.sampled_from(["fixed", "share"]), min_size=1))
        for size in draw(st.sets(st.sampled_from([2, 20, 1000]), min_size=1))
        for n in range(2)
    ]
    lam = draw(st.sampled_from([1.0, 0.6]))
    return _study(pd.DataFrame(rows, columns=columns), sets, lam, pd.DataFrame(probing))


@settings(max_examples=40)
@given(study=studies())
def test_every_finding_is_a_sentence_of_any_study(study: StudyReport) -> None:
    for finding in FINDINGS:
        found = finding(study)
        # A label may be called "nan"; nothing else may.
        plain = [re.sub(r"“[^”]*”", "“x”", text) for text in (found.headline, found.text)]
        assert_sound(Finding(*plain, verdict=found.verdict))


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

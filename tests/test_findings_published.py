"""Findings about imported runs, whichever way they come out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from conftest import ROOT
from stub_study import assert_sound
from vitrine.project import Project
from vitrine.report.findings import published as found
from vitrine.report.published import PublishedReport

share = st.floats(0, 1, allow_subnormal=False)
RUNS = ("resnet18_imagenet", "resnet18_places365")


def stub(**tables: Any) -> PublishedReport:
    """Imported runs of given tables."""
    frames = {name: pd.DataFrame(table) for name, table in tables.items()}
    return cast(
        PublishedReport,
        SimpleNamespace(
            table=lambda name: frames[name],
            labels=lambda run: frames["labels"].query("run == @run"),
            project=Project(ROOT),
        ),
    )


@settings(deadline=None, max_examples=30)
@given(arrays.arrays(np.float64, st.integers(2, 8).map(lambda n: (n, n)), elements=share))
def test_the_pairing_has_a_p_value_for_any_matrix(matrix: np.ndarray) -> None:
    tested = found.pairing_test(matrix, draws=99)
    assert 0 < tested.p_value <= 1
    assert tested.own.mean() == pytest.approx(np.diagonal(matrix).mean())


def test_the_pairing_is_found_where_it_matters_and_does_not_depend_on_the_seed() -> None:
    matrix = np.random.default_rng(0).random((9, 9)) * 0.3
    drawn = [found.pairing_test(matrix + 0.2 * np.eye(9), seed=seed).p_value for seed in range(3)]
    assert max(drawn) < 0.01 and np.ptp(drawn) < 0.002
    assert found.pairing_test(np.full((9, 9), 0.3)).p_value == 1


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(share, share, share, st.integers(1, 50)), max_size=4))
def test_agreement_of_labels_for_any_table(rows: list[tuple[float, float, float, int]]) -> None:
    table = pd.DataFrame(rows, columns=["same", "same_by_chance", "cosine", "units"])
    table["cosine_by_chance"] = 0.2
    three = table.assign(first="resnet50_imagenet", second="resnet50_imagenet_milan")
    two = table.assign(first="resnet18_places365", second="resnet18_places365_authors")
    for finding in (
        found.three_methods(stub(label_agreement=three)),
        found.two_probing_sets(stub(label_agreement=two)),
    ):
        assert_sound(finding)
        assert finding.is_absent == table.empty


@settings(deadline=None, max_examples=15)
@given(st.lists(st.sampled_from(["object", "scene", "texture"]), min_size=2, max_size=8))
def test_training_sets_say_what_their_shares_say(kinds: list[str]) -> None:
    rows = pd.DataFrame({"kind": kinds, "run": [RUNS[n % 2] for n in range(len(kinds))]})
    rows["layer"], rows["label"], rows["similarity"] = "fc", kinds, 0.5
    report = stub(labels=rows)
    for finding in (found.training_sets, found.similarity_of_training):
        assert_sound(finding(report))
    swapped = rows.assign(run=rows["run"].map(dict(zip(RUNS, RUNS[::-1], strict=True))))
    verdicts = {found.training_sets(stub(labels=table)).verdict for table in (rows, swapped)}
    assert verdicts <= {"differ", "same"} and "same" in verdicts

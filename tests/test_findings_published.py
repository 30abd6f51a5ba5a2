"""Findings about imported runs, whichever way they come out."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import ROOT
from stub_study import assert_sound, stub_study
from vitrine.data.images import Frame
from vitrine.errors import FrameError
from vitrine.methods.heatmap import Heatmap
from vitrine.project import Project
from vitrine.report.findings import other_run
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


@settings(max_examples=15)
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


@settings(max_examples=15)
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


PLACES = np.random.default_rng(0).integers(2, 10, (8, 2, 1, 1))
BLOBS = np.exp(-((np.mgrid[:12, :12][None] - PLACES) ** 2).sum(axis=1) / 8).astype(np.float32)
"""A map with one bright place for each of eight images: ``[8, 12, 12]``."""


class _Run(SimpleNamespace):
    __hash__ = object.__hash__  # type: ignore[assignment]


def maps_of(**maps: np.ndarray) -> tuple[Any, PublishedReport]:
    """A study, and a published run of Grad-CAM and ScoreCAM, with these maps of eight images."""
    frame = Frame("an image", (0.0, 0.0, 12.0, 12.0), (12, 12))
    names = [f"image {n}" for n in range(8)]
    own = {key: values for key, values in maps.items() if not key.startswith("their_")}
    study = _Run(
        parameters=lambda section: {"share": 0.25},
        images=names,
        method_titles={key: key.upper() for key in own},
        heatmap=lambda method, image: Heatmap(
            own[method][names.index(image)], frame, False, method, 0, 0.0
        ),
    )
    theirs = _Run(
        images=names, map_in=lambda run, image, _frame: maps[f"their_{run}"][names.index(image)]
    )
    return study, cast(PublishedReport, theirs)


def test_maps_of_another_network_are_compared_at_equal_area() -> None:
    moved = np.roll(BLOBS, 1, axis=2)
    study, theirs = maps_of(
        gradcam=BLOBS, scorecam=moved, lime=BLOBS, their_gradcam=BLOBS, their_scorecam=moved,
        their_lime_1=(BLOBS > 0.5),
    )  # fmt: skip
    rows = other_run.beside(study, theirs)
    same = rows[rows["compared"] == other_run.NETWORKS]
    assert same["iou"].to_numpy() == pytest.approx(1.0)
    assert same.loc[same["first"] != "lime", "rho"].to_numpy() == pytest.approx(1.0)
    assert same.loc[same["first"] == "lime", "rho"].isna().all()
    assert (same["iou_other_images"] < 0.9).all()
    within = rows[rows["compared"] == other_run.SHOWN]
    assert within[["first", "second"]].to_numpy().tolist() == [["gradcam", "scorecam"]] * 8
    finding = other_run.networks_or_methods(study, theirs)
    assert (
        finding.verdict == "larger"
        and "maps of two methods of one run agree less" in finding.headline
    )
    assert_sound(finding)
    assert other_run.networks_beside_chance(study, theirs).verdict == "some"


def test_another_network_that_looks_elsewhere_changes_a_map_more() -> None:
    turned = BLOBS[:, ::-1, ::-1].copy()
    study, theirs = maps_of(
        gradcam=BLOBS, scorecam=BLOBS, their_gradcam=turned, their_scorecam=turned
    )
    assert other_run.networks_or_methods(study, theirs).verdict == "smaller"
    assert other_run.networks_beside_chance(study, theirs).verdict == "none"


def test_a_study_without_the_images_or_the_methods_is_not_compared() -> None:
    study, theirs = maps_of(eigencam=BLOBS, their_gradcam=BLOBS)
    assert other_run.networks_or_methods(study, theirs).is_absent
    assert other_run.networks_beside_chance(study, theirs).is_absent


def test_layers_of_published_runs_stand_beside_those_of_reports() -> None:
    labels = pd.DataFrame(
        {"layer": ["layer3"] * 2, "unit": [0, 1], "label": ["dog"] * 2, "similarity": [0.1, 0.3]}
    )
    runs = SimpleNamespace(labels=lambda run: labels, project=Project(ROOT))
    rows = found.layers_beside(
        stub_study({}), cast(PublishedReport, runs), {r: r for r in (*RUNS, "resnet50_imagenet")}
    )
    first = rows.iloc[0]
    assert (first["units"], first["different"], first["highest"]) == (2, 1, 0.3)
    assert first["printed"] == 0.167
    only = rows[rows["source"] == "printed only"]
    assert len(only) == 6 and only["printed"].notna().all() and only["units"].isna().all()


def test_a_mask_that_does_not_show_the_whole_frame_is_left_out() -> None:
    study, theirs = maps_of(gradcam=BLOBS, lime=BLOBS, their_gradcam=BLOBS)
    whole = theirs.map_in

    def map_in(run: str, image: str, frame: Frame) -> np.ndarray:
        if run == other_run.MASK:
            raise FrameError("it does not show all of the other", "Compare the others")
        return whole(run, image, frame)

    theirs.map_in = map_in  # type: ignore[method-assign]
    rows = other_run.beside(study, theirs)
    assert set(rows["first"]) == {"gradcam"}

"""Findings about the measures, whichever way they come out."""

from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings

from any_study import any_study
from stub_study import stub_study
from vitrine.measures.registry import MEASURES
from vitrine.report.findings import measures, randomisation
from vitrine.report.scoreboard import marks, scoreboard, stands
from vitrine.report.study_report import StudyReport

SECTIONS = {"measures": {"bootstrap": 20, "seed": 0}}


def study_of(rows: list[tuple[str, str, str, float]], **tables: Any) -> StudyReport:
    evaluation = pd.DataFrame(rows, columns=["image", "method", "measure", "value"])
    return stub_study({"evaluation": evaluation, **tables}, SECTIONS)


@settings(max_examples=25)
@given(any_study(lacks=0))
def test_the_best_method_has_the_advantage_that_is_said(study: StudyReport) -> None:
    for measure in MEASURES:
        best = measures.best_by(study, measure)
        if best.verdict == "larger":
            assert "−" not in best.text.split("advantage is ")[1].split("(")[0]


def inserted(gain: float, images: int, noise: float = 0.0) -> StudyReport:
    """Insertion by one method and the edges."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(images):
        rows.append((f"image {i}", "lime", "insertion_blurred", 0.4 + gain + noise * rng.normal()))
        rows.append((f"image {i}", "edges", "insertion_blurred", 0.4))
    return study_of(rows)


def test_what_was_asked_and_did_not_come_is_told_from_what_was_not_asked() -> None:
    why = "The network is built with the same parameters for every seed"
    rows = [
        {"image": image, "method": "lime", "measure": measure, "value": np.nan, "reason": reason}
        for image in ("a", "b")
        for measure, reason in (("mprt", why), ("gini", "Another reason"))
    ]
    tables = {"evaluation": rows, "randomised": []}
    assert randomisation.followers(stub_study(tables, SECTIONS)).text == f"{why}."
    assert "section [measures]" in randomisation.followers(stub_study(tables)).text
    silent = stub_study(tables | {"evaluation": [row | {"reason": ""} for row in rows]}, SECTIONS)
    said = randomisation.followers(silent).text
    assert said and "section [measures]" not in said


def test_the_best_method_for_each_outcome() -> None:
    def verdict(*given: float) -> str:
        return measures.best_by(inserted(*given), "insertion_blurred").verdict  # type: ignore[arg-type]

    assert verdict(0.2, 8) == "larger"
    assert verdict(-0.2, 8) == "smaller"
    assert verdict(0.0, 8, 0.1) == "undecided"
    assert verdict(0.2, 3) == "too few"
    assert measures.best_by(stub_study({}), "gini").is_absent
    rare = [("a", "lime", "insertion_blurred", 0.0012), ("a", "edges", "insertion_blurred", 0.0021)]
    said = measures.best_by(study_of(rare), "insertion_blurred").text
    assert said.startswith("Its mean is 0.001, that of the baseline “EDGES” 0.002.")


def test_the_scoreboard_for_each_outcome() -> None:
    assert measures.against_baselines(inserted(0.2, 8)).verdict == "most"
    assert measures.against_baselines(inserted(-0.2, 8)).verdict == "fewer"
    assert measures.against_baselines(inserted(0.2, 3)).verdict == "too few"
    assert measures.below_baselines(inserted(-0.2, 8)).headline.startswith("LIME is most often")
    assert measures.below_baselines(inserted(0.2, 8)).verdict == "none"


def test_a_method_that_few_images_have_a_map_of_wins_nothing() -> None:
    rows = [
        (f"image {i}", method, "mprt", value if method != "lime" or i == 0 else float("nan"))
        for i in range(8)
        for method, value in (("lime", 0.0), ("gradcam", 0.1), ("edges", 1.0))
    ]
    study = study_of(rows)
    assert measures.best_by(study, "mprt").headline.startswith("GRADCAM has the best mean")
    told = measures.passed(study, "mprt").text
    assert "one of two methods is significantly better" in told
    assert told.endswith("Too few images to tell: LIME.")


def test_stability_is_compared_with_each_measure_of_faithfulness() -> None:
    def study(insertion: tuple[float, float, float]) -> StudyReport:
        values = {"sensitivity": (0.1, 0.2, 0.3), "deletion_blurred": (0.1, 0.2, 0.3)}
        values["insertion_blurred"] = insertion
        methods = ("gradcam", "lime", "gradient")
        return study_of(
            [(f"image {i}", m, name, row[n]) for i in range(3) for n, m in enumerate(methods)
             for name, row in values.items()]
        )  # fmt: skip

    assert measures.stable_and_faithful(study((0.9, 0.5, 0.1))).verdict == "all"
    found = measures.stable_and_faithful(study((0.1, 0.5, 0.9)))
    assert found.verdict == "some" and "depends on the measure" in found.headline
    assert "1.00 by “Deletion (blurred)” and −1.00 by “Insertion (blurred)”" in found.text


def test_the_test_is_corrected_for_all_comparisons_of_the_scoreboard() -> None:
    rng = np.random.default_rng(1)
    rows = [
        (f"image {i}", method, measure, float(rng.random()) + (method != "edges"))
        for i in range(8)
        for method in ("lime", "gradcam", "edges")
        for measure in ("insertion_blurred", "insertion_mean", "gini")
    ]
    board = scoreboard(study_of(rows))
    gains = board.gains()
    assert len(gains) == 6 and {gain.level for gain in gains.values()} == {0.05 / 6}
    assert {gain.level for gain in board.gains("gini").values()} == {0.05 / 2}
    assert len(stands(gains)) == 6


def test_every_measure_with_a_baseline_has_its_mark_also_one_that_is_not_ranked() -> None:
    rows = [
        (f"image {i}", method, measure, value)
        for i in range(8)
        for method, value in (("lime", 0.9), ("random", 0.0), ("edges", 0.0))
        for measure in ("seed_stability", "gini")
    ]
    board = scoreboard(study_of(rows))
    assert board.ranked == ["gini"]
    assert marks(board) == {("seed_stability", "lime"): "better", ("gini", "lime"): "better"}


def test_a_signed_map_has_no_baseline_of_sensitivity() -> None:
    rows = [
        (f"image {i}", method, "sensitivity", value)
        for i in range(8)
        for method, value in (("gradient", 1.2), ("gradcam", 0.1), ("random", 0.7))
    ]
    maps = pd.DataFrame({"method": ["gradcam"], "signed": [False]})
    # The gap of a method without a map makes text of the column.
    pixels = pd.DataFrame({"method": ["gradient", "lrp_captum"], "signed": ["True", np.nan]})
    study = study_of(rows, maps=maps, attributions=pixels)
    assert [key[1] for key in scoreboard(study).pairs()] == ["gradcam"]
    assert "signed" in measures.unfair(study).text


def untrained_of(*rows: tuple[str, int, str, float, float]) -> pd.DataFrame:
    """One image's maps of networks with random weights: method, stage, block, both correlations."""
    columns = ["method", "stage", "block", "rho", "rho_absolute"]
    return pd.DataFrame(rows, columns=columns).assign(image="one")


def test_maps_that_keep_or_lose_what_they_were() -> None:
    rows = [("one", method, "gini", 0.5) for method in ("gradcam", "eigencam")]
    untrained = untrained_of(
        ("gradcam", 0, "a", 0.4, 0.4), ("gradcam", 1, "b", 0.0, 0.05),
        ("eigencam", 0, "a", 1.0, 1.0), ("eigencam", 1, "b", -0.5, 0.6),
    )  # fmt: skip
    study = study_of(rows, randomised=untrained)
    assert "lies GRADCAM. Above 0.3: EIGENCAM." in randomisation.followers(study).text
    assert randomisation.blind_to_classifier(study).text.endswith(
        "map of EIGENCAM does not change."
    )


def test_a_method_with_fewer_stages_is_read_at_its_own_last_one() -> None:
    rows = [("one", method, "gini", 0.5) for method in ("gradcam", "scorecam")]
    untrained = untrained_of(
        ("gradcam", 0, "a", 0.4, 0.4), ("gradcam", 1, "b", 0.2, 0.2), ("gradcam", 2, "c", 0, 0),
        ("scorecam", 0, "a", 0.4, 0.4), ("scorecam", 1, "c", 0.9, 0.9),
    )  # fmt: skip
    found = randomisation.followers(study_of(rows, randomised=untrained))
    assert "Above 0.3: SCORECAM." in found.text

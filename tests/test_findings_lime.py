"""Findings about LIME, whichever way they come out."""

import pandas as pd
from hypothesis import given, settings

from any_study import any_study
from stub_study import stub_study
from vitrine.report.findings import lime
from vitrine.report.study_report import StudyReport


@given(any_study(lacks=0))
@settings(max_examples=40)
def test_verdicts_say_what_the_numbers_say(study: StudyReport) -> None:
    repeats = lime.repeats(study)
    assert repeats.verdict != "larger" or "undecided" not in repeats.headline
    table = study.table("fidelity")
    chosen = table[(table["rule"] == "positive") & (table["superpixels"] > 0)]
    kept, hidden = lime.best_alone(study), lime.best_hidden(study)
    for finding, gain in (
        (kept, chosen["p_kept"] - chosen["p_kept_random"]),
        (hidden, chosen["p_removed_random"] - chosen["p_removed"]),
    ):
        assert finding.is_absent == chosen.empty
        assert finding.verdict != "larger" or gain.mean() > 0
        assert finding.verdict != "smaller" or gain.mean() < 0


def test_samples_are_compared_on_the_images_that_have_both_ends() -> None:
    rows = {"image": ["a", "a", "b", "b"], "samples": [50, 600] * 2, "jaccard": 0.5}
    table = pd.DataFrame(rows).assign(r_squared=[float("nan"), 0.9] * 2)
    study = stub_study({"stability": table})
    assert not lime.sample_sizes(study).is_absent
    assert lime.fit_and_samples(study).is_absent


def test_repeats_for_each_outcome() -> None:
    def headline(jaccard: float, images: int = 8) -> str:
        rows = {"image": [f"{n}" for n in range(images)], "samples": 600, "jaccard": jaccard}
        table = pd.DataFrame(rows).assign(jaccard_chance=0.2)
        study = stub_study({"stability": table}, {"lime": {"samples": 1000}})
        return lime.repeats(study).headline

    assert headline(1.0) == "LIME chooses the same superpixels with every seed."
    assert headline(0.6) == "LIME repeats only in part."
    assert "undecided" in headline(0.2)
    assert "fewer" in headline(0.1)
    assert headline(0.6, images=2) == "How far two seeds of LIME choose the same superpixels."
    assert lime.repeats(stub_study({})).is_absent


def test_random_superpixels_that_keep_as_much_decide_nothing() -> None:
    def found(random: float) -> str:
        rows = {"image": [f"{n}" for n in range(8)], "rule": "positive", "superpixels": 10}
        rows |= {"p_kept": 0.8, "p_kept_random": random, "area": 0.4, "area_random": 0.2}
        return lime.best_alone(stub_study({"fidelity": rows})).headline

    assert found(0.3).endswith("keep the prediction more than random ones do.")
    assert found(0.8).endswith("is undecided.")
    assert found(0.9).endswith("keep the prediction less than random ones do.")

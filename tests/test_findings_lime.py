"""Findings about LIME, whichever way they come out."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from stub_study import assert_sound, stub_study
from vitrine.report.findings import lime

share = st.floats(0, 1, allow_subnormal=False)


@st.composite
def stability_tables(draw: st.DrawFn) -> pd.DataFrame:
    images, samples = draw(st.integers(1, 12)), draw(st.sets(st.integers(2, 3000), min_size=1))
    rows = [
        {"image": f"image {image}", "samples": number, "jaccard": draw(share)}
        for image in range(images)
        for number in sorted(samples)[:4]
    ]
    return pd.DataFrame(rows).assign(jaccard_chance=0.2)


@given(stability_tables(), st.integers(2, 3000))
def test_repeats_says_what_its_numbers_say(table: pd.DataFrame, samples: int) -> None:
    found = lime.repeats(stub_study({"stability": table}, {"lime": {"samples": samples}}))
    assert_sound(found)
    if found.verdict == "larger":
        assert "undecided" not in found.headline


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


@given(st.lists(st.tuples(st.none() | share, st.floats(0, 3)), min_size=1, max_size=12))
def test_fit_for_any_table(rows: list[tuple[float | None, float]]) -> None:
    table = pd.DataFrame(rows, columns=["r_squared", "local_prediction"])
    table["image"] = [f"image {n}" for n in range(len(table))]
    table["r_squared"] = table["r_squared"].astype(float)
    assert_sound(lime.fit(stub_study({"lime": table})))


@given(stability_tables(), st.booleans())
def test_samples_decide_by_the_images_that_have_both_ends(table: pd.DataFrame, lost: bool) -> None:
    table["r_squared"] = table["jaccard"]
    if lost:  # fits of the fewest samples are missing
        table.loc[table["samples"] == table["samples"].min(), "r_squared"] = float("nan")
    study = stub_study({"stability": table})
    for finding in (lime.sample_sizes(study), lime.fit_and_samples(study)):
        assert_sound(finding)
    assert not lost or lime.fit_and_samples(study).is_absent


@st.composite
def fidelity_tables(draw: st.DrawFn) -> pd.DataFrame:
    rows = [
        {"image": f"image {n}", "rule": rule, "superpixels": draw(st.integers(0, 3))}
        | {name: draw(share) for name in FIDELITY}
        for n in range(draw(st.integers(1, 10)))
        for rule in ("positive", "both signs")
    ]
    return pd.DataFrame(rows)


FIDELITY = ("p_kept", "p_kept_random", "p_removed", "p_removed_random", "area", "area_random")


@given(fidelity_tables())
def test_what_is_chosen_is_held_against_random_superpixels(table: pd.DataFrame) -> None:
    study = stub_study({"fidelity": table})
    chosen = table[(table["rule"] == "positive") & (table["superpixels"] > 0)]
    kept, hidden = lime.best_alone(study), lime.best_hidden(study)
    for finding, gain in (
        (kept, chosen["p_kept"] - chosen["p_kept_random"]),
        (hidden, chosen["p_removed_random"] - chosen["p_removed"]),
    ):
        assert_sound(finding)
        assert finding.is_absent == chosen.empty
        assert finding.verdict != "larger" or gain.mean() > 0
        assert finding.verdict != "smaller" or gain.mean() < 0


def test_random_superpixels_that_keep_as_much_decide_nothing() -> None:
    def found(random: float) -> str:
        rows = {"image": [f"{n}" for n in range(8)], "rule": "positive", "superpixels": 10}
        rows |= {"p_kept": 0.8, "p_kept_random": random, "area": 0.4, "area_random": 0.2}
        return lime.best_alone(stub_study({"fidelity": rows})).headline

    assert found(0.3).endswith("keep the prediction more than random ones do.")
    assert found(0.8).endswith("is undecided.")
    assert found(0.9).endswith("keep the prediction less than random ones do.")

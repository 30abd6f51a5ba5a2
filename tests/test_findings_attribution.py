"""Findings about attribution methods, whichever way they come out."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from any_study import ATTRIBUTIONS, STOCHASTIC, any_study
from stub_study import findings_of, stub_study
from vitrine.report.attributions import PRINTED, PROMISED, large, sensitivities
from vitrine.report.findings import attribution
from vitrine.report.study_report import StudyReport

FINDINGS = (*findings_of(attribution), lambda study: attribution.printed(study, PRINTED_VALUES))
PRINTED_VALUES = pd.Series({method: float(n) for n, method in enumerate(PRINTED.values(), 1)})


def study_of(maps: pd.DataFrame, moved: pd.DataFrame | None = None) -> StudyReport:
    return stub_study({"attributions": maps} | ({} if moved is None else {"sensitivities": moved}))


def maps_of(images: int, methods: list[str], total: float = 8.0, reason: str = "") -> pd.DataFrame:
    rows = [
        {"image": f"image {n}", "method": method, "total": total, "logit": 8.0}
        | {"logit_of_nothing": 0.0, "positive": 0.5, "passes": 1, "seconds": 1.0, "reason": reason}
        for n in range(images)
        for method in methods
    ]
    return pd.DataFrame(rows)


def moved_of(
    values: dict[str, float], images: int = 8, seed: float = np.nan, slope: float = 0.01
) -> pd.DataFrame:
    rows = [
        {"image": f"image {n}", "method": method, "by_channel": value + slope * n * (1 + value)}
        | {"seed_part_by_channel": seed if method in STOCHASTIC else np.nan}
        for n in range(images)
        for method, value in values.items()
    ]
    return pd.DataFrame(rows)


@settings(max_examples=40)
@given(any_study(lacks=0))
def test_no_verdict_is_denied_by_its_number(study: StudyReport) -> None:
    found = attribution.most_stable(study)
    if found.verdict in ("all", "some"):
        means = sensitivities(study).dropna().mean()
        best = study.method_titles[str(means.idxmin())]
        assert found.headline.startswith(best)
    if attribution.relevance_stability(study).verdict == "most stable":
        means = attribution.scaled(study, sensitivities(study).dropna())[0].mean()
        assert means.idxmin() == "lrp"
    if attribution.averaging(study).verdict == "smaller":
        moved = sensitivities(study)
        own = [m for m in ("smoothgrad_squared", "vargrad") if m in moved]
        told = attribution.scaled(study, moved[["integrated_gradients", *own]])[0]
        assert all((told[m] - told["integrated_gradients"]).mean() < 0 for m in own)


def test_without_its_parts_a_study_has_no_finding() -> None:
    for finding in FINDINGS:
        found = finding(stub_study({}))
        assert found.is_absent and "section [attribution]" in found.text
    maps = maps_of(3, ["lrp", "gradient"])
    assert "section [measures]" in attribution.most_stable(study_of(maps)).text
    nothing = study_of(maps_of(3, ["lrp", "vargrad"], np.nan, "It cannot be done"), moved_of({}, 3))
    for finding in (attribution.sums, attribution.relevance_sum, attribution.summaries):
        assert finding(nothing).is_absent


def test_a_study_has_titles_of_its_own_methods_only() -> None:
    methods = ["gradient", "integrated_gradients"]
    study = study_of(maps_of(3, methods), moved_of(dict.fromkeys(methods, 0.1), 3))
    study.__dict__["method_titles"] = {method: method.upper() for method in methods}
    for finding in FINDINGS:
        assert finding(study).verdict
    assert attribution.relevance_stability(study).is_absent


@pytest.mark.parametrize(
    ("total", "sums", "kept"), [(8.0, "all", "kept"), (7.8, "all", "lost"), (4.0, "none", "lost")]
)
def test_sums_are_kept_or_missed(total: float, sums: str, kept: str) -> None:
    study = study_of(maps_of(3, ["integrated_gradients", "lrp"], total))
    assert attribution.sums(study).verdict == sums
    assert attribution.relevance_sum(study).verdict == kept


def test_one_method_may_keep_what_another_misses() -> None:
    maps = maps_of(3, ["integrated_gradients", "lrp", "lrp_captum"])
    maps.loc[maps["method"] != "lrp", "total"] = 8e9
    study = study_of(maps)
    found = attribution.sums(study)
    assert found.verdict == "some"
    assert found.headline == (
        "The attributions of LRP add up to what they promise; those of INTEGRATED_GRADIENTS miss "
        "the sum that they promise."
    )
    assert attribution.library_relevance(study).verdict == "lost"
    assert "8.0 × 10⁹" in attribution.library_relevance(study).text


def test_a_method_that_the_network_does_not_support_is_told_with_the_reason() -> None:
    refused = maps_of(3, ["lrp", "guided_backpropagation"], reason="it has no rule for GELU")
    table = pd.concat([refused, maps_of(3, ["gradient", "integrated_gradients"])])
    moved = {"gradient": 0.3, "integrated_gradients": 0.2}
    study = study_of(table.assign(seconds=[1.0] * 6 + [1.0, 2.0] * 3), moved_of(moved, 3))
    assert attribution.relevance_sum(study).text == "LRP has no map: it has no rule for GELU."
    assert attribution.relevance_stability(study).text == "LRP has no map to perturb."
    assert attribution.guided(study).text.startswith("GUIDED_BACKPROPAGATION has no map: ")
    assert "The study does not try both" in attribution.summaries(study).text
    assert attribution.front(study).text == "The faster of any two is less stable."


def test_the_library_may_stop() -> None:
    study = study_of(maps_of(2, ["lrp_captum"], np.nan, "Captum has no rule for the modules"))
    found = attribution.library_relevance(study)
    assert found.verdict == "absent maps"
    assert found.text == "On a network: Captum has no rule for the modules."


def test_relevance_stands_where_its_sensitivity_is() -> None:
    def verdict(lrp: float, images: int = 8) -> str:
        values = {"lrp": lrp, "gradient": 1.0, "occlusion": 0.5}
        study = study_of(maps_of(images, list(values)), moved_of(values, images))
        return attribution.relevance_stability(study).verdict

    assert verdict(0.1) == "most stable"
    assert verdict(2.0) == "least stable"
    assert verdict(0.7) == "between"
    assert verdict(0.1, images=3) == "too few"


def test_averaging_and_the_seed_follow_their_numbers() -> None:
    def both(noisy: float, seed: float) -> tuple[str, str]:
        values = {"integrated_gradients": 0.8, "smoothgrad_squared": noisy, "vargrad": noisy}
        study = study_of(maps_of(8, list(values)), moved_of(values, seed=seed))
        return attribution.averaging(study).verdict, attribution.seeds(study).verdict

    assert both(0.2, 0.9) == ("smaller", "larger")
    assert both(1.5, 0.1) == ("larger", "smaller")
    assert both(0.8, 0.9)[0] == "undecided"


def test_a_printed_order_returns_or_not() -> None:
    def verdict(values: list[float], methods: int = 8) -> str:
        own = dict(zip(list(PRINTED.values())[:methods], values, strict=False))
        study = study_of(maps_of(6, list(own)), moved_of(own, 6))
        return attribution.printed(study, PRINTED_VALUES).verdict

    assert verdict([1, 2, 3, 4, 5, 6, 7, 8]) == "larger"
    assert verdict([8, 7, 6, 5, 4, 3, 2, 1]) == "smaller"
    assert verdict([1, 5, 8, 2, 7, 3, 6, 4]) == "undecided"
    assert verdict([1, 2], methods=2) == "absent"


def test_numbers_of_any_size() -> None:
    said = [large(value) for value in (0.05, -12.0, 4.06e9, -1e11)]
    assert said == ["0.05", "−12.00", "4.1 × 10⁹", "−1.0 × 10¹¹"]
    assert set(PROMISED) <= set(ATTRIBUTIONS)


def test_maps_without_negative_values_are_compared_by_their_own_scale() -> None:
    methods = ["lrp", "occlusion", "gradient"]
    maps = maps_of(8, methods)
    moved = moved_of({"lrp": 0.2, "occlusion": 0.21, "gradient": 0.8})
    signs = np.random.default_rng(0).choice([-1, 1], (8, 60))
    drawn = {f"image {n}": one for n, one in enumerate(signs)}

    def study(maps: pd.DataFrame, **more: Any) -> StudyReport:
        return stub_study({"attributions": maps, "sensitivities": moved}, **more)

    def heatmap(method: str, image: str) -> Any:
        return SimpleNamespace(values=drawn[image] + (method == "lrp"))

    plain = attribution.relevance_stability(study(maps))
    assert "scale" not in plain.text and plain.verdict == "most stable"
    maps.loc[maps["method"] == "lrp", "positive"] = 0.995
    found = attribution.relevance_stability(study(maps, heatmap=heatmap))
    # Unrelated maps of signs are the root of 2 apart, those of twos and zeros 1: 0.2 is more there.
    assert found.headline == (
        "LRP is more stable than one of two other methods and less stable than one of two other "
        "methods."
    )
    assert "LRP has no negative values to speak of" in found.text
    maps["positive"] = 1.0
    assert "closer" not in attribution.most_stable(study(maps)).text

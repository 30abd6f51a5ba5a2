"""Findings about attribution methods: promised sums, stability, draws, what is nearly one map."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from vitrine.measures.association import spearman
from vitrine.measures.difference import Difference, Direction, paired_difference
from vitrine.measures.pareto import pareto_front
from vitrine.report import attributions
from vitrine.report.attributions import LIBRARY_RELEVANCE, PATH, RELEVANCE, SUMMARIES, why_no_map
from vitrine.report.findings import sentences
from vitrine.report.findings.finding import Finding, absent, absent_if
from vitrine.report.findings.sentences import as_sentence, bound, by_how_many, spelt
from vitrine.report.parts import needs
from vitrine.report.study_report import StudyReport
from vitrine.report.text import count, listing, number, p_text, part_of, percent, plural

CLOSE_SUM = 0.05
"""Integrated Gradients counts as computed finely enough within 5% (Sundararajan et al., 2017)."""

_KEPT = 0.01
"""Relevance that sums to the logit within so much is called kept."""

ONE_SIGN = 0.99
"""A map with so much of its weight above zero is called one without negative values."""

_SAME_MAP = 0.95
"""Two maps of at least this rank correlation are called nearly the same."""

NO_SENSITIVITY = "The study has no maximum sensitivity of an attribution method."


@needs("attributions")
def sums(study: StudyReport) -> Finding:
    """Whether attributions add up to what their method promises."""
    found = attributions.promised_sums(study)
    found.pop(LIBRARY_RELEVANCE, None)
    absent_if(not found, "No map of the study comes with a sum that its method promises.")
    titles = study.method_titles
    does = {
        "all": "add up to what they promise",
        "some": "add up on some images only",
        "none": "miss the sum that they promise",
    }
    kept: dict[str, list[str]] = {way: [] for way in does}
    for method, values in found.items():
        kept[sentences.quantity(values <= CLOSE_SUM)].append(titles[method])
    said = [f"those of {listing(kept[way])} {does[way]}" for way in does if kept[way]]
    text = " ".join(
        f"{titles[method]} is within {percent(CLOSE_SUM)} on "
        f"{part_of(int((values <= CLOSE_SUM).sum()), len(values), 'image')}; its median deviation "
        f"is {share(values.median())}."
        for method, values in found.items()
    )
    headline = as_sentence("; ".join(said).replace("those of", "the attributions of", 1))
    verdict = next((way for way in ("all", "none") if len(kept[way]) == len(found)), "some")
    return Finding(headline, text, verdict)


@needs("attributions")
def relevance_sum(study: StudyReport) -> Finding:
    """Whether layer-wise relevance propagation keeps the logit."""
    table = attributions.maps(study)
    known = attributions.deviations(table[table["method"] == RELEVANCE])
    if known.empty:
        return absent(why_no_map(study, RELEVANCE) or "The study has no relevance propagation.")
    kept = known <= _KEPT
    part = part_of(int(kept.sum()), len(known), "image")
    return by_how_many(
        kept,
        f"Layer-wise relevance propagation [keeps|keeps|does not keep] the logit[| on {part}|].",
        f"Its sum deviates from the logit by {share(known.max())} at most.",
        ("kept", "in part", "lost"),
    )


@needs("attributions")
def library_relevance(study: StudyReport) -> Finding:
    """What the library's own rules of relevance propagation make of the logit, by network."""
    table = attributions.relevance_of_networks(study)
    library = table[table["method"] == LIBRARY_RELEVANCE]
    absent_if(library.empty, "The study does not try the library's own relevance propagation.")
    worked, name = library[library["deviation"].notna()], "The library's own relevance propagation"
    if worked.empty:
        return Finding(f"{name} gives no map of these networks.", _reasons(library), "absent maps")
    lost = worked["deviation"] > _KEPT
    text = " ".join(
        f"On {row['network']} the logit is {attributions.large(row['logit'])} and the relevance "
        f"sums to {attributions.large(row['total'])} (means)."
        for row in worked.head(3).to_dict("records")
    )
    text = f"{text} {_reasons(library[library['images'] == 0])}".strip()
    part = part_of(int(lost.sum()), len(lost), "network")
    sentence = f"{name} [does not keep|does not keep|keeps] the logit[| on {part}|]."
    return by_how_many(lost, sentence, text, ("lost", "in part", "kept"))


def _reasons(rows: pd.DataFrame) -> str:
    return " ".join(
        f"On {row['network']}: {str(row['reason']).rstrip('.')}."
        for row in rows.head(3).to_dict("records")
    )


@needs("attributions", "sensitivities")
def most_stable(study: StudyReport) -> Finding:
    """Which attribution method has the lowest maximum sensitivity, and over how many it leads."""
    moved = _complete(study)
    means = moved.mean()
    best = str(means.idxmin())
    title = study.method_titles[best]
    images = plural(len(moved), "image")
    text = f"Its mean maximum sensitivity is {bound(means[best])} over {images}."
    if len(means) == 1:
        return Finding(f"{title} alone has a maximum sensitivity.", text, "one")
    leads, tested = _against(study, moved, best)
    part = _part(leads, "smaller")
    text = f"{text} {tested}"
    headline = f"{title} has the lowest maximum sensitivity"
    if _part(leads, "too few") == len(leads):
        return Finding(f"{headline}.", text, "too few")
    if part == len(leads):
        return Finding(f"{title} is more stable than {_every(len(leads))}.", text, "all")
    if not part:
        return Finding(f"{headline}; no lead over another method is significant.", text, "none")
    beaten = part_of(part, len(leads), "other method")
    return Finding(f"{headline}; its lead over {beaten} is significant.", text, "some")


@needs("attributions", "sensitivities")
def relevance_stability(study: StudyReport) -> Finding:
    """Where layer-wise relevance propagation stands by its stability among the other methods."""
    moved = _complete(study)
    if RELEVANCE not in moved or moved.shape[1] < 2:
        if why_no_map(study, RELEVANCE):
            return absent(f"{study.method_titles[RELEVANCE]} has no map to perturb.")
        return absent("The study has no relevance propagation beside other methods.")
    name = study.method_titles[RELEVANCE]
    leads, tested = _against(study, moved, RELEVANCE)
    better, worse, n = _part(leads, "smaller"), _part(leads, "larger"), len(leads)
    text = f"Its mean maximum sensitivity is {bound(moved[RELEVANCE].mean())}."
    if _part(leads, "too few") == n:
        rank = int(moved.mean().rank(method="min")[RELEVANCE])
        text += f" Of {count(n + 1)} methods it has rank {rank} (1 is the most stable)."
        text += f" {tested}"
        return Finding(f"The stability of {name} was measured.", text, "too few")
    text = f"{text} {tested}"
    if better == n:
        return Finding(f"{name} is more stable than {_every(n)}.", text, "most stable")
    if worse == n:
        return Finding(f"{name} is less stable than {_every(n)}.", text, "least stable")
    if not better + worse:
        headline = f"No method is significantly more or less stable than {name}."
        return Finding(headline, text, "undecided")
    said = [
        f"{word} stable than {part_of(k, n, 'other method')}"
        for k, word in ((better, "more"), (worse, "less"))
        if k
    ]
    return Finding(f"{name} is {' and '.join(said)}.", text, "between")


@needs("attributions", "sensitivities")
def averaging(study: StudyReport) -> Finding:
    """Whether Integrated Gradients is more stable where it is summarised over noisy copies."""
    moved = _moved(study)
    others = [method for method in SUMMARIES if method in moved]
    if PATH not in moved or not others:
        return absent("The study has no Integrated Gradients beside a summary of noisy copies.")
    titles, plain = study.method_titles, study.method_titles[PATH]
    compared, said = scaled(study, moved[[PATH, *others]])
    tested, headline, verdict = _by_direction(
        study,
        {other: compared[other] - compared[PATH] for other in others},
        {
            "smaller": f"{{}} [is|are] more stable than {plain} without noise",
            "larger": f"{{}} [is|are] less stable than {plain} without noise",
            "undecided": f"whether {{}} [is|are] more stable than {plain} without noise is "
            "undecided",
            "too few": f"the stability of {{}} was measured beside {plain} without noise",
        },
    )
    text = " ".join(
        f"That of {titles[other]} is {bound(moved[other].mean())}; the tested difference is "
        f"{spelt(tested[other])}."
        for other in others
    )
    mean = f"The mean maximum sensitivity of {plain} is {bound(moved[PATH].mean())}."
    return Finding(headline, f"{mean} {text}{said}", verdict)


@needs("attributions", "sensitivities")
def seeds(study: StudyReport) -> Finding:
    """Whether another seed moves a stochastic method's map more than a perturbation does."""
    moved = _moved(study)
    parts = attributions.sensitivities(study, "seed_part_by_channel")
    absent_if(parts.empty, "The tables hold no seed's part of an attribution method.")
    both = [str(method) for method in parts if method in moved]
    absent_if(not both, NO_SENSITIVITY)
    _, headline, verdict = _by_direction(
        study,
        {method: parts[method] - moved[method] for method in both},
        {
            "larger": "another seed changes the [map|maps] of {} more than the perturbation does",
            "smaller": "another seed changes the [map|maps] of {} less than the perturbation does",
            "undecided": "for {} it is undecided whether another seed or the perturbation changes "
            "the map more",
            "too few": "another seed changes the [map|maps] of {}",
        },
    )
    text = " ".join(
        f"{study.method_titles[method]}: {bound(parts[method].mean())} by the seed, "
        f"{bound(moved[method].mean())} by the perturbation (means)."
        for method in both
    )
    return Finding(headline, text, verdict)


@needs("attributions", "sensitivities")
def printed(study: StudyReport, values: pd.Series) -> Finding:
    """Whether the methods' order by stability is that of printed ``values``, by method."""
    moved = _moved(study)
    common = [str(method) for method in moved if method in values.index]
    if len(common) < 3:
        return absent("Too few methods of the study have a printed maximum sensitivity to compare.")
    found = spearman(values[common].to_numpy(), moved[common].mean().to_numpy())
    absent_if(np.isnan(found.rho), "Methods that are all equally stable have no order to compare.")
    order = "the methods' order by stability [is like|runs against] the printed one"
    headline, direction = sentences.rho_way(found, order)
    text = f"Spearman's rank correlation of {plural(found.count, 'method')} is {number(found.rho)} "
    return Finding(headline, f"{text}({p_text(found.p_value)}).", direction)


@needs("attributions", "sensitivities")
def front(study: StudyReport) -> Finding:
    """Which methods no other beats in both time and stability."""
    table = price(study)
    absent_if(table.empty, NO_SENSITIVITY)
    names = [study.method_titles[method] for method in table.index[table["front"]]]
    if len(table) == 1:
        return Finding(f"{names[0]} alone has a time and a maximum sensitivity.", "", "one")
    if len(names) == 1:
        return Finding(f"No other method is faster or more stable than {names[0]}.", "", "one")
    others = f"Of {count(len(table))} methods, no other is both faster and more stable than one of "
    text = f"{others}these." if len(names) < len(table) else "The faster of any two is less stable."
    return Finding(f"{listing(names)} are on the front of time and stability.", text, "several")


def price(study: StudyReport) -> pd.DataFrame:
    """Median ``seconds`` a map, mean maximum sensitivity ``moved``, and ``front``, by method."""
    seconds = attributions.maps(study).groupby("method")["seconds"].median()
    moved = attributions.sensitivities(study).mean()
    table = pd.DataFrame({"seconds": seconds, "moved": moved}).dropna()
    table = table.loc[
        [method for method in attributions.attribution_methods(study) if method in table.index]
    ]
    table["front"] = pareto_front(table[["seconds", "moved"]].to_numpy(float), [False, False])
    return table


@needs("attributions")
def guided(study: StudyReport) -> Finding:
    """Whether Guided Backpropagation's map is another than the gradient's."""
    return _alike(study, attributions.GUIDED, attributions.GRADIENT)


@needs("attributions")
def summaries(study: StudyReport) -> Finding:
    """Whether the two summaries of noisy copies are two maps."""
    return _alike(study, *SUMMARIES)


def _alike(study: StudyReport, first: str, second: str) -> Finding:
    if not {first, second} <= {*attributions.attribution_methods(study)}:
        none = "The study does not try both of the methods that this compares."
        return absent(why_no_map(study, first, second) or none)
    both = f"{study.method_titles[first]} and {study.method_titles[second]}"
    rho = attributions.correlation_of_maps(study, first, second)
    absent_if(rho.empty, f"{both} have no maps of one image that could be compared.")
    mean, images = rho.mean(), plural(len(rho), "image")
    text = f"Their mean rank correlation is {number(mean, 3)} over {images}."
    if mean >= _SAME_MAP:
        return Finding(f"{both} give nearly the same map.", text, "same")
    return Finding(f"{both} give different maps.", text, "different")


def _moved(study: StudyReport) -> pd.DataFrame:
    """Maximum sensitivities by image and attribution method. Raises ``Absent`` without any."""
    moved = attributions.sensitivities(study)
    absent_if(moved.empty, NO_SENSITIVITY)
    return moved


def _complete(study: StudyReport) -> pd.DataFrame:
    """``_moved`` of the images on which every method has one."""
    whole = _moved(study).dropna()
    absent_if(whole.empty, "No image has a maximum sensitivity of every attribution method.")
    return whole


def _against(study: StudyReport, moved: pd.DataFrame, one: str) -> tuple[list[Difference], str]:
    """A method's sensitivity less every other's, tested together, and how it was tested."""
    compared, said = scaled(study, moved)
    gaps = [(compared[one] - compared[other]).to_numpy() for other in moved if other != one]
    tested = [paired_difference(gap, len(gaps)) for gap in gaps]
    return tested, f"{_corrected(tested)}{said}"


def _part(tested: list[Difference], direction: Direction) -> int:
    return sum(one.direction == direction for one in tested)


def _corrected(tested: list[Difference]) -> str:
    if _part(tested, "too few") == len(tested):
        return f"So few images ({tested[0].count}) cannot tell a difference from chance."
    if len(tested) == 1:
        return f"The difference is {spelt(tested[0])}."
    return f"Differences are tested at 5%, corrected for {plural(len(tested), 'comparison')}."


def scaled(study: StudyReport, moved: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Sensitivities as methods can be compared by them, and what there is to say of that.

    Of two unrelated maps of length 1 the distance is the root of 2 less twice their cosine: less
    where no value is negative. Where some methods' maps have no negative values, each method's
    sensitivity is divided by the mean distance of its maps of different images.
    """
    positive = attributions.maps(study).groupby("method")["positive"].mean()
    one_sign = {method: positive.get(method, 0.0) >= ONE_SIGN for method in map(str, moved)}
    if all(one_sign.values()) or not any(one_sign.values()):
        return moved, ""
    far = pd.Series({method: attributions.distance_of_images(study, method) for method in one_sign})
    titles = [study.method_titles[method] for method, is_so in one_sign.items() if is_so]
    has = "has" if len(titles) == 1 else "have"
    said = f" {listing(titles)} {has} no negative values to speak of, and such maps lie closer to "
    said += "one another"
    if not (far > 0).all():
        return moved, f"{said}, so a part of a difference may be one of scale."
    return moved / far, (
        f"{said}: tested is the sensitivity divided by the mean distance of a method's maps of "
        f"different images ({number(far.min())} to {number(far.max())})."
    )


def _every(others: int) -> str:
    return "the one other method" if others == 1 else "every other attribution method"


def _by_direction(
    study: StudyReport, gaps: Mapping[str, pd.Series], words: Mapping[Direction, str]
) -> tuple[dict[str, Difference], str, str]:
    """How several methods' differences came out, one sentence for all, and the verdicts.

    words : by direction, with what is said of one and of several in brackets, as in "[is|are]".
    """
    tested = {key: paired_difference(gap.to_numpy(), len(gaps)) for key, gap in gaps.items()}
    groups: dict[Direction, list[str]] = {}
    for method, one in tested.items():
        groups.setdefault(one.direction, []).append(study.method_titles[method])
    said = [
        sentences.one_of(words[direction], len(titles) > 1).format(listing(titles))
        for direction, titles in groups.items()
    ]
    return tested, as_sentence("; ".join(said)), " and ".join(groups)


def share(value: float) -> str:
    """A deviation: "0.03%", "12%", and "4 times" the promised sum beyond ten times it."""
    if value > 10:
        return f"{attributions.large(value)} times that sum"
    return percent(value, 3 if value < 0.001 else 1 if value < 0.1 else 0)

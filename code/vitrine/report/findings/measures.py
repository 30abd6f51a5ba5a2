"""Findings about the measures: who beats the baselines, and how far the measures agree."""

from collections import Counter
from operator import itemgetter

import numpy as np

from vitrine.measures.agreement import LEAST
from vitrine.measures.difference import Difference, paired_difference
from vitrine.measures.ranking import standing_of
from vitrine.measures.registry import MEASURES
from vitrine.report import cams
from vitrine.report.findings.finding import Finding, absent, absent_if
from vitrine.report.findings.sentences import bound, quantity, span, spelt, which_way
from vitrine.report.parts import needs
from vitrine.report.scoreboard import Key, Scoreboard, family_of, scoreboard, stands
from vitrine.report.study_report import StudyReport
from vitrine.report.text import count, listing, number, part_of, plural

DELETION, INSERTION = "deletion_blurred", "insertion_blurred"
_REPLACEMENTS = (("deletion_blurred", "deletion_mean"), ("insertion_blurred", "insertion_mean"))

FAITHFUL = (*sum(_REPLACEMENTS, ()), "infidelity")
"""The measures of faithfulness."""

ALIKE = 0.5
"""Kendall's τ from which two rankings are called alike."""


def board_of(study: StudyReport, *measures: str) -> Scoreboard:
    """The scoreboard; raises ``Absent`` where there is none with these measures."""
    board = scoreboard(study)
    absent_if(not board.methods, "No method has a value of any measure.")
    for measure in measures:
        absent_if(measure not in board.measures, f"No method has a value of {_title(measure)}.")
    return board


def _title(measure: str) -> str:
    return f"“{MEASURES[measure].title}”"


@needs("evaluation")
def not_counted(study: StudyReport) -> Finding:
    """The class activation maps that are those of another method, and so are not listed."""
    left = [name for name in cams.cam_methods(study) if name not in cams.distinct(study)]
    absent_if(not left, "No method gives the maps of another one.")
    titles = listing(study.method_titles[name] for name in left)
    give, are = ("gives", "is") if len(left) == 1 else ("give", "are")
    return Finding("", f"{titles} {give} the maps of another method here, and {are} not counted.")


@needs("evaluation")
def best_by(study: StudyReport, measure: str) -> Finding:
    """Which method is best by a measure, and whether it beats the strongest baseline."""
    board = board_of(study, measure)
    titles, mean, gains = study.method_titles, board.mean[measure], board.gains(measure)
    best = str(board.rank[measure].idxmin())
    who, name = titles[best], _title(measure)
    first = f"{who} has the best mean by {name}"
    own = {rival: gain for (_, method, rival), gain in gains.items() if method == best}
    if not own:
        return Finding(f"{first}.", f"It is {bound(mean[best])}.", "no baseline")
    strongest = min(own, key=lambda one: own[one].mean)
    gain, baseline = own[strongest], titles[strongest]
    rival = "the strongest baseline" if len(own) > 1 else "the baseline"
    text = f"Its mean is {bound(mean[best])}, that of the baseline “{baseline}” "
    text += f"{bound(mean[strongest])}."
    if gain.direction == "too few":
        return Finding(f"{first}.", f"{text} {_no_result(len(gains), gain.count)}", "too few")
    return which_way(
        gain,
        f"{first}, [significantly better|and is significantly worse] than {rival}",
        f"{text} The advantage is {spelt(gain)}{_corrected(len(gains))}.",
        undecided=f"{first}; whether it beats {rival} is undecided.",
    )


def _no_result(tests: int, images: int) -> str:
    level = f"At a level corrected for {plural(tests, 'comparison')}, no" if tests > 1 else "No"
    return f"{level} result of {plural(images, 'image')} can be significant."


def _corrected(tests: int) -> str:
    return f", corrected for {plural(tests, 'comparison')}" if tests > 1 else ""


@needs("evaluation")
def against_baselines(study: StudyReport) -> Finding:
    """How many comparisons of the scoreboard are decided, and which way."""
    board = board_of(study)
    gains = board.gains()
    absent_if(not gains, "This study has no baseline to compare the methods with.")
    kinds = [standing_of(gain) for gain in gains.values()]
    better, worse, few = (kinds.count(kind) for kind in ("better", "worse", "too few"))
    if few == len(kinds):
        text = _no_result(len(gains), max(gain.count for gain in gains.values()))
        who = "the methods from the baselines on the whole scoreboard"
        return Finding(f"So few images cannot tell {who}.", text, "too few")
    text = "Corrected for all, a method is significantly better than a baseline in "
    text += f"{part_of(better, len(gains), 'comparison')}, and worse in "
    text += f"{count(worse) if worse else 'none'}."
    if few:
        text += f" In {count(few)} there are too few images to tell."
    many, verdict = "Fewer than half of the", "fewer"
    if better * 2 > len(gains):
        many, verdict = "Most", "most"
    return Finding(f"{many} comparisons with a baseline favour the method.", text, verdict)


@needs("evaluation")
def below_baselines(study: StudyReport) -> Finding:
    """Which methods are significantly worse than a baseline."""
    board = board_of(study)
    gains = board.gains()
    if not gains or all(gain.direction == "too few" for gain in gains.values()):
        return absent("No comparison of the scoreboard can be decided.")
    found = Counter(method for (_, method), kind in stands(gains).items() if kind == "worse")
    if not found:
        return Finding("No method is significantly worse than a baseline.", "", "none")
    most = max(found.values())
    worst = [study.method_titles[method] for method, measures in found.items() if measures == most]
    are, each = ("is", "") if len(worst) == 1 else ("are", " each")
    headline = f"{listing(worst)} {are} most often significantly worse than a baseline."
    text = f"This is so by {plural(most, 'measure')}{each}{_corrected(len(gains))}."
    return Finding(headline, text, "some")


@needs("evaluation")
def edges_and_random(study: StudyReport) -> Finding:
    """Whether the edges are the stronger baseline, by insertion."""
    board = board_of(study, INSERTION)
    if not {"edges", "random"} <= set(board.baselines):
        return absent("This study has fewer than two baselines.")
    values, mean = board.values[INSERTION], board.mean[INSERTION]
    absent_if(mean[["edges", "random"]].isna().any(), "A baseline has no value of insertion.")
    gain = paired_difference((values["edges"] - values["random"]).to_numpy())
    return which_way(
        gain,
        "by insertion [an edge detector is|random weights are] a stronger baseline than "
        "[random weights|an edge detector]",
        f"By {_title(INSERTION)} the edges have a mean of {bound(mean['edges'])}, and random "
        f"weights {bound(mean['random'])}. The difference is {spelt(gain)}.",
        few="Two baselines are compared by insertion.",
        undecided="Which of the two baselines is the stronger by insertion is undecided.",
    )


@needs("evaluation")
def passed(study: StudyReport, *names: str) -> Finding:
    """How many methods beat every baseline, corrected for the comparisons by the measure.

    Measures by which the same holds share a sentence.
    """
    board = board_of(study)
    gains = {name: board.gains(name) for name in names}
    said: dict[str, list[str]] = {}
    for name in filter(gains.get, names):
        said.setdefault(_passed(study, name, gains[name]), []).append(_title(name))
    absent_if(not said, f"No method has a baseline to beat by {listing(map(_title, names))}.")
    kinds = {kind for tested in gains.values() for kind in stands(tested).values()}
    verdict = "some" if "better" in kinds else "too few" if kinds == {"too few"} else "none"
    text = " ".join(
        f"By {'each of ' if len(measures) > 1 else ''}{listing(measures)}, {rest}"
        for rest, measures in said.items()
    )
    return Finding("", text, verdict, same_as="all" if kinds == {"better"} else verdict)


def _passed(study: StudyReport, measure: str, gains: dict[Key, Difference]) -> str:
    """What follows "By this measure,": how many methods beat each of its baselines."""
    kinds = stands(gains)
    if all(kind == "too few" for kind in kinds.values()):
        return f"so few images cannot tell who beats the baselines{_corrected(len(gains))}."
    better, worse, few = (
        [method for (_, method), kind in kinds.items() if kind == standing]
        for standing in ("better", "worse", "too few")
    )
    are = "are" if len(better) != 1 and len(kinds) != 1 else "is"
    each = "each" if len(MEASURES[measure].baselines) > 1 else "the"
    text = f"{part_of(len(better), len(kinds), 'method')} {are} significantly better than {each} "
    text += f"baseline{_corrected(len(gains))}."
    if worse:
        text += f" Significantly worse: {listing(study.method_titles[m] for m in worse)}."
    if few:
        text += f" Too few images to tell: {listing(study.method_titles[m] for m in few)}."
    return text


@needs("evaluation")
def orders(study: StudyReport) -> Finding:
    """Whether deletion and insertion have the same methods first."""
    board = board_of(study, DELETION, INSERTION)
    first = board.rank[[DELETION, INSERTION]].idxmin()
    deletion, insertion = (study.method_titles[str(method)] for method in first)
    if deletion == insertion:
        return Finding("", f"{deletion} is first by deletion and by insertion alike.", "same")
    text = f"By deletion {deletion} is first, by insertion {insertion} (blurred pixels)."
    return Finding("", text, "different")


@needs("evaluation")
def replacements(study: StudyReport) -> Finding:
    """How far the ranking depends on what stands in the place of a pixel."""
    board = board_of(study)
    taus = board.taus()
    said = [
        f"for {name} {number(taus[pair])}"
        for name, pair in zip(("deletion", "insertion"), _REPLACEMENTS, strict=True)
        if pair in taus
    ]
    absent_if(not said, "The rankings by two replacements of pixels cannot be compared.")
    text = "Between the rankings with blurred pixels and with the mean colour, Kendall's τ is"
    return Finding("", f"{text} {listing(said)}.")


@needs("evaluation")
def by_family(study: StudyReport, measure: str, what: str) -> Finding:
    """The means of a measure by family of methods, from the least to the greatest."""
    board = board_of(study, measure)
    means = board.mean[measure].dropna()
    groups = means.groupby(lambda method: family_of(study, method), sort=False)
    said = []
    for family, group in groups:
        name = f"{family}s"
        if len(group) == 1:
            title = study.method_titles[str(group.index[0])]
            name = f"the baseline “{title}”" if str(family) == "baseline" else title
        said.append(f"{span(group)} for {name}")
    return Finding("", f"{what}: {'; '.join(said)}.")


@needs("evaluation")
def seeds(study: StudyReport) -> Finding:
    """How far the maps of stochastic methods repeat."""
    board = board_of(study, "seed_stability")
    means = board.mean.loc[board.methods, "seed_stability"].dropna().sort_values()
    ends = [f"{number(rho)} for {study.method_titles[str(m)]}" for m, rho in means.items()]
    said = f"from {ends[0]} to {ends[-1]}" if len(ends) > 1 else f"of {ends[0]}"
    text = "For stochastic methods, maps from different seeds have a mean rank correlation"
    return Finding("", f"{text} {said}.")


@needs("evaluation")
def stable_and_faithful(study: StudyReport) -> Finding:
    """Whether stability and faithfulness rank the methods alike."""
    taus = board_of(study, "sensitivity").taus()
    found = {name: taus[name, "sensitivity"] for name in FAITHFUL if (name, "sensitivity") in taus}
    absent_if(not found, "The rankings by stability and by faithfulness cannot be compared.")
    verdict = quantity([tau >= ALIKE for tau in found.values()])
    headline = {
        "all": "The more stable methods are the more faithful ones.",
        "some": "Whether the more stable methods are the more faithful depends on the measure.",
        "none": "The more stable methods are at most weakly the more faithful ones.",
    }[verdict]
    each = listing(f"{number(tau)} by {_title(name)}" for name, tau in found.items())
    text = f"With the ranking by {_title('sensitivity')} Kendall's τ is {each}, where the same "
    return Finding(_of_few(study, headline), f"{text}order has {number(1, 0)}.", verdict)


def _of_few(study: StudyReport, headline: str) -> str:
    """A headline that no test stands behind, of so few images that it may be about these alone."""
    if len(study.images) >= LEAST:
        return headline
    images = "this one image" if len(study.images) == 1 else "these few images"
    return f"On {images}, {headline[0].lower()}{headline[1:]}"


@needs("evaluation")
def measures_agree(study: StudyReport) -> Finding:
    """The mean, the least and the greatest τ between measures that are not variants of one."""
    board = board_of(study)
    taus = {pair: t for pair, t in board.taus().items() if pair not in _REPLACEMENTS}
    absent_if(not taus, "Fewer than two measures rank the methods.")
    mean = float(np.mean(list(taus.values())))
    text = f"Over {plural(len(taus), 'pair')} of measures that are no variants of one another "
    text += f"Kendall's τ is {number(mean)} on average (alike: {ALIKE} or more)."
    if len(taus) > 1:
        least, most = (
            f"between {_title(one)} and {_title(other)} ({number(tau)})"
            for (one, other), tau in (pick(taus.items(), key=itemgetter(1)) for pick in (min, max))
        )
        text += f" It is least {least}, and greatest {most}."
    how, verdict = ("alike", "alike") if mean >= ALIKE else ("differently", "different")
    return Finding(_of_few(study, f"The measures rank the methods {how}."), text, verdict)


@needs("evaluation")
def first_overall(study: StudyReport) -> Finding:
    """Which methods come first by mean rank when one measure at a time is left out."""
    board = board_of(study)
    if len(board.methods) < 2 or len(board.ranked) < 2:
        return absent("A mean rank needs two methods and two measures.")
    means = [board.rank[board.ranked].drop(columns=m).mean(axis=1) for m in board.ranked]
    winners = dict.fromkeys(
        str(method) for mean in means for method in mean.index[mean <= mean.min() + 1e-9]
    )
    names = listing(study.method_titles[m] for m in winners)
    come, verdict = ("comes", "one") if len(winners) == 1 else ("come", "several")
    text = f"Leaving out one measure at a time, {names} {come} first by mean rank."
    return Finding("", text, verdict)


def on_object(study: StudyReport) -> Finding:
    """Which method has most weight on the object."""
    found = best_by(study, "inside")
    none = absent("No image has an outlined object on which a map could lie.")
    return none if found.is_absent else found


@needs("evaluation")
def unfair(study: StudyReport) -> Finding:
    """Which methods have no baseline of sensitivity."""
    board = board_of(study, "sensitivity")
    signed = [m for m in board.methods if board.without_baseline("sensitivity", m)]
    absent_if(not signed, "No method of this study has signed maps.")
    have = "has" if len(signed) == 1 else "have"
    text = f"{part_of(len(signed), len(board.methods), 'method').capitalize()} {have} signed maps "
    why = "the random baseline is positive, and no signed one was computed"
    return Finding("", f"{text}and so no verdict here: {why}.")

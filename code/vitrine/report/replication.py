"""Whether what one network's study finds holds in another's: each finding, study by study."""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Literal

import numpy as np
import pandas as pd

from vitrine.measures.registry import MEASURES
from vitrine.report.findings import (
    Finding,
    absent,
    agreement,
    attribution,
    cam,
    dissection,
    labels,
    large_sample,
    lime,
    measures,
    predictions,
    published,
    randomisation,
    region_occlusion,
)
from vitrine.report.findings.sentences import as_sentence, bound
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.text import COUNTING, count, plural

Ask = Callable[[StudyReport], Finding]

CHAPTERS: dict[str, tuple[str, tuple[ModuleType, ...]]] = {
    "dissection.qmd": ("Dissection", (dissection, labels)),
    "lime.qmd": ("LIME", (predictions, lime)),
    "cam.qmd": ("Class activation maps", (cam,)),
    "comparison.qmd": ("Comparison", (agreement, large_sample, region_occlusion)),
    "attribution.qmd": ("Attribution", (attribution,)),
    "measures.qmd": ("Measures", (measures, randomisation)),
}
"""The chapters with findings: their short titles, and where their findings are."""

BY_MEASURE = (measures.best_by, measures.passed)
"""Findings that are asked of each measure."""

PUBLISHED: dict[Ask, Callable[[PublishedReport], Finding]] = {
    agreement.same_image: published.equal_area
}
"""The questions that published runs answer by the same comparison."""

NUMBER = re.compile(rf"\b(?:{'|'.join(COUNTING[1:])}|[\d.,]*\d)\b%?")
"""A number in a sentence; "no" is none, since it turns what is said."""

Outcome = Literal["holds", "reverses", "changes", "undecided", "not tested", "not asked"]

DECIDED: tuple[Outcome, ...] = ("holds", "reverses", "changes")


@dataclass(frozen=True)
class Answered:
    """A question of the report, and what each study finds.

    question : the first line of the finding's docstring. chapter : its file.
    found : by study, the shown one first. printed : of the published runs, where they decide it.
    """

    question: str
    chapter: str
    found: tuple[Finding, ...]
    printed: Finding | None = None

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """How each other study's finding compares with that of the shown one."""
        return tuple(outcome(self.found[0], other) for other in self.found[1:])


def name_of(study: StudyReport) -> str:
    """A network with its study, as "ResNet-50 (public)"; no two are alike."""
    return f"{study.title} ({study.store.study})"


def outcome(shown: Finding, other: Finding) -> Outcome:
    """How a finding of another study compares with that of the shown one.

    By their verdicts, and where these are alike by what they say but for its numbers: another
    method may be the best.
    """
    verdicts = {shown.verdict, other.verdict}
    if "absent" in verdicts:
        return "not asked"
    if "described" in verdicts:
        return "not tested"
    if verdicts & {"undecided", "too few"}:
        return "undecided"
    if len(verdicts) == 1:
        return "holds" if _wording(shown) == _wording(other) else "changes"
    return "reverses" if verdicts == {"larger", "smaller"} else "changes"


def questions() -> Iterator[tuple[str, str, Ask]]:
    """Each question of the report with its chapter, and the function that answers it of a study."""
    for chapter, (_, modules) in CHAPTERS.items():
        for module in modules:
            for found in list(vars(module).values()):
                if inspect.isfunction(found) and found.__module__ == module.__name__:
                    yield from _asked(found, chapter)


def _asked(function: Callable[..., Finding], chapter: str) -> Iterator[tuple[str, str, Ask]]:
    first = (inspect.getdoc(function) or "").partition("\n")[0].rstrip(".")
    if function in BY_MEASURE:
        for measure, row in MEASURES.items():
            question = f"{row.title}: {first[0].lower()}{first[1:]}"
            yield question, chapter, partial(_of_measure, function, measure)
    signature = inspect.signature(function)
    if [*signature.parameters] == ["study"] and signature.return_annotation is Finding:
        yield first, chapter, function


def _of_measure(ask: Callable[..., Finding], measure: str, study: StudyReport) -> Finding:
    return ask(study, measure)


def answers(studies: Sequence[StudyReport], runs: PublishedReport | None = None) -> list[Answered]:
    """What each study says to each question that the shown one, the first, has an answer to.

    A finding that answers two questions alike is told once.
    """
    answered: list[Answered] = []
    for question, chapter, ask in questions():
        shown = ask(studies[0])
        if not shown.is_absent and shown not in [one.found[0] for one in answered]:
            printed = PUBLISHED[ask](runs) if runs and ask in PUBLISHED else None
            others = (ask(study) for study in studies[1:])
            answered.append(Answered(question, chapter, (shown, *others), printed))
    return answered


def _sentence(finding: Finding) -> str:
    return finding.headline or finding.text.partition(". ")[0].rstrip(".") + "."


def _wording(finding: Finding) -> str:
    """What is compared: the sentence without its numbers, which the table shows beside each other.

    Networks and units have other names in another study; the finding then says what it is about.
    """
    said = finding.same_as
    return NUMBER.sub("#", _sentence(finding)) if said is None else said


def value(finding: Finding, changed: bool = False) -> str:
    """A finding in a cell: its mean difference with the interval, else its sentence.

    changed : whether it says something else of another study, so that the sentence is needed too.
    """
    difference = finding.difference
    if finding.is_absent:
        return "–"
    if difference is None or np.isnan(difference.mean):
        return _sentence(finding)
    said = bound(difference.mean)
    if np.isfinite(difference.low):
        said += f" ({bound(difference.low)} to {bound(difference.high)})"
    return f"{_sentence(finding)} {said}" if changed else said


def intervals(answered: Sequence[Answered], names: Sequence[str]) -> pd.DataFrame:
    """The differences of all findings that rest on one: a row for each finding and study.

    ``said``, the finding in words; ``mean``, ``low`` and ``high`` as they are (the bounds ``nan``
    where so few images cannot bound them); ``at``, ``from`` and ``to`` on the finding's own scale,
    whose farthest end is at 1.
    """
    rows = []
    for place, answer in enumerate(answered):
        known = [(n, f, f.difference) for n, f in zip(names, answer.found, strict=True)]
        told = [(name, said, one) for name, said, one in known if one and np.isfinite(one.mean)]
        ends = [abs(end) for *_, one in told for end in (one.mean, one.low, one.high)]
        farthest = max((end for end in ends if np.isfinite(end)), default=0.0) or 1.0
        for name, said, one in told:
            low, high = (end if np.isfinite(end) else np.nan for end in (one.low, one.high))
            ends = [one.mean, low, high]
            scaled = [end / farthest for end in ends]
            head = (place, answer.question, name, _sentence(said), one.count)
            rows.append((*head, *ends, *scaled))
    columns = ["place", "question", "study", "said", "images", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "at", "from", "to"])


def replicated(answered: Sequence[Answered], names: Sequence[str], which: int) -> Finding:
    """Whether the findings of the shown study hold in another one.

    which : the place of the other among the ``names``; 0 is the shown one.
    """
    other, found = names[which], [answer.outcomes[which - 1] for answer in answered]
    decided = [one for one in found if one in DECIDED]
    undecided = found.count("undecided")
    if not decided:
        reason = f"No finding is decided both by {names[0]} and by {other}"
        return absent(f"{reason}, of {plural(undecided, 'finding')} that both test.")
    held, opposite, changed = (decided.count(one) for one in DECIDED)
    if opposite:
        verb = "reverses" if opposite == 1 else "reverse"
        headline = f"{plural(opposite, 'finding')} {verb} on {other}"
    elif not changed:
        headline = f"every finding that both decide holds on {other}"
    else:
        headline = f"no finding reverses on {other}, and {count(changed)} "
        headline += "change" if changed > 1 else "changes"
    text = f"Of {plural(len(decided), 'finding')} that both decide, {count(held)} "
    text += "holds. " if held == 1 else "hold. "
    stay = "stays" if undecided == 1 else "stay"
    more = f"{plural(undecided, 'more finding')} tested in both {stay} undecided in at least one"
    text += as_sentence(more)
    return Finding(as_sentence(headline), text, "mixed" if held < len(decided) else "holds")


def only_one_study(studies: Sequence[StudyReport]) -> Finding | None:
    """Why nothing can be compared where there is one study; ``None`` where there are more."""
    said = f"No study but {name_of(studies[0])} has been computed here yet, so whether its "
    return None if len(studies) > 1 else absent(f"{said}findings hold on another network is open.")

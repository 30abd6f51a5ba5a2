"""How findings say numbers: differences with their intervals, and the sentence for a direction."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from vitrine.measures.association import Association
from vitrine.measures.difference import Difference, Direction
from vitrine.report.findings.finding import Finding
from vitrine.report.text import number, p_text, percent, plural


def ways(sentence: str, few: str = "", undecided: str = "") -> Mapping[Direction, str]:
    """The headlines of a comparison from one sentence: "maps agree [more|less] on an image".

    In brackets is what holds where the first is larger, and where it is smaller. few : the headline
    with too few images. undecided : that without a decision, if not "Whether ... is undecided."
    """
    larger, smaller = (one_of(sentence, place) for place in (0, 1))
    return {
        "larger": as_sentence(larger),
        "smaller": as_sentence(smaller),
        "undecided": undecided or f"Whether {larger} is undecided.",
        "too few": few,
    }


def one_of(sentence: str, place: int) -> str:
    """A sentence with one of the words that it offers in brackets: "[all|some|no] maps agree"."""
    offer = r"\[([^|\]]*\|[^\]]*)\]"
    return re.sub(offer, lambda offered: offered[1].split("|")[place], sentence)


def as_sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def quantity(held: npt.ArrayLike) -> Literal["all", "some", "none"]:
    """How many of some truth values hold."""
    return "all" if np.all(held) else "some" if np.any(held) else "none"


def by_how_many(
    held: npt.ArrayLike, sentence: str, text: str, verdicts: Sequence[str] = ("all", "some", "none")
) -> Finding:
    """A finding on how many of some truth values hold: "[every|some|no] map ..." in this order."""
    place = ("all", "some", "none").index(quantity(held))
    return Finding(one_of(sentence, place), text, verdicts[place])


def rho_way(
    found: Association, sentence: str, undecided: str = "", level: float = 0.05
) -> tuple[str, Direction]:
    """What the test of a rank correlation says at a level: the headline of ``ways``, and which."""
    direction: Direction = "larger" if found.rho > 0 else "smaller"
    if found.p_value > level:
        direction = "undecided"
    return ways(sentence, undecided=undecided)[direction], direction


def which_way(
    difference: Difference, sentence: str, text: str, few: str = "", undecided: str = ""
) -> Finding:
    """A finding whose headline, of ``ways``, and verdict are what the test says of a difference.

    Where there are too few images for the test, the text says so.
    """
    direction = difference.direction
    if direction == "too few":
        why = f"So few images ({difference.count}) cannot tell a difference from chance."
        text = f"{text} {why}".strip()
    headline = ways(sentence, few, undecided)[direction]
    return Finding(headline, text, direction, difference=difference)


def spelt(difference: Difference, digits: int = 2) -> str:
    """A mean difference with its interval and p-value: "0.11 (95% interval 0.02 to 0.19, p = ...)".

    The interval belongs to the test at its corrected level, and says which that is. No number is
    rounded to zero that is not zero; it takes more digits.
    """
    if math.isnan(difference.mean):
        return "unknown"
    if not math.isfinite(difference.low):
        return f"{bound(difference.mean, digits)} ({plural(difference.count, 'image')}, no test)"
    share = percent(1 - difference.level, 0 if difference.level >= 0.05 else 1)
    low, high = (bound(end, digits) for end in (difference.low, difference.high))
    return (
        f"{bound(difference.mean, digits)} "
        f"({share} interval {low} to {high}, {p_text(difference.p_value)})"
    )


def rho_text(found: Association) -> str:
    """A rank correlation with its interval, where it has one, and p-value: "0.31 (95% ...)"."""
    ends = f"95% interval {bound(found.low)} to {bound(found.high)}, "
    return f"{number(found.rho)} ({ends * math.isfinite(found.low)}{p_text(found.p_value)})"


def bound(value: float, digits: int = 2) -> str:
    """A number on its own side of zero: 0.004 is "0.004" where 0.01 is "0.01".

    What is zero to six digits is zero.
    """
    known = next((n for n in range(digits, 7) if round(value, n)), digits)
    return number(value, known)


def span(values: npt.ArrayLike, as_percent: bool = False, digits: int = 2) -> str:
    """From the least to the greatest of some values: "31% to 58%", or "31%" where all are so."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return "unknown"
    ends = [
        percent(end) if as_percent else bound(end, digits) for end in (known.min(), known.max())
    ]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"

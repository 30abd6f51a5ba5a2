"""A verdict on a claim: a rule over comparisons, each of which is also its own sentence."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from vitrine.measures.difference import Difference, Direction
from vitrine.report.text import count, part_of

Verdict = Literal["confirmed", "in part", "refuted", "not decidable"]
VERDICTS: tuple[str, ...] = get_args(Verdict)

Outcome = bool | None
"""Whether a comparison came out as the claim says; ``None`` where it cannot tell."""

RULE = (
    "A claim is taken apart into what can be compared. It is *confirmed* if every comparison that "
    "can tell came out as it says, and *refuted* if none did. It holds *in part* if some did, or "
    "if all did and a part of it cannot be decided. It is *not decidable* if no comparison "
    "can tell."
)
"""The rule in words, as Markdown."""


@dataclass(frozen=True)
class Part:
    """What one comparison says of a claim.

    text : the comparison with its number, as sentences.
    outcomes : of it, one for each network, image or method compared; none where nothing could be.
    half : which part of the claim it is about; several comparisons may be about the same.
    """

    text: str
    outcomes: tuple[Outcome, ...] = (None,)
    half: str = ""


@dataclass(frozen=True)
class Judgement:
    """A verdict, and the comparisons that it follows from."""

    parts: tuple[Part, ...]

    @property
    def verdict(self) -> Verdict:
        """The word, by ``RULE``."""
        halves: dict[str, list[bool]] = {part.half: [] for part in self.parts}
        for part in self.parts:
            halves[part.half] += [found for found in part.outcomes if found is not None]
        decided = [found for half in halves.values() for found in half]
        if not decided:
            return "not decidable"
        if not any(decided):
            return "refuted"
        return "confirmed" if all(decided) and all(halves.values()) else "in part"

    @property
    def text(self) -> str:
        """What the verdict rests on, as sentences."""
        return " ".join(dict.fromkeys(part.text for part in self.parts))


def judgement(*parts: Part) -> Judgement:
    """A judgement of these comparisons."""
    return Judgement(parts)


def as_claimed(difference: Difference, claimed: Direction) -> Outcome:
    """Whether a difference has the claimed direction; ``None`` where the test cannot tell."""
    if difference.direction not in ("larger", "smaller"):
        return None
    return difference.direction == claimed


def told(outcomes: Iterable[Outcome], noun: str, several: str | None = None) -> str:
    """How many comparisons came out so: "in two of three networks (one undecided)"."""
    found = list(outcomes)
    so, undecided = (sum(outcome is way for outcome in found) for way in (True, None))
    said = f"in {part_of(so, len(found), noun, several)}"
    return f"{said} ({count(undecided)} undecided)" if undecided else said

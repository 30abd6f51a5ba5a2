"""A verdict on a claim, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Verdict = Literal["confirmed", "in part", "refuted", "not decidable"]
VERDICTS: tuple[str, ...] = get_args(Verdict)


@dataclass(frozen=True)
class Judgement:
    """What is said of a claim.

    verdict : in a word. words : as a sentence of the table. number : what both rest on.
    """

    verdict: Verdict
    words: str
    number: str

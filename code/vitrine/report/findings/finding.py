"""A finding: a verdict, its sentence and its number, all from one comparison."""

from dataclasses import dataclass

from IPython.display import Markdown

from vitrine.measures.difference import Difference
from vitrine.report.page import block, fenced
from vitrine.report.text import as_printed, safe


@dataclass(frozen=True)
class Finding:
    """What the tables of a study say to one question.

    headline : the answer as a sentence, or empty where the text needs none.
    text : the numbers it rests on, as sentences. Both are plain text, escaped where they are shown.
    verdict : the answer in a word, e.g. "larger", "undecided", "absent"; what tests and the ledger
        compare.
    see : where the report says more, as the title of a link and its address.
    difference : the comparison that it rests on, where it rests on one.
    same_as : what must be the same in another study for it to hold there, beside the verdict; where
        nothing is said, its sentence without numbers.
    """

    headline: str
    text: str = ""
    verdict: str = "described"
    see: tuple[str, str] | None = None
    difference: Difference | None = None
    same_as: str | None = None

    @property
    def is_absent(self) -> bool:
        """Whether the study has nothing that could decide."""
        return self.verdict == "absent"

    @property
    def markdown(self) -> str:
        """The finding as one paragraph of Markdown."""
        headline = f"**{safe(as_printed(self.headline))}**" if self.headline else ""
        see = f"See [{safe(self.see[0])}]({self.see[1]})." if self.see else ""
        return " ".join(part for part in (headline, safe(as_printed(self.text)), see) if part)

    def _repr_markdown_(self) -> str:
        return fenced(".vitrine-absent", self.markdown) if self.is_absent else self.markdown


class Absent(Exception):
    """Ends a finding that a study cannot have; it says why. See ``parts.needs``."""


def absent(reason: str) -> Finding:
    """A finding that a study cannot have, and why."""
    return Finding("", reason, "absent")


def absent_if(holds: object, reason: str) -> None:
    """End a finding that a study cannot have if something holds. See ``parts.needs``."""
    if holds:
        raise Absent(reason)


def findings(*found: Finding, numbered: bool = False) -> Markdown:
    """Findings as a list, without those that the study cannot have.

    Where none is left, the reasons of those, each once.
    """
    shown = [finding for finding in found if not finding.is_absent]
    if not shown:
        reasons = dict.fromkeys(finding.text for finding in found)
        return block(fenced(".vitrine-absent", " ".join(safe(reason) for reason in reasons)))
    mark = "1." if numbered else "-"
    return block("\n".join(f"{mark} {finding.markdown}" for finding in shown))

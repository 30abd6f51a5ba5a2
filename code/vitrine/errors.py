"""What went wrong, in the words of the person at the keyboard."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from pydantic import ValidationError

_Row = TypeVar("_Row")


class VitrineError(Exception):
    """An error that ends in one message: what was wrong, where, and what to do about it.

    Parameters
    ----------
    problem : what was wrong and where, as a sentence without a final full stop.
    remedy : what to do about it, as an imperative sentence without a final full stop.

    The command line prints both and exits with status 1; every other exception is a bug.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return " ".join(_sentence(part) for part in (self.problem, self.remedy) if part)


def _sentence(text: str) -> str:
    """With one full stop, whether or not what it quotes has brought one."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


class StudyError(VitrineError):
    """A study file, or a name in it, is not valid."""


class SourceError(VitrineError):
    """An outside file is missing, damaged or cannot be fetched."""


class FileMissing(SourceError):
    """A file is not where it must lie. Others may be missing too: see ``Missing``."""


class Unwritten(VitrineError):
    """A file or folder cannot be written: see ``vitrine.files.writing``."""


class ImageError(VitrineError):
    """An image cannot be decoded safely."""


class ResultsError(VitrineError):
    """A result store is missing, unfinished or not readable."""


class StudyNotRun(ResultsError):
    """A study has no results yet: whatever reads them would say the same."""


class DissectionError(VitrineError):
    """A network cannot be dissected as the study asks."""


class FrameError(VitrineError):
    """Two maps were compared that do not live in the same frame."""


class ChapterError(VitrineError):
    """A chapter has something that cannot be executed or rendered."""


class NotApplicable(VitrineError):
    """A method that a network cannot support; the message says why. What else is asked goes on."""


class Missing:
    """Goes on where a file is missing, so that all that are missing are named in one error."""

    def __init__(self) -> None:
        self._errors: list[FileMissing] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note that a file is missing, and go on behind the block."""
        try:
            yield
        except FileMissing as error:
            self._errors.append(error)

    def stop(self) -> None:
        """Raise ``FileMissing`` if anything is missing."""
        if self._errors:
            problems = dict.fromkeys(error.problem for error in self._errors)
            remedies = dict.fromkeys(error.remedy for error in self._errors)
            raise FileMissing("\n".join(problems), ". ".join(remedies)) from self._errors[0]


def wrong_values(error: Exception) -> str:
    """What is wrong with a file, in one line: of pydantic's findings each with its place."""
    if not isinstance(error, ValidationError):
        return str(error)
    found = [(".".join(map(str, one["loc"])), one["msg"], one["input"]) for one in error.errors()]
    return "; ".join(
        f"{place}: {problem}" + (f", not {given!r}" if isinstance(given, str | int | float) else "")
        for place, problem, given in found
    )


MANY = 24
"""Longer lists of names are not told in an error, only the closest names and their number."""


def suggestion(wrong: str, allowed: Sequence[str], sentence: str) -> str:
    """The allowed name that is closest to a wrong one as a question, then ``sentence`` and all.

    Of a long list the three closest names are told and how many there are.
    """
    if not allowed:
        return "None is known"
    close = _closest(wrong, allowed)
    if len(allowed) <= MANY:
        listed = f"{sentence} {', '.join(allowed)}"
        return f"Did you mean {close[0]!r}? {listed}" if close else listed
    if close:
        asked = " or ".join(repr(name) for name in close)
        return f"Did you mean {asked}? There are {len(allowed):,} in all"
    return f"{sentence} {', '.join(allowed[:3])}, … ({len(allowed):,} in all)"


def pick(
    rows: Mapping[str, _Row],
    name: str,
    kind: str,
    kinds: str = "",
    error: type[VitrineError] = StudyError,
) -> _Row:
    """The row of a table called ``name``. Raises ``error``, which tells of those there are.

    kind, kinds : what a row is called, and several of them.
    """
    if name not in rows:
        listed = suggestion(name, sorted(rows), f"The {kinds or f'{kind}s'} are")
        raise error(f"There is no {kind} {name!r}", listed)
    return rows[name]


def _closest(wrong: str, allowed: Sequence[str]) -> list[str]:
    """Up to three names that are spelt like a wrong one, or contain it, whatever their case."""
    spelt = {name.casefold(): name for name in reversed(allowed)}
    near = difflib.get_close_matches(wrong.casefold(), spelt, n=3)
    within = [key for key in spelt if len(wrong) > 2 and wrong.casefold() in key]
    return [spelt[key] for key in dict.fromkeys((*near, *reversed(within)))][:3]

"""What went wrong, in the words of the person at the keyboard."""

from __future__ import annotations


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


class PictureError(VitrineError):
    """A picture cannot be decoded safely."""


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

"""The steps of a run, and what a run tells about itself while it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from vitrine.results import Store, TaskResult


@dataclass(frozen=True)
class Step:
    """One unit of a run: a method on a picture, or on a whole probing set, with a classifier.

    file : the picture's file; for a dissection, the part of it: ``labels`` or ``probing``.
    variant : of the method, where a picture is explained by it in several ways.
    passes : the forward passes it takes, or work of that length, which is what time is measured in.
    parameters : everything that its result depends on besides the network and the picture.
    """

    classifier: str
    method: str
    file: str
    passes: int
    parameters: dict[str, Any]
    variant: str = ""

    @property
    def name(self) -> str:
        return f"{self.classifier}/{self.way}/{self.file}"

    @property
    def way(self) -> str:
        """The method with its variant, which is also the name of the folder of its results."""
        return f"{self.method}.{self.variant}" if self.variant else self.method


@dataclass(frozen=True)
class Progress:
    """What a run tells about itself while it goes.

    plan : called once with the forward passes that are left to do and the steps already done.
    step : called with the name of each step that begins.
    advance : called with the forward passes just done.
    """

    plan: Callable[[int, int, int], None] = lambda passes, todo, done: None
    step: Callable[[str], None] = lambda name: None
    advance: Callable[[int], None] = lambda passes: None


SILENT = Progress()
"""Tells nothing."""


class Part(Protocol):
    """A part of a study: its steps, computing each of them, and the tables that they make."""

    @property
    def steps(self) -> list[Step]:
        """The steps, in an order in which each finds what it builds on in the store."""

    @property
    def tables(self) -> set[str]:
        """The names of the tables that ``write_tables`` writes."""

    def seen(self, step: Step) -> tuple[str, str]:
        """The digests of the network and of the pictures that a step looks at."""

    def preparation(self, todo: list[Step]) -> int:
        """The work that comes before such steps, in forward passes."""

    def compute(self, step: Step, progress: Progress) -> TaskResult:
        """One step's result."""

    def write_tables(self, store: Store) -> None:
        """All tables from the stored tasks, so that they say what the store holds."""

    def provenance(self) -> dict[str, Any]:
        """What the study's provenance says about this part."""

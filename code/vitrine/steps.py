"""The steps of a run, and what a run tells about itself while it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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

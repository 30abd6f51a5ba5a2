"""vitrine: a living report on what image classifiers look at, and the software that makes it."""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """``explain``, with torch behind it, when it is asked for: building the site needs no torch."""
    if name == "explain":
        return import_module("vitrine.notebook").explain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The names of the ways in which a method explains a picture again."""

from __future__ import annotations

from vitrine import study as studies

SECOND = "second"
STABILITY = "stability"
FAITHFULNESS, SENSITIVITY, SANITY, SEEDS = "faithfulness", "sensitivity", "sanity", "seeds"
RULES = {"positive": True, "both signs": False}
"""Which superpixels are kept, and whether those that speak against the class are left out."""


def segmentation_key(segmentation: studies.Segmentation) -> str:
    """A segmentation and its parameters as a name: ``"slic-50-10-1"``."""
    values = segmentation.model_dump(exclude={"method"}).values()
    return "-".join([segmentation.method, *(f"{value:g}" for value in values)])


def searched(segmentation: studies.Segmentation) -> str:
    """The variant of LIME that one segmentation of a search is."""
    return f"search-{segmentation_key(segmentation)}"


def at_layer(layer: str) -> str:
    """The variant of a class activation map at a layer."""
    return f"at-{layer}"

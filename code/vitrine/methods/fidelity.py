"""How a class's probability holds when only some superpixels are shown, or all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitrine.data.images import Pixels
from vitrine.errors import StudyError
from vitrine.methods.perturbation import mask, sample_probabilities
from vitrine.methods.superpixels import Segments
from vitrine.models.classifier import Classifier, preserved_state
from vitrine.models.inference import PLAIN, InferenceOptions


@dataclass(frozen=True)
class Fidelity:
    """Probability of a class for the whole image, for what was kept alone, and without that."""

    p_original: float
    p_kept: float
    p_removed: float


def fidelity(
    classifier: Classifier,
    crop: Pixels,
    segments: Segments,
    kept: Sequence[int],
    target: int,
    settings: InferenceOptions = PLAIN,
) -> Fidelity:
    """How the class's probability holds when only superpixels ``kept`` are shown, or all others.

    Hidden superpixels have their mean colour, as in LIME itself. Raises ``StudyError`` for a
    superpixel or class that does not exist.
    """
    return fidelities(classifier, crop, segments, [kept], target, settings)[0]


def fidelities(
    classifier: Classifier,
    crop: Pixels,
    segments: Segments,
    sets: Sequence[Sequence[int]],
    target: int,
    settings: InferenceOptions = PLAIN,
) -> list[Fidelity]:
    """As ``fidelity`` for several sets of superpixels, in shared batches."""
    count = int(segments.max()) + 1
    wrong = [index for kept in sets for index in kept if not 0 <= index < count]
    if wrong:
        raise StudyError(
            f"There is no superpixel {wrong[0]}", f"The superpixels are 0 to {count - 1}"
        )
    check_target(classifier, target)
    shown = np.ones((1 + 2 * len(sets), count), dtype=np.int64)
    for row, kept in enumerate(sets):
        shown[2 * row + 1] = 0
        shown[2 * row + 1, list(kept)], shown[2 * row + 2, list(kept)] = 1, 0
    with preserved_state(classifier.network):
        (found,) = sample_probabilities(
            classifier, [mask(classifier, crop, segments)], [shown], [target], settings
        )
    whole, rest = float(found[0]), found[1:].reshape(-1, 2)
    return [Fidelity(whole, float(kept), float(removed)) for kept, removed in rest]


def check_target(classifier: Classifier, target: int) -> None:
    """Raises ``StudyError`` for a class that the classifier does not know."""
    if not 0 <= target < len(classifier.categories):
        raise StudyError(
            f"There is no class {target}",
            f"The classes of {classifier.title} are 0 to {len(classifier.categories) - 1}",
        )

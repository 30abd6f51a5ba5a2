"""How a class's probability holds when only some superpixels are shown, or all others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitrine.errors import StudyError
from vitrine.methods.perturbation import MaskedImage, sample_probabilities
from vitrine.models.classifier import Classifier
from vitrine.models.inference import PLAIN, InferenceOptions


@dataclass(frozen=True)
class Fidelity:
    """Probability of a class for the whole image, for what was kept alone, and without that."""

    p_original: float
    p_kept: float
    p_removed: float


def fidelities(
    classifier: Classifier,
    masked: MaskedImage,
    sets: Sequence[Sequence[int]],
    settings: InferenceOptions = PLAIN,
) -> list[Fidelity]:
    """How the class's probability holds when only one set of superpixels is shown, or all others.

    sets : of superpixels, which share batches. Hidden ones have their mean colour, as in LIME
    itself. Raises ``StudyError`` for a superpixel that does not exist.
    """
    count = masked.count
    wrong = [index for kept in sets for index in kept if not 0 <= index < count]
    if wrong:
        raise StudyError(
            f"There is no superpixel {wrong[0]}", f"The superpixels are 0 to {count - 1}"
        )
    shown = np.ones((1 + 2 * len(sets), count), dtype=np.int64)
    for row, kept in enumerate(sets):
        shown[2 * row + 1] = 0
        shown[2 * row + 1, list(kept)], shown[2 * row + 2, list(kept)] = 1, 0
    (found,) = sample_probabilities(classifier, [masked], [shown], settings)
    whole, rest = float(found[0]), found[1:].reshape(-1, 2)
    return [Fidelity(whole, float(kept), float(removed)) for kept, removed in rest]

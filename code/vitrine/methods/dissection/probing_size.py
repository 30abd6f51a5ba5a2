"""How the labels of units depend on the size of the probing set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vitrine.errors import StudyError
from vitrine.methods.dissection.activations import Activations, activations_of
from vitrine.methods.dissection.labels import Labels, label
from vitrine.methods.dissection.similarity import Matches, Similarity


@dataclass(frozen=True)
class Draw:
    """The labels that a part of the probing set gives.

    rule : ``"fixed"`` where as many of the strongest images are looked at as for the whole set
        (or all there are), ``"share"`` where it is the same share of the set.
    top : how many that are.
    similarity, std : mean and standard deviation of the units' greatest similarity.
    stable : share of units whose label is that of the whole probing set.
    concepts : how many different labels there are.

    All are of the units that are silent neither here nor for the whole set.
    """

    rule: str
    size: int
    draw: int
    top: int
    similarity: float
    std: float
    stable: float
    concepts: int


def probing_rounds(sizes: Sequence[int], draws: int, images: int, rules: int) -> int:
    """How many times the units of a layer are labelled by ``probing_effect``.

    Raises ``StudyError`` where every size is larger than the probing set.
    """
    if min(sizes) > images:
        raise StudyError(
            f"The smallest part of the probing set is to have {min(sizes)} images, and the whole "
            f"has {images}",
            "Lower dissection.probing.sizes, or take a larger probing set",
        )
    return 1 + rules * sum(draws if size < images else 0 for size in sizes if size <= images)


def rules_of(similarity: Similarity) -> tuple[str, ...]:
    """Only a similarity with a number of strongest images can keep that number or its share."""
    return ("fixed", "share") if "top_k" in similarity.parameters else ("fixed",)


def probing_effect(
    activations: Activations,
    matches: Matches,
    similarity: Similarity,
    sizes: Sequence[int],
    draws: int,
    units: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> list[Draw]:
    """Label a seeded sample of at most ``units`` units from random parts of the probing set.

    All draws look at the same units, and both rules at the same parts. The whole set, which there
    is only one draw of, is what the labels of the parts are compared with.
    """
    assert activations.everything is not None
    generator = np.random.default_rng(seed)
    everything, count = activations.everything[0], len(matches.images)
    sample = np.sort(generator.permutation(everything.shape[1])[:units])
    everything = everything[:, torch.from_numpy(sample)]
    whole = _label_part(everything, matches, similarity)
    progress()
    found = []
    for size in [size for size in sizes if size <= count]:
        for draw in range(draws if size < count else 1):
            part = torch.from_numpy(np.sort(generator.permutation(count)[:size]))
            for rule in rules_of(similarity):
                scaled = _scaled(similarity, rule, size, count)
                if size == count:
                    labels = whole
                else:
                    some = replace(matches, images=matches.images[part])
                    labels = _label_part(everything[part], some, scaled)
                    progress()
                found.append(_draw(rule, size, draw, scaled.top_of(size), labels, whole))
    return found


def _label_part(everything: Tensor, matches: Matches, similarity: Similarity) -> Labels:
    images = len(matches.images)
    wanted = max(1, similarity.top_of(images))
    kept = activations_of(everything, torch.arange(images), wanted, everything=True)
    return label(kept, matches, similarity, count=1)


def _scaled(similarity: Similarity, rule: str, size: int, images: int) -> Similarity:
    """The similarity of as many strongest images as the rule gives for ``size`` images."""
    if "top_k" not in similarity.parameters:
        return similarity
    top = similarity.parameters["top_k"]
    scaled = min(top, size) if rule == "fixed" else max(1, round(top * size / images))
    return replace(similarity, parameters=similarity.parameters | {"top_k": scaled})


def _draw(rule: str, size: int, draw: int, top: int, labels: Labels, whole: Labels) -> Draw:
    known = ~(labels.silent | whole.silent)
    concepts, similarities = labels.concepts[known, 0], labels.similarities[known, 0]
    return Draw(
        rule,
        size,
        draw,
        top,
        float(similarities.mean()),
        float(similarities.std(correction=0)),
        float((concepts == whole.concepts[known, 0]).float().mean()),
        len(set(concepts.tolist())),
    )

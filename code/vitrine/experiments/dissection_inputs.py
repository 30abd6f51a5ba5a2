"""What a dissection starts from: what its study names, its concepts and its probing set."""

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from vitrine.data import image_sets, sources
from vitrine.data.concepts import CONCEPT_LISTS, Concepts, read_concepts
from vitrine.data.images import Image, pixels_digest, read_image
from vitrine.errors import StudyError
from vitrine.experiments.dissection_tables import RUNNERS_UP
from vitrine.methods.dissection import activations as dissection
from vitrine.methods.dissection import embeddings, encoders
from vitrine.methods.dissection.embeddings import Embeddings, Encoder
from vitrine.methods.dissection.similarity import pick_similarity
from vitrine.project import Project
from vitrine.study import sections

PROBING_SET = "dissection.images"
MOST_PARTS = 64
"""Into so many parts, of whole batches, a probing set is divided."""


def check(project: Project, wanted: sections.Dissection) -> None:
    """Stop if a study's dissection names what does not exist. Raises ``StudyError``."""
    similarity = pick_similarity(wanted.similarity, **wanted.parameters)
    dissection.pick_pooling(wanted.pooling)
    encoder = wanted.encoder
    encoders.pick_encoder(encoder.name).check(project, encoder)
    dissected = [one.name for one in wanted.classifiers]
    if encoder.name == "conse" and encoder.probabilities in dissected:
        raise StudyError(
            f"The encoder places images by the predictions of {encoder.probabilities!r}, which "
            "is dissected itself",
            "Set dissection.encoder.probabilities to another classifier",
        )
    if wanted.concepts not in CONCEPT_LISTS:
        concepts_of(project, wanted)
    smallest = wanted.probing.sizes[0] if wanted.probing else 0
    if smallest and "top_fraction" in similarity.parameters and similarity.top_of(smallest) < 2:
        raise StudyError(
            f"Of {smallest} images the similarity {wanted.similarity!r} looks at fewer than two, "
            "which have no order",
            "Raise dissection.probing.sizes or dissection.parameters.top_fraction",
        )


def files_of(project: Project, wanted: sections.Dissection) -> tuple[str, ...]:
    """The files of the probing set, in the order of its positions. Raises ``StudyError``."""
    return image_sets.files_of(project, wanted.images, PROBING_SET)


def image_paths(
    project: Project, wanted: sections.Dissection, report: sources.Report = lambda _: None
) -> dict[str, Path]:
    """The probing set's images by file name: fetched from their source, or in their folder."""
    return image_sets.paths_of(project, wanted.images, files_of(project, wanted), report)


def concepts_of(project: Project, wanted: sections.Dissection) -> Concepts:
    """The concept list that a study names. Raises ``StudyError`` for one that is too short."""
    concepts = read_concepts(project, wanted.concepts)
    if len(concepts.words) <= RUNNERS_UP:
        raise StudyError(
            f"The concept list {wanted.concepts!r} has {len(concepts.words)} concepts, and a label "
            f"with its runners-up takes {RUNNERS_UP + 1}",
            "Take a longer list",
        )
    return concepts


class Probing:
    """The images of a probing set, to be encoded or passed through a network part by part."""

    def __init__(
        self, project: Project, paths: dict[str, Path], batch: int, digests: list[str]
    ) -> None:
        self.project, self.paths, self.batch = project, paths, batch
        self.files, self._digests = tuple(paths), digests

    @property
    def digests(self) -> list[str]:
        """The file and the digest of every image."""
        if not self._digests:
            self._digests += [f"{file} {pixels_digest(path)}" for file, path in self.paths.items()]
        return self._digests

    @property
    def digest(self) -> str:
        """That of the whole set."""
        return hashlib.sha256("\n".join(self.digests).encode()).hexdigest()

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First position and end of each part; batches are the same however it is divided."""
        count = len(self.files)
        step = self.batch * -(-count // (self.batch * MOST_PARTS))
        return [(start, min(start + step, count)) for start in range(0, count, step)]

    def images(self, start: int, stop: int) -> Iterator[tuple[int, Image]]:
        """Images with their positions, read when they are asked for."""
        for place in range(start, stop):
            yield place, read_image(self.paths[self.files[place]])

    def encoded(self, encoder: Encoder, start: int, stop: int) -> Embeddings:
        """The embeddings of some images, one batch after the other."""
        ends = [*range(start, stop, self.batch), stop]
        batches = ([image for _, image in self.images(*span)] for span in pairwise(ends))
        return np.concatenate([encoder.encode_images(batch) for batch in batches])

    def embeddings(self, encoder: Encoder) -> Embeddings | None:
        """Those of all images, if they are in the cache."""
        return embeddings.read(self.project, self._known(encoder), len(self.files))

    def keep(self, encoder: Encoder, found: Embeddings) -> None:
        """Put them there. Raises ``Unwritten`` where it cannot be written."""
        embeddings.write(self.project, self._known(encoder), found)

    def _known(self, encoder: Encoder) -> list[str]:
        return [encoder.identity, "images", *self.digests]

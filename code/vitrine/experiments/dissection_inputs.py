"""What a dissection starts from: what its study names, its concepts and its probing set."""

from __future__ import annotations

from pathlib import Path

from vitrine.data import image_sets, sources
from vitrine.data.concepts import CONCEPT_LISTS, Concepts, read_concepts
from vitrine.errors import StudyError
from vitrine.experiments.dissection_tables import RUNNERS_UP
from vitrine.methods.dissection import activations as dissection
from vitrine.methods.dissection import encoders
from vitrine.methods.dissection.similarity import parameters_of, pick_similarity
from vitrine.project import Project
from vitrine.study import sections


def check(project: Project, wanted: sections.Dissection) -> None:
    """Stop if a study's dissection names what does not exist. Raises ``StudyError``."""
    row = pick_similarity(wanted.similarity)
    parameters = parameters_of(wanted.similarity, wanted.parameters)
    dissection.pick_pooling(wanted.pooling)
    encoder = wanted.encoder
    encoders.pick_encoder(encoder.name).check(project, encoder)
    if encoder.name == "conse" and encoder.probabilities in [
        one.name for one in wanted.classifiers
    ]:
        raise StudyError(
            f"The encoder places images by the predictions of {encoder.probabilities!r}, which "
            "is dissected itself",
            "Set dissection.encoder.probabilities to another classifier",
        )
    if wanted.concepts not in CONCEPT_LISTS:
        concepts_of(project, wanted)
    if wanted.probing and "top_fraction" in parameters:
        smallest = wanted.probing.sizes[0]
        if row.top(smallest, **parameters) < 2:
            raise StudyError(
                f"Of {smallest} images the similarity {wanted.similarity!r} looks at fewer than "
                "two, which have no order",
                "Raise dissection.probing.sizes or dissection.parameters.top_fraction",
            )


def files_of(project: Project, wanted: sections.Dissection) -> tuple[str, ...]:
    """The files of the probing set, in the order of its positions. Raises ``StudyError``."""
    return image_sets.files_of(project, wanted.images, "dissection.images")


def image_paths(
    project: Project, wanted: sections.Dissection, report: sources.Report = lambda _: None
) -> dict[str, Path]:
    """The probing set's images by file name: fetched from their source, or in their folder."""
    files = files_of(project, wanted)
    return image_sets.paths_of(project, wanted.images, files, report)


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

"""What a dissection needs from outside, looked at and brought before work starts."""

from pathlib import Path

from vitrine.data import concept_categories as kinds
from vitrine.data import image_sets, sources
from vitrine.data.concepts import CONCEPT_LISTS, Concepts, concept_file, read_concepts
from vitrine.errors import Missing, StudyError
from vitrine.experiments.base import (
    Experiment,
)
from vitrine.experiments.dissection_tables import (
    RUNNERS_UP,
)
from vitrine.methods.dissection import activations as dissection
from vitrine.methods.dissection import encoders
from vitrine.methods.dissection.similarity import pick_similarity
from vitrine.project import Project
from vitrine.study import Study, sections

PROBING_SET = "dissection.images"


def probing_paths(
    project: Project, wanted: sections.Dissection, report: sources.Report = lambda _: None
) -> dict[str, Path]:
    """The probing set's images by file name: fetched from their source, or in their folder."""
    files = image_sets.files_of(project, wanted.images, PROBING_SET)
    return image_sets.paths_of(project, wanted.images, files, report)


def concept_list(project: Project, wanted: sections.Dissection) -> Concepts:
    """The concept list that a study names. Raises ``StudyError`` for one that is too short."""
    concepts = read_concepts(project, wanted.concepts)
    if len(concepts.words) <= RUNNERS_UP:
        raise StudyError(
            f"The concept list {wanted.concepts!r} has {len(concepts.words)} concepts, and a label "
            f"with its runners-up takes {RUNNERS_UP + 1}",
            "Take a longer list",
        )
    return concepts


class DissectionInputs(Experiment):
    """The probing set, the concepts, the encoder and the networks that a study names."""

    SECTION = "dissection"
    wanted: sections.Dissection

    @classmethod
    def check(cls, project: Project, study: Study) -> None:
        wanted: sections.Dissection = cls.section(study)
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
            concept_list(project, wanted)
        smallest = wanted.probing.sizes[0] if wanted.probing else 0
        if smallest and "top_fraction" in similarity.parameters and similarity.top_of(smallest) < 2:
            raise StudyError(
                f"Of {smallest} images the similarity {wanted.similarity!r} looks at fewer than "
                "two, which have no order",
                "Raise dissection.probing.sizes or dissection.parameters.top_fraction",
            )

    @classmethod
    def fetch(cls, project: Project, study: Study, report: sources.Report) -> None:
        """Bring the probing set, the concept list and what decides about their kinds."""
        wanted: sections.Dissection = cls.section(study)
        missing = Missing()
        with missing.noted():
            probing_paths(project, wanted, report)
        with missing.noted():
            report(concept_file(project, wanted.concepts).name)
        with missing.noted():
            kinds.load_kinds(project)
            report("kinds of concepts")
        with missing.noted():
            encoders.pick_encoder(wanted.encoder.name).load(project, wanted.encoder, "cpu")
            report("encoder")
        missing.stop()

    @classmethod
    def fetched_files(cls, project: Project, study: Study) -> int:
        wanted: sections.Dissection = cls.section(study)
        if wanted.images.source is None:
            return 3
        return 3 + len(image_sets.files_of(project, wanted.images, PROBING_SET))

    @classmethod
    def methods(cls, study: Study) -> list[dict[str, str]]:
        wanted: sections.Dissection = cls.section(study)
        row = pick_similarity(wanted.similarity)
        encoder = encoders.pick_encoder(wanted.encoder.name)
        return [
            {"name": "dissection", "title": f"CLIP-Dissect, {row.title}", "paper": row.paper},
            {"name": wanted.encoder.name, "title": encoder.title, "paper": encoder.paper},
        ]

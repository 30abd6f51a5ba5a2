"""The experiments of a study, and what they share: its images, networks and store."""

from dataclasses import replace
from pathlib import Path

from vitrine.data import image_sets, sources
from vitrine.data.images import distinct_names, pixels_digest, read_image
from vitrine.experiments.agreement import AgreementExperiment
from vitrine.experiments.base import Context, Experiment
from vitrine.experiments.evaluation import EvaluationExperiment
from vitrine.experiments.large_sample import LargeSampleExperiment
from vitrine.experiments.lime_analysis import LimeExperiment
from vitrine.experiments.maps import MapsExperiment, map_tasks
from vitrine.experiments.network_dissection import DissectionExperiment
from vitrine.experiments.region_occlusion import RegionOcclusionExperiment
from vitrine.models.own import architecture_of
from vitrine.models.registry import load_classifier
from vitrine.project import Project
from vitrine.store import Store
from vitrine.study import Study

EXPERIMENTS: tuple[type[Experiment], ...] = (
    MapsExperiment,
    LimeExperiment,
    EvaluationExperiment,
    AgreementExperiment,
    LargeSampleExperiment,
    RegionOcclusionExperiment,
    DissectionExperiment,
)
"""In an order in which each finds what it builds on in the store."""


def asked(study: Study) -> list[type[Experiment]]:
    """The experiments that a study asks for, in order."""
    return [one for one in EXPERIMENTS if one.section(study) is not None]


def image_paths(
    project: Project, study: Study, report: sources.Report = lambda _: None
) -> dict[str, Path]:
    """The study's images by file name: fetched from their source, or in their folder."""
    return image_sets.paths_of(project, study.images, study.images.all, report)


def context_of(project: Project, study: Study, device: str) -> Context:
    """What the experiments share, with all images and networks read."""
    paths = image_paths(project, study)
    names = distinct_names(tuple(paths))
    images = {file: replace(read_image(path), name=names[file]) for file, path in paths.items()}
    networks = {
        row.name: load_classifier(
            project, row.name, row.weights, row.seed, device, architecture_of(study, row.name)
        ).stating(row.channel_axes)
        for row in study.networks
    }
    digests = {file: pixels_digest(path) for file, path in paths.items()}
    store, maps = Store(project, study.name), map_tasks(study)
    return Context(project, study, networks, images, digests, store, device, maps)

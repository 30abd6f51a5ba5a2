"""ImageNet's classes by their WordNet ids: two of them share a name, none shares an id."""

from vitrine.data import sources
from vitrine.project import Project

SAMPLES = "imagenet-sample-images"


def class_indices(project: Project) -> dict[str, int]:
    """The index of each class of ImageNet by its WordNet id. Raises ``SourceError``.

    The classes are in the order of their ids, and the sample images hold one file of each,
    ``n01440764_tench.JPEG``.
    """
    files = sorted(sources.pick_source(project, SAMPLES).digests)
    return {file.split("_")[0]: index for index, file in enumerate(files)}

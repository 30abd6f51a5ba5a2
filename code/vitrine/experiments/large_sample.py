"""A large sample: how far LIME and class activation maps agree on many images.

The maps are not kept; a task computes those of a chunk of images, compares them, and
stores the numbers.
"""

import hashlib
from collections.abc import Callable
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrine.arrays import Values
from vitrine.data import image_sets, sources
from vitrine.data.images import Frame, Pixels, image_name, pixels_digest, read_image
from vitrine.data.wordnet import class_indices
from vitrine.errors import StudyError
from vitrine.experiments.base import Context, Experiment, Progress, Row, Rows, Task
from vitrine.measures.agreement import ious, matched_and_mismatched, standard_ranks
from vitrine.measures.image_complexity import edge_density, grey_entropy
from vitrine.measures.thresholds import REGION_RULES
from vitrine.methods import cam, lime
from vitrine.methods.method import Query
from vitrine.methods.perturbation import mask
from vitrine.methods.superpixels import superpixels
from vitrine.models.classifier import Classifier
from vitrine.models.own import architecture_of
from vitrine.project import Project
from vitrine.store import TaskResult
from vitrine.study import Study, sections

REVISION = 1
"""Raised whenever this module computes something else from the same parameters."""

TABLES = {
    "large_sample": {
        "classifier": "key of the classifier",
        "image": "file of the image in its set",
        "correct": "whether the most probable class is the true one; empty where that is not known",
        "target": "index of the most probable class",
        "edges": "share of the frame that lies on an edge (Canny)",
        "entropy": "entropy of the frame's levels of brightness, in bits",
        "superpixels": "number of superpixels of the study's segmentation for LIME",
        "probability": "probability of the most probable class",
        "r_squared": "weighted R² of LIME's local model",
    },
    "large_sample_iou": {
        "classifier": "key of the classifier",
        "image": "file of the image in its set",
        "first": "key of the first method",
        "second": "key of the second method",
        "iou": "intersection over union of the two regions",
        "iou_other_images": "mean IoU of the first region with the second ones of its batch",
        "rho": "Spearman's rank correlation of the two maps over all pixels",
        "rho_other_images": "mean of that with the second maps of its batch",
    },
}


NUMBERS = ("target", "edges", "entropy", "superpixels", "probability", "r_squared")
AGREEMENTS = ("iou", "iou_other_images", "rho", "rho_other_images")


def drawn_files(project: Project, study: Study, wanted: sections.LargeSample) -> tuple[str, ...]:
    """The files of the images that are drawn. Raises ``StudyError`` for too few.

    A larger sample of the same seed begins with the smaller one.
    """
    known = image_sets.files_of(project, wanted.images, "large_sample.images")
    others = [file for file in known if file not in study.images.files]
    if len(others) < wanted.sample:
        raise StudyError(
            f"The large sample asks for {wanted.sample} images, and there are {len(others)} "
            "besides those that the study explains",
            "Lower large_sample.sample",
        )
    order = np.random.default_rng(wanted.seed).permutation(len(others))
    return tuple(others[place] for place in order[: wanted.sample])


class LargeSampleExperiment(Experiment):
    """LIME and class activation maps on many images, ready to be computed.

    Raises ``StudyError``, ``SourceError`` or ``ImageError`` when something is wrong with its
    images.
    """

    SECTION = "large_sample"
    TABLES = TABLES
    wanted: sections.LargeSample

    @classmethod
    def check(cls, project: Project, study: Study) -> None:
        wanted: sections.LargeSample = cls.section(study)
        for method in wanted.methods:
            if cam.pick_cam_method(method).passes_a_channel:
                raise StudyError(
                    f"{cam.CAM_METHODS[method].title} asks the network once for each feature map, "
                    "too often for a large sample",
                    f"Remove {method!r} from large_sample.methods",
                )
        drawn_files(project, study, wanted)

    @classmethod
    def fetch(cls, project: Project, study: Study, report: sources.Report) -> None:
        wanted: sections.LargeSample = cls.section(study)
        image_sets.paths_of(project, wanted.images, drawn_files(project, study, wanted), report)

    @classmethod
    def fetched_files(cls, project: Project, study: Study) -> int:
        wanted: sections.LargeSample = cls.section(study)
        return wanted.sample if wanted.images.source is not None else 0

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        assert self.study.lime is not None
        self.lime, self.classifiers = self.study.lime, context.classifiers
        files = drawn_files(context.project, self.study, self.wanted)
        self.paths = image_sets.paths_of(context.project, self.wanted.images, files)
        self.chunks = {
            f"{start:04d}": files[start : start + self.wanted.batch]
            for start in range(0, len(files), self.wanted.batch)
        }
        self.methods_compared = ["lime", *self.wanted.methods]

    @cached_property
    def image_digests(self) -> dict[str, str]:
        return {file: pixels_digest(path) for file, path in self.paths.items()}

    @cached_property
    def tasks(self) -> list[Task]:
        return [
            Task(name, "large_sample", chunk, self._passes(name, len(files)), self._known)
            for name in self.classifiers
            for chunk, files in self.chunks.items()
        ]

    def _passes(self, classifier: str, images: int) -> int:
        channels = architecture_of(self.study, classifier).channels
        maps = sum(
            cam.pick_cam_method(name).expected_passes(channels) for name in self.wanted.methods
        )
        return images * (1 + maps + self.wanted.samples)

    @property
    def _known(self) -> dict[str, Any]:
        """Everything that a step's result depends on besides the network and the images."""
        own = self.wanted.model_dump(
            mode="json", include={"methods", "samples", "segmentation", "share"}
        )
        return own | {
            "lime": self.lime.model_dump(mode="json", include={"kernel_width", "seed"}),
            "lime_segmentation": self.lime.segmentation.model_dump(mode="json"),
            "speed": self.study.speed.model_dump() if self.study.speed else None,
            "revision": [
                REVISION,
                lime.REVISION,
                *(cam.pick_cam_method(name).revision for name in self.wanted.methods),
            ],
        }

    def digests(self, task: Task) -> tuple[str, str]:
        digests = "\n".join(f"{file} {self.image_digests[file]}" for file in self.chunks[task.file])
        images = hashlib.sha256(digests.encode()).hexdigest()
        return self.classifiers[task.classifier].digest, images

    def describe(self, task: Task) -> str:
        files = self.chunks[task.file]
        return f"large sample · {len(files)} images from {files[0]}"

    # --- one task --------------------------------------------------------------------------------

    def compute(self, task: Task, progress: Progress) -> TaskResult:
        """A chunk of images: what is in them, and how far the maps of each two methods agree."""
        classifier, files = self.classifiers[task.classifier], self.chunks[task.file]
        images = [read_image(self.paths[file]) for file in files]
        crops = [classifier.crop(image) for image in images]
        probabilities = np.concatenate([classifier.probabilities(crop[None]) for crop in crops])
        progress.advance(len(files))
        targets = probabilities.argmax(axis=1)
        frames = [classifier.frame(image) for image in images]
        maps, r_squared = self._maps(classifier, crops, frames, targets.tolist(), progress.advance)
        return TaskResult(
            {
                "target": targets.astype(np.int64),
                "probability": probabilities.max(axis=1),
                "edges": np.array([edge_density(crop) for crop in crops]),
                "entropy": np.array([grey_entropy(crop) for crop in crops]),
                "superpixels": np.array([self._pieces(crop) for crop in crops]),
                "r_squared": r_squared,
                **self._agreement(maps),
            },
            {"files": list(files), "methods": self.methods_compared},
        )

    def _pieces(self, crop: np.ndarray) -> int:
        """How many superpixels the study's own segmentation finds; 1 where it finds no border."""
        try:
            return int(superpixels(crop, self.lime.segmentation, self.lime.seed).max()) + 1
        except StudyError:
            return 1

    def _maps(
        self,
        classifier: Classifier,
        crops: list[Pixels],
        frames: list[Frame],
        targets: list[int],
        advance: Callable[[int], None],
    ) -> tuple[dict[str, list[Values]], npt.NDArray[np.float64]]:
        """The maps of each method by image, and the fit of LIME's models."""
        parameters = self.lime.model_copy(update={"samples": self.wanted.samples})
        segments = (superpixels(crop, self.wanted.segmentation, self.lime.seed) for crop in crops)
        masked = [*map(partial(mask, classifier), crops, segments, targets)]
        around = lime.neighbourhoods(classifier, masked, parameters, advance, self.study.speed)
        models = [lime.linear_model(each, parameters.kernel_width) for each in around]
        maps = {
            "lime": [
                model.weights[image.segments].astype(np.float32)
                for model, image in zip(models, masked, strict=True)
            ]
        }
        for method in self.wanted.methods:
            maps[method] = [
                cam.class_activation(
                    Query(method, classifier, crop, frame, target, progress=advance)
                ).heatmap.values
                for crop, frame, target in zip(crops, frames, targets, strict=True)
            ]
        return maps, np.array([model.r_squared for model in models])

    def _agreement(self, maps: dict[str, list[Values]]) -> dict[str, np.ndarray]:
        """For each pair of methods and image: ``[pairs, images]``, missing for a blank map."""
        region, share = REGION_RULES["share"].region, self.wanted.share
        regions = {
            name: np.stack([region(values, share).astype(np.float32) for values in rows])
            for name, rows in maps.items()
        }
        ranks = {
            name: np.stack([standard_ranks(row) for row in rows]) for name, rows in maps.items()
        }
        found = [
            (
                *matched_and_mismatched(ious(regions[first], regions[second])),
                *matched_and_mismatched(ranks[first] @ ranks[second].T),
            )
            for first, second in combinations(self.methods_compared, 2)
        ]
        columns = zip(AGREEMENTS, zip(*found, strict=True), strict=True)
        return {name: np.stack(rows) for name, rows in columns}

    # --- tables ----------------------------------------------------------------------------------

    def rows(self) -> Rows:
        for task in self.tasks:
            result = self.store.read_task(task.name)
            yield "large_sample", self._image_rows(task.classifier, result)
            yield "large_sample_iou", _pair_rows(task.classifier, result)

    def _image_rows(self, classifier: str, result: TaskResult) -> list[Row]:
        values = result.arrays
        return [
            {
                "classifier": classifier,
                "image": file,
                "correct": self._is_correct(classifier, file, int(values["target"][place])),
                **{name: values[name][place].item() for name in NUMBERS},
            }
            for place, file in enumerate(result.facts["files"])
        ]

    def _is_correct(self, classifier: str, file: str, target: int) -> bool | str:
        """Whether the prediction is the class of the file's name; "" where that is not known."""
        wnid = image_name(Path(file).name)[1]
        if not wnid or not self.classifiers[classifier].wordnet:
            return ""
        return self._classes.get(wnid) == target

    @cached_property
    def _classes(self) -> dict[str, int]:
        return class_indices(self.context.project)


def _pair_rows(classifier: str, result: TaskResult) -> list[Row]:
    return [
        {"classifier": classifier, "image": file, "first": first, "second": second}
        | {name: round(float(result.arrays[name][row, place]), 6) for name in AGREEMENTS}
        for row, (first, second) in enumerate(combinations(result.facts["methods"], 2))
        for place, file in enumerate(result.facts["files"])
    ]

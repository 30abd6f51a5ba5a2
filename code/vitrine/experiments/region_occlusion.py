"""Region occlusion: what a network says when outlined regions are hidden, or shown alone."""

import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.filters import gaussian

from vitrine.data.images import Pixels
from vitrine.data.outlines import load_outlines, load_regions
from vitrine.data.wordnet import class_indices
from vitrine.errors import StudyError
from vitrine.experiments.base import OF_IMAGE, Context, Experiment, Progress, Row, Rows, Task
from vitrine.measures.localisation import Mask, parts_of_frame
from vitrine.models.classifier import Classifier
from vitrine.store import TaskResult
from vitrine.study import sections

REVISION = 2
"""Raised whenever this module computes something else from the same parameters."""

BLUR = 12.0
"""Width in pixels of the Gaussian of the fill ``blur``."""

_BATCH = 16

TABLES = {
    "region_occlusion": {
        **OF_IMAGE,
        "region": "what the region shows",
        "area": "share of the frame that it covers",
        "fill": "what is shown instead of what is hidden: mean, grey or blur",
        "shown": "rest: the region is hidden; region: everything else is",
        "p_original": "probability of the explained class for the whole image",
        "probability": "probability of that class",
        "control": "mean of that when a region of the same shape at another place is taken",
        "true_p_original": "probability of the true class for the whole image",
        "true_probability": "probability of the true class",
        "best": "index of the most probable class",
        "category": "name of that class",
        "best_probability": "its probability",
    },
}

SHOWN = ("rest", "region")
"""A region is hidden and the rest shown, or the region is shown alone."""


FILLS: dict[sections.Fill, Callable[[Pixels, Mask, tuple[float, ...]], Any]] = {
    "mean": lambda crop, hidden, _: crop[hidden].mean(axis=0),
    "grey": lambda _crop, _hidden, mean: mean,
    "blur": lambda crop, *_: gaussian(  # type: ignore[no-untyped-call]
        crop.astype(np.float64), sigma=BLUR, channel_axis=-1, preserve_range=True
    ),
}
"""What stands in a hidden place: of the crop, the hidden pixels and the networks' mean colour."""


def hide(crop: Pixels, hidden: Mask, fill: sections.Fill, mean: tuple[float, ...]) -> Pixels:
    """A crop ``uint8 [h, w, 3]`` with its pixels ``hidden [h, w]`` filled."""
    if not hidden.any():
        return crop.copy()
    filled = np.where(hidden[..., None], FILLS[fill](crop, hidden, mean), crop)
    return np.round(filled).astype(np.uint8)


def moved(mask: Mask, places: int, generator: np.random.Generator) -> list[Mask]:
    """The same shape at random places, going on at the other side where it leaves the frame."""
    height, width = mask.shape
    shifts = zip(
        generator.integers(0, height, places), generator.integers(0, width, places), strict=True
    )
    return [np.roll(mask, (int(down), int(across)), axis=(0, 1)) for down, across in shifts]


class RegionOcclusionExperiment(Experiment):
    """The images of a study whose regions are outlined, with those regions hidden or shown alone.

    Raises ``StudyError`` when there is none among them.
    """

    SECTION = "region_occlusion"
    TABLES = TABLES
    wanted: sections.RegionOcclusion

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.classifiers, source = context.classifiers, str(self.study.images.source)
        known = load_regions(context.project, source)
        self.objects = load_outlines(context.project, source)
        self.regions = {
            file: known[stem]
            for file in self.study.images.files
            if (stem := PurePosixPath(file).stem) in known
        }
        if not self.regions:
            raise StudyError(
                "No region of the study's images is outlined in "
                f"data/objects/{source}.regions.toml",
                "Outline some there, or remove the section [region_occlusion] from the study file",
            )

    @cached_property
    def tasks(self) -> list[Task]:
        return [
            Task(name, "region_occlusion", file, self._passes(name, file), self._known(name, file))
            for name in self.classifiers
            for file in self.regions
        ]

    def _passes(self, classifier: str, file: str) -> int:
        ways = len(self.parts(classifier, file)) * len(self.wanted.fills) * len(SHOWN)
        return 1 + ways * (1 + self.wanted.shifts)

    def _known(self, classifier: str, file: str) -> dict[str, Any]:
        """Everything that a step's result depends on besides the network and the image."""
        found = {
            name: hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()
            for name, mask in self.parts(classifier, file).items()
        }
        return self.wanted.model_dump(mode="json") | {
            "parts": found,
            "mean": list(self.classifiers[classifier].preprocessing.mean),
            "revision": REVISION,
        }

    def parts(self, classifier: str, file: str) -> dict[str, Mask]:
        """The parts of the frame that the classifier sees, by what they show."""
        image, shown = self.context.images[file], self.objects.get(PurePosixPath(file).stem)
        frame = self.classifiers[classifier].frame(image)
        return parts_of_frame(self.regions[file], shown, frame, image.size)

    # --- one task --------------------------------------------------------------------------------

    def compute(self, task: Task, progress: Progress) -> TaskResult:
        """The predictions for each part hidden and shown alone, by fill, and for its control."""
        classifier, crop, _ = self.context.seen(task)
        parts = self.parts(task.classifier, task.file)
        whole = classifier.probabilities(crop[None])[0]
        progress.advance(1)
        wnid = self.context.images[task.file].wnid
        target, true = int(whole.argmax()), class_indices(self.context.project).get(wnid)
        generator = np.random.default_rng(self.wanted.seed)
        rows, best, best_probabilities = [], [], []
        for part in parts.values():
            masks = [part, *moved(part, self.wanted.shifts, generator)]
            for fill in self.wanted.fills:
                for shown in SHOWN:
                    hidden = masks if shown == "rest" else [~mask for mask in masks]
                    found = self._probabilities(classifier, crop, hidden, fill)
                    progress.advance(len(hidden))
                    ranked = np.argsort(-found[0], kind="stable")[: self.wanted.top]
                    best.append(ranked)
                    best_probabilities.append(found[0][ranked])
                    truth = float(found[0][true]) if true is not None else float("nan")
                    rows.append((float(found[0][target]), float(found[1:, target].mean()), truth))
        return TaskResult(
            {
                "found": np.array(rows),
                "best": np.array(best),
                "best_probabilities": np.array(best_probabilities),
            },
            {
                # In a list: the store sorts the keys of a table, and rows are in this order.
                "parts": [[name, float(mask.mean())] for name, mask in parts.items()],
                "target": target,
                "p_original": float(whole[target]),
                "true_p_original": float(whole[true]) if true is not None else None,
            },
        )

    def _probabilities(
        self, classifier: Classifier, crop: Pixels, hidden: list[Mask], fill: sections.Fill
    ) -> npt.NDArray[np.float32]:
        mean = classifier.preprocessing.mean
        crops = np.stack([hide(crop, mask, fill, mean) for mask in hidden])
        batches = np.split(crops, range(_BATCH, len(crops), _BATCH))
        return np.concatenate([classifier.probabilities(batch) for batch in batches])

    # --- tables ----------------------------------------------------------------------------------

    def rows(self) -> Rows:
        for task in self.tasks:
            yield "region_occlusion", self._rows(task)

    def _rows(self, task: Task) -> list[Row]:
        result = self.store.read_task(task.name)
        facts, best = result.facts, result.arrays["best"][:, 0]
        categories = self.classifiers[task.classifier].categories
        ways = [
            {"region": region, "area": area, "fill": fill, "shown": shown}
            for region, area in facts["parts"]
            for fill in self.wanted.fills
            for shown in SHOWN
        ]
        true = float("nan") if facts["true_p_original"] is None else facts["true_p_original"]
        numbers = ("probability", "control", "true_probability")
        return [
            {"classifier": task.classifier, "image": self.context.images[task.file].name}
            | way
            | dict(zip(numbers, map(float, result.arrays["found"][place]), strict=True))
            | {
                "p_original": facts["p_original"],
                "true_p_original": true,
                "best": int(best[place]),
                "category": categories[best[place]],
                "best_probability": float(result.arrays["best_probabilities"][place, 0]),
            }
            for place, way in enumerate(ways)
        ]

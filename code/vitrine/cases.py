"""Case studies: what a network says when regions outlined by hand are hidden, or shown alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from skimage.filters import gaussian

from vitrine import study as studies
from vitrine.errors import StudyError
from vitrine.inputs.classifiers import Classifier
from vitrine.inputs.objects import load_outlines, load_regions
from vitrine.inputs.pictures import Picture, Pixels
from vitrine.inputs.wordnet import class_indices
from vitrine.measures.localisation import Mask, parts_of_frame
from vitrine.project import Project
from vitrine.results import CASE_SCHEMAS, SCHEMAS, Store, TaskResult
from vitrine.steps import Progress, Step
from vitrine.study import Study

REVISION = 2
"""Raised whenever this module computes something else from the same parameters."""

BLUR = 12.0
"""Width in pixels of the Gaussian of the fill ``blur``."""

BATCH = 16

Float = npt.NDArray[np.float64]

SHOWN = ("rest", "region")
"""A region is hidden and the rest shown, or the region is shown alone."""


def _mean(crop: Pixels, hidden: Mask, _grey: tuple[float, ...]) -> Float:
    return np.asarray(np.zeros(crop.shape) + crop[hidden].mean(axis=0))


def _grey(crop: Pixels, _hidden: Mask, mean: tuple[float, ...]) -> Float:
    return np.asarray(np.zeros(crop.shape) + np.array(mean))


def _blur(crop: Pixels, _hidden: Mask, _grey: tuple[float, ...]) -> Float:
    blurred = gaussian(  # type: ignore[no-untyped-call]
        crop.astype(np.float64), sigma=BLUR, channel_axis=-1, preserve_range=True
    )
    return np.asarray(blurred)


FILLS: dict[studies.Fill, Callable[[Pixels, Mask, tuple[float, ...]], Float]] = {
    "mean": _mean,
    "grey": _grey,
    "blur": _blur,
}
"""What stands in a hidden place: of the crop, the hidden pixels and the networks' mean colour."""


def without(crop: Pixels, hidden: Mask, fill: studies.Fill, mean: tuple[float, ...]) -> Pixels:
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


class CaseWorker:
    """A study's case studies, ready to be computed: its pictures whose regions are outlined.

    Raises ``StudyError`` when there is none among them.
    """

    def __init__(
        self,
        project: Project,
        study: Study,
        wanted: studies.Cases,
        classifiers: dict[str, Classifier],
        pictures: dict[str, Picture],
        digests: dict[str, str],
        store: Store,
    ) -> None:
        self.project, self.wanted, self.store = project, wanted, store
        self.classifiers, self.pictures, self.digests = classifiers, pictures, digests
        source = str(study.pictures.source)
        known = load_regions(project, source)
        self.objects = load_outlines(project, source)
        self.regions = {
            file: known[stem]
            for file in study.pictures.files
            if (stem := PurePosixPath(file).stem) in known
        }
        if not self.regions:
            raise StudyError(
                "No region of the study's pictures is outlined in "
                f"data/objects/{source}.regions.toml",
                "Outline some there, or remove the section [cases] from the study file",
            )

    @cached_property
    def steps(self) -> list[Step]:
        return [
            Step(name, "cases", file, self._passes(name, file), self._known(name, file))
            for name in self.classifiers
            for file in self.regions
        ]

    def _passes(self, classifier: str, file: str) -> int:
        ways = len(self.parts(classifier, file)) * len(self.wanted.fills) * len(SHOWN)
        return 1 + ways * (1 + self.wanted.shifts)

    def _known(self, classifier: str, file: str) -> dict[str, Any]:
        """Everything that a step's result depends on besides the network and the picture."""
        masks = self.parts(classifier, file)
        found = {
            name: hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()
            for name, mask in masks.items()
        }
        return self.wanted.model_dump(mode="json") | {
            "parts": found,
            "mean": list(self.classifiers[classifier].preprocessing.mean),
            "revision": REVISION,
        }

    def parts(self, classifier: str, file: str) -> dict[str, Mask]:
        """The parts of the frame that the classifier sees, by what they show."""
        picture, regions = self.pictures[file], self.regions[file]
        frame = self.classifiers[classifier].frame(picture)
        shown = self.objects.get(PurePosixPath(file).stem)
        return parts_of_frame(regions, shown, frame, picture.size)

    @property
    def tables(self) -> set[str]:
        return set(CASE_SCHEMAS)

    def seen(self, step: Step) -> tuple[str, str]:
        return self.classifiers[step.classifier].digest, self.digests[step.file]

    def preparation(self, todo: list[Step]) -> int:
        return 0

    def provenance(self) -> dict[str, Any]:
        return {}

    # --- one step --------------------------------------------------------------------------------

    def compute(self, step: Step, progress: Progress) -> TaskResult:
        """The answers for each part hidden and shown alone, by fill, and for its control."""
        classifier, picture = self.classifiers[step.classifier], self.pictures[step.file]
        progress.step(f"cases · {picture.name}")
        crop, parts = classifier.crop(picture), self.parts(step.classifier, step.file)
        whole = classifier.probabilities(crop[None])[0]
        progress.advance(1)
        target, true = int(whole.argmax()), self._true(picture)
        generator = np.random.default_rng(self.wanted.seed)
        rows, best, strength = [], [], []
        for part in parts.values():
            masks = [part, *moved(part, self.wanted.shifts, generator)]
            for fill in self.wanted.fills:
                for shown in SHOWN:
                    hidden = masks if shown == "rest" else [~mask for mask in masks]
                    found = self._answers(classifier, crop, hidden, fill)
                    progress.advance(len(hidden))
                    ranked = np.argsort(-found[0], kind="stable")[: self.wanted.top]
                    best.append(ranked)
                    strength.append(found[0][ranked])
                    truth = float(found[0][true]) if true is not None else float("nan")
                    rows.append((float(found[0][target]), float(found[1:, target].mean()), truth))
        return TaskResult(
            {"found": np.array(rows), "best": np.array(best), "strength": np.array(strength)},
            {
                # In a list: the store sorts the keys of a table, and rows are in this order.
                "parts": [[name, float(mask.mean())] for name, mask in parts.items()],
                "target": target,
                "whole": float(whole[target]),
                "true_whole": float(whole[true]) if true is not None else None,
            },
        )

    def _answers(
        self, classifier: Classifier, crop: Pixels, hidden: list[Mask], fill: studies.Fill
    ) -> npt.NDArray[np.float32]:
        mean = classifier.preprocessing.mean
        crops = np.stack([without(crop, mask, fill, mean) for mask in hidden])
        return np.concatenate(
            [
                classifier.probabilities(crops[start : start + BATCH])
                for start in range(0, len(crops), BATCH)
            ]
        )

    def _true(self, picture: Picture) -> int | None:
        return class_indices(self.project).get(picture.wnid)

    # --- tables ----------------------------------------------------------------------------------

    def write_tables(self, store: Store) -> None:
        rows = [row for step in self.steps for row in self._rows(step, store.read_task(step.name))]
        store.write_table("cases", pd.DataFrame(rows, columns=list(SCHEMAS["cases"])))

    def _rows(self, step: Step, task: TaskResult) -> list[tuple[Any, ...]]:
        facts, found = task.facts, task.arrays["found"]
        categories = self.classifiers[step.classifier].categories
        ways = [
            (region, area, fill, shown)
            for region, area in facts["parts"]
            for fill in self.wanted.fills
            for shown in SHOWN
        ]
        return [
            (
                step.classifier,
                self.pictures[step.file].name,
                *way,
                facts["whole"],
                *(float(value) for value in found[place, :2]),
                float("nan") if facts["true_whole"] is None else facts["true_whole"],
                float(found[place, 2]),
                int(task.arrays["best"][place, 0]),
                categories[task.arrays["best"][place, 0]],
                float(task.arrays["strength"][place, 0]),
            )
            for place, way in enumerate(ways)
        ]

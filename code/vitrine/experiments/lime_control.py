"""The control of LIME's fidelity: as many superpixels as it chose, drawn at random."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from vitrine.experiments.base import Context, Experiment, Progress, Task, at_random, searched
from vitrine.experiments.maps import map_tasks
from vitrine.methods.perturbation import fidelities, mask
from vitrine.methods.registry import pick_method
from vitrine.methods.superpixels import Segments, top_superpixels
from vitrine.store import Store, TaskResult
from vitrine.study import lime as lime_section

DRAWS = 20
"""Random choices of each size. Of a greater size they hold those of a smaller one."""


def mean_size(chosen: Sequence[Sequence[int]]) -> int:
    """How many superpixels some explanations choose, on average and rounded."""
    return round(float(np.mean([len(one) for one in chosen])))


def control(
    store: Store, network: str, segmentation: lime_section.Segmentation, file: str, size: int
) -> dict[str, float]:
    """What so many random superpixels of an image keep: the means over all draws.

    ``p_kept_random``, ``p_removed_random``, and ``area_random``, the share of the frame.
    """
    arrays = store.read_task(f"{network}/lime.{at_random(segmentation)}/{file}").arrays
    (row,) = np.flatnonzero(arrays["sizes"] == size)
    return {
        f"{name}_random": float(arrays[name][row].mean())
        for name in ("p_kept", "p_removed", "area")
    }


class LimeControl(Experiment):
    """Shows and hides random superpixels of every segmentation that LIME explains an image with.

    Its numbers stand in the tables of ``LimeAnalysis``, beside those that they are a control of.
    """

    SECTION = "lime"
    wanted: lime_section.Lime

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._maps = map_tasks(self.study)
        self._segmentations = {at_random(one): one for one in self.wanted.segmentations}

    @cached_property
    def tasks(self) -> list[Task]:
        return [
            self._task(row.name, file, segmentation)
            for row in self.study.classifiers
            for segmentation in self._segmentations.values()
            for file in self.study.images.files
        ]

    def _task(self, network: str, file: str, segmentation: lime_section.Segmentation) -> Task:
        known = pick_method("lime").parameters(self.study, None, "")
        known |= {"random": DRAWS, "of": segmentation.model_dump()}
        sizes = {self.wanted.features} if segmentation == self.wanted.segmentation else set()
        if (search := self.wanted.search) and segmentation in search.segmentations:
            known["search"] = search.model_dump(exclude={"segmentations"})
            sizes |= set(search.features)
        passes = 1 + 2 * DRAWS * len(sizes)
        return Task(network, "lime", file, passes, known, at_random(segmentation))

    def compute(self, task: Task, progress: Progress) -> TaskResult:
        classifier, crop, _ = self.context.seen(task)
        segments, sizes = self._chosen(task)
        count = int(segments.max()) + 1
        generator = np.random.default_rng(self.wanted.seed)
        orders = [generator.permutation(count) for _ in range(DRAWS)]
        sets = [order[:size].tolist() for size in sizes for order in orders]
        target = self.context.ranked(task.classifier, task.file)[0]
        settings = self.context.settings(task.classifier, self._maps)
        masked = mask(classifier, crop, segments, target)
        found = fidelities(classifier, masked, sets, settings)
        shares, shape = np.bincount(segments.ravel()) / segments.size, (len(sizes), DRAWS)
        return TaskResult(
            {
                "sizes": np.array(sizes),
                "p_kept": np.reshape([one.p_kept for one in found], shape),
                "p_removed": np.reshape([one.p_removed for one in found], shape),
                "area": np.reshape([float(shares[chosen].sum()) for chosen in sets], shape),
            },
            {"settings": settings.facts()},
        )

    def _chosen(self, task: Task) -> tuple[Segments, list[int]]:
        """An image's superpixels, and how many of them LIME chose: each number once."""
        segmentation, search = self._segmentations[task.variant], self.wanted.search
        sizes: set[int] = set()
        if segmentation == self.wanted.segmentation:
            found = self.store.read_task(f"{task.classifier}/lime/{task.file}")
            sizes |= {int(row["superpixels"]) for row in found.facts["fidelity"].values()}
        if search and segmentation in search.segmentations:
            way = f"lime.{searched(segmentation)}"
            found = self.store.read_task(f"{task.classifier}/{way}/{task.file}")
            by_samples = found.arrays["weights"].swapaxes(0, 1)  # [samples, seeds, superpixels]
            sizes |= {
                mean_size([top_superpixels(model, features) for model in models])
                for models in by_samples
                for features in search.features
            }
        return found.arrays["segments"], sorted(sizes)

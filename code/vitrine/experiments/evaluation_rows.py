"""The tables of the evaluation: one network's rows from what the store holds."""

from collections.abc import Iterator, Sequence

import numpy as np

from vitrine.data.images import Image
from vitrine.data.outlines import outlines_of
from vitrine.errors import NotApplicable
from vitrine.experiments.base import OF_IMAGE, Context, Rows
from vitrine.experiments.trials import TRIALS
from vitrine.measures.localisation import Mask, object_mask
from vitrine.measures.registry import FAITHFULNESS, MPRT, SENSITIVITY, VALUES, Measure
from vitrine.methods.baselines import BASELINES
from vitrine.methods.heatmap import Values, heatmap_from
from vitrine.models.classifier import Classifier
from vitrine.store import TaskResult

SENSITIVITIES = ("by_channel", "value", "seed_part_by_channel", "seed_part")
SIMILARITIES = ("rho", "rho_absolute", "ssim")

NO_OUTLINE = "No object is outlined in the image"

TABLES = {
    "evaluation": {
        **OF_IMAGE,
        "method": "key of the method, or of a map that sees no network",
        "measure": "key of the measure",
        "value": "the measure's value; empty where there is none",
        "reason": "why there is none",
    },
    "curves": {
        "classifier": "key of the classifier",
        "method": "key of the method, or of a map that sees no network",
        "curve": "deletion or insertion, and what stands in the place of pixels",
        "share": "share of the pixels that are deleted, or inserted",
        "score": "mean probability of the class over the images",
        "error": "standard error of that mean",
        "images": "number of images",
    },
    "randomised": {
        **OF_IMAGE,
        "method": "key of the method, or of a map that sees no network",
        "stage": "1 where the least is randomised",
        "block": "the lowest block that is randomised",
        "rho": "Spearman's rank correlation with the trained network's map",
        "rho_absolute": "that of both maps' absolute values",
        "ssim": "structural similarity with the trained network's map",
    },
    "sensitivities": {
        **OF_IMAGE,
        "method": "key of the method, or of a map that sees no network",
        "by_channel": "maximum sensitivity of the attributions of each colour channel",
        "value": "maximum sensitivity of the map",
        "seed_part_by_channel": "by_channel of the unperturbed image's map from another seed; "
        "empty for methods without noise, and for LIME (table stability)",
        "seed_part": "the same of the map, without any perturbation",
    },
}


def measured_map(context: Context, network: str, method: str, file: str) -> Values:
    """The map that is measured. Raises ``NotApplicable`` where there is none or it is blank."""
    if method in BASELINES:
        assert context.study.measures is not None
        crop = context.networks[network].crop(context.images[file])
        return BASELINES[method].draw(crop, context.study.measures.seed)
    result = context.store.read_task(f"{network}/{method}/{file}")
    heatmap = heatmap_from(result.arrays, result.facts, method)
    if heatmap.is_constant:
        raise NotApplicable("The map is the same everywhere")
    return heatmap.values


class NetworkRows:
    """The rows of one network, added to those of all."""

    def __init__(self, context: Context, classifier: Classifier, rows: Rows) -> None:
        self.context, self.store = context, context.store
        self.classifier, self.key, self.rows = classifier, classifier.name, rows

    def add(self, methods: Sequence[str]) -> None:
        for file, image in self.context.images.items():
            mask = self._object(file, image)
            for method in methods:
                self._add_measures(method, file, image.name, mask)

    def _object(self, file: str, image: Image) -> Mask | None:
        frame, source = self.classifier.frame(image), self.context.study.images.source
        outlines = outlines_of(self.context.project, source, file) if source else None
        if outlines is None or not outlines.outlines:
            return None
        return object_mask(outlines.in_frame(frame, image.size), frame.size)

    def _add_measures(self, method: str, file: str, name: str, mask: Mask | None) -> None:
        read, folder = self.store.task_or_none, f"{self.key}/{method}"
        tasks = {trial: read(f"{folder}.{trial}/{file}") for trial in TRIALS}
        about = {"classifier": self.key, "image": name, "method": method}
        for measure, value, reason in self._values(method, file, tasks, mask):
            row = about | {"measure": measure, "value": value, "reason": reason}
            self.rows["evaluation"].append(row)
        one = tasks[FAITHFULNESS]
        if one and "scores" in one.arrays:
            for curve, scores in zip(one.facts["curves"], one.arrays["scores"], strict=True):
                shares = np.linspace(0, 1, len(scores))
                self.rows["curves"] += [
                    about | {"curve": curve, "share": share, "score": float(score)}
                    for share, score in zip(shares, scores, strict=True)
                ]
        one = tasks[SENSITIVITY]
        if one and "value" in one.facts:
            missing = float("nan")
            found = {name: one.facts.get(name, missing) for name in SENSITIVITIES}
            if one.facts["channels"] == 1:
                found |= {"by_channel": missing, "seed_part_by_channel": missing}
            self.rows["sensitivities"].append(about | found)
        one = tasks[MPRT]
        if one and "rho" in one.arrays:
            self.rows["randomised"] += [
                about
                | {"stage": stage, "block": block}
                | {way: float(one.arrays[way][stage - 1]) for way in SIMILARITIES}
                for stage, block in enumerate(one.facts["blocks"], start=1)
            ]

    def _values(
        self, method: str, file: str, tasks: dict[str, TaskResult | None], mask: Mask | None
    ) -> Iterator[tuple[str, float, str]]:
        """Measure, value and, where there is none, the reason."""
        if tasks[FAITHFULNESS] is None:  # another network's, of which only some trials are asked
            return
        try:
            heatmap: Values | str = measured_map(self.context, self.key, method, file)
        except NotApplicable as error:
            heatmap = error.problem
        for name, row in VALUES.items():
            if row.read is None:
                yield name, *_of_map(row, heatmap, mask)
            elif (one := tasks[row.trial]) is not None:
                value = row.read(one.arrays, one.facts)
                yield name, *_told(value, str(one.facts.get("reason", "")) or row.why)


def _of_map(row: Measure, heatmap: Values | str, mask: Mask | None) -> tuple[float, str]:
    """The value of a map, or of what is there in its place: the reason why there is none."""
    if isinstance(heatmap, str):
        return _told(float("nan"), heatmap)
    if row.of_map is not None:
        return _told(row.of_map(heatmap), row.why)
    assert row.of_object is not None
    if mask is None:
        return _told(float("nan"), NO_OUTLINE)
    return _told(row.of_object(heatmap, mask), row.why)


def _told(value: float, why: str) -> tuple[float, str]:
    return (value, "") if np.isfinite(value) else (float("nan"), why)

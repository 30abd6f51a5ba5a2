"""The store: what a study computed, as tidy tables, heatmaps and provenance.

``data/results/STUDY/`` holds

- ``tasks/CLASSIFIER/METHOD/FILE.npz``: the arrays of one task and, as JSON, its key and facts (for
  a dissection, whose tasks are about a whole probing set: ``tasks/CLASSIFIER/dissection/``);
- one CSV file a table of ``SCHEMAS`` that the study asks for, assembled from the tasks;
- ``provenance.json``: from what, with what and when, and the key of every task.

Every file is written to a temporary name in its own folder and moved into place, so that a run that
is stopped leaves only whole files. A store is finished when its provenance says so.
"""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from vitrine.errors import NotApplicable, ResultsError
from vitrine.inputs.pictures import Frame
from vitrine.methods.heatmap import Heatmap, enlarged
from vitrine.project import Project
from vitrine.study import suggestion

Arrays = dict[str, np.ndarray]

EXPLANATION_SCHEMAS: dict[str, dict[str, str]] = {
    # Every table begins with the classifier and the picture that a row is about.
    "predictions": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "wnid": "WordNet id of the picture's true category",
        "rank": "1 for the most probable class",
        "target": "index of the class",
        "category": "name of the class",
        "probability": "softmax probability, 0 to 1",
    },
    "maps": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "method": "key of the method",
        "target": "index of the explained class",
        "layer": "layer of the class activation map; empty for LIME",
        "signed": "whether values below zero speak against the class",
        "blank": "whether the map is the same everywhere",
        "strength": "greatest value before a class activation map is scaled; greatest LIME weight",
        "minimum": "smallest value",
        "maximum": "greatest value",
        "above_half": "share of the frame above half of the maximum",
        "centre_row": "row of the positive evidence's centre, 0 (top) to 1",
        "centre_column": "column of the positive evidence's centre, 0 (left) to 1",
    },
    "lime": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "target": "index of the explained class",
        "superpixels": "number of superpixels",
        "samples": "number of perturbed pictures",
        "intercept": "intercept of the local model",
        "r_squared": "weighted R² of the local model",
        "local_prediction": "probability that the local model gives the whole picture",
        "probability": "probability that the network gives the whole picture",
    },
    "superpixels": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "superpixel": "number of the superpixel in the segmentation",
        "weight": "coefficient in the local model",
        "share": "share of the frame that it covers",
    },
    "fidelity": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "rule": "positive: the greatest positive weights; both signs: the greatest in size",
        "superpixels": "number of superpixels that were chosen",
        "whole": "probability of the class for the whole picture",
        "kept": "probability when only those superpixels are shown",
        "removed": "probability when all others are shown",
    },
    "costs": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "method": "key of the method, with its variant",
        "passes": "forward passes of the whole network",
        "head_passes": "passes of what follows the explained layer alone",
        "seconds": "wall-clock time",
    },
}

VARIANT_SCHEMAS: dict[str, dict[str, str]] = {
    "variants": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "method": "key of the method",
        "variant": "second: for the second most probable class; at-LAYER: at another layer",
        "target": "index of the explained class",
        "category": "name of that class",
        "layer": "layer of the class activation map",
        "strength": "greatest value before the map is scaled",
        "blank": "whether the map is the same everywhere",
        "above_half": "share of the frame above half of the maximum",
        "centre_row": "row of the positive evidence's centre, 0 (top) to 1",
        "centre_column": "column of the positive evidence's centre, 0 (left) to 1",
        "rho": "Spearman's rank correlation with the method's map of the predicted class",
    },
}

STABILITY_SCHEMAS: dict[str, dict[str, str]] = {
    "stability": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "samples": "number of perturbed pictures in each explanation",
        "runs": "number of independent explanations",
        "overlap": "mean Jaccard index of the best superpixels over all pairs of explanations",
        "chance": "about that index for superpixels chosen at random",
        "spread": "deviation of the weights over the explanations, against that of their means",
        "r_squared": "mean weighted R² of the local models",
    },
    "repeats": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "superpixel": "number of the superpixel in the segmentation",
        "mean": "mean weight over the seeds",
        "deviation": "standard deviation of the weight over the seeds",
        "chosen": "share of the seeds whose explanation has it among the best",
    },
}

SEARCH_SCHEMAS: dict[str, dict[str, str]] = {
    "search": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "segmentation": "the segmentation with its parameters",
        "method": "key of the segmentation",
        "superpixels": "number of superpixels",
        "samples": "number of perturbed pictures in each explanation",
        "features": "number of superpixels that are kept",
        "r_squared": "mean weighted R² of the local models",
        "overlap": "mean Jaccard index of the kept superpixels over all pairs of seeds",
        "chance": "about that index for superpixels chosen at random",
        "whole": "probability of the class for the whole picture",
        "kept": "mean probability when only the kept superpixels are shown",
        "removed": "mean probability when all others are shown",
        "area": "mean share of the frame that the kept superpixels cover",
        "off_centre": "mean distance of their centre of mass from the frame's centre, in widths",
    },
}

ATTRIBUTION_SCHEMAS: dict[str, dict[str, str]] = {
    "attributions": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "method": "key of the method",
        "target": "index of the explained class",
        "signed": "whether values below zero speak against the class",
        "total": "sum of all attributions",
        "logit": "the class's logit",
        "logit_of_nothing": "that of an input of zeros, the mean colour",
        "positive": "share of the attributions' sizes that is positive",
        "passes": "forward passes",
        "seconds": "wall-clock time",
        "reason": "why the method is not applicable; empty where it is",
    },
}

MEASURE_SCHEMAS: dict[str, dict[str, str]] = {
    "assessment": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
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
        "score": "mean probability of the class over the pictures",
        "error": "standard error of that mean",
        "pictures": "number of pictures",
    },
    "randomised": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "method": "key of the method, or of a map that sees no network",
        "place": "1 where the least is randomised",
        "block": "the lowest block that is randomised",
        "rho": "Spearman's rank correlation with the trained network's map",
        "rho_of_sizes": "that of both maps' absolute values",
        "ssim": "structural similarity with the trained network's map",
    },
    "sensitivities": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "method": "key of the method, or of a map that sees no network",
        "by_channel": "maximum sensitivity of the attributions of each colour channel",
        "value": "maximum sensitivity of the map",
    },
}

COMPARISON_SCHEMAS: dict[str, dict[str, str]] = {
    "correlations": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "first": "key of the first method",
        "second": "key of the second method",
        "rho": "Spearman's rank correlation of the two maps over all pixels",
        "elsewhere": "mean of that with the second maps of the other pictures",
    },
    "agreement": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "first": "key of the first method",
        "second": "key of the second method",
        "share": "share of the frame that each region covers",
        "iou": "intersection over union of the two regions",
        "chance": "IoU of two independent regions of that share",
        "elsewhere": "mean IoU of the first map with the second maps of the other pictures",
    },
    "regions": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "method": "key of the method",
        "rule": "key of the rule that says which pixels a map highlights",
        "area": "share of the frame that the region covers; 0 where it highlights nothing",
    },
    "overlaps": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "first": "key of the first method",
        "second": "key of the second method",
        "rule": "key of the rule that says which pixels a map highlights",
        "iou": "intersection over union of the two regions",
        "chance": "IoU of two independent regions of their areas",
        "elsewhere": "mean IoU of the first region with the second ones of the other pictures",
        "dice_elsewhere": "mean Dice coefficient of the same regions",
    },
    "complexity": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "edges": "share of the frame that lies on an edge (Canny)",
        "entropy": "entropy of the frame's levels of brightness, in bits",
        "superpixels": "number of superpixels of the study's segmentation for LIME",
        "probability": "probability of the most probable class",
    },
}

SURVEY_SCHEMAS: dict[str, dict[str, str]] = {
    "survey": {
        "classifier": "key of the classifier",
        "picture": "file of the picture in its set",
        "right": "whether the most probable class is the true one; empty where that is not known",
        "target": "index of the most probable class",
        "edges": "share of the frame that lies on an edge (Canny)",
        "entropy": "entropy of the frame's levels of brightness, in bits",
        "superpixels": "number of superpixels of the study's segmentation for LIME",
        "probability": "probability of the most probable class",
        "r_squared": "weighted R² of LIME's local model",
    },
    "survey_overlaps": {
        "classifier": "key of the classifier",
        "picture": "file of the picture in its set",
        "first": "key of the first method",
        "second": "key of the second method",
        "iou": "intersection over union of the two regions",
        "elsewhere": "mean IoU of the first region with the second ones of pictures of its step",
        "rho": "Spearman's rank correlation of the two maps over all pixels",
        "rho_elsewhere": "mean of that with the second maps of pictures of its step",
    },
}

CASE_SCHEMAS: dict[str, dict[str, str]] = {
    "cases": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "region": "what the region shows",
        "area": "share of the frame that it covers",
        "fill": "what is shown instead of what is hidden: mean, grey or blur",
        "shown": "rest: the region is hidden; region: everything else is",
        "whole": "probability of the explained class for the whole picture",
        "probability": "probability of that class",
        "control": "mean of that when a region of the same shape at another place is taken",
        "true_whole": "probability of the true class for the whole picture",
        "true_probability": "probability of the true class",
        "best": "index of the most probable class",
        "category": "name of that class",
        "best_probability": "its probability",
    },
}

_RUNNERS_UP = {
    f"runner_up_{rank}{suffix}": text
    for rank in range(1, 6)
    for suffix, text in (
        ("", f"concept of rank {rank + 1} in similarity"),
        ("_similarity", "its similarity"),
    )
}

DISSECTION_SCHEMAS: dict[str, dict[str, str]] = {
    # Every table begins with the classifier and the layer that a row is about.
    "layers": {
        "classifier": "key of the classifier",
        "layer": "name of the layer",
        "units": "number of its units",
        "constant": "units that answer every picture of the probing set alike",
        "significant": "units whose p-value is below 0.05",
        "concepts": "different labels of all units",
        "significant_concepts": "different labels of the significant units",
        "greatest": "greatest similarity",
        "mean": "mean similarity of the labels",
        "null_mean": "mean similarity of the labels when the pictures are permuted",
        "null_95": "95% quantile of that similarity",
    },
    "units": {
        "classifier": "key of the classifier",
        "layer": "name of the layer",
        "unit": "number of the unit in the layer, from 0",
        "label": "concept of greatest similarity",
        "kind": "object, scene, part, texture, material, color or other",
        "similarity": "similarity of unit and label",
        "p_value": "share of labels of permuted pictures that are at least as similar",
        **_RUNNERS_UP,
    },
    "top_pictures": {
        "classifier": "key of the classifier",
        "layer": "name of the layer",
        "unit": "number of the unit in the layer, one of those chosen as examples",
        "rank": "1 for the picture of greatest activation",
        "picture": "file of the picture in the probing set",
        "activation": "pooled activation of the unit",
    },
    "concepts": {
        "classifier": "key of the classifier",
        "layer": "name of the layer",
        "concept": "a concept that is the label of a unit",
        "kind": "object, scene, part, texture, material, color or other",
        "units": "units with that label",
        "significant": "those of them whose p-value is below 0.05",
        "mean": "mean similarity of those units",
        "greatest": "greatest similarity of those units",
    },
    "classes": {
        "classifier": "key of the classifier",
        "layer": "name of the classifier layer",
        "target": "index of the class, which is the unit's number",
        "category": "names of the class",
        "label": "label of the unit",
        "exact": "whether the label is a name of the class",
        "listed": "whether any name of the class is in the concept list",
        "likeness": "cosine of the sentence embeddings of label and class",
        "shuffled": "mean cosine of the class with the labels of all other units",
    },
    "probing": {
        "classifier": "key of the classifier",
        "layer": "name of the layer",
        "rule": "fixed: as many strongest pictures as for the whole set; share: as large a share",
        "size": "number of pictures drawn",
        "draw": "number of the draw, from 0",
        "top": "number of strongest pictures that the similarity looks at",
        "similarity": "mean similarity of the sampled units' labels",
        "deviation": "standard deviation of that similarity over the units",
        "stable": "share of units whose label is that of the whole probing set",
        "concepts": "different labels",
    },
}

SCHEMAS = (
    EXPLANATION_SCHEMAS
    | VARIANT_SCHEMAS
    | STABILITY_SCHEMAS
    | SEARCH_SCHEMAS
    | ATTRIBUTION_SCHEMAS
    | MEASURE_SCHEMAS
    | COMPARISON_SCHEMAS
    | SURVEY_SCHEMAS
    | CASE_SCHEMAS
    | DISSECTION_SCHEMAS
)

_MAY_BE_EMPTY: dict[str, tuple[str, ...]] = {
    "attributions": (
        "target",
        "total",
        "logit",
        "logit_of_nothing",
        "positive",
        "passes",
        "seconds",
    ),
    "assessment": ("value",),
    "curves": ("error",),
    "randomised": ("rho", "rho_of_sizes", "ssim"),
    "sensitivities": ("by_channel", "value"),
    "correlations": ("rho", "elsewhere"),
    "agreement": ("iou", "elsewhere"),
    "overlaps": ("iou", "chance", "elsewhere", "dice_elsewhere"),
    "survey_overlaps": ("iou", "elsewhere", "rho", "rho_elsewhere"),
    "cases": ("true_whole", "true_probability"),
    "lime": ("r_squared", "local_prediction"),
    "stability": ("r_squared",),
    "search": ("r_squared",),
    "survey": ("r_squared",),
    "units": ("similarity", *(f"runner_up_{rank}_similarity" for rank in range(1, 6))),
    "layers": ("greatest", "mean", "null_mean", "null_95"),
    "classes": ("likeness", "shuffled"),
    "probing": ("similarity", "deviation", "stable"),
}
"""Columns of numbers in which an empty cell says that there is none. Elsewhere it is a text."""

_PROVENANCE = {"study", "signature", "computed", "classifiers", "methods", "pictures"}
"""What every provenance tells."""


@dataclass(frozen=True)
class TaskResult:
    """What one task computed: arrays, and facts that JSON can hold."""

    arrays: Arrays
    facts: dict[str, Any]


class Store:
    """The results of one study, to write (by the pipeline) and to read (by the report).

    schemas : the tables that it may hold, each with its columns and what they say.
    command : what computes them, in words for the person who has to.
    """

    schemas: ClassVar[dict[str, dict[str, str]]] = SCHEMAS
    command: ClassVar[str] = "run"

    def __init__(self, project: Project, study: str) -> None:
        self.project = project
        self.study = study
        self.folder = project.results / study

    # --- writing ---------------------------------------------------------------------------------

    def write_task(self, name: str, key: str, result: TaskResult) -> None:
        """Store one task's result under its name, e.g. ``efficientnet_lite0/lime/kite.jpg``."""
        meta = json.dumps({"key": key, "facts": result.facts}, sort_keys=True)
        stream = io.BytesIO()
        np.savez_compressed(stream, meta=np.array(meta), **result.arrays)  # type: ignore[arg-type]
        self._write(self._task_path(name), stream.getvalue())

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a table of ``schemas`` as CSV, with eight significant digits."""
        columns = list(self.schemas[name])
        if list(table.columns) != columns:
            raise ValueError(f"the table {name} has columns {list(table.columns)}, not {columns}")
        text = table.to_csv(index=False, float_format="%.8g", lineterminator="\n")
        self._write(self.folder / f"{name}.csv", text.encode())

    def write_provenance(self, provenance: dict[str, Any]) -> None:
        text = json.dumps(provenance, indent=2, ensure_ascii=False) + "\n"
        self._write(self.folder / "provenance.json", text.encode())

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
        with self._changing(path):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.write_bytes(content)
                temporary.replace(path)
            finally:
                if temporary.exists():
                    temporary.unlink()

    @contextmanager
    def _changing(self, path: Path) -> Iterator[None]:
        """Say which file could not be written or removed. Raises ``ResultsError``."""
        try:
            yield
        except OSError as error:
            raise ResultsError(
                f"{self.project.relative(path)} cannot be written ({error.strerror})",
                "Give yourself the right to write there; what was computed before is kept",
            ) from error

    def drop_other_tasks(self, names: set[str]) -> None:
        """Remove tasks that the study no longer asks for."""
        for path in sorted((self.folder / "tasks").rglob("*.npz")):
            if path.relative_to(self.folder / "tasks").as_posix().removesuffix(".npz") not in names:
                with self._changing(path):
                    path.unlink()

    def drop_other_tables(self, names: set[str]) -> None:
        """Remove tables of ``schemas`` that the study no longer asks for."""
        for name in set(self.schemas) - names:
            path = self.folder / f"{name}.csv"
            with self._changing(path):
                path.unlink(missing_ok=True)

    # --- reading ---------------------------------------------------------------------------------

    def task_key(self, name: str) -> str | None:
        """The key under which a task was computed; ``None`` if it was not, or cannot be read."""
        if not self._task_path(name).is_file():
            return None
        try:
            self.read_task(name)  # all of it: a file that is damaged anywhere is computed again
            return str(self._meta(name)["key"])
        except ResultsError:
            return None

    def has_task(self, name: str) -> bool:
        """Whether a task of that name is stored."""
        return self._task_path(name).is_file()

    def read_task(self, name: str) -> TaskResult:
        """One task's result. Raises ``ResultsError``."""
        meta = self._meta(name)
        path = self._task_path(name)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files if key != "meta"}
        except Exception as error:
            raise self._damaged(path, error) from error
        return TaskResult(arrays, meta["facts"])

    def facts(self, name: str) -> dict[str, Any]:
        """The facts of one task's result; none if it was not computed, or cannot be read."""
        try:
            return dict(self._meta(name)["facts"])
        except ResultsError:
            return {}

    def _meta(self, name: str) -> dict[str, Any]:
        path = self._task_path(name)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return dict(json.loads(str(archive["meta"])))
        except FileNotFoundError as error:
            raise ResultsError(
                f"{self.project.relative(path)} does not exist", self._how_to_run()
            ) from error
        except Exception as error:
            raise self._damaged(path, error) from error

    def _damaged(self, path: Path, error: Exception) -> ResultsError:
        return ResultsError(
            f"{self.project.relative(path)} is damaged ({error})",
            f"Delete it. {self._how_to_run()}",
        )

    def _task_path(self, name: str) -> Path:
        return self.folder / "tasks" / f"{name}.npz"

    def provenance(self) -> dict[str, Any]:
        """From what, with what and when. Raises ``ResultsError`` if the store is not finished."""
        path = self.folder / "provenance.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            started = (self.folder / "tasks").is_dir()
            problem = "is not finished" if started else "has not been run here"
            raise ResultsError(f"The study {self.study!r} {problem}", self._how_to_run()) from error
        except OSError as error:
            raise ResultsError(
                f"{self.project.relative(path)} cannot be read ({error.strerror})",
                "Give yourself the right to read it, and see that its folder is one",
            ) from error
        except ValueError as error:
            raise ResultsError(
                f"{self.project.relative(path)} is damaged", f"Delete it. {self._how_to_run()}"
            ) from error
        if not isinstance(found, dict) or not set(found) >= _PROVENANCE:
            raise ResultsError(
                f"{self.project.relative(path)} is damaged", f"Delete it. {self._how_to_run()}"
            )
        return found

    def is_whole(self, signature: str, tables: set[str]) -> bool:
        """Whether the store holds these tables, finished from exactly what the signature says."""
        try:
            finished = self.is_finished() and self.provenance()["signature"] == signature
            return finished and all(len(self.table(name).columns) > 0 for name in tables)
        except ResultsError:
            return False

    def reopen(self) -> None:
        """Mark the store as unfinished; what it holds stays."""
        path = self.folder / "provenance.json"
        with self._changing(path):
            path.unlink(missing_ok=True)

    def is_finished(self) -> bool:
        """Whether the study has been run to its end here."""
        return (self.folder / "provenance.json").is_file()

    def table(self, name: str) -> pd.DataFrame:
        """A table of ``schemas`` as pandas frame. Raises ``ResultsError``."""
        if name not in self.schemas:
            raise ResultsError(
                f"There is no table {name!r}",
                suggestion(name, sorted(self.schemas), "The tables are"),
            )
        self.provenance()
        path = self.folder / f"{name}.csv"
        try:
            empty = {column: [""] for column in _MAY_BE_EMPTY.get(name, ())}
            table = pd.read_csv(path, keep_default_na=False, na_values=empty)
        except FileNotFoundError as error:
            raise ResultsError(
                f"{self.project.relative(path)} does not exist: the study {self.study!r} does not "
                "ask for it, or its results are not whole",
                self._how_to_run(),
            ) from error
        except (ValueError, OSError) as error:
            raise ResultsError(
                f"{self.project.relative(path)} cannot be read ({error})",
                f"Delete it. {self._how_to_run()}",
            ) from error
        if list(table.columns) != list(self.schemas[name]):
            raise ResultsError(
                f"{self.project.relative(path)} has other columns than it should",
                self._how_to_run(),
            )
        return table

    def files(self) -> dict[str, str]:
        """The picture file behind each picture's name."""
        return {row["name"]: row["file"] for row in self.provenance()["pictures"]}

    def frame(self, classifier: str, picture: str) -> Frame:
        """The crop of ``picture`` that ``classifier`` saw."""
        facts = self.read_task(f"{classifier}/predictions/{self.files()[picture]}").facts
        return frame_from(facts["frame"])

    def heatmap(self, classifier: str, method: str, picture: str, variant: str = "") -> Heatmap:
        """The heatmap of a method, or of a variant of it, for a picture."""
        way = f"{method}.{variant}" if variant else method
        return heatmap_from(self.read_task(f"{classifier}/{way}/{self.files()[picture]}"), method)

    def segments(self, classifier: str, picture: str) -> np.ndarray:
        """The superpixels of a picture: ``int16 [h, w]``."""
        return self.read_task(f"{classifier}/lime/{self.files()[picture]}").arrays["segments"]

    def _how_to_run(self) -> str:
        return f"Run `vitrine {self.command} --study {self.study}`"


def frame_facts(frame: Frame) -> dict[str, Any]:
    """A frame as JSON can hold it."""
    return {"picture": frame.picture, "box": list(frame.box), "size": list(frame.size)}


def frame_from(facts: dict[str, Any]) -> Frame:
    top, left, height, width = facts["box"]
    return Frame(facts["picture"], (top, left, height, width), (facts["size"][0], facts["size"][1]))


def heatmap_from(result: TaskResult, method: str) -> Heatmap:
    """The heatmap that a task stored: evidence of feature maps, weights of superpixels, or pixels.

    Raises ``NotApplicable`` where the task stored the reason why there is none.
    """
    arrays, facts = result.arrays, result.facts
    if "reason" in facts:
        raise NotApplicable(facts["reason"])
    frame = frame_from(facts["frame"])
    if method == "lime":
        values = arrays["weights"][arrays["segments"]].astype(np.float32)
    elif "evidence" in arrays:
        values = enlarged(arrays["evidence"], frame.size)
    else:
        values = arrays["values"].astype(np.float32) * np.float32(facts["scale"])
    return Heatmap(
        values,
        frame,
        bool(facts["signed"]),
        method,
        int(facts["target"]),
        float(facts["seconds"]),
    )

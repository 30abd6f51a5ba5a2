"""The store: what a study computed, as tidy tables, heatmaps and provenance.

``data/results/STUDY/`` holds

- ``tasks/CLASSIFIER/METHOD/FILE.npz``: the arrays of one task and, as JSON, its key and facts;
- one CSV file a table of ``SCHEMAS``, assembled from the tasks;
- ``provenance.json``: from what, with what and when, and the key of every task.

Every file is written to a temporary name in its own folder and moved into place, so that a run that
is stopped leaves only whole files. A store is finished when its provenance says so.
"""

from __future__ import annotations

import io
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vitrine.errors import ResultsError
from vitrine.inputs.pictures import Frame
from vitrine.methods.heatmap import Heatmap
from vitrine.project import Project
from vitrine.study import suggestion

Arrays = dict[str, np.ndarray]

SCHEMAS: dict[str, dict[str, str]] = {
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
    "seconds": {
        "classifier": "key of the classifier",
        "picture": "name of the picture",
        "method": "key of the method",
        "seconds": "wall-clock time",
    },
}


@dataclass(frozen=True)
class TaskResult:
    """What one task computed: arrays, and facts that JSON can hold."""

    arrays: Arrays
    facts: dict[str, Any]


class Store:
    """The results of one study, to write (by the pipeline) and to read (by the report)."""

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
        """Write a table of ``SCHEMAS`` as CSV, with eight significant digits."""
        columns = list(SCHEMAS[name])
        if list(table.columns) != columns:
            raise ValueError(f"the table {name} has columns {list(table.columns)}, not {columns}")
        text = table.to_csv(index=False, float_format="%.8g", lineterminator="\n")
        self._write(self.folder / f"{name}.csv", text.encode())

    def write_provenance(self, provenance: dict[str, Any]) -> None:
        text = json.dumps(provenance, indent=2, ensure_ascii=False) + "\n"
        self._write(self.folder / "provenance.json", text.encode())

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            temporary.replace(path)
        except OSError as error:
            raise ResultsError(
                f"{self.project.relative(path)} cannot be written ({error.strerror})",
                "Give yourself the right to write there; what was computed before is kept",
            ) from error
        finally:
            if temporary.exists():
                temporary.unlink()

    def drop_other_tasks(self, names: set[str]) -> None:
        """Remove tasks that the study no longer asks for."""
        for path in sorted((self.folder / "tasks").rglob("*.npz")):
            if path.relative_to(self.folder / "tasks").as_posix().removesuffix(".npz") not in names:
                path.unlink()

    # --- reading ---------------------------------------------------------------------------------

    def task_key(self, name: str) -> str | None:
        """The key under which a task was computed; ``None`` if it was not, or cannot be read."""
        if not self._task_path(name).is_file():
            return None
        try:
            return str(self._meta(name)["key"])
        except ResultsError:
            return None

    def read_task(self, name: str) -> TaskResult:
        """One task's result. Raises ``ResultsError``."""
        meta = self._meta(name)
        with np.load(self._task_path(name), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files if key != "meta"}
        return TaskResult(arrays, meta["facts"])

    def _meta(self, name: str) -> dict[str, Any]:
        path = self._task_path(name)
        try:
            with np.load(path, allow_pickle=False) as archive:
                return dict(json.loads(str(archive["meta"])))
        except FileNotFoundError as error:
            raise ResultsError(
                f"{self.project.relative(path)} does not exist", self._how_to_run()
            ) from error
        except Exception as error:
            raise ResultsError(
                f"{self.project.relative(path)} is damaged ({error})",
                f"Delete it. {self._how_to_run()}",
            ) from error

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
        except ValueError as error:
            raise ResultsError(
                f"{self.project.relative(path)} is damaged", f"Delete it. {self._how_to_run()}"
            ) from error
        return dict(found)

    def is_finished(self) -> bool:
        """Whether the study has been run to its end here."""
        return (self.folder / "provenance.json").is_file()

    def table(self, name: str) -> pd.DataFrame:
        """A table of ``SCHEMAS`` as pandas frame. Raises ``ResultsError``."""
        if name not in SCHEMAS:
            raise ResultsError(
                f"There is no table {name!r}",
                suggestion(name, sorted(SCHEMAS), "The tables are"),
            )
        self.provenance()
        path = self.folder / f"{name}.csv"
        try:
            table = pd.read_csv(path, keep_default_na=False, na_values={})
        except FileNotFoundError as error:
            raise ResultsError(
                f"{self.project.relative(path)} does not exist", self._how_to_run()
            ) from error
        except (ValueError, OSError) as error:
            raise ResultsError(
                f"{self.project.relative(path)} cannot be read ({error})",
                f"Delete it. {self._how_to_run()}",
            ) from error
        if list(table.columns) != list(SCHEMAS[name]):
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

    def heatmap(self, classifier: str, method: str, picture: str) -> Heatmap:
        """The heatmap of a method for a picture."""
        return heatmap_from(
            self.read_task(f"{classifier}/{method}/{self.files()[picture]}"), method
        )

    def segments(self, classifier: str, picture: str) -> np.ndarray:
        """The superpixels of a picture: ``int16 [h, w]``."""
        return self.read_task(f"{classifier}/lime/{self.files()[picture]}").arrays["segments"]

    def _how_to_run(self) -> str:
        return f"Run `vitrine run --study {self.study}`"


def frame_facts(frame: Frame) -> dict[str, Any]:
    """A frame as JSON can hold it."""
    return {"picture": frame.picture, "box": list(frame.box), "size": list(frame.size)}


def frame_from(facts: dict[str, Any]) -> Frame:
    top, left, height, width = facts["box"]
    return Frame(facts["picture"], (top, left, height, width), (facts["size"][0], facts["size"][1]))


def heatmap_from(result: TaskResult, method: str) -> Heatmap:
    """The heatmap that a task stored: its values, or the weight of each pixel's superpixel."""
    arrays, facts = result.arrays, result.facts
    values = arrays["weights"][arrays["segments"]] if method == "lime" else arrays["values"]
    return Heatmap(
        values.astype(np.float32),
        frame_from(facts["frame"]),
        bool(facts["signed"]),
        method,
        int(facts["target"]),
        float(facts["seconds"]),
    )

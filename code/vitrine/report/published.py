"""What chapters read of a study of imported runs: its labels, its maps, its tables."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import Markdown

from vitrine.data import sources
from vitrine.data.images import Frame, Pixels, read_image
from vitrine.errors import ResultsError, suggestion
from vitrine.external.store import ImportStore, open_imported
from vitrine.methods.heatmap import resample_to
from vitrine.project import Project
from vitrine.report.figures import crop_of
from vitrine.report.page import study_line


class PublishedReport:
    """A study of imported runs, as the chapters show it."""

    def __init__(self, store: ImportStore) -> None:
        self.store = store
        self.project = store.project
        self.provenance = store.provenance()

    @property
    def images(self) -> list[str]:
        """The images' names, in the order of the study file."""
        return [row["name"] for row in self.provenance["images"]]

    def run(self, name: str) -> dict[str, Any]:
        """What is known about a run. Raises ``ResultsError``."""
        known = {row["run"]: row for row in self.provenance["runs"]}
        if name not in known:
            raise ResultsError(
                f"The study {self.store.study!r} has no run {name!r}",
                suggestion(name, sorted(known), "It has"),
            )
        return dict(known[name])

    def table(self, name: str) -> pd.DataFrame:
        """A table of the store."""
        return self.store.table(name)

    def labels(self, run: str) -> pd.DataFrame:
        """The units that a run labels: layer, unit, label, kind and similarity (its score)."""
        self.run(run)
        table = self.table("labels")
        own = table[table["run"] == run].drop(columns="run").rename(columns={"score": "similarity"})
        return own.reset_index(drop=True)

    def on_object(self, image: str) -> pd.Series:
        """By run of maps: the share of positive weight on the object, ``nan`` without outline."""
        regions = self.table("regions")
        found: pd.Series = regions[regions["image"] == image].set_index("run")["inside"]
        return found

    def frame(self, run: str, image: str) -> Frame:
        """The frame in which a run's map of an image lives."""
        return self.store.map_in_frame(run, image)[1]

    def map_in(self, run: str, image: str, frame: Frame) -> npt.NDArray[np.floating]:
        """A run's map of an image ``[h, w]``, warped into a frame."""
        values, own = self.store.map_in_frame(run, image)
        return values if own == frame else resample_to(values, own, frame)

    def crop(self, image: str, frame: Frame, side: int = 400) -> Pixels:
        """What a frame shows of an image: ``uint8 [side, side, 3]``."""
        row = next(row for row in self.provenance["images"] if row["name"] == image)
        origin = self.provenance["study"]["images"]
        path = (
            sources.fetch_one(self.project, origin["source"], row["file"])
            if origin["source"]
            else self.project.root / str(origin["folder"]) / row["file"]
        )
        if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            raise ResultsError(
                f"The image {self.project.relative(path)} is not the one whose maps the study "
                f"{self.store.study!r} imported: its SHA-256 is another",
                f"Restore it, or run `vitrine import --study {self.store.study}`",
            )
        return crop_of(read_image(path), frame, side)

    def badge(self) -> Markdown:
        """One line that says which study a page shows."""
        runs = self.provenance["runs"]
        networks = list(dict.fromkeys(row["network"] for row in runs))
        words = (
            f"{len(runs)} imported runs",
            f"on {', '.join(networks)}",
            f"imported on {self.provenance['computed']}".replace("-", "\u2011"),
        )
        return study_line(self.store.study, *words)


def open_published(name: str = "published") -> PublishedReport:
    """Open a study of imported runs. Raises ``ResultsError`` when it was not imported here."""
    return PublishedReport(open_imported(Project.find(), name))

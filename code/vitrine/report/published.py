"""What chapters read of a study of imported runs: its labels, its maps, its tables."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import Markdown

from vitrine.data.images import Frame, Pixels
from vitrine.errors import ResultsError, suggestion
from vitrine.external.store import ImportStore, open_imported
from vitrine.methods.heatmap import resample_to
from vitrine.project import Project
from vitrine.report.figures import crop_of
from vitrine.report.page import float_lines, study_line, this_page
from vitrine.report.study_report import image_of


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
            problem = f"The study {self.store.study!r} has no run {name!r}"
            raise ResultsError(problem, suggestion(name, sorted(known), "It has"))
        return dict(known[name])

    def table(self, name: str) -> pd.DataFrame:
        """A table of the store."""
        return self.store.table(name)

    def labels(self, run: str) -> pd.DataFrame:
        """The units that a run labels: layer, unit, label, kind and similarity (its score)."""
        self.run(run)
        own = self.table("labels").query("run == @run").drop(columns="run")
        return own.rename(columns={"score": "similarity"}).reset_index(drop=True)

    def on_object(self, image: str) -> pd.Series:
        """By run of maps: the share of positive weight on the object, ``nan`` without outline."""
        return self.table("regions").query("image == @image").set_index("run")["inside"]

    def frame(self, run: str, image: str) -> Frame:
        """The frame in which a run's map of an image lives."""
        return self.store.map_in_frame(run, image)[1]

    def map_in(self, run: str, image: str, frame: Frame) -> npt.NDArray[np.floating]:
        """A run's map of an image ``[h, w]``, warped into a frame."""
        values, own = self.store.map_in_frame(run, image)
        return values if own == frame else resample_to(values, own, frame)

    def crop(self, image: str, frame: Frame, side: int = 400) -> Pixels:
        """What a frame shows of an image: ``uint8 [side, side, 3]``."""
        which = f"whose maps the study {self.store.study!r} imported"
        again = f"run `vitrine import --study {self.store.study}`"
        return crop_of(image_of(self.project, self.provenance, image, which, again), frame, side)

    def badge(self) -> Markdown:
        """One line that says which study a page shows."""
        runs = self.provenance["runs"]
        return study_line(
            self.store.study,
            float_lines(this_page().document),
            f"{len(runs)} imported runs",
            f"on {', '.join(dict.fromkeys(row['network'] for row in runs))}",
            f"imported on {self.provenance['computed']}".replace("-", "\u2011"),
        )


def open_published(name: str = "published") -> PublishedReport:
    """Open a study of imported runs. Raises ``ResultsError`` when it was not imported here."""
    return PublishedReport(open_imported(Project.find(), name))

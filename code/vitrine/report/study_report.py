"""What chapters read: one study's tables, pictures and maps. Nothing here needs torch."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown

from vitrine.data import sources
from vitrine.data.images import Pixels, read_picture
from vitrine.data.outlines import outlines_of, regions_of
from vitrine.data.wordnet import SAMPLES, class_indices
from vitrine.errors import ResultsError, suggestion
from vitrine.measures.localisation import Mask, object_mask, parts_of_frame, share_inside
from vitrine.methods.heatmap import Heatmap
from vitrine.project import Project
from vitrine.report.figures import SIDE, crop_of, middle_of
from vitrine.report.observations import OBSERVATIONS, read_observations
from vitrine.report.page import block, study_line
from vitrine.report.text import percent
from vitrine.store import Store


class StudyReport:
    """The results of one study and one of its classifiers, as the chapters show them."""

    def __init__(self, store: Store, classifier: str) -> None:
        self.store = store
        self.classifier = classifier
        self.provenance = store.provenance()
        self._crops: dict[str, Pixels] = {}
        self._masks: dict[str, Mask | None] = {}

    @property
    def pictures(self) -> list[str]:
        """The pictures' names, in the order of the study file."""
        return [row["name"] for row in self.provenance["pictures"] if not row["more"]]

    @property
    def more_pictures(self) -> list[str]:
        """The names of the pictures that only attribution and the measures look at."""
        return [row["name"] for row in self.provenance["pictures"] if row["more"]]

    @property
    def facts(self) -> dict[str, Any]:
        """What the provenance says about the classifier."""
        return next(r for r in self.provenance["classifiers"] if r["name"] == self.classifier)

    @property
    def title(self) -> str:
        """The classifier's title, e.g. "EfficientNet-Lite0"."""
        return str(self.facts["title"])

    def method_title(self, method: str) -> str:
        """A method's title, e.g. "Grad-CAM"."""
        return self.method_titles[method]

    @cached_property
    def method_titles(self) -> dict[str, str]:
        """The title of each method, by its key."""
        return {str(row["name"]): str(row["title"]) for row in self.provenance["methods"]}

    @cached_property
    def ranked(self) -> pd.DataFrame:
        """The most probable classes of the study's pictures, by picture and rank (from 1)."""
        table = self.table("predictions")
        return table[table["picture"].isin(self.pictures)].set_index(["picture", "rank"])

    @cached_property
    def best(self) -> pd.DataFrame:
        """The most probable class of each of the study's pictures, by picture."""
        return self.ranked.query("rank == 1").droplevel("rank")

    @cached_property
    def objects(self) -> dict[str, Mask]:
        """The object masks ``bool [h, w]`` of the pictures in which an outline was drawn."""
        masks = {picture: self.object_mask(picture) for picture in self.pictures}
        return {picture: mask for picture, mask in masks.items() if mask is not None}

    @cached_property
    def object_areas(self) -> pd.Series:
        """The share of the frame that the object covers, by picture with an outline."""
        return pd.Series({picture: mask.mean() for picture, mask in self.objects.items()})

    def table(self, name: str) -> pd.DataFrame:
        """The classifier's rows of a table of the store, without its key."""
        table = self.store.table(name)
        own = table[table["classifier"] == self.classifier].drop(columns="classifier")
        return own.reset_index(drop=True)

    def has(self, name: str) -> bool:
        """Whether the study has a table of that name with a row of the classifier."""
        return name in self.store.tables() and not self.table(name).empty

    def parameters(self, section: str) -> dict[str, Any]:
        """What the study file says under a section, as in ``"lime.search"``; ``{}`` without it."""
        found: Any = self.provenance["study"]
        for key in section.split("."):
            found = (found or {}).get(key)
        return dict(found or {})

    def observations(self, place: str) -> Markdown:
        """What a person saw in this study's images, at a place of a chapter; nothing without.

        Raises ``ResultsError`` naming an observation whose condition the tables do not bear out.
        """
        folder = self.store.project.studies / self.store.study
        seen = [o for o in read_observations(folder) if o.place == place]
        for observation in seen:
            if failed := observation.failed(self.table):
                raise ResultsError(
                    f"The observation {observation.name} does not hold in these results: {failed}",
                    f"Look at the images again, and mend or remove it in "
                    f"{self.store.project.relative(folder / OBSERVATIONS)}",
                )
        return block("\n".join("- " + o.text.replace("\n", "\n  ") for o in seen))

    def prediction(self, picture: str) -> pd.Series:
        """The most probable class of a picture: its row of the table ``predictions``."""
        table = self.table("predictions")
        return table[(table["picture"] == picture) & (table["rank"] == 1)].iloc[0]

    def answer(self, picture: str) -> str:
        """The network's answer as a note: its probability, and its class where that is another."""
        best = self.prediction(picture)
        probability = percent(best["probability"])
        if self.is_right(picture):
            return probability
        return f"answer: {best['category']}, {probability}"

    def is_right(self, picture: str) -> bool:
        """Whether the most probable class of a picture is its true one.

        Told by the WordNet id in the file's name, as ImageNet has two classes called "crane" and
        two called "maillot"; never, where the classes are others or the file's name has no id.
        """
        if not self.facts.get("wordnet", True):  # older results do not say
            return False
        best = self.prediction(picture)
        return bool(class_indices(self.store.project).get(best["wnid"]) == best["target"])

    def subject(self, picture: str) -> str:
        """What a map of a picture explains, e.g. "goldfish", or "kite for the answer hip"."""
        answer = self.prediction(picture)["category"]
        return picture if answer == picture else f"{picture} for the answer {answer}"

    def crop(self, picture: str) -> Pixels:
        """What the classifier saw of a picture, large enough to be shown."""
        if picture not in self._crops:
            frame = self.store.frame(self.classifier, picture)
            row = next(r for r in self.provenance["pictures"] if r["name"] == picture)
            path = self._path(self.provenance["study"]["pictures"], row["file"])
            pixels = read_picture(path)
            if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
                raise ResultsError(
                    f"The picture {self.store.project.relative(path)} is not the one that the "
                    f"study {self.store.study!r} explained: its SHA-256 is another",
                    f"Restore it, or run `vitrine run --study {self.store.study}`",
                )
            self._crops[picture] = crop_of(pixels, frame)
        return self._crops[picture]

    def probing_picture(self, file: str, side: int) -> Pixels:
        """The middle square of a picture of the probing set: ``uint8 [side, side, 3]``."""
        origin = self.provenance["study"]["dissection"]["pictures"]
        return middle_of(read_picture(self._path(origin, file)), side)

    def _path(self, origin: dict[str, Any], file: str) -> Path:
        """Where a picture lies; fetched if its source's cache does not hold it."""
        project = self.store.project
        if origin["source"]:
            return sources.fetch_one(project, origin["source"], file)
        return project.root / str(origin["folder"]) / file

    def heatmap(self, method: str, picture: str, variant: str = "") -> Heatmap:
        """A method's map of a picture, or a variant of it."""
        return self.store.heatmap(self.classifier, method, picture, variant)

    def object_mask(self, picture: str) -> Mask | None:
        """The pixels ``bool [h, w]`` of the frame that show what the picture's name says.

        ``None`` where no outline was drawn, or nothing of it can be seen.
        """
        if picture not in self._masks:
            self._masks[picture] = self._object_mask(picture)
        return self._masks[picture]

    def _object_mask(self, picture: str) -> Mask | None:
        origin, file = self.provenance["study"]["pictures"], self.store.files()[picture]
        source = origin["source"]
        outlines = outlines_of(self.store.project, source, file) if source else None
        if outlines is None or not outlines.outlines:
            return None
        frame = self.store.frame(self.classifier, picture)
        size = read_picture(self._path(origin, file)).size
        return object_mask(outlines.in_frame(frame, size), frame.size)

    def on_object(self, method: str) -> pd.Series:
        """By picture with an outline: the share of a map's positive weight on the object."""
        return pd.Series(
            {
                picture: share_inside(self.heatmap(method, picture).values, mask)
                for picture, mask in self.objects.items()
            }
        )

    def parts(self, picture: str) -> dict[str, Mask]:
        """The parts ``bool [h, w]`` of a picture's frame that were outlined, by what they show.

        Each pixel is in exactly one of them; ``{}`` for a picture without outlined regions.
        """
        origin, file = self.provenance["study"]["pictures"], self.store.files()[picture]
        source = str(origin["source"])
        regions = regions_of(self.store.project, source, file)
        if regions is None:
            return {}
        shown = outlines_of(self.store.project, source, file)
        frame = self.store.frame(self.classifier, picture)
        return parts_of_frame(regions, shown, frame, read_picture(self._path(origin, file)).size)

    def sample_of(self, target: int, side: int = SIDE) -> Pixels:
        """The sample picture of an ImageNet class: its middle square ``uint8 [side, side, 3]``."""
        files = sorted(sources.pick_source(self.store.project, SAMPLES).digests)
        picture = read_picture(sources.fetch_one(self.store.project, SAMPLES, files[target]))
        return middle_of(picture, side)

    def segments(self, picture: str) -> np.ndarray:
        """A picture's superpixels: ``int16 [h, w]``."""
        task = f"{self.classifier}/lime/{self.store.files()[picture]}"
        return self.store.read_task(task).arrays["segments"]

    def badge(self, networks: str | None = None, pictures: int | None = None) -> Markdown:
        """One line that says which study a page shows.

        networks, pictures : of the page, where they are not those that are explained.
        """
        words = (
            networks or self.title,
            f"trained on {self.facts['training_set']}",
            f"{pictures or len(self.pictures):,} pictures",
            # With hyphens that do not break.
            f"computed on {self.provenance['computed']}".replace("-", "\u2011"),
        )
        return study_line(self.store.study, *words)


def open_study(name: str | None = None, classifier: str | None = None) -> StudyReport:
    """Open a finished study, for one of its classifiers (the first by default).

    Without a name it is the one that the report shows (``study`` of ``_variables.yml``). Raises
    ``ResultsError`` when the study was not run to its end here, or has no such classifier.
    """
    project = Project.find()
    name = name or project.shown_study
    store = Store(project, name)
    known = [row["name"] for row in store.provenance()["classifiers"]]
    if not known:
        raise ResultsError(
            f"The study {name!r} holds imported runs, and no classifier of its own",
            "Open it with open_published",
        )
    chosen = classifier or known[0]
    if chosen not in known:
        raise ResultsError(
            f"The study {name!r} has no classifier {chosen!r}",
            suggestion(chosen, known, "It has"),
        )
    return StudyReport(store, chosen)

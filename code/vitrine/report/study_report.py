"""What chapters read: one study's tables, images and maps. Nothing here needs torch."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import Markdown

from vitrine.data import sources
from vitrine.data.images import Frame, Image, Pixels, read_image
from vitrine.data.outlines import outlines_of, regions_of
from vitrine.data.wordnet import SAMPLES, class_indices
from vitrine.errors import NotApplicable, ResultsError, suggestion
from vitrine.measures.agreement import Region, ious, standard_ranks
from vitrine.measures.localisation import Mask, object_mask, parts_of_frame, share_inside
from vitrine.measures.thresholds import REGION_RULES
from vitrine.methods.heatmap import Heatmap
from vitrine.methods.superpixels import KEPT
from vitrine.project import Project
from vitrine.report.figures import SIDE, crop_of, middle_of
from vitrine.report.observations import OBSERVATIONS, read_observations
from vitrine.report.page import block, fenced, study_line, this_page
from vitrine.report.parts import kept_floats, lacking_parts
from vitrine.report.text import percent, safe, trained_on
from vitrine.store import Store, explained_alike

OF_NETWORKS = ("units", "layers", "concepts", "top_images", "classes", "probing")
"""The tables of the dissection, which has networks of its own."""


def distinct_titles(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A title for each network: its own, where two share one with the training set or the key."""
    for how in ("{title}", "{title} {training_set}", "{title} {name}"):
        titles = [how.format(**row).strip() for row in rows]
        if len(set(titles)) == len(titles):
            break
    return titles


def image_path(project: Project, origin: Mapping[str, Any], file: str) -> Path:
    """Where an image of a study lies; fetched if its source's cache does not hold it."""
    if origin["source"]:
        return sources.fetch_one(project, origin["source"], file)
    return project.path(str(origin["folder"])) / file


def image_of(
    project: Project, provenance: Mapping[str, Any], name: str, which: str, again: str
) -> Image:
    """The image of that name whose maps a study has.

    Raises ``ResultsError`` where another file lies there; which, again : what the study did with
    it, and how that is done again.
    """
    row = next(row for row in provenance["images"] if row["name"] == name)
    path = image_path(project, provenance["study"]["images"], row["file"])
    if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
        problem = f"The image {project.relative(path)} is not the one {which}: its SHA-256 is "
        raise ResultsError(f"{problem}another", f"Restore it, or {again}")
    return read_image(path)


def unrounded(area: float, pixels: int) -> float:
    """An area as the table has it, rounded, without what the rounding took from a pixel."""
    whole = round(area * pixels)
    return whole / pixels if abs(area * pixels - whole) < 0.05 else area


class StudyReport:
    """The results of one study and one of its classifiers, as the chapters show them."""

    def __init__(self, store: Store, classifier: str) -> None:
        self.store = store
        self.classifier = classifier
        self.provenance = store.provenance()
        self._crops: dict[str, Pixels] = {}
        self._tables: dict[str, pd.DataFrame] = {}

    @property
    def images(self) -> list[str]:
        """The images' names, in the order of the study file."""
        return [row["name"] for row in self.provenance["images"] if not row["extra"]]

    @property
    def extra_images(self) -> list[str]:
        """The names of the images that only attribution and the measures look at."""
        return [row["name"] for row in self.provenance["images"] if row["extra"]]

    @property
    def facts(self) -> dict[str, Any]:
        """What the provenance says about the classifier."""
        return next(r for r in self.provenance["classifiers"] if r["name"] == self.classifier)

    @property
    def title(self) -> str:
        """The classifier's title, e.g. "EfficientNet-Lite0"."""
        return str(self.facts["title"])

    @cached_property
    def method_titles(self) -> dict[str, str]:
        """The title of each method, e.g. "Grad-CAM", by its key."""
        return {str(row["name"]): str(row["title"]) for row in self.provenance["methods"]}

    @cached_property
    def ranked(self) -> pd.DataFrame:
        """The most probable classes of the study's images, by image and rank (from 1)."""
        table = self.table("predictions")
        return table[table["image"].isin(self.images)].set_index(["image", "rank"])

    @cached_property
    def best(self) -> pd.DataFrame:
        """The most probable class of each of the study's images, by image."""
        return self.ranked.query("rank == 1").droplevel("rank")

    @cached_property
    def objects(self) -> dict[str, Mask]:
        """The object masks ``bool [h, w]`` of the images in which an outline was drawn."""
        masks = {image: self.object_mask(image) for image in self.images}
        return {image: mask for image, mask in masks.items() if mask is not None}

    @cached_property
    def object_areas(self) -> pd.Series:
        """The share of the frame that the object covers, by image with an outline."""
        return pd.Series({image: mask.mean() for image, mask in self.objects.items()})

    def table(self, name: str) -> pd.DataFrame:
        """The classifier's rows of a table of the store, without its key."""
        return self._own(name).drop(columns="classifier").reset_index(drop=True)

    @cached_property
    def dissection(self) -> dict[str, Any]:
        """What the provenance says about the dissection, ``{}`` without one.

        Its classifiers have titles that differ as ``network``, as ``distinct_titles`` has them.
        """
        facts = dict(self.provenance.get("dissection") or {})
        rows = facts.get("classifiers", [])
        named = zip(rows, distinct_titles(rows), strict=True)
        facts["classifiers"] = [row | {"network": name} for row, name in named]
        return facts if rows else {}

    def networks_table(self, name: str) -> pd.DataFrame:
        """A table of the dissection: the rows of all dissected networks, by ``network``."""
        table = self._whole(name).copy()
        titles = {row["name"]: row["network"] for row in self.dissection["classifiers"]}
        table.insert(0, "network", table["classifier"].map(titles))
        return table.drop(columns="classifier")

    def has(self, name: str) -> bool:
        """Whether a table of that name has a row of the classifier, or of a dissected network."""
        if name not in self._tables and name not in self.store.tables():
            return False
        return not self._rows(name).empty

    def _whole(self, name: str) -> pd.DataFrame:
        """A table of the store, read once; it is not to be changed."""
        if name not in self._tables:
            self._tables[name] = self.store.table(name)
        return self._tables[name]

    def _own(self, name: str) -> pd.DataFrame:
        """The classifier's rows of it, a copy."""
        table = self._whole(name)
        return table[table["classifier"] == self.classifier]

    def parameters(self, section: str) -> dict[str, Any]:
        """What the study file says under a section, as in ``"lime.search"``; ``{}`` without it."""
        found: Any = self.provenance["study"]
        for key in section.split("."):
            found = (found or {}).get(key)
        return dict(found or {})

    def observations(
        self, place: str, lead: str = "Seen by a person in the images of this study:"
    ) -> Markdown:
        """What a person saw in this study's images, at a place of a chapter, after a ``lead``.

        Raises ``ResultsError`` naming an observation whose condition the tables do not bear out.
        """
        folder = self.store.project.studies / self.store.study
        seen = [o for o in read_observations(folder) if o.place == place]
        for one in seen:
            if failed := one.failed(self._rows):
                problem = f"The observation {one.name} does not hold in these results: {failed}"
                where = self.store.project.relative(folder / OBSERVATIONS)
                again = f"Look at the images again, and mend or remove it in {where}"
                raise ResultsError(problem, again)
        said = "\n".join("- " + o.text.replace("\n", "\n  ") for o in seen)
        return block(lead, said) if seen else block("")

    def _rows(self, name: str) -> pd.DataFrame:
        """The rows of a table that a page is about: the classifier's, or of all networks."""
        return self._whole(name) if name in OF_NETWORKS else self._own(name)

    def prediction(self, image: str) -> pd.Series:
        """The most probable class of an image: its row of the table ``predictions``."""
        table = self.table("predictions")
        return table[(table["image"] == image) & (table["rank"] == 1)].iloc[0]

    def prediction_note(self, image: str, lead: str = "predicted: ") -> str:
        """The prediction as a note: its probability, after its class where that is another."""
        best = self.prediction(image)
        probability = percent(best["probability"])
        told = self.is_correct(image) or self.has_one_output
        return probability if told else f"{lead}{best['category']}, {probability}"

    @property
    def has_one_output(self) -> bool:
        """Whether the network knows one class, which is the most probable one of every image."""
        return bool(self.facts.get("one_output", False))

    def has_true_class(self, image: str) -> bool:
        """Whether an image is filed under one of the classes, so that a prediction can be wrong."""
        if self._labels[image]:
            return True
        if not self.facts.get("wordnet", True):  # older results do not say
            return False
        return self.prediction(image)["wnid"] in class_indices(self.store.project)

    def is_correct(self, image: str) -> bool:
        """Whether the most probable class of an image is its true one.

        Told by the WordNet id in the file's name, as ImageNet has two classes called "crane" and
        two called "maillot"; never, where the classes are others or the file's name has no id. A
        single class is predicted from one half on.
        """
        if not self.has_true_class(image):
            return False
        best = self.prediction(image)
        if self.has_one_output and best["probability"] < 0.5:
            return False
        if label := self._labels[image]:
            return bool(best["category"] == label)
        return bool(class_indices(self.store.project)[best["wnid"]] == best["target"])

    @cached_property
    def _labels(self) -> dict[str, str]:
        """The class that the folder of each image names, or ``""``."""
        return {row["name"]: row.get("label", "") for row in self.provenance["images"]}

    def subject(self, image: str) -> str:
        """What a map of an image explains, e.g. "goldfish", or "kite for the prediction hip"."""
        predicted = self.prediction(image)["category"]
        return image if predicted == image else f"{image} for the prediction {predicted}"

    def crop(self, image: str) -> Pixels:
        """What the classifier saw of an image, large enough to be shown."""
        if image not in self._crops:
            project, name = self.store.project, self.store.study
            ways = f"that the study {name!r} explained", f"run `vitrine run --study {name}`"
            pixels = image_of(project, self.provenance, image, *ways)
            self._crops[image] = crop_of(pixels, self.store.frame(self.classifier, image))
        return self._crops[image]

    def probing_image(self, file: str, side: int) -> Pixels:
        """The middle square of an image of the probing set: ``uint8 [side, side, 3]``."""
        origin = self.provenance["study"]["dissection"]["images"]
        return middle_of(read_image(image_path(self.store.project, origin, file)), side)

    def heatmap(self, method: str, image: str, variant: str = "") -> Heatmap:
        """A method's map of an image, or a variant of it."""
        return self.store.heatmap(self.classifier, method, image, variant)

    def why_no_map(self, method: str, image: str) -> str:
        """Why a method has no map of an image that says anything, or ``""``."""
        if not self.store.has_task(f"{self.classifier}/{method}/{self.store.files()[image]}"):
            return "not computed"
        try:
            constant = self.heatmap(method, image).is_constant
        except NotApplicable as error:
            return str(error)
        return "the map is the same everywhere" if constant else ""

    def map_or_none(self, method: str, image: str) -> Heatmap | None:
        """A method's map of an image, where it has one that says anything."""
        return None if self.why_no_map(method, image) else self.heatmap(method, image)

    def iou_matrix(
        self, first: str, second: str, rule: str = "share", share: float | None = None
    ) -> npt.NDArray[np.float64]:
        """The IoU ``[n, n]`` of a method's region of image i with another's of image j.

        rule : a key of ``REGION_RULES``. share : of the frame, if not as the study chose it.
        ``nan`` where a method has no map of an image, or it highlights nothing.
        """
        both = [_regions(self, method, rule, share) for method in (first, second)]
        return ious(*_stacked(both, 0.0))

    def rho_matrix(self, first: str, second: str) -> npt.NDArray[np.float64]:
        """The rank correlation ``[n, n]`` of a method's map of image i with another's of image j.

        ``nan`` where a method has no map of an image.
        """
        one, other = _stacked([_ranks(self, method) for method in (first, second)], np.nan)
        return one @ other.T

    def object_mask(self, image: str) -> Mask | None:
        """The pixels ``bool [h, w]`` of the frame that show what the image's name says.

        ``None`` where no outline was drawn, or nothing of it can be seen.
        """
        project, source = self.store.project, self.provenance["study"]["images"]["source"]
        outlines = outlines_of(project, source, self.store.files()[image]) if source else None
        if outlines is None or not outlines.outlines:
            return None
        frame, size = self._frame_and_size(image)
        return object_mask(outlines.in_frame(frame, size), frame.size)

    def on_object(self, method: str, variant: str = "") -> pd.Series:
        """By image with an outline: the share of a map's positive weight on the object."""
        shares = {
            image: share_inside(self.heatmap(method, image, variant).values, mask)
            for image, mask in self.objects.items()
        }
        return pd.Series(shares)

    def _frame_and_size(self, image: str) -> tuple[Frame, tuple[int, int]]:
        """An image's frame, and the height and width of all of it in pixels."""
        origin, file = self.provenance["study"]["images"], self.store.files()[image]
        size = read_image(image_path(self.store.project, origin, file)).size
        return self.store.frame(self.classifier, image), size

    def parts(self, image: str) -> dict[str, Mask]:
        """The parts ``bool [h, w]`` of an image's frame that were outlined, by what they show.

        Each pixel is in exactly one of them; ``{}`` for an image without outlined regions.
        """
        source = str(self.provenance["study"]["images"]["source"])
        where = (self.store.project, source, self.store.files()[image])
        if (regions := regions_of(*where)) is None:
            return {}
        return parts_of_frame(regions, outlines_of(*where), *self._frame_and_size(image))

    def sample_of(self, target: int, side: int = SIDE) -> Pixels:
        """The sample image of an ImageNet class: its middle square ``uint8 [side, side, 3]``."""
        project = self.store.project
        file = sorted(sources.pick_source(project, SAMPLES).digests)[target]
        return middle_of(read_image(sources.fetch_one(project, SAMPLES, file)), side)

    def segments(self, image: str) -> np.ndarray:
        """An image's superpixels: ``int16 [h, w]``."""
        task = f"{self.classifier}/lime/{self.store.files()[image]}"
        return self.store.read_task(task).arrays["segments"]

    def about(self) -> Markdown:
        """What the study file says of the study, as a box at the top of the report."""
        return block(fenced(".vitrine-about", safe(self.provenance["study"]["description"])))

    def badge(self, networks: str = "", images: int = 0, training_set: str = "") -> Markdown:
        """One line that says which study a page shows, and what the page leaves out without it.

        networks, images, training_set : of the page, where they are not those that are explained.
        """
        number = images or len(self.images)
        floats = kept_floats(self, this_page().document)
        line = study_line(
            self.store.study,
            floats,
            networks or self.title,
            trained_on(training_set or self.facts["training_set"]),
            f"{number:,} image{'' if number == 1 else 's'}",
            # With hyphens that do not break.
            f"computed on {self.provenance['computed']}".replace("-", "\u2011"),
        )
        return block(*(part.data for part in (line, lacking_parts(self)) if part.data))


@lru_cache(maxsize=16)  # a page compares a dozen methods with each other
def _regions(
    study: StudyReport, method: str, rule: str, share: float | None
) -> list[Region | None]:
    """The region of each image that a rule gives a method's map, ``None`` where it has no map."""
    row, regions = REGION_RULES[rule], []
    kept = dict[str, float]()
    if row.area in KEPT:  # by the superpixels that LIME keeps
        areas = study.table("regions").query("rule == @rule and method == 'lime'")
        kept = dict(zip(areas["image"], areas["area"], strict=True))
    chosen = study.parameters("agreement").get("share", 0.0) if share is None else share
    for image in study.images:
        shown = study.map_or_none(method, image)
        area = unrounded(kept[image], shown.values.size) if shown and kept else float(chosen)
        regions.append(row.region(shown.values, area) if shown else None)
    return regions


@lru_cache(maxsize=16)
def _ranks(study: StudyReport, method: str) -> list[npt.NDArray[np.float64] | None]:
    """The standard ranks ``[pixels]`` of a method's maps by image, ``None`` where it has none."""
    maps = (study.map_or_none(method, image) for image in study.images)
    return [standard_ranks(one.values) if one else None for one in maps]


def _stacked(
    both: list[list[npt.NDArray[np.float64] | None]], nothing: float
) -> list[npt.NDArray[np.float64]]:
    """What two methods have of each image, as arrays of one size; ``nothing`` where they do not."""
    size = next((one.shape for own in both for one in own if one is not None), (1,))
    empty = np.full(size, nothing)
    return [np.stack([empty if one is None else one for one in own]) for own in both]


def computed_studies() -> list[StudyReport]:
    """Every classifier that explains the images of the shown study, its own first."""
    project = Project.find()
    return [StudyReport(*known) for known in explained_alike(project, project.shown_study)]


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
        problem = f"The study {name!r} holds imported runs, and no classifier of its own"
        raise ResultsError(problem, "Open it with open_published")
    chosen = classifier or known[0]
    if chosen not in known:
        problem = f"The study {name!r} has no classifier {chosen!r}"
        raise ResultsError(problem, suggestion(chosen, known, "It has"))
    return StudyReport(store, chosen)

"""What every experiment of a study is: tasks, computing each of them, and the tables they make."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from vitrine.data import sources
from vitrine.data.images import Frame, Image, Pixels
from vitrine.errors import NotApplicable, StudyError
from vitrine.models.classifier import Classifier
from vitrine.models.inference import PLAIN, InferenceOptions, as_run, fastest_options
from vitrine.models.own import architecture_of
from vitrine.project import Project
from vitrine.store import Store, TaskResult
from vitrine.study import Study
from vitrine.study import lime as lime_section

Row = dict[str, Any]
"""One row of a table, by column."""

Rows = Iterator[tuple[str, Iterable[Row]]]
"""The names of tables, each with some of its rows, in the order in which they stand there."""

Columns = dict[str, str]
"""What each column of a table says."""

OF_IMAGE: Columns = {"classifier": "key of the classifier", "image": "name of the image"}
OF_MAP: Columns = {**OF_IMAGE, "method": "key of the method"}
"""How tables about images, and about their maps, begin."""

SECOND, STABILITY = "second", "stability"
"""Variants: the second most probable class; LIME drawn again and again."""


def segmentation_key(segmentation: lime_section.Segmentation) -> str:
    """A segmentation and its parameters as a name: ``"slic-50-10-1"``."""
    values = segmentation.model_dump(exclude={"method"}).values()
    return "-".join([segmentation.method, *(f"{value:g}" for value in values)])


def searched(segmentation: lime_section.Segmentation) -> str:
    """The variant of LIME that one segmentation of a search is."""
    return f"search-{segmentation_key(segmentation)}"


def at_random(segmentation: lime_section.Segmentation) -> str:
    """The variant of LIME that random superpixels of a segmentation are the control of."""
    return f"random-{segmentation_key(segmentation)}"


def at_layer(layer: str) -> str:
    """The variant of a class activation map at a layer."""
    return f"at-{layer}"


def check_side(study: Study, key: str, side: int) -> None:
    """Raises ``StudyError`` for a square that is larger than what a network sees.

    key, side : of the study file, in pixels.
    """
    for row in study.classifiers:
        crop = architecture_of(study, row.name).preprocessing.crop
        if side > crop:
            raise StudyError(
                f"{key} is {side} pixels, and the input of {row.name} is {crop} × {crop}",
                f"Set {key} to {crop} at most; `vitrine new` takes about a sixth of that",
            )


@dataclass(frozen=True)
class Task:
    """One unit of a run: a method on an image, or on a whole set of them, with a classifier.

    file : the image's file; of a set, the part of the experiment.
    variant : of the method, where an image is explained by it in several ways.
    passes : the forward passes it takes, or work of that length, which is what time is measured in.
    parameters : everything that its result depends on besides the network and the image.
    """

    classifier: str
    method: str
    file: str
    passes: int
    parameters: dict[str, Any]
    variant: str = ""

    @property
    def name(self) -> str:
        return f"{self.classifier}/{self.way}/{self.file}"

    @property
    def way(self) -> str:
        """The method with its variant, which is also the name of the folder of its results."""
        return f"{self.method}.{self.variant}" if self.variant else self.method


def task_key(method: str, parameters: dict[str, Any], network: str, images: str) -> str:
    """Everything that a task's result depends on, as one digest.

    network, images : the digests of the network's parameters and of the images' pixels.
    """
    known = [method, parameters, network, images]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Progress:
    """What a run tells about itself while it goes.

    plan : called once with the forward passes that are left to do, the tasks left and those done.
    step : called with the name of each step that begins.
    advance : called with the forward passes just done.
    """

    plan: Callable[[int, int, int], None] = lambda passes, todo, done: None
    step: Callable[[str], None] = lambda name: None
    advance: Callable[[int], None] = lambda passes: None


SILENT = Progress()
"""Tells nothing."""


@contextmanager
def counted(progress: Progress, passes: int) -> Iterator[Progress]:
    """A progress whose passes add up to what was planned, whatever an estimate was worth."""
    left = passes

    def advance(done: int) -> None:
        nonlocal left
        told = min(done, left)
        left -= told
        progress.advance(told)

    yield replace(progress, advance=advance)
    if left:
        progress.advance(left)


@dataclass
class Context:
    """What the experiments of one run share: the study with its networks, images and store.

    networks, images, digests : by name or file, in the order of the study; the digests are those of
        the images' pixels.
    maps : the tasks that make the maps, whose stored results tell how passes were run.
    known_settings : how the passes of networks are run, as far as it is chosen.
    probing_digests : the file and the digest of each image of a probing set, once they are known.
    """

    project: Project
    study: Study
    networks: dict[str, Classifier]
    images: dict[str, Image]
    digests: dict[str, str]
    store: Store
    device: str = "cpu"
    maps: Sequence[Task] = ()
    known_settings: dict[str, InferenceOptions] = field(default_factory=dict)
    probing_digests: list[str] = field(default_factory=list)

    @property
    def classifiers(self) -> dict[str, Classifier]:
        """The networks whose predictions are explained."""
        return {row.name: self.networks[row.name] for row in self.study.classifiers}

    @property
    def explained(self) -> dict[str, Image]:
        """The images under ``images.files``, without those that only evaluation looks at."""
        return {file: self.images[file] for file in self.study.images.files}

    def seen(self, task: Task) -> tuple[Classifier, Pixels, Frame]:
        """A task's network, and what it sees of the task's image: the crop and its frame."""
        classifier, image = self.networks[task.classifier], self.images[task.file]
        return classifier, classifier.crop(image), classifier.frame(image)

    def settings(self, network: str) -> InferenceOptions:
        """How passes are run: as the study says, as those of stored maps were, or measured here.

        A network that is not explained takes the study's settings or none.
        """
        if network not in self.known_settings:
            self.known_settings[network] = self._chosen(network)
        return self.known_settings[network]

    def _chosen(self, network: str) -> InferenceOptions:
        classifier = self.networks[network]
        if self.study.speed:
            return as_run(classifier, self.study.speed)
        if network not in self.classifiers:
            return PLAIN
        if known := self.stored_settings(network):
            return as_run(classifier, InferenceOptions(**known))
        return fastest_options(classifier)

    def stored_settings(self, network: str) -> dict[str, Any] | None:
        """How the passes of the first stored map that tells it were run."""
        own = (task for task in self.maps if task.classifier == network)
        stored = (self.store.facts(task.name).get("settings") for task in own)
        return next((facts for facts in stored if facts), None)

    def probabilities(self, network: str, file: str) -> np.ndarray:
        """The stored predictions of an image: ``float32 [classes]``."""
        return self.store.read_task(f"{network}/predictions/{file}").arrays["probabilities"]

    def ranked(self, network: str, file: str) -> list[int]:
        """The classes of an image from the most probable one, as its stored predictions say."""
        return list(map(int, np.argsort(-self.probabilities(network, file), kind="stable")))


def classifier_facts(classifier: Classifier) -> dict[str, Any]:
    """What the provenance says about a classifier."""
    of_some: dict[str, Any] = {}
    if grid := classifier.token_grid:
        of_some["token_grid"] = [grid.rows, grid.columns]
    if len(classifier.categories) == 1:
        of_some["one_output"] = True
    return {
        "name": classifier.name,
        "title": classifier.title,
        "training_set": classifier.training_set,
        "wordnet": classifier.wordnet,
        "weights": classifier.weights,
        "paper": list(classifier.paper),
        "licence": classifier.licence,
        "preprocessing": classifier.preprocessing.text,
        "sha256": classifier.digest,
        "last_convolution": classifier.last_convolution,
        "activation_after": classifier.activation_after,
        "input": list((classifier.preprocessing.crop,) * 2),
    } | of_some


@dataclass(frozen=True)
class Piece:
    """A part of a task that workers share: a method of the experiment, its arguments, its passes.

    What two neighbouring pieces give, ``Experiment.joined`` makes one.

    about : what a run says when the first one begins.
    """

    about: str
    method: str
    arguments: tuple[Any, ...]
    passes: int


class Experiment:
    """A part of a study. What a subclass does not say is nothing, or what most of them do.

    SECTION : of the study file, that asks for it; the default is there in every study.
    TABLES : what each column of each of its tables says.
    """

    SECTION: ClassVar[str] = "classifiers"
    TABLES: ClassVar[dict[str, Columns]] = {}

    @classmethod
    def section(cls, study: Study) -> Any:
        """The section of a study that asks for it; ``None`` where there is none."""
        return getattr(study, cls.SECTION)

    @classmethod
    def check(cls, project: Project, study: Study) -> None:
        """Stop before work starts if the study names what does not exist. Raises ``StudyError``."""

    @classmethod
    def fetch(cls, project: Project, study: Study, report: sources.Report) -> None:
        """Bring what it needs beside the networks and the study's images."""

    @classmethod
    def fetched_files(cls, project: Project, study: Study) -> int:
        """How many files ``fetch`` reports."""
        return 0

    @classmethod
    def methods(cls, study: Study) -> list[dict[str, str]]:
        """Its methods with their titles, and the papers as keys of the bibliography."""
        return []

    def __init__(self, context: Context) -> None:
        self.context, self.study, self.store = context, context.study, context.store
        self.wanted = self.section(context.study)

    @property
    def tasks(self) -> Sequence[Task]:
        """The tasks, in an order in which each finds what it builds on in the store."""
        return ()

    @property
    def tables(self) -> dict[str, Columns]:
        """Those of ``TABLES`` that the study asks for."""
        return self.TABLES

    def digests(self, task: Task) -> tuple[str, str]:
        """The digests of the network and of the images that a task looks at."""
        return self.context.networks[task.classifier].digest, self.context.digests[task.file]

    def describe(self, task: Task) -> str:
        """What a run says when a task begins."""
        variant = f" ({task.variant})" if task.variant else ""
        return f"{task.method}{variant} · {self.context.images[task.file].name}"

    def preparation(self, todo: Sequence[Task]) -> int:
        """The work that comes before such tasks, in forward passes."""
        return 0

    def prepare(self, progress: Progress) -> None:
        """Do that work, whose result workers find in the cache."""

    def waves(self, todo: Sequence[Task]) -> Sequence[Sequence[Task]]:
        """The tasks, parted where later ones build on the stored results of earlier ones."""
        return [todo]

    def together(self, task: Task) -> str:
        """Tasks of the same name here leave each other passes, and one worker computes them."""
        return task.name

    def pieces(self, task: Task | None) -> Sequence[Piece]:
        """The parts of a task that workers share, or of the preparation (``None``)."""
        return ()

    def joined(self, first: Any, second: Any) -> Any:
        """What two neighbouring pieces gave, as the piece of both would have given it."""
        raise NotImplementedError(f"{type(self).__name__} has no pieces to join")

    def take(self, task: Task | None, found: Any) -> None:
        """Take what all pieces of a task gave together, so that it need not be computed."""

    def compute(self, task: Task, progress: Progress) -> TaskResult:
        """One task's result. Raises ``NotApplicable`` where the network does not support it."""
        raise NotImplementedError(f"{type(self).__name__} has no tasks to compute")

    def results(self, tasks: Sequence[Task], found: Any) -> list[TaskResult]:
        """The results of tasks that belong together.

        found : what the pieces of the first gave together; ``None`` where it has none.
        """
        if found is not None:
            self.take(tasks[0], found)
        return [computed(self, task, SILENT) for task in tasks]

    def rows(self) -> Rows:
        """The rows of all its tables from the stored tasks: they say what the store holds."""
        yield from ()

    def provenance(self) -> dict[str, Any]:
        """What the study's provenance says about this experiment."""
        return {}


def computed(experiment: Experiment, task: Task, progress: Progress) -> TaskResult:
    """A task's result; where a method is not applicable, the reason and nothing else."""
    progress.step(experiment.describe(task))
    try:
        with counted(progress, task.passes) as own:
            try:
                gather(experiment, task, own)
                return experiment.compute(task, own)
            except NotApplicable as error:
                return TaskResult({}, {"reason": str(error.problem)})
    except StudyError as error:
        image = experiment.context.images.get(task.file)
        about = f"{image.name}: " if image else ""
        raise StudyError(f"{about}{error.problem}", error.remedy) from error


def gather(experiment: Experiment, task: Task | None, progress: Progress) -> None:
    """Do the pieces of a task, or of the preparation, one after the other in this process."""
    found, pieces = None, experiment.pieces(task)
    if pieces:
        progress.step(pieces[0].about)
    for piece in pieces:
        part = getattr(experiment, piece.method)(*piece.arguments)
        found = part if found is None else experiment.joined(found, part)
        progress.advance(piece.passes)
    if found is not None:
        experiment.take(task, found)

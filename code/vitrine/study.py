"""A study: which images to explain, with which classifiers and methods, and how.

A study is a file ``data/studies/NAME/study.toml``. It is read once into frozen, validated data;
every later step takes its parameters from here and from nowhere else.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from vitrine.errors import StudyError, suggestion
from vitrine.files import toml_table
from vitrine.project import STUDY_FILE, Project
from vitrine.study_errors import problems

Entry = TypeVar("Entry")


def listed_once(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The entries, each another; tables are told apart by their name where they have one."""
    names = [getattr(entry, "name", entry) for entry in entries]
    doubled = dict.fromkeys(str(name) for name in names if names.count(name) > 1)
    if doubled:
        raise ValueError(f"listed twice: {', '.join(doubled)}")
    return entries


Unique = Annotated[tuple[Entry, ...], AfterValidator(listed_once)]
"""A list in which nothing stands twice."""

Said = Annotated[Entry, Field(exclude_if=lambda value: value is None)]
"""What results note only where a study says it."""

WEIGHTS = ("pretrained", "random")
"""What ``weights`` can be beside a file."""

Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _is_plain(name: str) -> bool:
    """Whether a file's name is a path below its folder, written in the one usual way."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and str(path) == name != "."


class Images(_Part):
    """Where the images come from: a source of ``data/sources.toml``, or a local folder.

    files : the images of the study.
    extra : images that attribution and the measures look at beside those.
    """

    source: str | None = None
    folder: str | None = None
    files: tuple[str, ...] = Field(min_length=1)
    extra: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.files, *self.extra)

    @model_validator(mode="after")
    def _one_origin(self) -> Images:
        if (self.source is None) == (self.folder is None):
            raise ValueError("name either a `source` or a `folder`, not both and not neither")
        outside = [name for name in self.all if not _is_plain(name)]
        if outside:
            raise ValueError(
                f"write the files as paths below the folder, without '..': {', '.join(outside)}"
            )
        listed_once(self.all)
        return self


class Classifier(_Part):
    """A row of ``vitrine.models.registry.CLASSIFIERS`` and the weights to give it, or a network.

    name : of the row; with ``network``, what results and tables call it.
    network : ``timm:NAME``, ``torchvision:NAME`` or ``FILE.py:FUNCTION``, which returns it.
    weights : with ``network``, also a file of tensors.
    classes : a file with one class a line, or ``imagenet``.
    title, training_set : what the report says of it.
    size, resize, mean, std, interpolation : preprocessing where it is not the library's own; mean
        and standard deviation of pixels from 0 to 1.
    channels_first, channels_last : layers whose feature maps are ``[n, channels, h, w]`` or
        ``[n, h, w, channels]``, where that cannot be told from the layer.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")
    weights: str = "pretrained"
    seed: int = 0
    channels_first: Unique[str] = ()
    channels_last: Unique[str] = ()
    network: Said[str | None] = None
    classes: Said[str | None] = None
    title: Said[str | None] = None
    training_set: Said[str | None] = None
    size: Said[Annotated[int, Field(ge=8)] | None] = None
    resize: Said[Annotated[int, Field(ge=8)] | None] = None
    mean: Said[tuple[float, float, float] | None] = None
    std: Said[tuple[float, float, float] | None] = None
    interpolation: Said[Literal["nearest", "bilinear", "bicubic"] | None] = None
    link: Said[Literal["softmax", "sigmoid"] | None] = None

    @property
    def channel_axes(self) -> dict[str, Literal["first", "last"]]:
        """Where the channels of a layer lie, as far as the study says."""
        axes: dict[str, Literal["first", "last"]] = {}
        axes.update((layer, "first") for layer in self.channels_first)
        axes.update((layer, "last") for layer in self.channels_last)
        return axes

    @model_validator(mode="after")
    def _one_axis(self) -> Classifier:
        if both := sorted(set(self.channels_first) & set(self.channels_last)):
            raise ValueError(f"the channels of {both[0]!r} cannot lie first and last")
        return self

    @model_validator(mode="after")
    def _all_of_a_network(self) -> Classifier:
        own = self.model_fields_set - {
            "name",
            "weights",
            "seed",
            "network",
            "channels_first",
            "channels_last",
        }
        if self.network is None and (own or self.weights not in WEIGHTS):
            raise ValueError(
                f"{', '.join(sorted(own)) or 'a file of weights'} belongs to a `network`; a row of "
                'the table has its own, and `weights` "pretrained" or "random"'
            )
        return self


class Predictions(_Part):
    top: int = Field(default=5, ge=1, le=1000)


class Speed(_Part):
    """How many passes of a network are run, as ``vitrine.models.inference.InferenceOptions`` says.

    Everything here changes logits by rounding only. A study that names it repeats to the digit on
    machines of one kind; one that does not takes what is fastest where it runs.
    """

    batch: int = Field(default=16, ge=1)
    channels_last: bool = False
    folded: bool = False
    threads: int = Field(default=0, ge=0)
    keep_memory: bool = False


class Cam(_Part):
    """Class activation maps of the predicted class.

    second : methods that also explain the second most probable class.
    layers : layers whose maps are made as well, by ``layer_method``.
    """

    methods: Unique[str] = Field(default=("gradcam",), min_length=1)
    layer: str | None = None
    second: Unique[str] = ()
    layers: Unique[str] = ()
    layer_method: str = "gradcam"


class Quickshift(_Part):
    """Superpixels by quickshift (Vedaldi and Soatto, 2008)."""

    method: Literal["quickshift"] = "quickshift"
    kernel_size: float = Field(default=4.0, gt=0)
    max_dist: float = Field(default=200.0, gt=0)
    ratio: float = Field(default=0.2, ge=0, le=1)


class Slic(_Part):
    """Superpixels by k-means in colour and place (Achanta et al., 2012).

    n_segments : about how many superpixels. compactness : weight of place against colour.
    sigma : width of the Gaussian that smoothes first, in pixels.
    """

    method: Literal["slic"] = "slic"
    n_segments: int = Field(default=50, ge=2)
    compactness: float = Field(default=10.0, gt=0)
    sigma: float = Field(default=1.0, ge=0)


class Felzenszwalb(_Part):
    """Superpixels as pieces of a minimum spanning tree (Felzenszwalb and Huttenlocher, 2004).

    scale : larger means larger pieces. sigma : width of the Gaussian that smoothes first, in
    pixels. min_size : pixels of the smallest piece.
    """

    method: Literal["felzenszwalb"] = "felzenszwalb"
    scale: float = Field(default=100.0, gt=0)
    sigma: float = Field(default=0.5, ge=0)
    min_size: int = Field(default=150, ge=1)


class Grid(_Part):
    """Rectangles that know nothing of the image: what other superpixels must be better than."""

    method: Literal["grid"] = "grid"
    rows: int = Field(default=7, ge=1)
    columns: int = Field(default=7, ge=1)

    @model_validator(mode="after")
    def _more_than_one(self) -> Grid:
        if self.rows * self.columns < 2:
            raise ValueError("a grid needs at least two rows or columns")
        return self


def _segmentation_method(given: Any) -> Any:
    """Which segmentation a table of the study file means; quickshift where it does not say."""
    if isinstance(given, dict):
        return given.get("method", "quickshift")
    return getattr(given, "method", None)


Segmentation = Annotated[
    Annotated[Quickshift, Tag("quickshift")]
    | Annotated[Slic, Tag("slic")]
    | Annotated[Felzenszwalb, Tag("felzenszwalb")]
    | Annotated[Grid, Tag("grid")],
    Discriminator(_segmentation_method),
]
"""How an image is cut into superpixels, with the parameters of scikit-image's function."""


class Stability(_Part):
    """How far LIME repeats: explanations with other draws, and with other numbers of samples.

    seeds, samples : so many seeds, and so many perturbed images of each.
    sample_sizes : numbers of samples that are compared. Perturbed images are drawn independently,
        so those of several seeds together are one explanation with more samples.
    """

    seeds: int = Field(default=10, ge=2)
    samples: int = Field(default=600, ge=2)
    sample_sizes: tuple[int, ...] = Field(
        default=(100, 200, 300, 600, 1000, 2000, 3000), min_length=1
    )

    @model_validator(mode="after")
    def _numbers_can_be_compared(self) -> Stability:
        if self.sample_sizes[0] < 2 or list(self.sample_sizes) != sorted(set(self.sample_sizes)):
            raise ValueError("`sample_sizes` must be ascending, from two on")
        # Every seed asks about the whole image first; the others of its samples can be pooled.
        drawn = self.seeds * (self.samples - 1)
        if self.sample_sizes[-1] > self.samples and drawn < 2 * (self.sample_sizes[-1] - 1):
            raise ValueError(
                f"{self.seeds} seeds of {self.samples} samples are fewer than two explanations of "
                f"{self.sample_sizes[-1]}"
            )
        return self


class Search(_Part):
    """A grid of LIME's parameters, each judged on every image.

    segmentations : each with every number of ``samples`` and of ``features``.
    seeds : explanations with each, so that their stability is known.
    """

    segmentations: Unique[Segmentation] = Field(min_length=1)
    samples: tuple[int, ...] = Field(default=(100, 300, 600), min_length=1)
    features: tuple[int, ...] = Field(default=(5, 10, 20), min_length=1)
    seeds: int = Field(default=2, ge=2)

    @model_validator(mode="after")
    def _ascending(self) -> Search:
        for key, numbers, least in (("samples", self.samples, 2), ("features", self.features, 1)):
            if numbers[0] < least or list(numbers) != sorted(set(numbers)):
                raise ValueError(f"`{key}` must be ascending, from {least} on")
        return self


class Lime(_Part):
    """LIME for images (Ribeiro et al., 2016), in the terms of the library ``lime``."""

    samples: int = Field(default=1000, ge=2)
    features: int = Field(default=10, ge=1)
    kernel_width: float = Field(default=0.25, gt=0)
    batch: int = Field(default=16, ge=1)
    seed: int = Field(default=0, ge=0)
    segmentation: Segmentation = Quickshift()
    stability: Stability | None = None
    search: Search | None = None


class AttributionParameters(_Part):
    """What attribution methods can be asked to do.

    batch : inputs in one pass. On two processor cores 10 to 16 are fastest, and 50 at once, as
        Captum's defaults ask for, take gigabytes.
    steps : points on the path of Integrated Gradients.
    samples : noisy images of SmoothGrad² and VarGrad; each has a path of ``noisy_steps`` points.
    noise : standard deviation of that noise as a share of the range from black to white; Smilkov et
        al. (2017) recommend 0.1 to 0.2. Captum's default is 1 in units of the normalised input.
    points : random points of Gradient SHAP, rounded up to batches of one size.
    window, stride : side of Occlusion's square and how far it moves, in pixels.
    seed : of everything that is drawn.
    """

    batch: int = Field(default=16, ge=1)
    steps: int = Field(default=50, ge=2)
    samples: int = Field(default=10, ge=2)
    noisy_steps: int = Field(default=10, ge=2)
    noise: float = Field(default=0.15, gt=0)
    points: int = Field(default=20, ge=1)
    window: int = Field(default=32, ge=1)
    stride: int = Field(default=16, ge=1)
    seed: int = Field(default=0, ge=0)


class Attribution(AttributionParameters):
    """Attribution methods of the predicted class, and their parameters.

    lrp_networks : networks on which layer-wise relevance propagation is tried as well, by its
        correct rules and as the library Captum does it, with the images under ``images.extra``.
    """

    methods: tuple[str, ...] = Field(min_length=1)
    lrp_networks: tuple[Classifier, ...] = ()

    @model_validator(mode="after")
    def _listed_once(self) -> Attribution:
        if len(set(self.methods)) < len(self.methods):
            raise ValueError("a name is listed twice under `methods`")
        return self


class Measures(_Part):
    """What every map of the study is measured by.

    curve_steps : steps of a deletion or insertion curve.
    infidelity_squares, infidelity_side : infidelity removes so many squares of so many pixels on a
        side.
    perturbations, radius : of the maximum sensitivity; the radius in units of the network's input.
    stages : how many blocks of the cascading randomisation a map is compared at, spread evenly from
        the classifier to the whole network.
    expensive_repeats : perturbations, and stages, of methods that take more than
        ``expensive_passes`` passes a map; 0 leaves their stability and sanity out.
    seeds : explanations of each method that draws.
    lime_samples : of LIME where it is repeated for perturbed images and randomised networks.
    """

    curve_steps: int = Field(default=28, ge=2)
    infidelity_squares: int = Field(default=100, ge=2)
    infidelity_side: int = Field(default=48, ge=1)
    perturbations: int = Field(default=10, ge=1)
    radius: float = Field(default=0.02, gt=0)
    stages: int = Field(default=4, ge=1)
    expensive_repeats: int = Field(default=2, ge=0)
    expensive_passes: int = Field(default=1000, ge=1)
    seeds: int = Field(default=2, ge=2)
    lime_samples: int = Field(default=200, ge=2)
    batch: int = Field(default=16, ge=1)
    bootstrap: int = Field(default=2000, ge=100)
    seed: int = Field(default=0, ge=0)


class Agreement(_Part):
    """Regions of equal area: the share of the frame that each region covers."""

    share: Share = 0.2
    shares: tuple[Share, ...] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
    bootstrap: int = Field(default=2000, ge=100)
    seed: int = 0

    @model_validator(mode="after")
    def _share_is_among_shares(self) -> Agreement:
        if self.share not in self.shares:
            raise ValueError("`share` must be one of `shares`")
        return self


class ProbingSet(_Part):
    """The images whose activations are looked at: all of a source, or those that are named."""

    source: str | None = None
    folder: str | None = None
    files: Annotated[Unique[str], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> ProbingSet:
        if (self.source is None) == (self.folder is None):
            raise ValueError("name either a `source` or a `folder`, not both and not neither")
        return self


class LargeSample(_Part):
    """LIME and class activation maps on many images, with what is cheap enough for that.

    images, sample, seed : so many of the set are drawn, without those that the study explains.
    methods : class activation maps beside LIME.
    samples, segmentation : of LIME; its other parameters are those of the section ``lime``.
    share : of the frame that each region covers.
    batch : images a step. The maps are not kept, so those of another image that a map is
        compared with are those of its step.
    """

    images: ProbingSet
    sample: int = Field(default=200, ge=2)
    seed: int = Field(default=0, ge=0)
    methods: Unique[str] = Field(default=("gradcam",), min_length=1)
    samples: int = Field(default=300, ge=2)
    segmentation: Segmentation = Slic()
    share: Share = 0.2
    batch: int = Field(default=20, ge=2)

    @model_validator(mode="after")
    def _has_parts_to_compare(self) -> LargeSample:
        if self.sample % self.batch == 1:
            raise ValueError("the last `batch` would hold one image, with no other to compare")
        return self


Fill = Literal["mean", "grey", "blur"]
"""What is shown instead of a hidden region: its own mean colour, the networks' mean, a blur."""


class RegionOcclusion(_Part):
    """What the network says when regions outlined by hand are hidden, or shown alone.

    shifts : so many times the same shape is hidden at another place, as a control.
    top : how many of the best predictions are kept.
    """

    fills: Unique[Fill] = Field(default=("mean", "grey", "blur"), min_length=1)
    shifts: int = Field(default=20, ge=1)
    seed: int = Field(default=0, ge=0)
    top: int = Field(default=5, ge=1, le=1000)


class Encoder(_Part):
    """A row of ``vitrine.methods.dissection.encoders.ENCODERS`` and its settings.

    probabilities, top, weights, seed : for ``conse``, ``"true"`` or the classifier whose ``top``
        best predictions place an image, and that classifier's weights.
    model, pretrained, seed : for ``clip``, in the terms of ``open_clip``.
    """

    name: str = "clip"
    probabilities: str = "true"
    top: int = Field(default=10, ge=1)
    weights: Literal["pretrained", "random"] = "pretrained"
    model: str = "ViT-B-16"
    pretrained: str = "openai"
    seed: int = 0


class ProbingSizes(_Part):
    """How labels depend on the probing set: parts of these sizes, each drawn several times.

    units : how many units of each layer are looked at, a seeded sample of them.
    """

    sizes: tuple[int, ...] = Field(default=(20, 50, 100, 200, 500, 1000), min_length=1)
    draws: int = Field(default=5, ge=1)
    units: int = Field(default=200, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _sizes_are_counts(self) -> ProbingSizes:
        if min(self.sizes) < 1 or list(self.sizes) != sorted(set(self.sizes)):
            raise ValueError("`sizes` must be positive and ascending")
        return self


class Dissection(_Part):
    """Network dissection as CLIP-Dissect does it (Oikarinen and Weng, 2023).

    layers : those of every network; each network's own stages by default.
    parameters : of the similarity, where they are not the paper's.
    null_draws : how many units without a concept are drawn, at least, for the null distribution of
        each layer.
    examples : how many units of each layer are shown with their strongest images, and how many.
    """

    classifiers: Unique[Classifier] = Field(min_length=1)
    images: ProbingSet
    concepts: str = "20k"
    encoder: Encoder = Encoder()
    layers: tuple[str, ...] | None = Field(default=None, min_length=1)
    pooling: str = "mean"
    similarity: str = "soft_wpmi"
    parameters: dict[str, float] = {}
    null_draws: int = Field(default=50_000, ge=1)
    seed: int = 0
    batch: int = Field(default=16, ge=1)
    examples: int = Field(default=4, ge=1)
    example_images: int = Field(default=10, ge=1)
    probing: ProbingSizes | None = None


class Study(_Part):
    """One study, as its file says. ``name`` is that of its folder and of the results' folder.

    answers_assignment : whether the report has the chapters that answer the assignment, whatever
        the study has of them; otherwise a chapter is left out where the study has no such part.
    root : the project's, below which relative paths lie.
    """

    name: str
    root: Path = Field(default=Path(), exclude=True)
    title: str
    description: str
    classifiers: Unique[Classifier] = Field(min_length=1)
    images: Images
    answers_assignment: bool = Field(default=True, exclude_if=lambda answers: answers)
    predictions: Predictions = Predictions()
    speed: Speed | None = None
    cam: Cam | None = None
    lime: Lime | None = None
    attribution: Attribution | None = None
    measures: Measures | None = None
    agreement: Agreement | None = None
    dissection: Dissection | None = None
    large_sample: LargeSample | None = None
    region_occlusion: RegionOcclusion | None = None

    @model_validator(mode="after")
    def _parts_have_what_they_build_on(self) -> Study:
        if self.large_sample and not self.lime:
            raise ValueError("`large_sample` takes LIME's other parameters from a [lime] section")
        if self.region_occlusion and not self.images.source:
            raise ValueError(
                "`region_occlusion` needs images from a source, whose regions are outlined"
            )
        return self

    @model_validator(mode="after")
    def _comparison_has_both_methods(self) -> Study:
        if self.agreement and not (self.cam and self.lime):
            raise ValueError("`agreement` needs both a [cam] and a [lime] section")
        if self.measures and not (self.cam or self.lime or self.attribution):
            raise ValueError("`measures` needs a [cam], a [lime] or an [attribution] section")
        known = {row.name: ("classifiers", row) for row in self.classifiers}
        for key, others in self._other_networks().items():
            listed_once(others)
            for row in others:
                place, first = known.setdefault(row.name, (key, row))
                if first != row:
                    raise ValueError(
                        f"the classifier {row.name!r} has other weights under `{place}` than under "
                        f"`{key}`"
                    )
        return self

    def network(self, name: str) -> Classifier:
        """The classifier called ``name``."""
        return next(row for row in self.networks if row.name == name)

    @property
    def networks(self) -> tuple[Classifier, ...]:
        """All classifiers of the study, those that explain images first."""
        others = (row for rows in self._other_networks().values() for row in rows)
        return tuple(dict.fromkeys((*self.classifiers, *others)))

    def _other_networks(self) -> dict[str, tuple[Classifier, ...]]:
        """The classifiers that parts of the study name for themselves, by their key."""
        return {
            "attribution.lrp_networks": self.attribution.lrp_networks if self.attribution else (),
            "dissection.classifiers": self.dissection.classifiers if self.dissection else (),
        }


def study_names(project: Project) -> list[str]:
    """The names of the studies that the project holds, sorted."""
    folders = sorted(project.studies.iterdir())
    return [folder.name for folder in folders if os.path.lexists(folder / STUDY_FILE)]


def load_study(project: Project, name: str) -> Study:
    """Read and validate ``data/studies/NAME/study.toml``.

    Raises ``StudyError`` naming the file, the key and what is allowed there.
    """
    path = study_path(project, name)
    study = read_study(path, shown_as=project.relative(path))
    return study.model_copy(update={"root": project.root})


def study_path(project: Project, name: str) -> Path:
    """The file of a study. Raises ``StudyError`` listing the studies that there are."""
    if name not in study_names(project):
        raise StudyError(
            f"There is no study {name!r}",
            suggestion(name, study_names(project), "The studies are"),
        )
    return project.study_file(name)


def read_study(path: Path, shown_as: str | None = None) -> Study:
    """Read and validate one study file. Raises ``StudyError``."""
    shown = shown_as or str(path)
    table = read_toml(path, shown)
    try:
        return Study(name=path.parent.name, **table)
    except ValidationError as error:
        raise StudyError(
            "\n".join(problems(shown, error, Study)), "Mend the study file and run again"
        ) from error


def read_toml(path: Path, shown: str) -> dict[str, Any]:
    """The table of a study file, which has no name of its own. Raises ``StudyError``."""
    try:
        table = toml_table(path)
    except OSError as error:
        raise StudyError(
            f"{shown} cannot be read ({error.strerror})",
            "Put a file there that you have the right to read",
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise StudyError(
            f"{shown}:{line} is not UTF-8 text", "Save the file as UTF-8 in your editor"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise StudyError(
            f"{shown} is not valid TOML: {error}",
            "Correct it there; a text stands in quotes, and true and false are written small",
        ) from error
    for key in ("name", "root"):
        if key in table:
            raise StudyError(
                f"{shown}: the key `{key}` is not allowed", "It follows from where the file lies"
            )
    return table

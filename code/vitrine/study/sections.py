"""The sections of a study file: what each can say, and what it is where it says nothing.

Sections that a method takes as its parameters are those parameters; no name stands twice.
"""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vitrine.study.lime import Segmentation, Slic
from vitrine.study.section import (
    Ascending,
    Entry,
    Section,
    Seed,
    Share,
    Unique,
    listed_once,
    one_origin,
)

Said = Annotated[Entry, Field(exclude_if=lambda value: value is None)]
"""What results note only where a study says it."""

Level = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(gt=0, le=10)]
"""Of pixels from 0 to 1; 10 leaves room for a network that wants small numbers, none for 58."""

WEIGHTS = ("pretrained", "random")
"""What ``weights`` can be beside a file."""


def _is_plain(name: str) -> bool:
    """Whether a file's name is a path below its folder, written in the one usual way."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and str(path) == name != "."


class Images(Section):
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

    _one_origin = model_validator(mode="after")(one_origin)

    @model_validator(mode="after")
    def _below_and_listed_once(self) -> Self:
        outside = [name for name in self.all if not _is_plain(name)]
        if outside:
            raise ValueError(
                f"write the files as paths below the folder, without '..': {', '.join(outside)}"
            )
        listed_once(self.all)
        return self


class ClassifierSection(Section):
    """A row of ``vitrine.models.registry.CLASSIFIERS`` and the weights to give it, or a network.

    name : of the row; with ``network``, what results and tables call it.
    network : ``timm:NAME``, ``torchvision:NAME`` or ``FILE.py:FUNCTION``, which returns it.
    weights : with ``network``, also a file of tensors.
    classes : a file with one class a line, or ``imagenet``.
    title, training_set : what the report says of it.
    size, resize, mean, std, interpolation : preprocessing where it is not the library's own; mean
        and standard deviation of pixels from 0 to 1.
    link : ``sigmoid`` where an image may belong to several classes; else, of several, ``softmax``.
    channels_first, channels_last : layers whose feature maps are ``[n, channels, h, w]`` or
        ``[n, h, w, channels]``, where that cannot be told from the layer.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")
    weights: str = "pretrained"
    seed: Seed = 0
    channels_first: Unique[str] = ()
    channels_last: Unique[str] = ()
    network: Said[str | None] = None
    classes: Said[str | None] = None
    title: Said[str | None] = None
    training_set: Said[str | None] = None
    size: Said[Annotated[int, Field(ge=8, le=4096)] | None] = None
    resize: Said[Annotated[int, Field(ge=8, le=8192)] | None] = None
    mean: Said[tuple[Level, Level, Level] | None] = None
    std: Said[tuple[Deviation, Deviation, Deviation] | None] = None
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
    def _one_axis(self) -> Self:
        if both := sorted(set(self.channels_first) & set(self.channels_last)):
            raise ValueError(f"the channels of {both[0]!r} cannot lie first and last")
        return self

    @model_validator(mode="after")
    def _all_of_a_network(self) -> Self:
        of_rows = {"name", "weights", "seed", "network", "channels_first", "channels_last"}
        own = self.model_fields_set - of_rows
        if self.network is None and (own or self.weights not in WEIGHTS):
            raise ValueError(
                f"{', '.join(sorted(own)) or 'a file of weights'} belongs to a `network`; a row of "
                'the table has its own, and `weights` "pretrained" or "random"'
            )
        return self


class Predictions(Section):
    top: int = Field(default=5, ge=1, le=1000)


class InferenceOptions(Section):
    """How the passes of a network are run. The default is the network as it stands.

    batch : images a pass.
    channels_last : memory order of images and weights.
    folded : batch normalisation is folded into the convolution before it (``canonical``).
    threads : of PyTorch; 0 leaves their number as it is.
    keep_memory : the allocator keeps freed blocks instead of giving them back to the system.
    engine : what runs passes; memory order and folding are PyTorch's alone.
    precision : of weights, feature maps and logits; results note it, study files need not.

    All of them change logits by rounding only. A study that names them repeats to the digit on
    machines of one kind; one that does not takes what is fastest where it runs.
    """

    batch: int = Field(default=16, ge=1)
    channels_last: bool = False
    folded: bool = False
    threads: int = Field(default=0, ge=0)
    keep_memory: bool = False
    engine: Annotated[
        Literal["torch", "openvino"], Field(exclude_if=lambda value: value == "torch")
    ] = "torch"
    precision: Literal["float32"] = Field(default="float32", exclude=True)

    def facts(self) -> dict[str, Any]:
        """The settings as they are written to the provenance, the engine if it is not PyTorch."""
        return self.model_dump() | {"precision": self.precision}


class Cam(Section):
    """Class activation maps of the predicted class.

    second : methods that also explain the second most probable class.
    layers : layers whose maps are made as well, by ``layer_method``.
    """

    methods: Unique[str] = Field(default=("gradcam",), min_length=1)
    layer: str | None = None
    second: Unique[str] = ()
    layers: Unique[str] = ()
    layer_method: str = "gradcam"


class AttributionParameters(Section):
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
    seed: Seed = 0


class Attribution(AttributionParameters):
    """Attribution methods of the predicted class, and their parameters.

    lrp_networks : networks on which layer-wise relevance propagation is tried as well, by its
        correct rules and as the library Captum does it, with the images under ``images.extra``.
    """

    methods: Unique[str] = Field(min_length=1)
    lrp_networks: tuple[ClassifierSection, ...] = ()


class Measures(Section):
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
    seed: Seed = 0


class Agreement(Section):
    """Regions of equal area: the share of the frame that each region covers."""

    share: Share = 0.2
    shares: Unique[Share] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
    bootstrap: int = Field(default=2000, ge=100)
    seed: Seed = 0

    @model_validator(mode="after")
    def _share_is_among_shares(self) -> Self:
        if self.share not in self.shares:
            raise ValueError("`share` must be one of `shares`")
        return self


class ProbingSet(Section):
    """The images whose activations are looked at: all of a source or a folder, or some of them.

    folder : at any depth, with the images of tar files; what cannot be read as an image there is
        left out, and said.
    files : these alone.
    file_list : a text file with one file of the folder a line, for as many as one likes.
    """

    source: str | None = None
    folder: str | None = None
    files: Annotated[Unique[str], Field(min_length=1)] | None = None
    file_list: Said[str | None] = None

    _one_origin = model_validator(mode="after")(one_origin)

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if self.file_list and (self.files or self.folder is None):
            raise ValueError("a `file_list` names files of a `folder`, without `files`")
        return self


class LargeSample(Section):
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
    seed: Seed = 0
    methods: Unique[str] = Field(default=("gradcam",), min_length=1)
    samples: int = Field(default=300, ge=2)
    segmentation: Segmentation = Slic()
    share: Share = 0.2
    batch: int = Field(default=20, ge=2)

    @model_validator(mode="after")
    def _has_parts_to_compare(self) -> Self:
        if self.sample % self.batch == 1:
            raise ValueError("the last `batch` would hold one image, with no other to compare")
        return self


Fill = Literal["mean", "grey", "blur"]
"""What is shown instead of a hidden region: its own mean colour, the networks' mean, a blur."""


class RegionOcclusion(Section):
    """What the network says when regions outlined by hand are hidden, or shown alone.

    shifts : so many times the same shape is hidden at another place, as a control.
    top : how many of the best predictions are kept.
    """

    fills: Unique[Fill] = Field(default=("mean", "grey", "blur"), min_length=1)
    shifts: int = Field(default=20, ge=1)
    seed: Seed = 0
    top: int = Field(default=5, ge=1, le=1000)


class EncoderSection(Section):
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
    seed: Seed = 0


class ProbingSizes(Section):
    """How labels depend on the probing set: parts of these sizes, each drawn several times.

    units : how many units of each layer are looked at, a seeded sample of them.
    """

    sizes: Ascending[Annotated[int, Field(ge=1)]] = (20, 50, 100, 200, 500, 1000)
    draws: int = Field(default=5, ge=1)
    units: int = Field(default=200, ge=1)
    seed: Seed = 0


class Dissection(Section):
    """Network dissection as CLIP-Dissect does it (Oikarinen and Weng, 2023).

    layers : those of every network; each network's own stages by default.
    parameters : of the similarity, where they are not the paper's.
    null_draws : how many units without a concept are drawn, at least, for the null distribution of
        each layer.
    examples : how many units of each layer are shown with their strongest images, and how many.
    """

    classifiers: Unique[ClassifierSection] = Field(min_length=1)
    images: ProbingSet
    concepts: str = "20k"
    encoder: EncoderSection = EncoderSection()
    layers: Unique[str] | None = Field(default=None, min_length=1)
    pooling: str = "mean"
    similarity: str = "soft_wpmi"
    parameters: dict[str, float] = Field(default={})
    null_draws: int = Field(default=50_000, ge=1)
    seed: Seed = 0
    batch: int = Field(default=16, ge=1)
    examples: int = Field(default=4, ge=1)
    example_images: int = Field(default=10, ge=1)
    probing: ProbingSizes | None = None

"""What every method is: a row that says what the rest of the house needs to know, and explains."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from vitrine import study as studies
from vitrine.arrays import Inputs, Maps
from vitrine.data.images import Frame, Pixels
from vitrine.study.sections import InferenceOptions

if TYPE_CHECKING:
    from torch import Tensor

    from vitrine.models.architecture import Architecture
    from vitrine.models.classifier import Classifier

Explain = Callable[[Inputs], dict[str, Maps]]
"""Maps of inputs, by method: the one that is asked, and any other that comes of the same passes."""

Stored = tuple[dict[str, np.ndarray], dict[str, Any]]
"""Arrays and facts, as the store keeps them."""


@dataclass(frozen=True)
class Query:
    """What a method is asked: where the evidence for one class of one image lies.

    crop, frame : ``uint8 [h, w, 3]``, what the network sees, and where in the image that is.
    parameters : the section of the study file that is about methods of its kind, if there is one.
    settings : how passes are run.
    layer : of class activation maps; the last convolutional one by default.
    progress : called with the forward passes just done, or found not to be needed.
    inputs : ``float32 [n, 3, h, w]``, the network's input where it is another than the crop's.
    """

    method: str
    classifier: Classifier
    crop: Pixels
    frame: Frame
    target: int
    parameters: Any = None
    settings: InferenceOptions = field(default_factory=InferenceOptions)
    layer: str | None = None
    progress: Callable[[int], None] = lambda _: None
    inputs: Tensor | None = None

    @property
    def batch(self) -> Tensor:
        """The network's input."""
        return self.classifier.normalise(self.crop[None]) if self.inputs is None else self.inputs

    @property
    def maps_layer(self) -> str:
        """The layer of class activation maps. Raises ``NotApplicable`` where there is none."""
        return self.classifier.layer_of_maps(self.layer)


@dataclass(frozen=True)
class Method:
    """A row of ``METHODS``; what a family of methods does not say is what most of them do.

    part : the section of a study that holds its parameters.
    paper : its key in the bibliography; empty for a map that sees no network.
    revision : raised whenever the method computes something else from the same parameters.
    stochastic : whether a map depends on a seed.
    signed : whether values below zero speak against the class; otherwise there are none.
    """

    part: ClassVar[str]
    title: str
    _: KW_ONLY
    paper: str = ""
    revision: int = 1
    stochastic: bool = False
    signed: bool = False

    @property
    def holds_draws(self) -> bool:
        """Whether noise is drawn for a map, and ``repeated`` gives every input the same noise.

        LIME's draws are held too, but what another seed changes there is more than noise: the
        superpixels. A baseline is drawn anew for each input: it stands for maps that have nothing
        in common.
        """
        return False

    @property
    def takes_settings(self) -> bool:
        """Whether its passes are so many that it matters how they are run."""
        return True

    def section(self, study: studies.Study, *, again: bool = False) -> Any:
        """The section of the study that holds its parameters.

        again : as they are where a map is made for many perturbed copies of an image.
        """
        return getattr(study, self.part)

    def cost(self, study: studies.Study, architecture: Architecture, *, again: bool = False) -> int:
        """About how long one map takes, in forward passes."""
        raise NotImplementedError

    def parameters(self, study: studies.Study, layer: str | None, variant: str) -> dict[str, Any]:
        """Everything that its map depends on besides the network, the image and the class."""
        raise NotImplementedError

    def fewer_samples(self, study: studies.Study) -> int | bool:
        """How many samples it draws for perturbed copies; ``False`` where no fewer than else."""
        return False

    def explain(self, query: Query) -> Stored:
        """The map of an image, as it is stored. Raises ``NotApplicable`` and ``StudyError``."""
        raise NotImplementedError

    def repeated(self, query: Query) -> AbstractContextManager[Explain]:
        """A function that gives maps of the network's input, for perturbed copies of the image.

        What can be made once is made once. The draws of a method that ``holds_draws`` are the same
        for every input. Raises ``NotApplicable`` and ``StudyError``.
        """
        raise NotImplementedError

    def redrawn(self, query: Query, inputs: Inputs) -> npt.NDArray[np.float32]:
        """The map ``[h, w]`` of one input, drawn from the seed of the query's parameters."""
        with self.repeated(query) as explain:
            return np.asarray(explain(inputs)[query.method][0].sum(axis=0))


def speed_of(study: studies.Study) -> dict[str, Any] | None:
    """How passes are run, where the study says so."""
    return study.speed.model_dump() if study.speed else None

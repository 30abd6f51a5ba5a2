"""Class activation maps: which places of the last feature maps speak for a class."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from vitrine.errors import StudyError
from vitrine.inputs.classifiers import Classifier, untouched
from vitrine.inputs.pictures import Frame, Pixels
from vitrine.methods.heatmap import Heatmap
from vitrine.study import suggestion


@dataclass(frozen=True)
class CamMethod:
    """A row of ``CAM_METHODS``: the library's class, the paper, and the cost in forward passes."""

    title: str
    library: type[BaseCAM]
    paper: str
    passes: int
    revision: int


CAM_METHODS: dict[str, CamMethod] = {
    "gradcam": CamMethod("Grad-CAM", GradCAM, "selvaraju2017", passes=1, revision=1),
}


def pick_cam_method(name: str) -> CamMethod:
    """The row of ``CAM_METHODS`` called ``name``. Raises ``StudyError``."""
    if name not in CAM_METHODS:
        raise StudyError(
            f"There is no CAM method {name!r}",
            suggestion(name, sorted(CAM_METHODS), "The methods are"),
        )
    return CAM_METHODS[name]


def class_activation_map(
    classifier: Classifier,
    crop: Pixels,
    frame: Frame,
    method: str,
    target: int,
    layer: str | None = None,
) -> Heatmap:
    """The class activation map of ``target`` for one crop, through the library ``grad-cam``.

    crop : ``uint8 [h, w, 3]``, what the network sees.
    layer : the layer whose feature maps are weighted; the last convolutional one by default.

    The library clips the map at zero, resizes it bilinearly to the input and scales it so that its
    greatest value is 1: two maps can be compared in where they look, not in how strongly. A map
    without positive evidence is zero everywhere. The network is left as it was. Raises
    ``StudyError`` for an unknown method, layer or class, or a layer without feature maps.
    """
    row = pick_cam_method(method)
    if not 0 <= target < len(classifier.categories):
        raise StudyError(
            f"There is no class {target}",
            f"The classes of {classifier.title} are 0 to {len(classifier.categories) - 1}",
        )
    name = layer or classifier.last_convolution
    module = classifier.layer(name)
    start = time.perf_counter()
    # The library's own context manager swallows IndexError; `untouched` removes its hooks.
    with untouched(classifier.network):
        cam = row.library(classifier.network, [module])
        cam.compute_input_gradient = True
        values = _values(cam, classifier, crop, target, name)
    return Heatmap(values, frame, False, method, target, time.perf_counter() - start)


def _values(
    cam: BaseCAM, classifier: Classifier, crop: Pixels, target: int, layer: str
) -> np.ndarray:
    with torch.enable_grad():
        try:
            maps = cam(classifier.normalise(crop[None]), [ClassifierOutputTarget(target)])
        except (ValueError, IndexError, np.exceptions.AxisError) as error:
            raise StudyError(
                f"The layer {layer!r} of {classifier.title} has no feature maps to weight",
                f"Take a convolutional layer, e.g. {classifier.last_convolution!r}",
            ) from error
    return np.asarray(maps[0], dtype=np.float32)

"""Class activation maps: which places of the last feature maps speak for a class."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pytorch_grad_cam.utils.image import scale_cam_image

from vitrine import study as studies
from vitrine.arrays import Inputs, Maps, Values
from vitrine.errors import pick
from vitrine.methods.ablation_cam import ablationcam
from vitrine.methods.feature_maps import CamMap
from vitrine.methods.gradient_cam import eigencam, gradcam, gradcam_plus_plus, hirescam, layercam
from vitrine.methods.heatmap import Heatmap, upsample
from vitrine.methods.method import Explain, Method, Query, Stored, speed_of
from vitrine.methods.score_cam import scorecam
from vitrine.models.architecture import Architecture
from vitrine.models.classifier import preserved_state


@dataclass(frozen=True)
class CamMethod(Method):
    """A row of ``CAM_METHODS``.

    compute : the function that gives its evidence.
    passes_a_channel : forward passes for each channel of the layer, beside the first one.
    knows_class : whether the map depends on the class that is explained.
    """

    compute: Callable[[Query], CamMap]
    passes_a_channel: int = 0
    knows_class: bool = True
    part = "cam"

    def expected_passes(self, channels: int) -> int:
        """Forward passes for a layer of so many channels; what progress counts."""
        return 1 + channels * self.passes_a_channel

    def evidence(self, query: Query) -> CamMap:
        """Without what is not a number: a logit of zero cannot be lost, overflow shows nothing."""
        with preserved_state(query.classifier.network):
            found = self.compute(query)
        return replace(found, values=np.nan_to_num(found.values, posinf=0.0, neginf=0.0))

    @property
    def takes_settings(self) -> bool:
        return self.passes_a_channel > 0

    def cost(self, study: studies.Study, architecture: Architecture, *, again: bool = False) -> int:
        return self.expected_passes(architecture.channels)

    def parameters(self, study: studies.Study, layer: str | None, variant: str) -> dict[str, Any]:
        found: dict[str, Any] = {"revision": self.revision, "layer": layer, "variant": variant}
        return found | ({"speed": speed_of(study)} if self.takes_settings else {})

    def explain(self, query: Query) -> Stored:
        found = class_activation(query)
        evidence = found.evidence
        facts = found.heatmap.facts() | {
            "layer": query.layer or query.classifier.last_convolution,
            "maximum": found.maximum,
            "passes": evidence.passes,
            "head_passes": evidence.head_passes,
            "note": evidence.note,
        }
        if self.takes_settings:
            facts["settings"] = query.settings.facts()
        # As small as the feature maps; whoever reads it enlarges it.
        return {"evidence": evidence.values}, facts

    def repeated(self, query: Query) -> AbstractContextManager[Explain]:
        """Each map scaled to a greatest value of 1, as it is shown."""

        def one(batch: torch.Tensor) -> Values:
            evidence = self.evidence(replace(query, inputs=batch))
            return upsample(evidence.values, (batch.shape[2], batch.shape[3]))[None]

        def explain(inputs: Inputs) -> dict[str, Maps]:
            batch = torch.from_numpy(inputs).to(query.classifier.device)
            return {query.method: np.stack([one(each) for each in torch.split(batch, 1)])}

        return nullcontext(explain)


CAM_METHODS: dict[str, CamMethod] = {
    "gradcam": CamMethod("Grad-CAM", gradcam, paper="selvaraju2017", revision=2),
    "gradcam++": CamMethod("Grad-CAM++", gradcam_plus_plus, paper="chattopadhay2018", revision=2),
    "hirescam": CamMethod("HiResCAM", hirescam, paper="draelos2020", revision=2),
    "layercam": CamMethod("LayerCAM", layercam, paper="jiang2021", revision=2),
    "eigencam": CamMethod(
        "EigenCAM", eigencam, paper="muhammad2020", revision=2, knows_class=False
    ),
    "ablationcam": CamMethod("AblationCAM", ablationcam, paper="desai2020", revision=3),
    "scorecam": CamMethod(
        "ScoreCAM", scorecam, paper="wang2020score", revision=2, passes_a_channel=1
    ),
}


@dataclass(frozen=True)
class ClassActivation:
    """A class activation map with what it was made from.

    heatmap : the map, clipped at zero, resized to the frame and scaled to a greatest value of 1.
    evidence : the map of the feature maps' own size before that, and how it was computed.
    """

    heatmap: Heatmap
    evidence: CamMap

    @property
    def maximum(self) -> float:
        """The greatest value before scaling, 0 without positive evidence.

        It is what scaling hides: of two maps of one method and layer, one may be a hundred times
        weaker than the other. In logits for the gradient methods, relative to the logit for
        AblationCAM, in units of the feature maps for ScoreCAM and EigenCAM.
        """
        return max(float(self.evidence.values.max()), 0.0)


def pick_cam_method(name: str) -> CamMethod:
    """The row of ``CAM_METHODS`` called ``name``. Raises ``StudyError``."""
    return pick(CAM_METHODS, name, "CAM method", "methods")


def class_activation(query: Query) -> ClassActivation:
    """The class activation map of a class for one crop, with what it was made from.

    The map is clipped at zero, resized bilinearly to the input and scaled so that its greatest
    value is 1: two maps can be compared in where they look, not in how strongly. A map without
    positive evidence is zero everywhere. The network is left as it was. Raises ``StudyError`` for
    an unknown method, layer or class, a layer without feature maps, or a crop of another size than
    the network's input.
    """
    row = pick_cam_method(query.method)
    query.classifier.check_target(query.target)
    query.classifier.check_crop(query.crop)
    query.classifier.layer(query.maps_layer)
    start = time.perf_counter()
    evidence = row.evidence(query)
    # Clipped, resized and scaled by the function of ``grad-cam``, in its order.
    large = scale_cam_image(np.maximum(evidence.values[None], 0), query.crop.shape[1::-1])
    values = np.asarray(scale_cam_image(np.maximum(large, 0))[0], dtype=np.float32)
    seconds = time.perf_counter() - start
    heatmap = Heatmap(values, query.frame, False, query.method, query.target, seconds)
    return ClassActivation(heatmap, evidence)

"""The libraries ``grad-cam`` and ``lime`` themselves, which our own results are held against."""

import math
import time
from typing import Any

import numpy as np
import pytorch_grad_cam
import torch
from lime import lime_image
from pytorch_grad_cam.ablation_layer import AblationLayer
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from vitrine.data.images import Pixels
from vitrine.methods.cam import ClassActivation
from vitrine.methods.feature_maps import CamMap
from vitrine.methods.heatmap import Heatmap
from vitrine.methods.lime import LinearModel
from vitrine.methods.method import Query
from vitrine.methods.superpixels import Segments
from vitrine.models.classifier import Classifier, preserved_state
from vitrine.models.head import channels_first
from vitrine.study import lime as lime_section

CAMS: dict[str, type[BaseCAM]] = {
    "gradcam": pytorch_grad_cam.GradCAM,
    "gradcam++": pytorch_grad_cam.GradCAMPlusPlus,
    "hirescam": pytorch_grad_cam.HiResCAM,
    "layercam": pytorch_grad_cam.LayerCAM,
    "eigencam": pytorch_grad_cam.EigenCAM,
    "ablationcam": pytorch_grad_cam.AblationCAM,
    "scorecam": pytorch_grad_cam.ScoreCAM,
}
"""The classes of ``grad-cam``, by our own keys of the methods that it has."""


def class_activation(query: Query) -> ClassActivation:
    """As ``vitrine.methods.cam.class_activation``, by ``grad-cam``.

    The layer's maps are read before anything works on them in place, and turned round where their
    channels come last; tokens behind one class token are laid out as its documentation does it. Its
    AblationCAM can do none of this, and divides by negative logits.
    """
    classifier, kind = query.classifier, CAMS[query.method]
    module = classifier.layer(query.maps_layer)

    def own_maps(output: Tensor) -> Tensor:
        if output.ndim == 3:
            side = math.isqrt(output.shape[1] - 1)
            return output[:, 1:].reshape(-1, side, side, output.shape[2]).permute(0, 3, 1, 2)
        maps = channels_first(module, output)
        assert maps is not None
        return maps.clone()

    options: dict[str, Any] = {"reshape_transform": own_maps}
    if kind is pytorch_grad_cam.AblationCAM:
        options["ablation_layer"] = AblationLayer()  # the library's default one is shared
    start = time.perf_counter()
    with preserved_state(classifier.network), torch.enable_grad(), np.errstate(all="ignore"):
        cam = kind(classifier.network, [module], **options)
        cam.compute_input_gradient = cam.uses_gradients
        unscaled: list[np.ndarray] = []
        original = cam.get_cam_image

        def keep(*arguments: Any) -> np.ndarray:
            unscaled.append(original(*arguments))
            return unscaled[-1]

        cam.get_cam_image = keep
        values = cam(query.batch, [ClassifierOutputTarget(query.target)])[0]
    seconds = time.perf_counter() - start
    about = (query.frame, False, query.method, query.target, seconds)
    heatmap = Heatmap(values.astype(np.float32), *about)
    return ClassActivation(heatmap, CamMap(unscaled[0][0].astype(np.float32), passes=0))


def explain(
    classifier: Classifier,
    crop: Pixels,
    target: int,
    parameters: lime_section.Lime,
    segments: Segments,
) -> LinearModel:
    """The linear model of ``vitrine.methods.lime.explain``, by ``lime``."""
    explainer = lime_image.LimeImageExplainer(
        kernel_width=parameters.kernel_width, random_state=np.random.RandomState(parameters.seed)
    )
    explanation = explainer.explain_instance(
        crop,
        classifier.probabilities,
        labels=(target,),
        top_labels=None,
        num_samples=parameters.samples,
        batch_size=parameters.batch,
        segmentation_fn=lambda _: segments,
    )
    weights = dict(explanation.local_exp[target])
    return LinearModel(
        np.array([weights[index] for index in range(int(segments.max()) + 1)]),
        float(explanation.intercept[target]),
        float(explanation.score),
        float(np.ravel(explanation.local_pred)[0]),
    )

"""ScoreCAM: how much of the class remains when a feature map is laid over the image."""

import torch
from torch import Tensor
from torch.nn import functional

from vitrine.methods.feature_maps import CamMap, read_maps, weighted_sum
from vitrine.methods.method import Query
from vitrine.models.inference import prepared


def scorecam(query: Query) -> CamMap:
    """Σ_k softmax(y)_k · A_k with y_k the logit of the image masked by map k (Wang et al., 2020).

    The mask is the feature map, resized bilinearly to the input and scaled to 0 to 1; as in the
    library, the normalised input is masked and y is the logit alone, without the paper's baseline.
    Masked images are built batch by batch. A feature map that is zero everywhere gives an image
    that is zero everywhere: all of these have one logit, which is asked for once.
    """
    maps, image = read_maps(query).maps, query.batch
    live = torch.nonzero(maps[0].flatten(1).any(dim=1)).flatten()  # channels that carry a map
    scores = torch.empty(maps.shape[1])
    blank = maps.shape[1] - len(live)
    query.progress(1 + blank)
    with prepared(query.classifier, query.settings) as forward:
        if blank:
            scores[:] = forward(torch.zeros_like(image))[0, query.target]
        for some in torch.split(live, query.settings.batch) if len(live) else ():
            found = forward(_masked(image, maps[:, some]))
            scores[some.cpu()] = found[:, query.target].cpu()
            query.progress(len(some))
    weights = torch.softmax(scores, dim=0).numpy()
    passes = 1 + (blank > 0) + len(live)
    values = weighted_sum(weights[None], maps.cpu().numpy())
    return CamMap(values, passes)


def _masked(image: Tensor, maps: Tensor) -> Tensor:
    """The image ``[1, 3, h, w]`` under each of the maps ``[1, n, h', w']``: ``[n, 3, h, w]``."""
    size = [image.shape[2], image.shape[3]]
    large = functional.interpolate(maps, size, mode="bilinear", align_corners=True)[0]
    flat = large.flatten(1)
    low, high = flat.amin(dim=1)[:, None, None], flat.amax(dim=1)[:, None, None]
    masks = (large - low) / (high - low + 1e-8)  # [n, h, w]
    return image * masks[:, None]

"""Class activation maps from one pass and, mostly, the gradient at the feature maps.

Each function gives the evidence of one method, with the formula and in the order of operations of
the library ``grad-cam``. A is a feature map ``[channels, h', w']``, G the logit's gradient at it.
"""

import numpy as np

from vitrine.methods.feature_maps import CamMap, feature_gradients, read_maps, weighted_sum
from vitrine.methods.method import Query


def gradcam(query: Query) -> CamMap:
    """Σ_k mean(G_k) · A_k (Selvaraju et al., 2017)."""
    maps, gradients = feature_gradients(query)
    weights = np.mean(gradients, axis=(2, 3))  # [1, channels]
    return CamMap(weighted_sum(weights, maps), passes=1)


def gradcam_plus_plus(query: Query) -> CamMap:
    """Σ_k (Σ_ij α_kij · max(G_kij, 0)) · A_k with α = G² / (2G² + ΣA · G³) (Chattopadhay, 2018)."""
    maps, gradients = feature_gradients(query)
    squares = gradients**2
    sums = maps.sum(axis=(2, 3), keepdims=True)  # [1, channels, 1, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        alphas = squares / (2 * squares + sums * (squares * gradients) + 0.000001)
    alphas = np.where(gradients != 0, alphas, 0)
    weights = (np.maximum(gradients, 0) * alphas).sum(axis=(2, 3))
    return CamMap(weighted_sum(weights, maps), passes=1)


def hirescam(query: Query) -> CamMap:
    """Σ_k G_k · A_k, place by place (Draelos and Carin, 2020)."""
    maps, gradients = feature_gradients(query)
    return CamMap((gradients * maps).sum(axis=1)[0], passes=1)


def layercam(query: Query) -> CamMap:
    """Σ_k max(G_k, 0) · A_k, place by place (Jiang et al., 2021)."""
    maps, gradients = feature_gradients(query)
    return CamMap((np.maximum(gradients, 0) * maps).sum(axis=1)[0], passes=1)


def eigencam(query: Query) -> CamMap:
    """The feature maps' first principal component (Muhammad and Yeasin, 2020); knows no class.

    The component's sign is arbitrary; it is that of LAPACK's decomposition, as in the library.
    """
    maps = read_maps(query).maps[0].cpu().numpy()
    places = maps.reshape(len(maps), -1).transpose()  # [h' · w', channels]
    places = places - places.mean(axis=0)
    # The library asks for the full matrices, which it does not use: [channels, channels] and, at
    # an early layer, [h' · w', h' · w'].
    _, _, components = np.linalg.svd(places, full_matrices=False)
    projection = (places @ components[0]).reshape(maps.shape[1:])
    return CamMap(projection.astype(np.float32), passes=1)

"""How much there is in an image: measures of complexity that ask no network."""

import numpy as np
from skimage.color import rgb2gray
from skimage.feature import canny
from skimage.measure import shannon_entropy

from vitrine.data.images import Pixels

SMOOTHING = 2.0
"""Width in pixels of the Gaussian before edges are looked for: grain is not an edge."""


def edge_density(crop: Pixels) -> float:
    """The share of a crop ``uint8 [h, w, 3]`` that lies on an edge of its brightness.

    Edges by Canny (1986), as scikit-image finds them with its own thresholds.
    """
    edges = canny(rgb2gray(crop), sigma=SMOOTHING)  # type: ignore[no-untyped-call]
    return float(np.mean(edges))


def grey_entropy(crop: Pixels) -> float:
    """The entropy in bits of a crop's 256 levels of brightness: 0 for one level, 8 at most."""
    levels = np.round(rgb2gray(crop) * 255).astype(np.uint8)
    return float(shannon_entropy(levels, base=2))  # type: ignore[no-untyped-call]

"""How far an explanation moves when the image moves by less than can be seen."""

import numpy as np
import numpy.typing as npt

from vitrine.arrays import Inputs


def perturbations(shape: tuple[int, ...], seed: int, samples: int, radius: float) -> Inputs:
    """What is added to an input of ``shape``: ``float32 [samples, *shape]``, seeded.

    Each value is uniform from ``-radius`` to ``radius``, as in Captum. Fewer samples of the same
    seed are the first of more.
    """
    noise = np.random.default_rng(seed).random((samples, *shape), dtype=np.float32)
    return radius * (2 * noise - 1)


def greatest_change(original: npt.NDArray[np.floating], others: npt.NDArray[np.floating]) -> float:
    """max ‖other - original‖ / ‖original‖ over explanations ``[n, ...]`` of one ``[1, ...]``.

    Of ``perturbations`` of an input, it is the maximum sensitivity (Yeh et al., 2019); lower is
    better. The norm is Euclidean: Captum's ``sensitivity_max``, with its defaults, explains each
    colour channel by itself, and so should what is to be compared with its values.

    ``nan`` where the original is zero everywhere, or any is not finite: an explanation that says
    nothing is not a stable one. (Captum returns the bare norm of the difference for a zero.)
    """
    first, rest = np.asarray(original, np.float64), np.asarray(others, np.float64)
    size = float(np.linalg.norm(first))
    distances = np.linalg.norm((rest - first).reshape(len(rest), -1), axis=1)
    if not np.isfinite([size, *distances]).all() or size == 0:
        return float("nan")
    return float(distances.max() / size)

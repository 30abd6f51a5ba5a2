"""The arrays that modules hand to one another, by name."""

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.floating]
"""Numbers of any shape and precision, as each function says."""

Maps = npt.NDArray[np.float32]
"""``float32 [n, c, h, w]``: attributions of each colour channel, or one map where ``c`` is 1."""

Inputs = npt.NDArray[np.float32]
"""``float32 [n, 3, h, w]``, a network's input."""

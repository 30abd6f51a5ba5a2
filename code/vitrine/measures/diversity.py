"""How many different things there are, compared at equal numbers looked at."""

from collections import Counter
from collections.abc import Hashable, Iterable

import numpy as np
from scipy.stats import hypergeom


def expected_different(labels: Iterable[Hashable], drawn: int, units: int | None = None) -> float:
    """How many different labels ``drawn`` of the units are expected to have (rarefaction).

    labels : one a unit. units : how many units there are, where some of them have no label.

    A network of more units has more different labels for that reason alone; this is the number for
    a random choice of as many units as another network has (Hurlbert, 1971)::

        Σ_label 1 - C(N - n_label, drawn) / C(N, drawn)

    Raises ``ValueError`` when fewer than ``drawn`` units are given.

    >>> expected_different("aab", 3), round(expected_different("aab", 1), 6)
    (2.0, 1.0)
    """
    counts = Counter(labels)
    whole = counts.total() if units is None else units
    if not 0 <= drawn <= whole:
        raise ValueError(f"{drawn} of {whole} units cannot be drawn")
    none_drawn = hypergeom.pmf(0, whole, list(counts.values()), drawn)
    return float(np.sum(1 - none_drawn))

"""How far two labellings of the same units agree, word by word, and how diverse labels are."""

import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import hypergeom

CLASS_COLUMNS = {
    "target": "index of the class, which is the unit's number",
    "category": "names of the class",
    "label": "label of the unit",
    "exact": "whether the label is a name of the class",
    "listed": "whether any name of the class is in the concept list",
    "cosine": "cosine of the sentence embeddings of label and class",
    "cosine_shuffled": "mean cosine of the class with the labels of all other units",
}
"""What a table says of the units of a classifier, each of which is a class."""


def words_of(label: str) -> str:
    """A label as its words in lower case and the singular, each between spaces.

    >>> words_of("Trees and buildings")
    ' tree and building '
    """
    found = re.findall(r"[^\W_]+", label.lower())
    return f" {' '.join(map(_singular, found))} "


def _singular(word: str) -> str:
    """An English noun in the singular, by its ending; other words may lose an s, the same ones."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def same_words(
    first: Sequence[str], second: Sequence[str], *, within: bool
) -> npt.NDArray[np.bool_]:
    """For each unit whether its two labels say the same in words: ``bool [n]``.

    within : whether one label is a sentence, in which the other's words need only occur.
    """
    return np.array(
        [_same(one, two, within) for one, two in zip(*_plain(first, second), strict=True)], bool
    )


def same_by_chance(first: Sequence[str], second: Sequence[str], *, within: bool) -> float:
    """The share of agreement when every unit gets the second label of every other unit."""
    ones, twos = _plain(first, second)
    count = len(ones)
    if count < 2:
        return float("nan")
    one_counts, two_counts = Counter(ones), Counter(twos)
    if within:
        pairs = sum(
            number * other
            for one, number in one_counts.items()
            for two, other in two_counts.items()
            if _same(one, two, within)
        )
    else:
        pairs = sum(number * two_counts[one] for one, number in one_counts.items())
    own = sum(_same(one, two, within) for one, two in zip(ones, twos, strict=True))
    return (pairs - own) / (count * (count - 1))


def _plain(first: Sequence[str], second: Sequence[str]) -> tuple[list[str], list[str]]:
    if len(first) != len(second):
        raise ValueError(f"{len(first)} labels and {len(second)} are not of the same units")
    return [words_of(label) for label in first], [words_of(label) for label in second]


def _same(one: str, two: str, within: bool) -> bool:
    return one == two or (within and (one in two or two in one))


def paired_cosines(
    first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.float64], float]:
    """Cosines ``[n]`` of unit vectors row by row, and their mean over all other pairs of rows."""
    own = np.einsum("nd,nd->n", first, second, dtype=np.float64)
    count = len(own)
    every = float(first.sum(axis=0, dtype=np.float64) @ second.sum(axis=0, dtype=np.float64))
    others = (every - own.sum()) / (count * (count - 1)) if count > 1 else float("nan")
    return own, others


def class_table(
    names: Sequence[str], labels: Sequence[str], words: Collection[str]
) -> pd.DataFrame:
    """A row for each class, which is a unit: the first five of ``CLASS_COLUMNS``.

    names : those of each class, parted by commas. labels : of the units.
    words : of the list that the labels were chosen from.
    """
    known = {word.lower() for word in words}
    single = [set(name.lower().split(", ")) for name in names]
    return pd.DataFrame(
        {
            "target": range(len(names)),
            "category": names,
            "label": labels,
            "exact": [label.lower() in own for label, own in zip(labels, single, strict=True)],
            "listed": [bool(own & known) for own in single],
        }
    )


def class_cosines(
    classes: npt.NDArray[np.floating],
    labels: npt.NDArray[np.floating],
    silent: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Cosines ``[n]`` of each class and its unit's label, and the mean with all others' labels.

    classes, labels : unit vectors ``[n, d]``. silent : units without a label, which have ``nan``.
    """
    cosines = classes @ labels.T
    own = np.where(silent, np.nan, np.diagonal(cosines))
    sums = np.where(silent, 0, cosines).sum(axis=1)
    return own, (sums - own) / (len(own) - int(silent.sum()) - 1)


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

"""Labels of units as other people's runs publish them: CLIP-Dissect, Network Dissection, MILAN."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vitrine.data.concept_categories import KINDS, plain
from vitrine.errors import SourceError, pick

COLUMNS = ("layer", "unit", "label", "kind", "score")
"""What every format is read into; units are counted from 0."""

_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class LabelFormat:
    """A row of ``LABEL_FORMATS``.

    words : whether a label is a word of a list, which is of some kind, or a sentence, which is not.
    columns : of the file; one without ``layer`` is about one layer, which it does not name.
    """

    title: str
    words: bool
    columns: tuple[str, ...]
    read: Callable[[pd.DataFrame, str | None], pd.DataFrame]


def read_labels(path: Path, name: str, layer: str | None) -> pd.DataFrame:
    """The labels of a file in one of ``LABEL_FORMATS``: the ``COLUMNS``, one row a unit.

    layer : that the file is about, where it does not say so itself.

    A label's kind is ``None`` where the file does not say it. Raises ``SourceError`` for a file
    that is damaged or has other columns.
    """
    row = pick_format(name)
    if "layer" not in row.columns and not layer:
        raise SourceError(
            f"{path} does not say which layer its units are of", "Name the layer with it"
        )
    raw = _table(path, name, row.columns)
    try:
        found = row.read(raw, layer)[list(COLUMNS)]
    except ValueError as error:
        raise SourceError(
            f"{path} is no file of {row.title}: {error}", "Fetch it again, or name its format"
        ) from error
    return _checked(path, found)


def pick_format(name: str) -> LabelFormat:
    """The row of ``LABEL_FORMATS`` called ``name``. Raises ``SourceError``."""
    return pick(LABEL_FORMATS, name, "format of labels", "formats", SourceError)


def read_arguments(path: Path) -> dict[str, Any]:
    """What ``args.txt`` of a run of CLIP-Dissect says about it. Raises ``SourceError``."""
    try:
        if path.stat().st_size > 2**20:
            raise ValueError("it is too large")
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(found, dict):
            raise ValueError("it is no table of settings")
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(
            f"{path} cannot be read as the settings of a run ({error})",
            "Restore it, or take it away: the labels are read without it",
        ) from error
    return found


def _table(path: Path, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """A CSV file as text; its columns looked at."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES // 2**20} MiB")
        raw = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise SourceError(
            f"{path} cannot be read as a CSV file ({str(error).strip()})",
            "Fetch it again, or save it as CSV in UTF-8",
        ) from error
    missing = [column for column in columns if column not in raw.columns]
    if missing:
        title = LABEL_FORMATS[name].title
        raise SourceError(
            f"{path} is no file of {title}: it has no column {', '.join(missing)}",
            f"Its columns are {', '.join(map(str, list(raw.columns)[:6]))}; name another format, "
            "or another file",
        )
    if raw.empty:
        raise SourceError(f"{path} labels no unit", "Fetch it again")
    return raw


def _checked(path: Path, found: pd.DataFrame) -> pd.DataFrame:
    empty = found[(found["label"] == "") | (found["layer"] == "")]
    if len(empty):
        raise SourceError(
            f"{path} has a unit without a label or a layer (line {empty.index[0] + 2})",
            "Fill it in, or take the line away",
        )
    return found.reset_index(drop=True)


def _counts(texts: pd.Series, least: int) -> pd.Series:
    """Numbers of units from ``least`` on, as integers."""
    wrong = texts[~texts.str.fullmatch(r"\d{1,9}")]
    if len(wrong):
        raise ValueError(f"{wrong.iloc[0]!r} in line {wrong.index[0] + 2} is no number of a unit")
    units = texts.astype(int)
    if units.min() < least:
        raise ValueError(f"its units begin at {units.min()}, not at {least}")
    return units


def _scores(texts: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(texts, errors="coerce")
    wrong = texts[~np.isfinite(numbers)]
    if len(wrong):
        raise ValueError(f"{wrong.iloc[0]!r} in line {wrong.index[0] + 2} is no finite number")
    return numbers


def _clip_dissect(raw: pd.DataFrame, _layer: str | None) -> pd.DataFrame:
    return _milan(raw, None).assign(kind=None, score=_scores(raw["similarity"]))


def _milan(raw: pd.DataFrame, _layer: str | None) -> pd.DataFrame:
    units, labels = _counts(raw["unit"], 0), raw["description"].str.strip()
    known = {"layer": raw["layer"], "unit": units, "label": labels}
    return pd.DataFrame(known | {"kind": "", "score": np.nan})


def _network_dissection(raw: pd.DataFrame, layer: str | None) -> pd.DataFrame:
    """Units are counted from 1 there, and labels are Broden's: ``"dining_room-s"``."""
    wrong = raw[~raw["category"].isin(KINDS)]
    if len(wrong):
        raise ValueError(f"{wrong['category'].iloc[0]!r} is no category of Broden")
    return pd.DataFrame(
        {
            "layer": layer,
            "unit": _counts(raw["unit"], 1) - 1,
            "label": [plain(label) for label in raw["label"]],
            "kind": raw["category"],
            "score": _scores(raw["score"]),
        }
    )


LABEL_FORMATS: dict[str, LabelFormat] = {
    "clip-dissect": LabelFormat(
        "CLIP-Dissect", True, ("layer", "unit", "description", "similarity"), _clip_dissect
    ),
    "network-dissection": LabelFormat(
        "Network Dissection", True, ("unit", "category", "label", "score"), _network_dissection
    ),
    "milan": LabelFormat("MILAN", False, ("layer", "unit", "description"), _milan),
}
"""The formats in which labels of units are published."""

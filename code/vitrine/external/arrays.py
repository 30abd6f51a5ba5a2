"""Maps of other people's runs: masks and heatmaps from the files in which they exist.

A map is one number for each pixel of a frame. Files of NumPy (``.npy``, ``.npz``), images in
grey, and pickled arrays and tensors are read; each is checked before its values are.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import ImageOps

from vitrine.data.images import ENDINGS, opened
from vitrine.data.safe_pickle import MAX_BYTES, Array, read_pickled
from vitrine.errors import ImageError, SourceError

Map = npt.NDArray[np.float32]
"""``float32 [h, w]``."""

Kind = Literal["region", "heatmap"]
"""What a map is: a mask, in which everything but zero is marked, or evidence of any size."""

_CHANNELS = (1, 3)


def read_map(path: Path, kind: Kind = "heatmap") -> tuple[Map, str]:
    """The map in a file, and what was done to its values; mostly nothing.

    The ending of its name, one of ``READERS``, says how it is read. A third axis of three equal
    channels, or of one, is taken away. A mask in a lossy image, in which hardly a zero is left, is
    cut at half of its maximum. Raises ``SourceError`` for a file that is damaged, foreign, or holds
    something other than one map of finite numbers.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise SourceError(
            f"{path} has the ending {path.suffix!r}, which no reader of maps knows",
            f"Maps are read from {', '.join(READERS)}",
        )
    values = _map(path, _only(path, reader(path)))
    if kind == "region" and reader is _read_image and _is_lossy(path):
        return (values > values.max() / 2).astype(np.float32), LOSSY_NOTE
    return values, ""


LOSSY_NOTE = "lossy images, cut at half of their maximum"


def _only(path: Path, found: Any) -> Array:
    """The one array of a file."""
    while isinstance(found, dict | list | tuple) and len(found) == 1:
        found = next(iter(found.values())) if isinstance(found, dict) else found[0]
    if isinstance(found, np.ndarray):
        return found
    if isinstance(found, dict | list | tuple):
        named = f" ({', '.join(map(str, list(found)[:5]))})" if isinstance(found, dict) else ""
        what = f"{len(found)} arrays{named}"
    else:
        what = f"a {type(found).__name__}"
    raise SourceError(f"{path} holds {what} and not one map", "Save each map in a file of its own")


def _map(path: Path, values: Array) -> Map:
    """An array as a map, or what is wrong with it."""
    if values.dtype.kind not in "biuf":
        raise SourceError(f"{path} holds {values.dtype} and no numbers", "Save an array of numbers")
    shape = values.shape
    if values.ndim == 3:
        values = _flat(path, values)
    if values.ndim != 2 or 0 in values.shape:
        raise SourceError(
            f"{path} holds an array of the shape {shape}, which is no map",
            "A map has a height and a width, and at most three equal channels",
        )
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if not np.isfinite(single).all():
        raise SourceError(
            f"{path} holds values that are not finite, or too large for float32",
            "Replace NaN and infinity by numbers, and scale what is large",
        )
    return single


def _flat(path: Path, values: Array) -> Array:
    """A map without its channels, which must be equal; they stand first or last."""
    if values.shape[2] not in _CHANNELS and values.shape[0] in _CHANNELS:
        values = np.moveaxis(values, 0, 2)
    if values.shape[2] not in _CHANNELS:
        return values
    if not (values == values[..., :1]).all() and not np.isnan(values).any():
        raise SourceError(
            f"{path} has channels that differ: an image in colours, and not a map",
            "Save the map itself, before it is coloured",
        )
    return np.asarray(values[..., 0])


# --- NumPy's own files ----------------------------------------------------------------------------


def _read_numpy(path: Path) -> Array | dict[str, Array]:
    """An array, or those of an archive by name; NumPy unpickles none."""
    try:
        with path.open("rb") as stream:
            found = np.load(stream, allow_pickle=False)
            if isinstance(found, np.ndarray):
                return found
            entries = found.zip.infolist()
            if len(entries) > 1000 or sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise ValueError(f"it unpacks to more than {MAX_BYTES // 2**20} MiB")
            return dict(found)
    except Exception as error:  # whatever zipfile, zlib and lzma raise
        raise SourceError(
            f"{path} cannot be read as an array of numbers ({error or type(error).__name__})",
            "Fetch it again, or save the array anew with numpy.save",
        ) from error


# --- images -------------------------------------------------------------------------------------

_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF")
_FULL = {"I;16": 65535, "I;16B": 65535, "I;16L": 65535, "I;16N": 65535, "I": 1, "F": 1}
"""What is divided by; whole and floating-point numbers of 32 bit are taken as they are."""


def _read_image(path: Path) -> Array:
    """An image's map: from 0 to 1 where it has 8 or 16 bits, and 0 where it shows nothing."""
    try:
        with opened(path) as image:
            deep = "16" in str([tile.args for tile in getattr(image, "tile", ())])
            if deep and image.mode not in _FULL:
                raise ImageError(
                    f"{path} has several channels of 16 bit, of which only 8 would be read",
                    "Save it in grey, or with 8 bit",
                )
            tolerance = 8 / 255 if image.format in _LOSSY else 0.0
            upright = ImageOps.exif_transpose(image)
            if upright.mode in _FULL:
                return np.asarray(upright) / np.float32(_FULL[upright.mode])
            layers = np.asarray(upright.convert("RGBA"), dtype=np.float32) / 255
    except ImageError as error:
        raise SourceError(error.problem, error.remedy) from error
    return _shown(layers, tolerance)


def _shown(layers: Array, tolerance: float) -> Array:
    """The map that an image ``[h, w, 4]`` shows.

    tolerance : by how much the channels of a grey image may differ.

    Where it is transparent there is nothing. A shape in one colour, on black or on transparent, is
    a mask, whatever its colour; anything else is shown on black, and has to be grey.
    """
    colours, opacity = layers[..., :3], layers[..., 3]
    seen = colours[opacity > 0]
    if len(seen) and (opacity < 1).any() and (seen == seen[0]).all():
        return np.asarray(opacity)
    shown = colours * opacity[..., None]
    if np.ptp(shown, axis=2).max() <= tolerance:
        return np.asarray(shown[..., 1])
    marked = shown.any(axis=2)
    if not marked.all() and (shown[marked] == shown[marked][0]).all():
        return np.asarray(marked, dtype=np.float32)
    return np.asarray(shown)


def _is_lossy(path: Path) -> bool:
    """Whether the compression of an image, such as a JPEG, changes values."""
    with opened(path) as image:
        return image.format in _LOSSY or image.info.get("compression") == "jpeg"


READERS: dict[str, Callable[[Path], Any]] = {
    **dict.fromkeys((".npy", ".npz"), _read_numpy),
    **dict.fromkeys((".pth", ".pt", ".pkl"), read_pickled),
    **dict.fromkeys(ENDINGS, _read_image),
}
"""The endings of files that hold maps, and what reads them."""

"""Images, decoded safely, and the frame of an image that a network sees."""

import hashlib
import io
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PilImage
from PIL import ImageCms, ImageOps, UnidentifiedImageError

from vitrine.errors import FileMissing, ImageError

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 50_000_000
"""Larger images are refused before they are decoded."""

MIN_SIDE = 16
"""An image with a shorter side than this has nothing to explain."""

MAX_RATIO = 50
"""Of an image longer than so many times its shorter side a network sees next to nothing, and to
resize it whole, as the networks' preprocessing does, would take gigabytes."""

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
"""What an image's content may be, whatever its name says. Pillow decodes each of them itself; for
other formats, such as EPS, it would start another program."""

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif")
"""How the names of files in these formats end."""

_SILENT = ("ignore", None, Warning, re.compile(r"PIL\b"), 0)
"""What Pillow warns of is damaged notes, not pixels; and sizes, which are looked at anyway."""

_SAMPLE_NAME = re.compile(r"^(n\d{8})_(.+)$")


@dataclass(frozen=True)
class Image:
    """An image ready to be explained.

    name : what the report calls it, e.g. ``"West Highland white terrier"``.
    wnid : the WordNet id of its true category, e.g. ``"n02098286"``, or ``""`` if not known.
    pixels : ``uint8 [H, W, 3]``, sRGB.
    """

    name: str
    wnid: str
    pixels: Pixels

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True)
class Frame:
    """The crop of an image that a network sees; every heatmap lives in one.

    image : the image's name.
    box : top, left, height, width of the crop, in pixels of the image.
    size : height and width in pixels, after resizing, of what the network sees.
    """

    image: str
    box: tuple[float, float, float, float]
    size: tuple[int, int]


def image_name(file: str) -> tuple[str, str]:
    """The report's name and the WordNet id of an image file.

    >>> image_name("n02098286_West_Highland_white_terrier.JPEG")
    ('West Highland white terrier', 'n02098286')
    """
    stem = Path(file).stem
    match = _SAMPLE_NAME.match(stem)
    wnid, words = (match[1], match[2]) if match else ("", stem)
    return words.replace("_", " ").strip(), wnid


def distinct_names(files: Sequence[str]) -> dict[str, str]:
    """The report's name of each file; where two have one, with the folder, or as a whole."""
    names = {file: image_name(file)[0] for file in files}
    in_folders = {
        file: f"{Path(file).parent.name}/{name}".strip("/") for file, name in names.items()
    }
    for longer in (in_folders, {file: file for file in files}):
        held = list(names.values())
        names = {f: longer[f] if held.count(name) > 1 else name for f, name in names.items()}
    return names


def existing(paths: dict[str, Path]) -> dict[str, Path]:
    """The paths of image files by name. Raises ``FileMissing`` with all that are not there."""
    missing = [
        f"The image {path} {'is not a file' if path.is_dir() else 'does not exist'}"
        for path in paths.values()
        if not os.path.isfile(path)
    ]
    if missing:
        raise FileMissing("\n".join(missing), "Put it there, or correct the study file")
    return paths


def read_image(path: Path) -> Image:
    """Decode an image file. Raises ``ImageError`` when that is not safely possible."""
    name, wnid = image_name(path.name)
    return Image(name=name, wnid=wnid, pixels=decode(path))


def pixels_digest(path: Path) -> str:
    """What the pixels of an image file follow from: the SHA-256 of its bytes, and of their
    conversion where a colour profile asks for one. Raises ``ImageError``."""
    with opened(path) as image:
        converted = _profile(image) is not None
    content = path.read_bytes()
    return hashlib.sha256(content + b"in sRGB" if converted else content).hexdigest()


def decode(path: Path) -> Pixels:
    """The pixels of an image file as ``uint8 [H, W, 3]``, upright and in sRGB.

    EXIF orientation and an embedded colour profile are applied; greyscale, palette, CMYK and 16-bit
    images are converted; what is transparent is shown on white; of an animation the first image
    is taken. Raises ``ImageError`` for a file that is missing, of none of ``IMAGE_FORMATS``,
    damaged, or too large, too small or too long.
    """
    with opened(path) as image:
        check_sides(path, image.size)
        if image.mode == "F":
            raise ImageError(
                f"The image {path} has floating-point pixels, which have no agreed range",
                "Save it with 8 or 16 bits a channel",
            )
        return np.asarray(_rgb(ImageOps.exif_transpose(image)))


@contextmanager
def opened(path: Path) -> Iterator[PilImage.Image]:
    """An image file, to be decoded in the block; whatever goes wrong is a ``ImageError``.

    Several threads may be inside at once: each adds a filter of warnings and takes one away, as
    ``warnings.catch_warnings`` would set back what another thread has changed.
    """
    filters: Any = warnings.filters
    filters.insert(0, _SILENT)
    try:
        with PilImage.open(path, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(path)
            yield image
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"The image {path} does not exist", "Check its name") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is not an image of a kind that is read ({', '.join(IMAGE_FORMATS)})",
            "Convert it to JPEG or PNG",
        ) from error
    except PilImage.DecompressionBombError as error:
        raise _too_large(path) from error
    except ImageCms.PyCMSError as error:
        raise ImageError(
            f"The colour profile in the image {path} cannot be applied ({error})",
            "Convert the image to sRGB, or save it without a profile",
        ) from error
    except Exception as error:  # a decoder may raise anything about a file that is damaged
        if isinstance(error, OSError) and error.errno is not None:
            raise ImageError(
                f"The image {path} cannot be read ({error.strerror})",
                "Name a file that you have the right to read",
            ) from error
        raise ImageError(
            f"The image {path} is damaged ({error or type(error).__name__})",
            "Fetch it again or replace it",
        ) from error
    finally:
        filters.remove(_SILENT)


def check_sides(image: Path | str, size: tuple[int, int]) -> None:
    """Raises ``ImageError`` for an image (its path or name) whose width and height cannot do."""
    width, height = size
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"The image {image} is {width} × {height} pixels, smaller than {MIN_SIDE} on a side",
            "Use a larger image",
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise ImageError(
            f"The image {image} is {width} × {height} pixels, more than {MAX_RATIO} times as long "
            "on one side as on the other",
            "Cut out the part that is to be explained",
        )


def _too_large(path: Path) -> ImageError:
    return ImageError(
        f"The image {path} has more than {MAX_PIXELS // 1_000_000} million pixels",
        "Make it smaller first",
    )


def _rgb(image: PilImage.Image) -> PilImage.Image:
    """An 8-bit sRGB image from one of any mode."""
    profile = _profile(image)
    if image.mode in ("I", "I;16", "I;16L", "I;16B", "I;16N"):
        # Pillow clips 16-bit grey to 8 bit instead of scaling it.
        grey = np.asarray(image, dtype=np.int64)
        image = PilImage.fromarray((np.clip(grey, 0, 65535) >> 8).astype(np.uint8))
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    colours = _srgb(image, profile) if profile else image.convert("RGB")
    if alpha is None:
        return colours
    colours.putalpha(alpha)
    white = PilImage.new("RGBA", colours.size, "white")
    return PilImage.alpha_composite(white, colours).convert("RGB")


_SAME = 6
"""Levels of 256 by which two profiles that both mean sRGB may differ."""

_SPACES = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}
"""The mode of an image whose colours a profile of each space can tell."""


def _profile(image: PilImage.Image) -> ImageCms.ImageCmsProfile | None:
    """An image's colour profile, unless it has none or one that is sRGB, whatever its name.

    Raises ``ImageCms.PyCMSError`` for one that cannot be read.
    """
    content = image.info.get("icc_profile")
    if not content:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
    except OSError as error:
        raise ImageCms.PyCMSError(str(error)) from error
    return None if _is_srgb(content) else profile


@cache
def _is_srgb(content: bytes) -> bool:
    """Whether a profile moves no colour of a cube of 9 × 9 × 9 by more than ``_SAME`` levels."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
    if profile.profile.xcolor_space != "RGB ":
        return False
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    moved = np.asarray(_srgb(PilImage.fromarray(cube), profile)).astype(int) - cube
    return bool(np.abs(moved).max() <= _SAME)


def _srgb(image: PilImage.Image, profile: ImageCms.ImageCmsProfile) -> PilImage.Image:
    """An image in sRGB from one with a colour profile. Raises ``ImageCms.PyCMSError``."""
    space = profile.profile.xcolor_space
    mode = _SPACES.get(space)
    if mode is None or (mode == "CMYK") != (image.mode == "CMYK"):
        raise ImageCms.PyCMSError(f"it is about {space.strip()}, the image is {image.mode}")
    coloured = image.convert(mode)
    converted = ImageCms.profileToProfile(
        coloured, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None  # it is only when done in place
    return converted

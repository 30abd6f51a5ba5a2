"""Images of every kind become the same thing; what is no image becomes a clear error."""

import contextlib
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageCms

from vitrine.data import images as images
from vitrine.data.images import decode, existing, image_name, read_image
from vitrine.errors import FileMissing, ImageError

Save = Callable[..., Path]
RED = (200, 30, 30)


@pytest.mark.parametrize(("width", "height"), [(40, 30), (20, 1000)])
def test_a_plain_image_keeps_its_pixels(image_file: Save, width: int, height: int) -> None:
    pixels = decode(image_file(Image.new("RGB", (width, height), RED), "a.png"))
    assert pixels.shape == (height, width, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == RED).all()


def test_exif_orientation_is_applied(image_file: Save) -> None:
    image = Image.new("RGB", (40, 20), "white")
    image.paste(RED, (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    pixels = decode(image_file(image, "a.png", exif=exif))
    assert pixels.shape == (40, 20, 3)
    assert (pixels[5, 10] == RED).all()
    assert (pixels[35, 10] == 255).all()


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (*RED, 255), RED),
        ("RGBA", (*RED, 0), (255, 255, 255)),
        ("LA", (77, 255), (77, 77, 77)),
        ("P", 0, (0, 0, 0)),
        ("CMYK", (0, 0, 0, 0), (255, 255, 255)),
        ("I;16", 30000, (117, 117, 117)),
    ],
)
def test_every_mode_becomes_rgb(
    image_file: Save, mode: str, colour: object, expected: tuple[int, int, int]
) -> None:
    ending = "jpg" if mode == "CMYK" else "png"
    pixels = decode(image_file(Image.new(mode, (32, 32), colour), f"a.{ending}"))
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels[16, 16].astype(int) - expected).max() <= 1


def test_a_half_transparent_image_is_shown_on_white(image_file: Save) -> None:
    pixels = decode(image_file(Image.new("RGBA", (32, 32), (0, 0, 0, 128)), "a.png"))
    assert (pixels == 127).all()


def test_the_first_image_of_an_animation_is_taken(image_file: Save) -> None:
    first, second = Image.new("RGB", (32, 32), RED), Image.new("RGB", (32, 32), "blue")
    pixels = decode(image_file(first, "a.gif", save_all=True, append_images=[second]))
    assert np.abs(pixels[0, 0].astype(int) - RED).max() <= 4


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8))


def _saved(form: str) -> bytes:
    stream = io.BytesIO()
    NOISE.save(stream, form, **({"compression": "tiff_lzw"} if form == "TIFF" else {}))
    return stream.getvalue()


@pytest.mark.parametrize("form", images.IMAGE_FORMATS)
def test_an_image_is_known_by_its_content_and_damage_is_one_message(
    tmp_path: Path, form: str, recwarn: pytest.WarningsRecorder
) -> None:
    content, path = _saved(form), tmp_path / "a.jpg"
    path.write_bytes(content)
    assert decode(path).shape == (40, 48, 3)
    path.write_bytes(content[: len(content) // 3])
    with pytest.raises(ImageError, match="is damaged|is not an image"):
        decode(path)
    generator = np.random.default_rng(0)
    for _ in range(60):
        spoiled = bytearray(content)
        for place in generator.integers(0, min(len(content), 200), 4):
            spoiled[place] ^= 1 << generator.integers(0, 8)
        path.write_bytes(spoiled)
        with contextlib.suppress(ImageError):
            decode(path)
    assert not recwarn.list


def test_images_opened_at_the_same_time_leave_the_filters_of_warnings_as_they_were(
    image_file: Save, recwarn: pytest.WarningsRecorder
) -> None:
    path, before = image_file(NOISE, "a.png"), list(warnings.filters)
    first, second = images.opened(path), images.opened(path)
    for one in (first, second):
        one.__enter__()
    for one in (first, second):
        warnings.warn_explicit("Corrupt EXIF data", UserWarning, "a.py", 1, "PIL.TiffImagePlugin")
        one.__exit__(None, None, None)
    assert warnings.filters == before and not recwarn.list
    warnings.warn_explicit("Corrupt EXIF data", UserWarning, "a.py", 1, "PIL.TiffImagePlugin")
    assert len(recwarn.list) == 1


@pytest.mark.parametrize("form", ["EPS", "DDS", "ICO", "PCX", "TGA", "JPEG2000"])
def test_other_formats_are_refused_and_no_other_program_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/it-ran\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    path = tmp_path / "a.jpg"
    path.write_bytes(_saved(form))
    with pytest.raises(ImageError, match="is not an image of a kind that is read"):
        decode(path)
    assert not (tmp_path / "it-ran").exists()


def test_what_is_no_image_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("<html>404</html>")
    with pytest.raises(ImageError, match="is not an image"):
        decode(path)
    with pytest.raises(ImageError, match="does not exist"):
        decode(tmp_path / "b.jpg")
    with pytest.raises(ImageError, match="Is a directory"):
        decode(tmp_path)


@pytest.mark.parametrize(
    ("mode", "size", "said"),
    [
        ("F", (32, 32), "floating-point pixels.*Save it with 8 or 16 bits"),
        ("RGB", (8, 100), "8 × 100 pixels, smaller than 16 on a side"),
        ("RGB", (20, 100_000), "20 × 100000 pixels, more than 50 times.* Cut out the part that"),
        ("RGB", (1500, 1500), "has more than 2 million pixels. Make it smaller"),
    ],
)
def test_an_image_of_which_nothing_can_be_explained_is_refused(
    image_file: Save, monkeypatch: pytest.MonkeyPatch, mode: str, size: tuple[int, int], said: str
) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 2_000_000)
    with pytest.raises(ImageError, match=said):
        decode(image_file(Image.new(mode, size), "a.tif"))


@pytest.mark.parametrize(
    ("file", "name", "wnid"),
    [
        ("n02098286_West_Highland_white_terrier.JPEG", "West Highland white terrier", "n02098286"),
        ("my_cat.png", "my cat", ""),
        ("n123_short.png", "n123 short", ""),
    ],
)
def test_the_name_of_a_sample_image_holds_its_category(file: str, name: str, wnid: str) -> None:
    assert image_name(file) == (name, wnid)


def test_an_image_knows_its_name_and_size(image_file: Save) -> None:
    image = read_image(image_file(Image.new("RGB", (40, 30)), "n02007558_flamingo.png"))
    assert (image.name, image.wnid, image.size) == ("flamingo", "n02007558", (30, 40))


def test_images_that_are_not_there_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match=r"a\.png does not exist\n.*b\.png does not exist"):
        existing({name: tmp_path / name for name in ("a.png", "b.png")})
    (tmp_path / "c.png").mkdir()
    with pytest.raises(FileMissing, match=r"c\.png is not a file"):
        existing({"c.png": tmp_path / "c.png"})


def _profile(gamma: float) -> bytes:
    """A profile of sRGB's primaries and a power function, as the ICC defines one."""
    whole = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for entry in range(int.from_bytes(whole[128:132], "big")):
        row = 132 + 12 * entry
        if whole[row + 1 : row + 4] == b"TRC":
            start = int.from_bytes(whole[row + 4 : row + 8], "big")
            power = round(gamma * 65536).to_bytes(4, "big", signed=True)
            whole[start : start + 16] = b"para" + bytes(8) + power
    return bytes(whole)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA"])
@pytest.mark.parametrize(("gamma", "expected"), [(1.0, 188), (None, 128)])
def test_a_colour_profile_is_applied(
    image_file: Save, mode: str, gamma: float | None, expected: int
) -> None:
    """Half of the light, in linear values 0.5, is 188 of 255 in sRGB."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = Image.new("RGB", (32, 32), (128, 128, 128))
    image = plain.quantize(2) if mode == "P" else plain.convert(mode)
    path = image_file(image, "a.png", icc_profile=_profile(gamma) if gamma else srgb)
    assert np.abs(decode(path).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("profile", [b"nothing", _profile(1.0)[:200]])
def test_a_damaged_or_foreign_colour_profile_is_said(image_file: Save, profile: bytes) -> None:
    path = image_file(Image.new("RGB", (32, 32)), "a.png", icc_profile=profile)
    with pytest.raises(ImageError, match="colour profile"):
        decode(path)
    path = image_file(Image.new("CMYK", (32, 32)), "a.jpg", icc_profile=_profile(1.0))
    with pytest.raises(ImageError, match="it is about RGB, the image is CMYK"):
        decode(path)

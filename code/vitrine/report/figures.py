"""Images of a chapter: heatmaps over what the network saw, in grids that can be enlarged."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import numpy.typing as npt
import PIL
from IPython.display import Markdown
from PIL import Image as PilImage
from skimage.morphology import dilation, disk
from skimage.segmentation import find_boundaries

from vitrine.arrays import Values
from vitrine.data.images import Frame, Image, Pixels
from vitrine.methods.heatmap import Heatmap
from vitrine.report.page import Page, block, drawn_once, raw_html, this_page
from vitrine.report.text import safe, safe_html, slug

SIDE = 400
"""Side in pixels of a panel: sharp on a dense screen and in print at a thumbnail's size."""

SEQUENTIAL = "inferno"
FOR = (213, 94, 0)
AGAINST = (0, 114, 178)

SMALL, ROW = 240, 1000
"""Side in pixels of the copy of a panel that a page shows, at most, and of a row of panels."""

Rgb = npt.NDArray[np.float64]
Numbered = npt.NDArray[np.integer]


def crop_of(image: Image, frame: Frame, side: int = SIDE) -> Pixels:
    """The frame of an image as ``uint8 [side, side, 3]``, straight from the image's pixels."""
    top, left, height, width = frame.box
    box = (left, top, left + width, top + height)
    shown = PilImage.fromarray(image.pixels)
    return np.asarray(shown.resize((side, side), PilImage.Resampling.LANCZOS, box=box))


def middle_of(image: Image, side: int = SIDE) -> Pixels:
    """The middle square of an image as ``uint8 [side, side, 3]``."""
    height, width = image.size
    edge = min(height, width)
    box = ((height - edge) / 2, (width - edge) / 2, float(edge), float(edge))
    return crop_of(image, Frame(image.name, box, (side, side)), side)


def overlay(
    crop: Pixels, heatmap: Heatmap, *, share: float = 1.0, positive: bool = False
) -> Pixels:
    """A map over a pale image: unsigned on a sequential scale, signed on a diverging one.

    Unsigned values run from 0 to the map's own maximum. Signed ones run to the map's greatest
    absolute value in both directions; what says nothing stays the image. A map that is zero
    everywhere shows the pale image only.

    share : the scale ends where so large a share of the pixels lies below it in size. A map of
        single pixels, such as a gradient, has a few outliers that would leave the rest dark.
    positive : show positive evidence only, on the sequential scale.
    """
    signed = heatmap.signed and not positive
    shown = np.clip(heatmap.values, 0, None) if positive else heatmap.values
    values = _scaled(_resized(shown, crop.shape[0], smooth=not signed), share)
    return _pixels(_coloured(_pale(crop), values, signed=signed) if values.any() else _pale(crop))


def map_alone(heatmap: Heatmap, side: int = SIDE, *, share: float = 1.0) -> Pixels:
    """The positive evidence of a map without its image: ``uint8 [side, side, 3]``.

    On the sequential scale, from black; ``share`` as in ``overlay``.
    """
    values = np.clip(heatmap.values, 0, None)
    scaled = np.clip(_scaled(_resized(values, side, smooth=False), share), 0, 1)
    return _pixels(matplotlib.colormaps[SEQUENTIAL](scaled)[..., :3])


def smaller(crop: Pixels, side: int) -> Pixels:
    """An image ``[h, w, 3]`` as ``[side, side, 3]``, where a page has many of them."""
    return np.asarray(PilImage.fromarray(crop).resize((side, side), PilImage.Resampling.LANCZOS))


def thumbnail(crop: Pixels, side: int) -> str:
    """An image as an address that holds it, for the marks of a chart."""
    content = base64.b64encode(encoded(smaller(crop, side), "JPEG", quality=70)).decode()
    return f"data:image/jpeg;base64,{content}"


def _scaled(values: Rgb, share: float) -> Rgb:
    """Values up to 1 in size where ``share`` of them lie; zeros where all are zero."""
    extent = float(np.quantile(np.abs(values), share)) or float(np.abs(values).max())
    return np.clip(values / extent, -1, 1) if extent else values


def _coloured(base: Rgb, values: Rgb, *, signed: bool) -> Rgb:
    """The colours of a map laid on ``base [h, w, 3]``; values ``[h, w]`` up to 1 in size."""
    if signed:
        colour = np.where(values[..., None] > 0, np.array(FOR), np.array(AGAINST)) / 255
        return _blended(base, colour, 0.85 * np.abs(values)[..., None])
    colour = matplotlib.colormaps[SEQUENTIAL](np.clip(values, 0, 1))[..., :3]
    return 0.4 * base + 0.6 * colour


def _blended(base: Rgb, colour: Rgb, strength: Rgb) -> Rgb:
    return base * (1 - strength) + colour * strength


def outlined(crop: Pixels, segments: Numbered, marked: Sequence[int], weights: Values) -> Pixels:
    """An image with some superpixels in colour and outlined, the rest pale.

    Superpixels of positive weight are outlined in orange, those of negative weight in blue.
    """
    large = _resized(segments, crop.shape[0], smooth=False).astype(np.int32)
    image = np.where(np.isin(large, marked)[..., None], crop / 255, _pale(crop))
    for sign, colour in ((1, FOR), (-1, AGAINST)):
        chosen = [index for index in marked if np.sign(weights[index]) == sign]
        region = np.where(np.isin(large, chosen), large + 1, 0)
        image[_borders(region)] = np.array(colour) / 255
    return _pixels(image)


def cut(crop: Pixels, segments: Numbered) -> Pixels:
    """An image with the borders of its superpixels ``[h, w]`` as white lines."""
    large = _resized(segments, crop.shape[0], smooth=False).astype(np.int32)
    image = crop / 255
    image[_borders(large + 1, thickness=1)] = 1.0
    return _pixels(image)


def regions(crop: Pixels, first: Values, second: Values) -> Pixels:
    """Two regions over a pale image: the first in orange, the second in blue.

    Where they overlap the image is seen in its own colours.
    """
    side = crop.shape[0]
    one, two = (_resized(region, side, smooth=False)[..., None] for region in (first, second))
    image = _blended(_pale(crop), np.array(FOR) / 255, 0.65 * one * (1 - two))
    image = _blended(image, np.array(AGAINST) / 255, 0.65 * two * (1 - one))
    return _pixels(_blended(image, crop / 255, one * two))


TINTS = {"orange": FOR, "blue": AGAINST, "green": (0, 158, 115), "purple": (176, 74, 134)}
"""The colours of parts, in their order."""


def tinted(crop: Pixels, parts: Sequence[npt.NDArray[np.bool_]]) -> Pixels:
    """A pale image whose parts ``[h, w]`` are each in one colour of ``TINTS``, four at most."""
    image = _pale(crop)
    for mask, colour in zip(parts, TINTS.values(), strict=False):
        large = _resized(mask, crop.shape[0], smooth=False)[..., None]
        image = _blended(image, np.array(colour) / 255, 0.45 * large)
    return _pixels(image)


def _borders(region: Numbered, thickness: int = 3) -> npt.NDArray[np.bool_]:
    """The pixels of a labelled region that lie within ``thickness`` of another label."""
    inner = find_boundaries(region, mode="inner")  # type: ignore[no-untyped-call]
    wide = dilation(inner, disk(thickness - 1))  # type: ignore[no-untyped-call]
    return np.asarray(wide & (region > 0))


def _resized(values: npt.ArrayLike, side: int, *, smooth: bool) -> Rgb:
    how = PilImage.Resampling.BILINEAR if smooth else PilImage.Resampling.NEAREST
    image = PilImage.fromarray(np.asarray(values, dtype=np.float32))
    return np.asarray(image.resize((side, side), how), dtype=np.float64)


def _pale(crop: Pixels) -> Rgb:
    """A grey, light version of an image to lay colours on: ``float64 [h, w, 3]``, 0 to 1."""
    grey = crop.astype(np.float64) @ np.array([0.2126, 0.7152, 0.0722]) / 255
    return np.repeat((0.25 + 0.75 * grey)[..., None], 3, axis=2)


def _pixels(image: Rgb) -> Pixels:
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


PAPER_SIDE = 240
"""Pixels of an image on paper, of which 300 go to an inch where it is largest."""

PAPER_HEIGHT, PAPER_LEAST, PAPER_MOST = 1.0, 0.075, 0.11
"""How high rows of images may be in all on paper, and each at least and at most, in page widths."""


@dataclass(frozen=True)
class Panel:
    """One image of a card: a short label, its pixels, and what it shows in words."""

    label: str
    pixels: Pixels
    alt_text: str


@dataclass(frozen=True)
class Card:
    """The panels of one image side by side, with a title, and a note below."""

    title: str
    panels: tuple[Panel, ...]
    note: str = ""


@dataclass(frozen=True)
class Scale:
    """The colour scale of overlays, with what its ends (and its middle) mean."""

    low: str
    high: str
    middle: str = ""
    signed: bool = False


def grid(
    cards: Sequence[Card],
    name: str,
    columns: int = 2,
    paper_columns: int | None = None,
    scale: Scale | None = None,
) -> Markdown:
    """Cards in a grid of ``columns``; on the site they can be enlarged.

    name : what the image files' names begin with.
    paper_columns : cards beside each other on paper, where that is another number. A card of
        several images that has a row for itself stands beside its title.
    scale : of the overlays, shown below them.

    Titles, notes and labels are text from outside and are escaped.
    """
    page = this_page()
    if page.is_html:
        shown = _html_grid(page, cards, name, columns)
    elif (paper_columns or columns) == 1 and len(cards[0].panels) > 1:
        shown = _paper_rows(cards, name)
    else:
        shown = _paper_grid(cards, name, paper_columns or columns)
    return block(shown, *([_scale_bar(page, scale)] if scale else []))


def _html_grid(page: Page, cards: Sequence[Card], name: str, columns: int) -> str:
    # Numbered: two names can have the same letters.
    figures = [_html_card(page, card, f"{name}-{place}") for place, card in enumerate(cards, 1)]
    style = f"--columns:{columns};--panels:{max(len(card.panels) for card in cards)}"
    shown = "\n".join(figures)
    return raw_html(f'<div class="vitrine-grid" style="{style}">\n{shown}\n</div>')


def _html_card(page: Page, card: Card, name: str) -> str:
    labelled = len(card.panels) > 1
    strip = "\n".join(_html_panel(page, card, panel, name, labelled) for panel in card.panels)
    if labelled:
        strip = f'<div class="vitrine-strip">\n{strip}\n</div>'
    note = f'<span class="vitrine-note">{safe_html(card.note)}</span>' if card.note else ""
    return (
        f'<figure class="vitrine-card">\n{strip}\n'
        f"<figcaption><b>{safe_html(card.title)}</b> {note}</figcaption>\n</figure>"
    )


def _html_panel(page: Page, card: Card, panel: Panel, name: str, labelled: bool) -> str:
    name = f"{name}-{slug(card.title)}-{slug(panel.label)}"
    address, width = page.write(f"{name}.webp", webp(panel.pixels)), panel.pixels.shape[1]
    label = f'<span class="vitrine-label">{safe_html(panel.label)}</span>' if labelled else ""
    side = min(SMALL, ROW // len(card.panels))
    choice = ""
    if width > 1.25 * side:  # the large one for dense screens, and enlarged
        small = page.write(f"{name}-small.webp", webp(smaller(panel.pixels, side)))
        choice = f' srcset="{small} {side}w, {address} {width}w" sizes="auto, {side}px"'
    words = _size_and_words(panel, ' loading="lazy"')
    image = f'<img src="{address}"{choice} {words}>{label}'
    return f'<a class="vitrine-zoom" href="{address}">{image}</a>'


def still(panel: Panel, name: str) -> str:
    """An image of the site as an HTML element that cannot be enlarged. name : of its file."""
    address = this_page().write(f"{name}.webp", webp(panel.pixels))
    return f'<img src="{address}" {_size_and_words(panel)}>'


def _size_and_words(panel: Panel, more: str = "") -> str:
    height, width = panel.pixels.shape[:2]
    return f'width="{width}" height="{height}"{more} alt="{safe_html(panel.alt_text)}"'


def _paper_image(card: Card, panel: Panel, name: str, words: str) -> str:
    """An image as wide as its cell and its words in one cell, so that no page parts them."""
    file = f"{name}-{slug(card.title)}-{slug(panel.label)}.jpg"
    address = this_page().write(file, _on_paper(panel.pixels))
    return f"![{safe(panel.alt_text)}]({address}){{width=100%}} {words}".strip()


def _on_paper(pixels: Pixels) -> bytes:
    """A JPEG of at most ``PAPER_SIDE`` pixels a side. WebP would swell in the PDF tenfold."""
    image = PilImage.fromarray(pixels)
    image.thumbnail((PAPER_SIDE, PAPER_SIDE), PilImage.Resampling.LANCZOS)
    return encoded(np.asarray(image), "JPEG", quality=72)


def _paper_rows(cards: Sequence[Card], name: str) -> str:
    """A table of images with a card a row: its title and note, then its images.

    The images are so small that all rows fit on a page, where that leaves them large enough. Labels
    head the columns where the cards have the same, some fewer; else they stand below the images.
    """
    known = [[panel.label for panel in card.panels] for card in cards]
    labels = max(known, key=len)
    alike = (
        len(cards) > 1
        and len(set(labels)) == len(labels)
        and all(own == [label for label in labels if label in own] for own in known)
    )
    side = min(max(PAPER_HEIGHT / len(cards), PAPER_LEAST), PAPER_MOST, 0.84 / len(labels))
    widths = [round(1000 * (1 - side * len(labels))), *[round(1000 * side)] * len(labels)]
    lines = []
    for place, card in enumerate(cards, start=1):
        words = ["" if alike else safe(panel.label) for panel in card.panels]
        named = zip(card.panels, words, strict=True)
        row = [_paper_image(card, panel, f"{name}-{place}", said) for panel, said in named]
        if alike:
            own = dict(zip(known[place - 1], row, strict=True))
            row = [own.get(label, "") for label in labels]
        lines.append([f"**{safe(card.title)}** {safe(card.note)}".strip(), *row])
    return _image_table(lines, widths, ["", *map(safe, labels)] if alike else None)


def _paper_grid(cards: Sequence[Card], name: str, columns: int) -> str:
    """A table of images; the first image of a card has its title and note below it as well."""
    cells = []
    for place, card in enumerate(cards, start=1):
        for index, panel in enumerate(card.panels):
            words = safe(panel.label) if len(card.panels) > 1 else ""
            if index == 0:
                below = " · ".join(filter(None, [words, safe(card.note)]))
                words = f"**{safe(card.title)}** {below}"
            cells.append(_paper_image(card, panel, f"{name}-{place}", words.strip()))
    in_a_row = columns * max(len(card.panels) for card in cards)
    lines = [cells[start : start + in_a_row] for start in range(0, len(cells), in_a_row)]
    return _image_table(lines, [40] * in_a_row)


def _image_table(lines: list[list[str]], widths: list[int], head: list[str] | None = None) -> str:
    """A pipe table with columns in proportion to ``widths``; short lines are filled up."""
    # A pipe table needs a header line; an empty one is not printed.
    heads = [head or [""] * len(widths), ["-" * width for width in widths]]
    body = [line + [""] * (len(widths) - len(line)) for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in (*heads, *body))


def encoded(pixels: Pixels, kind: str, **options: int) -> bytes:
    """The file of an image; ``kind`` and ``options`` as Pillow has them."""

    def draw() -> bytes:
        stream = io.BytesIO()
        PilImage.fromarray(pixels).save(stream, kind, **options)
        return stream.getvalue()

    made_of = f"PIL {PIL.__version__} {kind} {options} {pixels.shape}"
    return drawn_once(made_of, pixels.tobytes(), draw)


def webp(pixels: Pixels) -> bytes:
    """An image as the site has it."""
    return encoded(pixels, "WEBP", quality=76, method=6)


def _scale_bar(page: Page, scale: Scale) -> str:
    kind, least = ("signed", -1) if scale.signed else ("unsigned", 0)
    values = np.tile(np.linspace(least, 1, 256), (16, 1))
    bar = _pixels(_coloured(np.full((16, 256, 3), 0.75), values, signed=scale.signed))
    address = page.write(f"scale-{kind}.png", encoded(bar, "PNG", optimize=1))
    meaning = safe_html(f"Colour scale from {scale.low} to {scale.high}")
    if not page.is_html:
        middle = f" (middle: {safe(scale.middle)})" if scale.middle else ""
        bar_of = f"![Colour scale]({address}){{width=30%}}"
        return f"{safe(scale.low)} {bar_of} {safe(scale.high)}{middle}"
    middle = f"<span>{safe_html(scale.middle)}</span>" if scale.middle else ""
    return raw_html(
        f'<div class="vitrine-scale"><span>{safe_html(scale.low)}</span>'
        f'<img src="{address}" width="256" height="16" loading="lazy" alt="{meaning}">'
        f"<span>{safe_html(scale.high)}</span>{middle}</div>"
    )

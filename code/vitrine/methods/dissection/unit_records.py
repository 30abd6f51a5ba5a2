"""What a unit did on a probing set, small enough to keep of every unit: the nine strongest images,
where on each of them its feature map fired, and a histogram of its activations.

Nothing here depends on the order of the images: the records of two parts of a probing set merge
into exactly those of the whole, and memory does not grow with the number of images.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

REVISION = 2
"""Raised whenever this module computes something else from the same activations."""

STRONGEST = 9
CELLS = 7
BINS = 16


def strongest_order(values: Tensor, images: Tensor, keep: int) -> Tensor:
    """The places ``[units, keep]`` of the greatest of ``values [units, n]``; ties by image."""
    order = images.argsort(dim=1)
    ranks = values.gather(1, order).argsort(dim=1, descending=True, stable=True)[:, :keep]
    return order.gather(1, ranks)


def coarse(maps: Tensor) -> Tensor:
    """Feature maps ``[n, units, h, w]`` in at most 7 × 7 cells, the greatest value in each."""
    sides = [min(side, CELLS) for side in maps.shape[2:]]
    return torch.nn.functional.adaptive_max_pool2d(maps, sides).float().cpu()


@dataclass(frozen=True)
class UnitRecords:
    """The records of a layer's units over a probing set, or over a part of it.

    values, images : ``[units, k]``, the greatest pooled activations, greatest first, and the
        positions in the probing set that they belong to; k is 9, or as many images as there are.
    maps : ``float32 [units, k, h, w]``, the coarse feature maps of these; ``None`` for units
        without positions, such as a classifier's.
    range : ``float64 [2, units]``, the smallest and the greatest pooled activation.
    counts : ``int64 [units, 16]``, images by pooled activation, in bins from j to j + 1 times
        2**exponent; j of the first bin is ``start [units]``. The exponent is the smallest for
        which 16 bins hold the range (and no finer than the numbers are).
    """

    values: Tensor
    images: Tensor
    maps: Tensor | None
    range: Tensor
    counts: Tensor
    start: Tensor
    exponent: Tensor

    def arrays(self, place: int) -> dict[str, npt.NDArray[np.generic]]:
        """As stored: masks are packed to bits, row by row, beside the shape of the maps."""
        found = {
            f"{place}_strongest": self.images.numpy().astype(np.int32),
            f"{place}_histogram": self.counts.numpy().astype(np.int32),
            f"{place}_histogram_start": self.start.numpy(),
            f"{place}_histogram_exponent": self.exponent.numpy().astype(np.int16),
        }
        if self.maps is not None:
            bits = fired(self.maps).flatten(2).numpy()
            found[f"{place}_fired"] = np.packbits(bits, axis=-1)
            found[f"{place}_cells"] = np.array(self.maps.shape[2:], dtype=np.int16)
        return found


def fired(maps: Tensor) -> Tensor:
    """The cells ``bool [units, k, h, w]`` in which a unit fired on an image.

    Those whose value is at least half of the greatest of the image's cells, and above zero: where
    on this image the unit responds most, whatever it does on others.
    """
    return (maps >= maps.amax((2, 3), keepdim=True) / 2) & (maps > 0)


def records_of(pooled: Tensor, maps: Tensor | None, positions: Tensor) -> UnitRecords:
    """The records of pooled activations ``[n, units]`` of the images at ``positions [n]``.

    maps : their coarse feature maps ``[n, units, h, w]``, if they have any.
    """
    images = positions[None].expand(pooled.shape[1], -1)
    by_unit = None if maps is None else maps.transpose(0, 1)
    units = torch.arange(pooled.shape[1])[:, None]
    order = strongest_order(pooled.T, images, STRONGEST)
    exact = pooled.T.double()
    ends = torch.stack([exact.amin(1), exact.amax(1)])
    start, exponent = _grid(ends)
    places = torch.floor(torch.ldexp(exact, -exponent[:, None])).long() - start[:, None]
    counts = torch.zeros(len(units), BINS, dtype=torch.int64)
    return UnitRecords(
        pooled.T.gather(1, order),
        images.gather(1, order),
        None if by_unit is None else by_unit[units, order],
        ends,
        counts.scatter_add_(1, places, torch.ones_like(places)),
        start,
        exponent,
    )


def merge_records(first: UnitRecords, second: UnitRecords) -> UnitRecords:
    """The records of two disjoint parts of a probing set together."""
    values = torch.cat([first.values, second.values], dim=1)
    images = torch.cat([first.images, second.images], dim=1)
    order = strongest_order(values, images, STRONGEST)
    maps = None
    if first.maps is not None and second.maps is not None:
        units = torch.arange(len(order))[:, None]
        maps = torch.cat([first.maps, second.maps], dim=1)[units, order]
    both = torch.stack([first.range, second.range])
    ends = torch.stack([both[:, 0].amin(0), both[:, 1].amax(0)])
    start, exponent = _grid(ends)
    counts = _counted(first, start, exponent) + _counted(second, start, exponent)
    return UnitRecords(
        values.gather(1, order), images.gather(1, order), maps, ends, counts, start, exponent
    )


def _grid(ends: Tensor) -> tuple[Tensor, Tensor]:
    """The first bin and the exponent of each unit, from its range ``[2, units]``."""
    width = ends[1] - ends[0]
    precise = torch.frexp(ends.abs().amax(0)).exponent.long() - 20
    coarser = torch.frexp(width).exponent.long() - 5
    exponent = torch.where(width > 0, torch.maximum(coarser, precise), precise)
    for _ in range(3):
        first, last = torch.floor(torch.ldexp(ends, -exponent)).long()
        exponent = exponent + (last - first >= BINS)
    return torch.floor(torch.ldexp(ends[0], -exponent)).long(), exponent


def _counted(records: UnitRecords, start: Tensor, exponent: Tensor) -> Tensor:
    """A histogram in the wider bins of another grid."""
    own = records.start[:, None] + torch.arange(BINS)
    shift = (exponent - records.exponent).clamp(max=62)[:, None]
    places = ((own >> shift) - start[:, None]).clamp(0, BINS - 1)  # bins outside hold no image
    return torch.zeros_like(records.counts).scatter_add_(1, places, records.counts)

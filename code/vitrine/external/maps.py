"""Tables about imported masks and heatmaps: what they cover, and how far two of them agree."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import pandas as pd

from vitrine.data.images import Frame, Image
from vitrine.data.outlines import Outlines
from vitrine.errors import SourceError
from vitrine.external.arrays import Map, read_map
from vitrine.external.study import CropFrame, ImportStudy, MapRun
from vitrine.measures.agreement import Region, chance_agreement, intersection_over_union, top_region
from vitrine.measures.localisation import object_mask, share_inside
from vitrine.measures.nonzero_overlap import nonzero_overlap
from vitrine.methods.heatmap import resample_to, resized

STORED_SIDE = 112
"""Longest side in pixels of a heatmap in the store; the tables come from the whole of it."""


@dataclass(frozen=True)
class ImportedMap:
    """A map of another run, in the frame in which it lives.

    note : what was done to its values when they were read; mostly nothing.
    """

    values: Map
    frame: Frame
    note: str = ""


ImportedMaps = dict[tuple[str, str], ImportedMap]
"""By run and image."""


def map_file(run: MapRun, image_file: str) -> str:
    """The path of a run's map of an image."""
    stem = PurePosixPath(image_file).stem
    return run.files.replace("{file}", image_file).replace("{stem}", stem)


def read_in_frame(path: Path, run: MapRun, image: Image) -> ImportedMap:
    """A run's map of an image. Raises ``SourceError`` for a shape that its frame cannot have."""
    values, note = read_map(path, run.kind)
    frame = frame_of(run.frame, image, (values.shape[0], values.shape[1]))
    if values.shape != frame.size:
        raise SourceError(
            f"{path} has the shape {values.shape}, and the frame of the run {run.run!r} is "
            f"{frame.size}",
            "Correct the run's `frame`: how the image was resized and cut",
        )
    height, width = image.size
    if run.frame is None and values.shape == (width, height) and height != width:
        raise SourceError(
            f"{path} has the shape {values.shape}, and its image {image.size}",
            "It seems to lie on its side; turn it round",
        )
    if not values.any():
        raise SourceError(f"{path} is zero everywhere", "Leave it out: it marks nothing")
    return ImportedMap(values, frame, note)


def frame_of(crop: CropFrame | None, image: Image, size: tuple[int, int]) -> Frame:
    """The frame of a run's maps: the whole image at any size, or the crop after resizing."""
    height, width = image.size
    if crop is None:
        return Frame(image.name, (0.0, 0.0, float(height), float(width)), size)
    scales = height / crop.resize[0], width / crop.resize[1]
    corner = [
        (side - crop.crop) / 2 * scale for side, scale in zip(crop.resize, scales, strict=True)
    ]
    box = (corner[0], corner[1], crop.crop * scales[0], crop.crop * scales[1])
    return Frame(image.name, box, (crop.crop, crop.crop))


def stored(one: ImportedMap, kind: str) -> tuple[np.ndarray, Frame]:
    """A map as the store keeps it: masks as they are, heatmaps small."""
    if kind == "region":
        return np.sign(one.values).astype(np.int8), one.frame
    scale = min(1.0, STORED_SIDE / max(one.frame.size))
    height, width = (max(1, round(side * scale)) for side in one.frame.size)
    small = Frame(one.frame.image, one.frame.box, (height, width))
    return resample_to(one.values, one.frame, small).astype(np.float16), small


# --- tables ---------------------------------------------------------------------------------------


def region_table(
    study: ImportStudy, maps: ImportedMaps, images: dict[str, Image], outlines: dict[str, Outlines]
) -> pd.DataFrame:
    """What each map covers in its own frame, and how much of it lies on the object.

    outlines : of the objects, by image file without ending.
    """
    rows = []
    for run in study.maps:
        for file, image in images.items():
            one = maps[run.run, image.name]
            known = outlines.get(PurePosixPath(file).stem)
            mask = (
                object_mask(known.in_frame(one.frame, image.size), one.frame.size)
                if known
                else np.zeros(one.frame.size, dtype=bool)
            )
            rows.append(
                {
                    "run": run.run,
                    "image": image.name,
                    "height": one.frame.size[0],
                    "width": one.frame.size[1],
                    "marked": np.mean(one.values != 0),
                    "area_half_max": np.mean(one.values > one.values.max() / 2),
                    "object": mask.mean() if mask.any() else np.nan,
                    "inside": share_inside(one.values, mask),
                }
            )
    return pd.DataFrame(rows)


def compared(study: ImportStudy) -> list[tuple[MapRun, MapRun]]:
    """The pairs whose IoU is computed: every region with every heatmap of its network."""
    return [
        (region, heatmap)
        for region in study.maps
        for heatmap in study.maps
        if (region.kind, heatmap.kind) == ("region", "heatmap")
        and region.network == heatmap.network
    ]


def iou_table(first: MapRun, second: MapRun, maps: ImportedMaps, names: list[str]) -> pd.DataFrame:
    """The IoU of a run's regions with another's heatmaps: as printed, and corrected.

    As printed: whatever is not zero, each map stretched to the other's size. Corrected: in the
    region's frame, with as large a share of the heatmap as the region covers.
    """
    framed = {
        name: resample_to(
            maps[second.run, name].values, maps[second.run, name].frame, maps[first.run, name].frame
        )
        for name in names
    }
    heats = {name: maps[second.run, name].values for name in names}
    rows = []
    for name in names:
        region = maps[first.run, name].values
        mark = (region != 0).astype(np.float64)
        share = float(mark.mean())
        if share == 1:
            raise SourceError(
                f"The region of {name} in the run {first.run!r} covers all of its frame",
                "Leave it out: every map agrees with it",
            )
        others = [other for other in names if other != name]
        printed = nonzero_overlap(region, heats[name])
        rows.append(
            {
                "first": first.run,
                "second": second.run,
                "image": name,
                "printed": printed.iou,
                "printed_first": printed.first,
                "printed_second": printed.second,
                "printed_chance": printed.chance,
                "printed_other_images": _mean(
                    nonzero_overlap(region, heats[other]).iou for other in others
                ),
                "framed": intersection_over_union(mark, (framed[name] > 0).astype(np.float64)),
                "stretched": _at_share(mark, resized(heats[name], mark.shape), share),
                "share": share,
                "iou": _at_share(mark, framed[name], share),
                "iou_chance": chance_agreement(share),
                "iou_other_images": _mean(
                    _at_share(mark, framed[other], share) for other in others
                ),
            }
        )
    return pd.DataFrame(rows)


def _at_share(mark: Region, heatmap: npt.NDArray[np.floating], share: float) -> float:
    """The IoU of a region with the strongest ``share`` of a heatmap of its frame.

    ``nan`` for a heatmap that is the same everywhere: it has no strongest part.
    """
    if np.ptp(heatmap) == 0:
        return float("nan")
    return intersection_over_union(mark, top_region(heatmap, share))


def _mean(values: Iterable[float]) -> float:
    found = [value for value in values if np.isfinite(value)]
    return float(np.mean(found)) if found else float("nan")

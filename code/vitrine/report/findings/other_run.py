"""The maps of the study shown beside those of a published run on the same images."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from vitrine.arrays import Values
from vitrine.data.images import Frame
from vitrine.errors import FrameError
from vitrine.measures.agreement import ious, matched_and_mismatched, standard_ranks
from vitrine.measures.difference import paired_difference, pairing_difference
from vitrine.measures.thresholds import REGION_RULES
from vitrine.report.findings.finding import Finding, absent
from vitrine.report.findings.sentences import spelt, which_way
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing, number

CAMS = ("gradcam", "ablationcam", "scorecam")
LIME, MASK = "lime", "lime_1"
"""LIME's key in a study, and the published run's mask of superpixels with positive weight."""

NETWORKS, SHOWN, PUBLISHED = "two networks", "the network shown", "the published run"
"""What is compared: one method's maps of two networks, or two methods' maps of one."""


@dataclass(frozen=True)
class MapPair:
    """One method's maps of two networks, or two methods' maps of one, of the same images.

    share : of the frame that a region covers; without one the first are masks, without ranks.
    """

    images: list[str]
    ones: list[Values]
    others: list[Values]
    share: float | None = None

    @cached_property
    def ious(self) -> npt.NDArray[np.float64]:
        """The IoU ``[n, n]`` of the first's region of image i with the second's of image j."""
        region = REGION_RULES["share"].region
        if self.share is not None:
            both = (self.ones, self.others)
            return ious(*(np.stack([region(v, self.share) for v in maps]) for maps in both))
        masked = [(m[None], [region(v, m.mean()) for v in self.others]) for m in self.ones]
        return np.concatenate([ious(mask, np.stack(regions)) for mask, regions in masked])

    @cached_property
    def rows(self) -> pd.DataFrame:
        """By image: the IoU, that with the second maps of the other images, and rho."""
        rho: list[float] | float = np.nan
        if self.share is not None:
            pairs = zip(self.ones, self.others, strict=True)
            rho = [float((standard_ranks(a) * standard_ranks(b)).sum()) for a, b in pairs]
        matched, mismatched = matched_and_mismatched(self.ious)
        rows = {"image": self.images, "iou": matched, "iou_other_images": mismatched, "rho": rho}
        return pd.DataFrame(rows)


@lru_cache
def _pairs(study: StudyReport, published: PublishedReport) -> dict[tuple[str, str, str], MapPair]:
    """What is compared, and the first and the second method, in the frame of the study's maps.

    Regions cover the study's share of the frame; with a mask, as much as the mask does. A mask has
    no ranks, and is left out where it does not show all of the frame. Empty where the study has
    none of the images or none of the methods.
    """
    images = [image for image in study.images if image in published.images]
    methods = set(study.method_titles)
    cams = [cam for cam in CAMS if cam in methods]
    if not images or not cams:
        return {}
    share = float(study.parameters("agreement").get("share", 0.2))
    frames = [study.heatmap(cams[0], image).frame for image in images]
    framed = list(zip(images, frames, strict=True))
    own = {m: [study.heatmap(m, image).values for image in images] for m in cams}
    theirs = {m: [published.map_in(m, image, frame) for image, frame in framed] for m in cams}
    pairs = {(NETWORKS, cam, cam): MapPair(images, own[cam], theirs[cam], share) for cam in cams}
    for what, maps in ((SHOWN, own), (PUBLISHED, theirs)):
        for one, other in combinations(cams, 2):
            pairs[what, one, other] = MapPair(images, maps[one], maps[other], share)
    if LIME in methods and (masks := _masks(published, framed)):
        lime = [study.heatmap(LIME, image).values for image in images]
        pairs[NETWORKS, LIME, LIME] = MapPair(images, masks, lime)
    return pairs


def beside(study: StudyReport, published: PublishedReport) -> pd.DataFrame:
    """IoU at equal area and rank correlation of maps, by image, as ``_pairs`` compares them.

    Columns: what is ``compared``, ``first`` and ``second`` method, ``image``, ``iou``, that with
    the second maps of the other images (``iou_other_images``), and ``rho``.
    """
    pairs = _pairs(study, published)
    keys = ["compared", "first", "second"]
    if not pairs:
        return pd.DataFrame(columns=[*keys, "image", "iou"])
    rows = pd.concat({key: pair.rows for key, pair in pairs.items()}, names=keys)
    return rows.reset_index(keys).reset_index(drop=True)


def _masks(published: PublishedReport, framed: list[tuple[str, Frame]]) -> list[Values] | None:
    """The run's masks in the study's frames; ``None`` where one does not show all of its frame."""
    try:
        return [(np.abs(published.map_in(MASK, *one)) >= 0.5).astype(np.float64) for one in framed]
    except FrameError:
        return None


def by_image(rows: pd.DataFrame, value: str = "iou") -> pd.DataFrame:
    """The mean over class activation maps ``[image]``, a column for what is compared."""
    table: pd.DataFrame = rows[rows["first"] != LIME].pivot_table(
        index="image", columns="compared", values=value, sort=False, dropna=False
    )
    return table


def networks_or_methods(study: StudyReport, published: PublishedReport) -> Finding:
    """Whether maps of two runs agree less than those of two methods of one run."""
    rows = beside(study, published)
    if rows.empty:
        return absent("The study shown has no class activation map of the published run's images.")
    found = by_image(rows)
    if SHOWN not in found:
        return absent("Of the published run's methods the study shown has one alone.")
    within = found[[SHOWN, PUBLISHED]].mean(axis=1)
    change = paired_difference((found[NETWORKS] - within).to_numpy())
    names = listing(study.method_titles[m] for m in CAMS if m in study.method_titles)
    return which_way(
        change,
        "class activation maps of two [methods of one run|runs] agree less than those of two "
        "[runs|methods of one run] do",
        f"The mean IoU of {names} is {number(found[NETWORKS].mean())} between the network shown "
        "and the published run's, with the same method; the runs differ in network and in how they "
        "frame the image. Between two of the methods it is "
        f"{number(found[SHOWN].mean())} in the network shown and "
        f"{number(found[PUBLISHED].mean())} in the published run. The mean difference is "
        f"{spelt(change)}.",
        few="Too few images to say whether maps of two runs or of two methods agree less.",
        undecided="Whether maps of two runs or of two methods of one run agree less is undecided.",
    )


def networks_beside_chance(study: StudyReport, published: PublishedReport) -> Finding:
    """Whether two networks' maps of one image agree more than their maps of different images."""
    pairs = {key[1]: p for key, p in _pairs(study, published).items() if key[0] == NETWORKS}
    if not pairs:
        return absent("The study shown has no class activation map of the published run's images.")
    text, above = [], []
    for method, pair in pairs.items():
        gain = pairing_difference(pair.ious, len(pairs))
        above += [method] * (gain.direction == "larger")
        text.append(
            f"{study.method_titles[method]}: {number(pair.rows['iou'].mean())} against "
            f"{number(pair.rows['iou_other_images'].mean())}, gain {spelt(gain)}."
        )
    text.insert(0, "Mean IoU of one method's maps, with the same image and with the others.")
    headline = "That two networks' maps of one image agree more than those of others is not shown."
    if above:
        names = listing(study.method_titles[method] for method in above)
        agree = "Two networks' maps of one image agree more than those of different images"
        headline = f"{agree} for {names}."
    return Finding(headline, " ".join(text), "some" if above else "none")

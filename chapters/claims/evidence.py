"""What claims are judged by, for any study: what it lacks is empty, and never an error."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from claims.judgement import Outcome, Part
from vitrine.measures.localisation import share_inside
from vitrine.report import attributions
from vitrine.report.compared import share_of
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing, percent

THREE = ("gradcam", "ablationcam", "scorecam")


def images_of(study: StudyReport, method: str) -> list[str]:
    """The study's images of which it has a method's map."""
    found: set[str] = set()
    if study.has("maps"):
        found |= {*study.table("maps").query("method == @method")["image"]}
    if study.has("attributions"):
        found |= {*attributions.images_with(study, method)}
    return [image for image in study.images if image in found]


def on_object(study: StudyReport, method: str) -> pd.Series:
    """By image: the share of a map's positive weight on the outlined object, where it has any."""
    known = [image for image in images_of(study, method) if image in study.objects]
    shares = {
        image: share_inside(study.heatmap(method, image).values, study.objects[image])
        for image in known
    }
    return pd.Series(shares, dtype=np.float64).dropna()


def network_of(published: PublishedReport, run: str) -> str:
    """The network of a published run."""
    return str(published.run(run)["network"])


def shares_told(shares: Mapping[str, float]) -> str:
    """Shares by name: "goldfish 62% and tiger shark 81%"."""
    return listing(f"{name} {percent(value)}" for name, value in shares.items())


def lacking(
    study: StudyReport, methods: Sequence[str], images: Sequence[str] = (), half: str = ""
) -> Part:
    """Why a study cannot decide what needs maps of some methods, or some images."""
    text = "In none of these images is the object outlined and has positive weight."
    if none := [method for method in methods if not images_of(study, method)]:
        text = f"This study has no map of {listing(titled(study, none))}."
    if away := [image for image in images if image not in study.images]:
        text = f"This study has no image called {listing(away)}."
    return Part(text, half=half)


def titled(study: StudyReport, methods: Sequence[str]) -> list[str]:
    """Methods by their titles, those that the study does not have by their keys."""
    return [study.method_titles.get(method, method) for method in methods]


def seconds_of(study: StudyReport, table: str) -> pd.Series:
    """By method: the median seconds a map, as a table has them; empty where there is none."""
    if not study.has(table):
        return pd.Series(dtype=float)
    return study.table(table).groupby("method")["seconds"].median().dropna()


def pairs_of(study: StudyReport, table: str) -> pd.DataFrame:
    """The rows of a table of pairs of maps about LIME and Grad-CAM; empty where there is none."""
    if not study.has(table):
        return pd.DataFrame()
    rows = study.table(table)
    return rows[(rows["first"] == "lime") & (rows["second"] == "gradcam")]


def ious_of(study: StudyReport) -> pd.Series:
    """By image: the IoU of LIME and Grad-CAM at the study's share; empty where there is none."""
    rows = pairs_of(study, "agreement")
    if rows.empty:
        return pd.Series(dtype=np.float64)
    own = rows[np.isclose(rows["share"].astype(float), share_of(study))]
    return own.set_index("image")["iou"].astype(np.float64).dropna()


def both(
    study: StudyReport, published: PublishedReport, runs: Mapping[str, str]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """On-object shares by image and method: of the study, then of the published runs.

    runs : the published run of each method. Yields where the maps are from, and the table.
    """
    yield study.title, pd.DataFrame({method: on_object(study, method) for method in runs})
    network = network_of(published, next(iter(runs.values())))
    shares = published.table("regions").pivot(index="image", columns="run", values="inside")
    theirs = shares[[*runs.values()]].set_axis([*runs], axis="columns")
    yield f"{network} (published maps)", theirs


def beside_object(
    study: StudyReport,
    published: PublishedReport,
    runs: Mapping[str, str],
    images: Sequence[str],
    what: str = "the object",
    half: str = "",
) -> list[Part]:
    """Whether the weight lies beside the object, of one method or on one image.

    It does where less than half of it, and less than the object's share of the frame, lies on the
    object, and does not where neither holds. Otherwise that is undecided: on a small object lies
    less than half of nearly any map.

    runs : as ``both`` takes them. what : the object in words.
    """
    parts = []
    areas: tuple[dict[Any, float], ...] = (
        {image: float(mask.mean()) for image, mask in study.objects.items()},
        published.table("regions").groupby("image")["object"].first().to_dict(),
    )
    for (network, shares), area in zip(both(study, published, runs), areas, strict=True):
        told: list[str] = []
        outcomes: list[Outcome] = []
        for image in (image for image in images if image in shares.index):
            for method, share in shares.loc[image].dropna().astype(float).to_dict().items():
                name = image if len(runs) == 1 else titled(study, [str(method)])[0]
                beside, sparser = share < 0.5, share < area[image]
                outcomes.append(beside if beside == sparser else None)
                end = " (undecided)" * (outcomes[-1] is None and len(images) > 1)
                of = f" on {percent(area[image])} of the frame" * (len(images) > 1)
                told.append(f"{name} {percent(share)}{of}{end}")
        of = f", {percent(area[images[0]])} of the frame" if told and len(images) == 1 else ""
        known = Part(f"{network}, weight on {what}{of}: {listing(told)}.", tuple(outcomes), half)
        parts.append(known if told else lacking(study, tuple(runs), images, half))
        if None in outcomes:
            less = "Undecided is less than half of the weight, but more than the area."
            parts.append(Part(less, (), half))
    return parts

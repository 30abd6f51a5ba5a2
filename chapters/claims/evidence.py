"""What claims are judged by, for any study: what it lacks is empty, and never an error."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from claims.judgement import Part
from vitrine.measures.localisation import share_inside
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing, percent

THREE = ("gradcam", "ablationcam", "scorecam")


def images_of(study: StudyReport, method: str) -> list[str]:
    """The study's images of which it has a method's map."""
    for table in ("maps", "lime", "attributions"):
        if not study.has(table):
            continue
        rows = study.table(table)
        if table == "lime" and method != "lime":
            continue
        if table != "lime":
            rows = rows[rows["method"] == method]
        if "reason" in rows:
            rows = rows[rows["reason"].fillna("").astype(str) == ""]
        if len(rows):
            found = set(rows["image"])
            return [image for image in study.images if image in found]
    return []


def on_object(study: StudyReport, method: str) -> pd.Series:
    """By image: the share of a map's positive weight on the outlined object, where it has any."""
    known = [image for image in images_of(study, method) if image in study.objects]
    shares = {
        image: share_inside(study.heatmap(method, image).values, study.objects[image])
        for image in known
    }
    return pd.Series(shares, dtype=np.float64).dropna()


def published_on_object(published: PublishedReport, run: str) -> pd.Series:
    """The same of a published run of maps."""
    regions = published.table("regions")
    own = regions[regions["run"] == run].set_index("image")["inside"]
    return own.astype(np.float64).dropna()


def network_of(published: PublishedReport, run: str) -> str:
    """The network of a published run."""
    return str(published.run(run)["network"])


def row_of(shares: pd.DataFrame, image: str) -> pd.Series:
    """The shares of one image by method, without those that are unknown."""
    known = shares[shares.index == image].iloc[:1]
    return pd.Series(
        {str(name): known[name].iloc[0] for name in known if len(known)}, dtype=float
    ).dropna()


def shares_told(shares: pd.Series) -> str:
    """Shares by name: "goldfish 62% and tiger shark 81%"."""
    return listing(f"{name} {percent(value)}" for name, value in shares.items())


def lacking(study: StudyReport, methods: Sequence[str], images: Sequence[str] = ()) -> Part:
    """Why a study cannot decide what needs maps of some methods, or some images."""
    away = [image for image in images if image not in study.images]
    if away:
        return Part(f"This study has no image called {listing(away)}.")
    none = [method for method in methods if not images_of(study, method)]
    if none:
        return Part(f"This study has no map of {listing(titled(study, none))}.")
    return Part("In none of these images is the object outlined and has positive weight.")


def titled(study: StudyReport, methods: Sequence[str]) -> list[str]:
    """Methods by their titles, those that the study does not have by their keys."""
    return [study.method_titles.get(method, method) for method in methods]


def pairs_of(
    study: StudyReport, table: str, first: str = "lime", second: str = "gradcam"
) -> pd.DataFrame:
    """The rows of a table of pairs of maps about one pair; empty where there is none."""
    if not study.has(table):
        return pd.DataFrame()
    rows = study.table(table)
    return rows[(rows["first"] == first) & (rows["second"] == second)]


def ious_of(study: StudyReport) -> pd.Series:
    """By image: the IoU of LIME and Grad-CAM at the study's share; empty where there is none."""
    rows = pairs_of(study, "agreement")
    if rows.empty:
        return pd.Series(dtype=np.float64)
    share = study.parameters("agreement").get("share", rows["share"].iloc[0])
    own = rows[np.isclose(rows["share"].astype(float), float(share))]
    return own.set_index("image")["iou"].astype(np.float64).dropna()


def both(
    study: StudyReport, published: PublishedReport, runs: dict[str, str]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """On-object shares by image and method: of the study, then of the published runs.

    runs : the published run of each method. Yields where the maps are from, and the table.
    """
    yield (
        study.title,
        pd.DataFrame({method: on_object(study, method) for method in runs}),
    )
    run = next(iter(runs.values()))
    yield (
        f"{network_of(published, run)} (published maps)",
        pd.DataFrame({m: published_on_object(published, each) for m, each in runs.items()}),
    )

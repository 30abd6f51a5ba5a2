"""Regions outlined by hand: what a map puts on them, and what hiding them does."""

import pandas as pd

from vitrine.measures.localisation import share_inside
from vitrine.report.compared import LIME, PREFERRED
from vitrine.report.study_report import StudyReport

KEYS = ["image", "region"]

MARGIN = 0.05
"""Losses that differ by less than this share of the whole image's probability are called alike."""

LARGE = 0.5
"""A region of more of the frame has nearly itself elsewhere, so that there is no control."""


def lime_and_cam(study: StudyReport, image: str | None = None) -> list[str]:
    """LIME and Grad-CAM, or the study's first class activation map, as far as it has them.

    image : those that have a map of it.
    """
    maps = study.table("maps") if study.has("maps") else pd.DataFrame({"image": [], "method": []})
    has = set(maps["method"])
    of_image = has if image is None else set(maps.loc[maps["image"] == image, "method"])
    cams = [name for name in study.parameters("cam").get("methods", ()) if name in has]
    first = PREFERRED if PREFERRED in cams else cams[0] if cams else ""
    return [name for name in (LIME, first) if name in of_image]


def weights(study: StudyReport) -> pd.DataFrame:
    """The share of each method's positive weight on each region, by image and region."""
    rows = [
        {"image": image, "region": region}
        | {
            method: share_inside(study.heatmap(method, image).values, mask)
            for method in lime_and_cam(study, image)
        }
        for image in study.table("region_occlusion")["image"].unique()
        for region, mask in study.parts(image).items()
    ]
    return pd.DataFrame(rows, columns=[*KEYS, *lime_and_cam(study)]).set_index(KEYS)


def occlusion(study: StudyReport) -> pd.DataFrame:
    """What hiding each region does, by image and region, as means over the fills.

    ``without``, the prediction's probability when the region is hidden, between ``lowest`` and
    ``highest`` of the fills; ``control``, when the same shape is hidden elsewhere; ``alone``,
    when it is all that is shown, and ``alone_control``, when the same shape elsewhere is;
    ``below``, the number of fills by which it is less than the control by more than ``MARGIN`` of
    the whole image's; ``above``, by which it is more than for the whole image by as much;
    ``instead``, the most probable class without it, by the study's first fill. Regions of more than
    ``LARGE`` of the frame have no control.
    """
    table = study.table("region_occlusion")
    hidden = table[table["shown"] == "rest"]
    hidden = hidden.assign(
        below=hidden["probability"] < hidden["control"] - MARGIN * hidden["p_original"],
        above=hidden["probability"] > (1 + MARGIN) * hidden["p_original"],
    )
    found = hidden.groupby(KEYS, sort=False).agg(
        area=("area", "first"),
        p_original=("p_original", "first"),
        without=("probability", "mean"),
        lowest=("probability", "min"),
        highest=("probability", "max"),
        control=("control", "mean"),
        below=("below", "sum"),
        above=("above", "sum"),
        fills=("fill", "nunique"),
        instead=("category", "first"),
    )
    alone = table[table["shown"] == "region"].groupby(KEYS)[["probability", "control"]].mean()
    found = found.join(alone.set_axis(["alone", "alone_control"], axis=1))
    found.loc[found["area"] > LARGE, ["control", "alone_control"]] = float("nan")
    return found


def misread(study: StudyReport) -> list[str]:
    """The images with outlined regions whose prediction is known to be wrong.

    See ``StudyReport.has_true_class``.
    """
    images = study.table("region_occlusion")["image"].unique()
    return [one for one in images if study.has_true_class(one) and not study.is_correct(one)]

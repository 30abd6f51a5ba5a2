"""Class activation maps: the rows of a study's tables, and what its maps have on the objects."""

import pandas as pd

from vitrine.measures.localisation import points_at
from vitrine.report.charts import METHOD_COLOURS
from vitrine.report.compared import LIME, PREFERRED
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing

SECOND = "second"
"""The variant that explains the second most probable class."""

AT_LAYER = "at-"
"""What the variants at other layers begin with."""

SAME = 0.999
"""Maps of at least this rank correlation on every image are one map."""


def cam_methods(study: StudyReport) -> list[str]:
    """The keys of the study's class activation maps, in the order of the study file."""
    return list(study.parameters("cam").get("methods") or ())


def distinct(study: StudyReport) -> list[str]:
    """The methods without those whose maps are those of an earlier one on every image.

    As Grad-CAM's and HiResCAM's are before a global mean and one linear layer: one map for a test.
    """
    found: list[str] = []
    if not study.has("correlations"):
        return cam_methods(study)
    for method in cam_methods(study):
        rhos = (correlations(study, [one, method])["rho"].dropna() for one in found)
        if not any(len(rho) and rho.min() >= SAME for rho in rhos):
            found.append(method)
    return found


def main_methods(study: StudyReport) -> list[str]:
    """Those that have a colour of their own in charts; where that is one at most, the first few."""
    known = cam_methods(study)
    coloured = [method for method in known if study.method_titles[method] in METHOD_COLOURS]
    return coloured if len(coloured) > 1 else list(dict.fromkeys([*coloured, *known]))[:3]


def preferred(study: StudyReport, among: list[str] | None = None) -> str:
    """The method that a single map is shown of: Grad-CAM, or else the first one."""
    known = cam_methods(study) if among is None else among
    return PREFERRED if PREFERRED in known else known[0]


def layer(study: StudyReport) -> str:
    """The layer that the maps explain."""
    return str(study.parameters("cam").get("layer") or study.facts["last_convolution"])


def layer_in_words(study: StudyReport) -> str:
    """The layer that the maps explain, and the activation that follows where its maps have none."""
    name, after = layer(study), str(study.facts.get("activation_after") or "")
    if grid := study.facts.get("token_grid"):
        return f"{name}, whose feature maps are the {grid[0]} × {grid[1]} tokens of places"
    if not after or name != study.facts["last_convolution"]:
        return name
    return f"{name}, whose feature maps are those before the {after} that follows"


def correlations(study: StudyReport, among: list[str] | None = None) -> pd.DataFrame:
    """The rows of ``correlations`` between any two of some methods, with ``pair`` in words.

    among : the study's class activation maps by default.
    """
    known, titles = cam_methods(study) if among is None else among, study.method_titles
    rows = study.table("correlations")
    rows = rows[rows["first"].isin(known) & rows["second"].isin(known)].copy()
    pairs = zip(rows["first"], rows["second"], strict=True)
    rows["pair"] = [listing((titles[one], titles[other])) for one, other in pairs]
    return rows.reset_index(drop=True)


def with_lime(study: StudyReport, names: list[str]) -> list[str]:
    """The methods and LIME, where the study has it."""
    return [*names, LIME] if study.has("lime") else names


def inside(study: StudyReport, names: list[str]) -> pd.DataFrame:
    """The share of each method's positive weight on the object, by image with an outline."""
    return pd.DataFrame({name: study.on_object(name) for name in names})


def maxima(study: StudyReport) -> pd.DataFrame:
    """By image and method: 1 where the map's maximum points at the object, 0 elsewhere.

    Not a number for a map that is the same everywhere: it has no maximum.
    """
    return pd.DataFrame(
        {
            method: {
                image: points_at(study.heatmap(method, image).values, mask)
                for image, mask in study.objects.items()
            }
            for method in cam_methods(study)
        }
    )


def half_maximum_areas(study: StudyReport) -> pd.DataFrame:
    """Share of the frame above half of the maximum, by image, for main methods and LIME."""
    rows = study.table("maps")
    rows = rows[rows["method"].isin(with_lime(study, main_methods(study))) & ~rows["is_constant"]]
    return rows.pivot(index="image", columns="method", values="area_half_max")


def costs(study: StudyReport) -> pd.DataFrame:
    """By method: the median seconds an image, and its passes as median and mean."""
    rows = study.table("costs")
    rows = rows[rows["method"].isin(with_lime(study, cam_methods(study)))]
    by_method = rows.groupby("method").agg(
        seconds=("seconds", "median"),
        passes=("passes", "median"),
        mean_passes=("passes", "mean"),
        head=("head_passes", "median"),
    )
    return by_method.sort_values("seconds")


def second_class_rows(study: StudyReport) -> pd.DataFrame:
    """One method's rows of ``variants`` for the second most probable class, by image."""
    if not study.has("variants"):
        return pd.DataFrame(columns=["method", "rho"])
    rows = study.table("variants").query("variant == @SECOND").set_index("image")
    return rows[rows["method"] == preferred(study, [*rows["method"]])] if len(rows) else rows


def other_layers(study: StudyReport) -> pd.DataFrame:
    """The rows of ``variants`` at other layers than the one explained."""
    if not study.has("variants"):
        return pd.DataFrame(columns=["image", "method", "layer", "rho", "is_constant"])
    rows = study.table("variants")
    return rows[rows["variant"].str.startswith(AT_LAYER)].reset_index(drop=True)


def by_layer(study: StudyReport) -> pd.DataFrame:
    """What the maps of a method are at each layer: the means over images, the explained one last.

    ``rho`` with the map of the explained layer; ``inside``, where objects are outlined.
    """
    rows = other_layers(study)
    method, last = str(rows["method"].iloc[0]), layer(study)
    maps = study.table("maps").query("method == @method").assign(rho=1.0, layer=last, variant="")
    columns = ["layer", "variant", "rho", "area_half_max", "is_constant"]
    both = pd.concat([rows[columns], maps[columns]])
    found = both.groupby(["layer", "variant"], sort=False).agg(
        rho=("rho", "mean"), area_half_max=("area_half_max", "mean"), blank=("is_constant", "sum")
    )
    if study.objects:
        variants = found.index.get_level_values("variant")
        found["inside"] = [study.on_object(method, variant).mean() for variant in variants]
    return found.droplevel("variant").reset_index()

"""What the chapter on attribution reads of a study: maps, promised sums, sensitivities."""

from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd

from vitrine.data.printed import published_figures
from vitrine.measures.agreement import standard_ranks
from vitrine.project import Project
from vitrine.report.study_report import StudyReport

RELEVANCE, LIBRARY_RELEVANCE = "lrp", "lrp_captum"
PATH, GRADIENT, GUIDED = "integrated_gradients", "gradient", "guided_backpropagation"
SUMMARIES = ("smoothgrad_squared", "vargrad")

PROMISED = {
    PATH: "the change of the logit from an input of zeros",
    RELEVANCE: "the logit",
    LIBRARY_RELEVANCE: "the logit",
}
"""What the attributions of a method add up to by its definition, where a table holds that number.

Gradient SHAP's sum is a mean over three baselines, of which the tables hold one.
"""

PRINTED = {
    "Integrated Gradients": PATH,
    "SmoothGrad squared of Integrated Gradients": SUMMARIES[0],
    "VarGrad of Integrated Gradients": SUMMARIES[1],
    "Gradient SHAP": "gradient_shap",
    "Occlusion": "occlusion",
    "Layer-wise Relevance Propagation": RELEVANCE,
    "Guided Backpropagation": GUIDED,
    "Guided Grad-CAM": "guided_gradcam",
}
"""The key of each method by the name under which an earlier report printed its sensitivity."""

FEW_PASSES = 2
"""Methods that take no more passes go back through the network once."""


def maps(study: StudyReport) -> pd.DataFrame:
    """The rows of the table ``attributions`` that have a map."""
    table = study.table("attributions")
    return table[table["reason"].fillna("") == ""]


def attribution_methods(study: StudyReport) -> list[str]:
    """The attribution methods that have a map of any image, in the order of the table."""
    return list(dict.fromkeys(maps(study)["method"])) if study.has("attributions") else []


def repeated_methods(study: StudyReport) -> list[str]:
    """Those of ``methods`` that ask the network many times for a map."""
    known = attribution_methods(study)
    passes = maps(study).groupby("method")["passes"].mean() if known else pd.Series(dtype=float)
    return [method for method in known if passes[method] > FEW_PASSES]


def single_pass_methods(study: StudyReport) -> list[str]:
    """Those of ``methods`` that go back through the network once."""
    many = repeated_methods(study)
    return [method for method in attribution_methods(study) if method not in many]


def images_with(study: StudyReport, method: str) -> list[str]:
    """The images of which a method has a map."""
    table = maps(study)
    return list(table.loc[table["method"] == method, "image"])


def deviations(rows: pd.DataFrame) -> pd.Series:
    """|sum / promised sum - 1| of rows of one method, by image; none where zero is promised."""
    method = rows["method"].iloc[0] if len(rows) else PATH
    promised = rows["logit"] - (rows["logit_of_nothing"] if method == PATH else 0.0)
    found = (rows["total"] / promised.where(promised != 0) - 1).abs()
    return pd.Series(found.to_numpy(), index=rows["image"]).dropna()


def promised_sums(study: StudyReport) -> dict[str, pd.Series]:
    """By method that promises a sum: how far each image's attributions are from it."""
    table = maps(study)
    found = {
        m: deviations(table[table["method"] == m])
        for m in attribution_methods(study)
        if m in PROMISED
    }
    return {method: values for method, values in found.items() if len(values)}


def sensitivities(study: StudyReport, column: str = "by_channel") -> pd.DataFrame:
    """A column of the table of that name, by image and attribution method that has values."""
    table = study.table("sensitivities")
    own = list(study.table("attributions")["method"].unique())
    if column not in table:  # older results do not hold it
        return pd.DataFrame()
    table = table[table["method"].isin(own)]
    wide = table.pivot(index="image", columns="method", values=column).astype(float)
    known = [method for method in own if method in wide and np.isfinite(wide[method]).any()]
    return wide[known]


def printed_sensitivities(project: Project) -> pd.Series:
    """The maximum sensitivities of an earlier report, by the method's key."""
    table = published_figures(project, "max_sensitivity")
    return pd.Series(table["max_sensitivity"].to_numpy(float), table["method"].map(PRINTED))


@lru_cache(maxsize=64)
def distance_of_images(study: StudyReport, method: str) -> float:
    """The mean distance of a method's maps of different images, each of length 1.

    ``nan`` for fewer than two images with a map that is not blank.
    """
    maps = [
        study.heatmap(method, image).values.ravel().astype(np.float64)
        for image in images_with(study, method)
    ]
    units = [values / np.linalg.norm(values) for values in maps if values.any()]
    pairs = combinations(units, 2)
    return float(np.mean([np.linalg.norm(a - b) for a, b in pairs])) if len(units) > 1 else np.nan


def correlation_of_maps(study: StudyReport, first: str, second: str) -> pd.Series:
    """Spearman's rank correlation of two methods' maps, by image that has both."""
    both = [image for image in images_with(study, first) if image in images_with(study, second)]
    found = {}
    for image in both:
        one, other = (study.heatmap(method, image).values for method in (first, second))
        if np.ptp(one) > 0 and np.ptp(other) > 0:
            found[image] = float(standard_ranks(one) @ standard_ranks(other))
    return pd.Series(found, dtype=float)


def relevance_of_networks(study: StudyReport) -> pd.DataFrame:
    """Layer-wise relevance propagation by both sets of rules: a row a network and method.

    Images with a map, means of the logit, of the sum of relevance and of the maximum sensitivity,
    the greatest deviation from the logit, and why there is no map where there is none.
    """
    table = study.store.table("attributions")
    both = table[table["method"].isin([RELEVANCE, LIBRARY_RELEVANCE])]
    moved = pd.Series(dtype=float)
    if "sensitivities" in study.store.tables():
        measured = study.store.table("sensitivities")
        moved = measured.groupby(["classifier", "method"])["by_channel"].mean()
    rows = []
    for (network, method), own in both.groupby(["classifier", "method"], sort=False):
        sound = own[own["reason"].fillna("") == ""]
        means = (sound["logit"].mean(), sound["total"].mean(), deviations(sound).max())
        sensitivity = moved.get((network, method), float("nan"))
        reason = "" if len(sound) else str(own["reason"].iloc[0])
        title = network_title(study, str(network))
        rows.append((title, method, len(sound), *means, sensitivity, reason))
    columns = ["network", "method", "images", "logit", "total", "deviation", "sensitivity"]
    return pd.DataFrame(rows, columns=[*columns, "reason"])


def how_computed(study: StudyReport) -> pd.DataFrame:
    """Each method of ``attributions``: its rule, passes, seconds, or why it has no map."""
    table, sound, files = study.table("attributions"), maps(study), study.store.files()
    rows = []
    for method, own in table.groupby("method", sort=False):
        has = sound[sound["method"] == method]
        task = f"{study.classifier}/{method}/{files[has['image'].iloc[0]]}" if len(has) else ""
        rule = study.store.facts(task).get("rule", "") if task else ""
        costs = (has["passes"].mean(), has["seconds"].median())
        reason = "" if len(has) else str(own["reason"].iloc[0])
        rows.append((study.method_titles[str(method)], rule, *costs, reason))
    return pd.DataFrame(rows, columns=["method", "rule", "passes", "seconds", "reason"])


def why_no_map(study: StudyReport, *wanted: str) -> str:
    """Which of these methods the study tried without a map, and why; ``""`` where there is none."""
    table = study.table("attributions")
    tried = table[table["method"].isin(set(wanted) - set(attribution_methods(study)))]
    return " ".join(
        f"{study.method_titles[str(method)]} has no map: {str(reason).rstrip('.')}."
        for method, reason in tried.groupby("method", sort=False)["reason"].first().items()
    )


def network_title(study: StudyReport, network: str) -> str:
    """A network's title, or its key with its weights where the provenance has no more of it."""
    dissected = (study.provenance.get("dissection") or {}).get("classifiers", [])
    rows = [*study.provenance.get("classifiers", []), *dissected]
    weights = study.provenance.get("networks", {}).get(network)
    key = f"{network} ({weights} weights)" if weights else network
    return next((str(row["title"]) for row in rows if row["name"] == network), key)


def large(value: float) -> str:
    """A number of any size: "0.05", "12.3", "4.1 × 10⁹"."""
    if not np.isfinite(value):
        return "–"
    if abs(value) < 1e4:
        return f"{value:.2f}".replace("-", "−")
    mantissa, power = f"{value:.1e}".split("e")
    raised = str(int(power)).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))
    return f"{mantissa} × 10{raised}".replace("-", "−")

"""LIME beside a class activation map: the rows of a study's tables that compare the two."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from vitrine.measures.association import Association, spearman
from vitrine.measures.localisation import share_inside
from vitrine.measures.ranking import score
from vitrine.measures.thresholds import REGION_RULES
from vitrine.report.findings.sentences import bound
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing, number, percent

LIME = "lime"
PREFERRED = "gradcam"
"""The class activation map that LIME is compared with, where the study has it."""

IMAGE_SPECIFIC = "image_specific"
"""The column ``iou`` minus ``iou_other_images``: what is left for the image itself."""


@dataclass(frozen=True)
class Complexity:
    """A measure of how complex an image is; a column of ``complexity`` and ``large_sample``.

    expected : the sign of its correlation with the IoU if methods agree more on simple images.
    """

    title: str
    unit: str
    expected: int

    @property
    def axis(self) -> str:
        """What stands beside an axis."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


COMPLEXITY = {
    "edges": Complexity("Edge density", "", -1),
    "entropy": Complexity("Entropy of brightness", "bits", -1),
    "superpixels": Complexity("Number of superpixels", "", -1),
    "probability": Complexity("Probability of the prediction", "", 1),
}
"""The measures of complexity, all fixed before the IoUs were seen."""


def second_method(study: StudyReport, table: str = "agreement") -> str:
    """The method that a table compares LIME with: Grad-CAM, or else its first one."""
    rows = study.table(table)
    others = list(dict.fromkeys(rows.loc[rows["first"] == LIME, "second"]))
    return PREFERRED if PREFERRED in others else str(others[0])


def pair(study: StudyReport, table: str = "agreement") -> str:
    """Both methods in words, e.g. "LIME and Grad-CAM"."""
    return listing(study.method_titles[key] for key in (LIME, second_method(study, table)))


def pair_rows(study: StudyReport, table: str = "agreement") -> pd.DataFrame:
    """The rows of a table about LIME and that method, with the image-specific IoU."""
    rows = study.table(table)
    rows = rows[(rows["first"] == LIME) & (rows["second"] == second_method(study, table))].copy()
    if "iou" in rows:
        rows[IMAGE_SPECIFIC] = rows["iou"] - rows["iou_other_images"]
    return rows.reset_index(drop=True)


def rule_title(rule: str) -> str:
    """The title of a rule that says which pixels a map highlights, within a sentence."""
    title = REGION_RULES[rule].title
    return title[:1].lower() + title[1:]


def share_of(study: StudyReport) -> float:
    """The share of the frame that each region covers, as the study chose it."""
    return float(study.parameters("agreement")["share"])


def at_share(study: StudyReport) -> pd.DataFrame:
    """The rows of ``agreement`` about the pair at the study's share, by image."""
    rows = pair_rows(study)
    return rows[np.isclose(rows["share"], share_of(study))].set_index("image")


def complexity_of(study: StudyReport) -> pd.DataFrame:
    """The complexity of the study's images beside the pair's IoU, by image."""
    table = study.table("complexity").set_index("image")
    return table.join(at_share(study)[["iou", "iou_other_images", IMAGE_SPECIFIC]])


def sample(study: StudyReport) -> pd.DataFrame:
    """The large sample: complexity beside the pair's IoU, by image."""
    table = study.table("large_sample").set_index("image")
    pairs = pair_rows(study, "large_sample_iou").set_index("image")
    return table.join(pairs[["iou", "iou_other_images", IMAGE_SPECIFIC]])


def associations(table: pd.DataFrame, column: str = "iou") -> dict[str, Association]:
    """Spearman's rho of each measure of complexity with a column of the same images."""
    values = table[column].to_numpy(dtype=np.float64).tobytes()
    return {
        name: _spearman(table[name].to_numpy(dtype=np.float64).tobytes(), values)
        for name in COMPLEXITY
    }


@lru_cache(maxsize=64)
def _spearman(first: bytes, second: bytes) -> Association:
    """Ten thousand draws: a page asks for the same rho several times."""
    return spearman(np.frombuffer(first), np.frombuffer(second))


def association_table(table: pd.DataFrame) -> pd.DataFrame:
    """By measure of complexity: rho with the IoU and with the image-specific IoU, tested."""
    rows = []
    specific = associations(table, IMAGE_SPECIFIC)
    for name, found in associations(table).items():
        rho, other = with_interval(found.rho, found.low, found.high), specific[name]
        title = COMPLEXITY[name].title
        rows.append((title, found.count, rho, found.p_value, other.rho, other.p_value))
    columns = ["measure", "images", "rho", "p", "rho_specific", "p_specific"]
    return pd.DataFrame(rows, columns=columns)


def all_pairs(study: StudyReport) -> pd.DataFrame:
    """How far each two methods agree, as means over the images, by rule.

    ``rule``, or ``rho`` for the rank correlation of the whole maps; the titles ``first`` and
    ``second``; ``value``, ``baseline`` (the same across images) and ``specific``, their difference.
    """
    columns = ["rule", "first", "second", "value", "baseline"]
    ious = study.table("ious").rename(columns={"iou": "value", "iou_other_images": "baseline"})
    whole = study.table("correlations").assign(rule="rho")
    whole = whole.rename(columns={"rho": "value", "rho_other_images": "baseline"})
    cells = pd.concat([ious[columns], whole[columns]])
    cells = cells.groupby(columns[:3], sort=False).mean().reset_index()
    titles = {place: cells[place].map(study.method_titles) for place in ("first", "second")}
    return cells.assign(specific=cells["value"] - cells["baseline"], **titles)


def quarters(study: StudyReport, table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The mean IoU, with its interval, of each quarter of the images by a measure."""
    ranks = pd.qcut(table[name].rank(method="first"), 4)
    rows = [
        (group[name].mean(), *mean_interval(study, group["iou"]))
        for _, group in table.groupby(ranks, observed=True)
    ]
    return pd.DataFrame(rows, columns=[name, "iou", "low", "high"])


def location(study: StudyReport, method: str, image: str) -> str:
    """Where a map's positive weight lies: its share on the object, and its centre."""
    maps = study.table("maps").query("method == @method and image == @image")
    parts: list[str] = []
    if maps.empty:
        return ""
    if (mask := study.objects.get(image)) is not None:
        share = share_inside(study.heatmap(method, image).values, mask)
        parts += [f"{percent(share)} on it"] * bool(np.isfinite(share))
    row, column = maps[["centre_row", "centre_column"]].iloc[0].astype(float)
    down = "upper" if row < 0.45 else "lower" if row > 0.55 else ""
    across = "left" if column < 0.45 else "right" if column > 0.55 else ""
    parts += [f"{down} {across}".strip() or "middle"] * bool(np.isfinite(row + column))
    return "; ".join(parts)


def with_interval(mean: float, low: float, high: float) -> str:
    """A number and its interval in a cell of a table; without it where so few images have none."""
    if not np.isfinite(mean):
        return "–"
    known = np.isfinite(low) and np.isfinite(high)
    return f"{number(mean)} ({bound(low)} to {bound(high)})" if known else number(mean)


def mean_interval(study: StudyReport, values: Iterable[float]) -> tuple[float, float, float]:
    """The mean and its 95% bootstrap interval over images; without it for fewer than five."""
    section = study.parameters("agreement")
    found = score(list(values), section.get("bootstrap", 2000), section.get("seed", 0))
    return found.mean, found.low, found.high

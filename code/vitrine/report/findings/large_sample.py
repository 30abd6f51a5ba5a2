"""Findings about LIME and a class activation map on many images, and about complexity."""

from collections.abc import Mapping
from math import factorial

import numpy as np
import pandas as pd

from vitrine.measures.association import Association, few_of_many, least_significant, spearman
from vitrine.measures.difference import paired_difference
from vitrine.report import compared
from vitrine.report.compared import COMPLEXITY, associations, complexity_of, sample
from vitrine.report.findings.finding import Finding, absent, absent_if
from vitrine.report.findings.sentences import rho_text, rho_way, spelt, which_way
from vitrine.report.parts import needs
from vitrine.report.study_report import StudyReport
from vitrine.report.text import listing, number, p_text, percent, plural

_LEVEL = 0.05

SAMPLE = ("large_sample", "large_sample_iou")


@needs(*SAMPLE)
def same_image(study: StudyReport) -> Finding:
    """Whether the two maps agree more on an image than across images, in the large sample."""
    table, both = sample(study), compared.pair(study, "large_sample_iou")
    gain = paired_difference(table[compared.IMAGE_SPECIFIC].to_numpy(dtype=float))
    absent_if(not gain.count, f"In the large sample {both} have no maps to compare.")
    images = plural(gain.count, "image")
    return which_way(
        gain,
        f"on {images} of a large sample {both} agree [more|less] than across images",
        f"The mean IoU of {both} there is {number(table['iou'].mean())}, and the image-specific "
        f"IoU {spelt(gain)}.",
        few=f"The large sample holds {images}.",
        undecided=f"On {images} of a large sample it is undecided whether {both} agree more "
        "than across images.",
    )


@needs(*SAMPLE)
def complexity(study: StudyReport) -> Finding:
    """Whether methods agree more on simple images, in the large sample."""
    return _complexity(sample(study), "of the large sample")


@needs("agreement", "complexity")
def complexity_of_images(study: StudyReport) -> Finding:
    """Whether methods agree more on simple images, among those that the study explains."""
    return _complexity(complexity_of(study), "of the study")


def _complexity(table: pd.DataFrame, whose: str) -> Finding:
    found, images, strongest = _strongest(table)
    absent_if(table["iou"].isna().all(), f"On no image {whose} do both maps mark a region.")
    absent_if(not found, f"The images {whose} are too few, or too alike, to ask what is simple.")
    level = _LEVEL / len(COMPLEXITY)
    text = (
        f"Over the {plural(images, 'image')} {whose} the strongest correlation with the IoU is "
        f"that of the {_said(found, [strongest], p=True)}"
        f"{'' if _as_expected(found, strongest) else ', against what was expected'}. With "
        f"{plural(len(COMPLEXITY), 'test')} a p-value counts below {number(level, 4)}."
    )
    if _are_too_few(images):
        return Finding("", f"{text} So few images cannot be significant.", "too few")
    clear = [name for name in found if found[name].p_value < level]
    simple = [name for name in clear if _as_expected(found, name)]
    opposite = [name for name in clear if name not in simple]
    if not clear:
        headline = "No measure of complexity correlates significantly with the IoU."
        return Finding(headline, text, "undecided")
    parts = [f"higher on simple images by the {_said(found, simple)}"] * bool(simple)
    parts += [f"higher on complex images by the {_said(found, opposite)}"] * bool(opposite)
    said = f"Over the {plural(images, 'image')} {whose} the IoU is {listing(parts)}, corrected."
    if simple and opposite:
        headline = "Whether IoU is higher on simple images depends on the measure of complexity."
        return Finding(headline, said, "mixed")
    kind = "simple" if simple else "complex"
    return Finding(f"IoU is higher on {kind} images.", said, kind)


def _strongest(table: pd.DataFrame) -> tuple[dict[str, Association], int, str]:
    """What is known of the measures of complexity, of how many images, and the clearest one."""
    found = {name: one for name, one in associations(table).items() if np.isfinite(one.rho)}
    images = max((one.count for one in found.values()), default=0)
    return found, images, min(found, key=lambda name: found[name].p_value, default="")


def _as_expected(found: Mapping[str, Association], name: str) -> bool:
    """Whether a correlation has the sign that was expected of simple images."""
    return found[name].rho * COMPLEXITY[name].expected > 0


def _are_too_few(images: int) -> bool:
    """Whether not even a perfect order of so many images is significant among all measures."""
    return 2 / factorial(min(images, 20)) > _LEVEL / len(COMPLEXITY)


def _said(found: Mapping[str, Association], names: list[str], p: bool = False) -> str:
    return listing(
        f"{COMPLEXITY[name].title.lower()} (rho {number(found[name].rho)}"
        f"{', ' + p_text(found[name].p_value) if p else ''})"
        for name in names
    )


@needs(*SAMPLE)
def variance(study: StudyReport) -> Finding:
    """How much of the differences between images the best measure of complexity explains."""
    found, images, strongest = _strongest(sample(study))
    absent_if(_are_too_few(images), "The images of the large sample are too few, or too alike.")
    explains = f"{COMPLEXITY[strongest].title}, the strongest, explains"
    explained = percent(found[strongest].rho ** 2)
    return Finding("", f"{explains} {explained} of the variance of the IoU's ranks.")


@needs("agreement")
def significant_rho(study: StudyReport) -> Finding:
    """How great a rank correlation must be to be told from chance with the study's images."""
    images = len(study.images)
    if _are_too_few(images):
        return Finding("", "So few images cannot show any rank correlation.", "too few")
    least = number(least_significant(images, _LEVEL / len(COMPLEXITY)))
    text = f"With {plural(images, 'image')} a rank correlation must exceed {least} in size to be "
    return Finding("", f"{text}significant among {plural(len(COMPLEXITY), 'test')}.")


def draws(study: StudyReport) -> pd.DataFrame:
    """What so many images as the study's would have shown: by measure, ``low`` to ``high``.

    The range of rho in nine out of ten random draws of so many from the large sample, beside
    ``all``, rho in the whole; ``study``, rho of the study's images, where these are compared.
    Empty where the sample is no larger.
    """
    table, size = sample(study), len(study.images)
    columns = ["measure", "low", "high", "all", "study"]
    if not 3 <= size < table["iou"].notna().sum():
        return pd.DataFrame(columns=columns)
    own = study.has("agreement") and study.has("complexity")
    few = associations(complexity_of(study)) if own else {}
    rows = []
    for name, whole in _strongest(table)[0].items():
        one, iou = (table[column].to_numpy(dtype=float) for column in (name, "iou"))
        low, high = np.nanquantile(few_of_many(one, iou, size), (0.05, 0.95))
        study_rho = few[name].rho if name in few else np.nan
        rows.append((COMPLEXITY[name].title, low, high, whole.rho, study_rho))
    return pd.DataFrame(rows, columns=columns)


@needs(*SAMPLE)
def few_images(study: StudyReport) -> Finding:
    """What random draws of as few images as the study has would have shown."""
    table = draws(study).dropna(subset=["low", "high"])
    absent_if(table.empty, "The large sample is no larger than the study, or its images are alike.")
    text = (
        f"Nine in ten random draws of {plural(len(study.images), 'image')} show a rho from "
        f"{number(table['low'].min())} to {number(table['high'].max())}, where the whole sample "
        f"shows {number(table['all'].abs().max())} at most in size."
    )
    return Finding("", text)


AFTERWARDS = 2
"""Questions that are exploratory, as they were not fixed before the first IoUs were seen."""


@needs(*SAMPLE)
def fit(study: StudyReport) -> Finding:
    """Whether the IoU goes with how well LIME's linear model fits."""
    table = sample(study)
    found = spearman(table["r_squared"].to_numpy(dtype=float), table["iou"].to_numpy(dtype=float))
    absent_if(np.isnan(found.rho), "Too few of LIME's models have a fit to compare with the IoU.")
    headline, verdict = rho_way(
        found,
        "IoU is [higher|lower] where LIME's linear model fits well",
        "IoU is not significantly correlated with the fit of LIME's linear model.",
        _LEVEL / AFTERWARDS,
    )
    return Finding(headline, f"The rank correlation is {rho_text(found)}.", verdict)


@needs(*SAMPLE)
def correct(study: StudyReport) -> Finding:
    """Whether the IoU goes with whether the prediction is correct."""
    table = sample(study)
    known = table["correct"].astype(str).map({"True": 1.0, "False": 0.0})
    table = table.assign(right=known).dropna(subset=["right", "iou"])
    right, iou = (table[column].astype(float) for column in ("right", "iou"))
    found = spearman(right.to_numpy(), iou.to_numpy())
    if not np.isfinite(found.rho):
        return absent("Images with a correct and with a wrong prediction cannot be compared.")
    headline, verdict = rho_way(
        found,
        "IoU is [higher|lower] where the prediction is correct",
        "IoU does not differ significantly between correct and wrong predictions.",
        _LEVEL / AFTERWARDS,
    )
    text = f"It is {number(iou[right == 1].mean())} on {plural(int(right.sum()), 'image')} with a "
    text += f"correct prediction and {number(iou[right == 0].mean())} on the others. The rank "
    text += f"correlation is {number(found.rho)} ({p_text(found.p_value)})."
    return Finding(headline, text, verdict)

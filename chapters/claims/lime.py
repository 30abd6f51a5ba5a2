"""Claims about LIME, judged by the study's network and by published masks."""

import numpy as np
import pandas as pd

from claims.evidence import beside_object, images_of, lacking
from claims.judgement import Judgement, Outcome, Part, as_claimed, judgement, told
from vitrine.measures.difference import paired_difference
from vitrine.report.findings.sentences import spelt
from vitrine.report.published import PublishedReport
from vitrine.report.regions import occlusion
from vitrine.report.study_report import StudyReport
from vitrine.report.text import number, part_of, percent, plural

FOUR = ("goldfish", "tiger shark", "American coot", "West Highland white terrier")
CLAIMED_SAMPLES = 600


def background(study: StudyReport, published: PublishedReport) -> Judgement:
    """For four images the explanation lies in the background."""
    return judgement(*beside_object(study, published, {"lime": "lime_1"}, FOUR))


def chimney(study: StudyReport, published: PublishedReport) -> Judgement:
    """The chimney is the region most against the class of the vulture image."""
    image = "vulture"
    if image not in images_of(study, "lime"):
        return judgement(lacking(study, ("lime",), (image,)))
    mask = study.parts(image).get("the chimney")
    if mask is None:
        return judgement(Part("In this study's image no chimney is outlined."))
    if not study.has("superpixels"):
        return judgement(Part("This study kept no superpixels."))
    segments = study.segments(image)
    pieces = int(segments.max()) + 1
    inside = np.bincount(segments[mask].ravel(), minlength=pieces)
    share = inside / np.bincount(segments.ravel(), minlength=pieces)
    rows = study.table("superpixels")
    weights = rows[rows["image"] == image].set_index("superpixel")["weight"].dropna()
    if weights.empty or not inside.any():
        return judgement(Part("No superpixel lies on the chimney."))
    of_chimney = weights[weights.index.isin(np.flatnonzero(share > 0.5))]
    if of_chimney.empty:
        return judgement(Part("No superpixel lies for the most part on the chimney."))
    weight = of_chimney.min()
    place = int((weights < weight).sum())
    if place == 0 and weight < 0:
        said = "the lowest of all"
    elif (weights <= weight).all():
        said = "the greatest of all"
    else:
        said = f"above that of {part_of(place, len(weights) - 1, 'other superpixel')}"
    predicted = study.prediction(image)["category"]
    one = len(of_chimney) == 1
    lie = "lies" if one else "lie"
    return judgement(
        Part(
            f"For the prediction {predicted} {plural(len(of_chimney), 'superpixel')} {lie} for the "
            f"most part on the chimney, with {'' if one else 'a least '}weight of "
            f"{number(weight)}, {said}.",
            (bool(place == 0 and weight < 0),),
        ),
        *_hidden(study, image, "the chimney"),
    )


def _hidden(study: StudyReport, image: str, region: str) -> list[Part]:
    """Whether the prediction is more probable without a region, as it is if that speaks against."""
    if not study.has("region_occlusion"):
        return []
    rows = occlusion(study).reset_index().query("image == @image and region == @region")
    return [
        Part(
            f"Hidden, {region} changes the prediction's probability from "
            f"{percent(row['p_original'])} to {percent(row['without'])} (mean over "
            f"{plural(row['fills'], 'fill')}).",
            (True if row["above"] == row["fills"] else False if row["above"] == 0 else None,),
        )
        for row in rows.to_dict("records")
    ]


def repeats(study: StudyReport, published: PublishedReport) -> Judgement:
    """Explanations change from run to run."""
    if not study.has("stability"):
        return judgement(Part("This study did not run LIME with several seeds."))
    rows = study.table("stability")
    asked = study.parameters("lime").get("samples", rows["samples"].max())
    measured = rows["samples"].unique()
    nearest = measured[np.abs(measured - asked).argmin()]
    jaccard = rows.loc[rows["samples"] == nearest, "jaccard"].dropna()
    if jaccard.empty:
        return judgement(Part("In no image could two seeds be compared."))
    changed = tuple(bool(value < 1) for value in jaccard)
    return judgement(
        Part(
            f"At {nearest:,} samples two seeds choose different superpixels in "
            f"{part_of(sum(changed), len(changed), 'image')}; the mean Jaccard index is "
            f"{number(jaccard.mean())}.",
            changed,
        )
    )


def samples_600(study: StudyReport, published: PublishedReport) -> Judgement:
    """600 samples with the default segmentation are the best trade-off."""
    return judgement(_more_samples(study), *_segmentations(study))


def _more_samples(study: StudyReport) -> Part:
    """More samples must not help stability further, as they cost in proportion."""
    wide = pd.DataFrame()
    if study.has("stability"):
        rows = study.table("stability")
        wide = rows.pivot(index="image", columns="samples", values="jaccard")
    measured = [int(str(samples)) for samples in wide]
    beyond = [samples for samples in measured if samples > CLAIMED_SAMPLES]
    if CLAIMED_SAMPLES not in wide or not beyond:
        return Part(
            f"This study did not repeat LIME at {CLAIMED_SAMPLES} samples and at more, so what "
            "more would bring cannot be told.",
            half="samples",
        )
    most = max(beyond)
    gain = paired_difference((wide[most] - wide[CLAIMED_SAMPLES]).to_numpy(float))
    better = as_claimed(gain, "larger")
    return Part(
        f"From {CLAIMED_SAMPLES} to {most:,} samples the Jaccard index of two seeds changes by "
        f"{spelt(gain)}, for {number(most / CLAIMED_SAMPLES, 1)} times the passes.",
        (None if better is None else not better,),
        "samples",
    )


def _segmentations(study: StudyReport) -> list[Part]:
    """The default segmentation must keep more and lose more than every other one."""
    half = "segmentation"
    if not study.has("search"):
        return [Part("This study did not search LIME's parameters.", half=half)]
    rows = study.table("search")
    rows = rows[rows["samples"] == CLAIMED_SAMPLES]
    default = [name for name in rows["segmentation"].unique() if name == "quickshift-4-200-0.2"]
    others = [name for name in rows["segmentation"].unique() if name not in default]
    if not default or not others:
        return [
            Part(f"At {CLAIMED_SAMPLES} samples the search compares no segmentations.", half=half)
        ]
    rows = rows.assign(value=(rows["p_kept"] - rows["p_removed"]).astype(float))
    wide = rows.groupby(["image", "segmentation"])["value"].mean().unstack()
    found: list[Outcome] = []
    for other in others:
        lead = paired_difference(
            (wide[default[0]] - wide[other]).to_numpy(float), comparisons=len(others)
        )
        found.append(as_claimed(lead, "larger"))
    return [
        Part(
            f"At {CLAIMED_SAMPLES} samples the chosen superpixels of the default segmentation keep "
            "more of the probability alone, less what is left without them, "
            f"{told(found, 'comparison with another one', 'comparisons with other ones')}.",
            tuple(found),
            half,
        )
    ]

"""Findings about LIME: where its weight lies, how faithful it is, how far it repeats."""

import numpy as np
import pandas as pd

from vitrine.measures.association import spearman
from vitrine.measures.difference import paired_difference
from vitrine.report.findings.finding import Finding, absent_if
from vitrine.report.findings.sentences import by_how_many, rho_way, span, spelt, which_way
from vitrine.report.parts import needs
from vitrine.report.study_report import StudyReport
from vitrine.report.text import number, p_text, part_of, percent, plural

CHOSEN = "the superpixels that LIME chooses"


@needs("lime")
def fit(study: StudyReport) -> Finding:
    """How much of the network's variation around an image the linear model tells."""
    local = study.table("lime").set_index("image")
    r_squared = local["r_squared"].dropna()
    absent_if(r_squared.empty, "LIME's linear model could be fitted to none of the images.")
    local = local.loc[r_squared.index]
    if (r_squared >= 0.9).all():
        headline = "LIME's linear model describes the network well where it could be fitted."
    elif (r_squared < 0.5).all():
        headline = "LIME's linear model misses most of what the network does around an image."
    else:
        headline = "LIME's linear model is a rough sketch of the network."
    over = int((local["local_prediction"] > 1).sum())
    text = f"Its weighted R² is {span(r_squared)} over {plural(len(r_squared), 'image')}. "
    text += f"It predicts a probability above 1 for {part_of(over, len(local), 'image')}."
    return Finding(headline, text)


@needs("stability")
def repeats(study: StudyReport) -> Finding:
    """Whether another seed gives the same superpixels."""
    table = study.table("stability")
    samples = study.parameters("lime")["samples"]
    measured = table["samples"].unique()
    nearest = int(measured[np.abs(measured - samples).argmin()])
    rows = table[table["samples"] == nearest]
    jaccard = rows["jaccard"]
    gain = paired_difference((jaccard - rows["jaccard_chance"]).to_numpy())
    same = "LIME chooses the same superpixels with every seed"
    repeated = same if jaccard.min() >= 0.95 else "LIME repeats only in part"
    return which_way(
        gain,
        f"[{repeated}|two seeds of LIME share fewer superpixels than at random]",
        f"At {nearest:,} samples the superpixels that two seeds choose have a Jaccard index of "
        f"{number(jaccard.mean())}, at random {number(rows['jaccard_chance'].mean())}. "
        f"The difference is {spelt(gain)}.",
        few="How far two seeds of LIME choose the same superpixels.",
        undecided="Whether two seeds of LIME share more superpixels than at random is undecided.",
    )


@needs("superpixels")
def concentrated(study: StudyReport) -> Finding:
    """How much of the positive weight the three best superpixels hold."""
    weights = study.table("superpixels")
    positive = weights[weights["weight"] > 0].groupby("image")["weight"]
    absent_if(not len(positive), "No superpixel has a positive weight.")
    top_three = positive.apply(lambda values: values.nlargest(3).sum() / values.sum())
    by_image = ", by image" if len(top_three) > 1 else ""
    return by_how_many(
        top_three > 0.5,
        "[Most of LIME's positive weight lies on three superpixels|For some images three "
        "superpixels hold most of LIME's positive weight, for others not|LIME's positive weight is "
        "spread over more than three superpixels].",
        f"They hold {span(top_three, as_percent=True)} of it{by_image}.",
        ("described",) * 3,
    )


@needs("fidelity")
def best_alone(study: StudyReport) -> Finding:
    """Whether the chosen superpixels alone keep the prediction more than random ones do."""
    rows = _chosen(study)
    gain = paired_difference((rows["p_kept"] - rows["p_kept_random"]).to_numpy(), comparisons=2)
    return which_way(
        gain,
        f"{CHOSEN} keep the prediction [more|less] than random ones do",
        f"Alone they give the class a probability of {percent(rows['p_kept'].mean())} on average; "
        f"as many drawn at random give {percent(rows['p_kept_random'].mean())}. "
        f"The difference is {spelt(gain)}. They cover {percent(rows['area'].mean())} of the frame, "
        f"the random ones {percent(rows['area_random'].mean())}.",
        few="What LIME chooses, shown alone.",
    )


@needs("fidelity")
def best_hidden(study: StudyReport) -> Finding:
    """Whether hiding the chosen superpixels costs more than hiding random ones."""
    rows = _chosen(study)
    left = paired_difference((rows["p_removed_random"] - rows["p_removed"]).to_numpy(), 2)
    return which_way(
        left,
        f"hiding {CHOSEN} costs [more|less] than hiding random ones",
        f"Without them the class has {percent(rows['p_removed'].mean())} of probability on "
        f"average; without as many drawn at random it has "
        f"{percent(rows['p_removed_random'].mean())}. The difference is {spelt(left)}.",
        few=f"What is left without {CHOSEN}.",
    )


def _chosen(study: StudyReport) -> pd.DataFrame:
    """The images in which a superpixel has a positive weight, with what LIME 1 chose of them."""
    table = study.table("fidelity")
    rows = table[(table["rule"] == "positive") & (table["superpixels"] > 0)]
    absent_if(rows.empty, "LIME chose no superpixels of positive weight.")
    return rows


@needs("lime")
def on_object(study: StudyReport) -> Finding:
    """Whether more of LIME's positive weight lies on the object than the object's area."""
    absent_if(not study.objects, "No object is outlined in the images of this study.")
    inside, area = study.on_object("lime"), study.object_areas
    absent_if(inside.isna().all(), "LIME's map has no positive weight on an image with an object.")
    more = paired_difference((inside - area).to_numpy())
    return which_way(
        more,
        "LIME's positive weight [prefers|avoids] the object",
        f"{percent(inside.mean())} of it lies on the object, which covers "
        f"{percent(area.mean())} of the frame on average. The difference is {spelt(more)}.",
        few="How much of LIME's positive weight lies on the object.",
    )


def sample_sizes(study: StudyReport) -> Finding:
    """Whether more samples make the choice of superpixels more stable."""
    return _by_samples(
        study,
        "jaccard",
        "The Jaccard index of two seeds",
        "more samples make LIME's choice [more|less] stable",
        "The stability of LIME's choice by the number of samples.",
        "More samples make LIME's choice no more stable, as far as these images tell.",
    )


def fit_and_samples(study: StudyReport) -> Finding:
    """Whether the local R² changes with the number of samples."""
    return _by_samples(
        study,
        "r_squared",
        "The mean R²",
        "the local R² [rises|falls] with the number of samples",
        "The local R² by the number of samples.",
        "Whether the local R² changes with the number of samples is undecided.",
    )


@needs("stability")
def _by_samples(study: StudyReport, column: str, what: str, sentence: str, *rest: str) -> Finding:
    """A column of the table ``stability`` at the most samples against the fewest, by image.

    sentence, rest : the headlines, as ``ways`` takes them.
    """
    by_size = study.table("stability").pivot(index="image", columns="samples", values=column)
    fewest, most = by_size.columns.min(), by_size.columns.max()
    absent_if(fewest == most, "This study compares explanations of one number of samples only.")
    ends = by_size[[fewest, most]].dropna()
    absent_if(ends.empty, f"{what} is known of no image at both {fewest:,} and {most:,} samples.")
    change = paired_difference((ends[most] - ends[fewest]).to_numpy())
    text = f"{what} is {number(ends[fewest].mean())} with {fewest:,} samples and "
    text += f"{number(ends[most].mean())} with {most:,}. The difference is {spelt(change)}."
    return which_way(change, sentence, text, *rest)


@needs("search")
def centre(study: StudyReport) -> Finding:
    """What choosing LIME's parameters by how central the explanation lies would reward."""
    table = study.table("search").assign(gain=lambda rows: rows["jaccard"] - rows["jaccard_chance"])
    grid = table.groupby(["segmentation", "samples", "features"])
    columns = grid[["off_centre", "area", "gain"]].mean().to_numpy().T
    area, gain = (spearman(columns[0], column) for column in columns[1:])
    absent_if(np.isnan(area.rho), "The searched parameters are too few, or too alike, to compare.")
    headline, _ = rho_way(
        area,
        "choosing parameters by how central the explanation lies rewards [small|large] regions",
        "How central an explanation lies does not go with the area that it covers.",
        level=0.05 / 2,
    )
    text = "Over the combinations the distance from the centre goes with the area at a rank "
    text += f"correlation of {number(area.rho)} ({p_text(area.p_value)})"
    if np.isfinite(gain.rho):
        text += f", and with stability above chance at {number(gain.rho)} ({p_text(gain.p_value)})"
    return Finding(headline, f"{text}.")

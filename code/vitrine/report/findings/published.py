"""Findings about imported runs: what a printed IoU says, and how far labels of a unit agree."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from vitrine.data.printed import published_figures
from vitrine.measures.association import spearman
from vitrine.measures.difference import paired_difference, pairing_difference
from vitrine.report.dissected import dissected
from vitrine.report.findings.finding import Finding, absent
from vitrine.report.findings.other_run import MapPair
from vitrine.report.findings.sentences import span, spelt, which_way
from vitrine.report.published import PublishedReport
from vitrine.report.study_report import StudyReport
from vitrine.report.text import number, part_of, percent

TRAINED = ("resnet18_imagenet", "resnet18_places365")
"""Runs of one network, which learned ImageNet and Places365, over one probing set."""


@lru_cache
def iou_matrix(published: PublishedReport, first: str, second: str) -> npt.NDArray[np.float64]:
    """The IoU ``[n, n]`` of region i with heatmap j, at equal area in the frame of the region.

    The heatmaps are those of the store, which are smaller than the imported ones.
    """
    framed = [(image, published.frame(first, image)) for image in published.images]
    regions = [(published.map_in(first, *one) != 0).astype(np.float64) for one in framed]
    heats = [published.map_in(second, *one) for one in framed]
    return MapPair(published.images, regions, heats).ious


def pair_of(published: PublishedReport, first: str, second: str) -> pd.DataFrame:
    """The stored IoUs of a pair of runs, by image."""
    rows = published.table("ious")
    return rows[(rows["first"] == first) & (rows["second"] == second)].set_index("image")


def printed_beside(published: PublishedReport) -> pd.DataFrame:
    """Printed IoUs beside those of the run's own masks by the printed rule, and if they agree."""
    figures = published_figures(published.project, "iou").query("source == 'balwani2024'").copy()
    figures["first"] = np.where(figures["pair"].str.startswith("LIME 1"), "lime_1", "lime_2")
    rows = published.table("ious")
    held = figures.merge(rows[rows["second"] == "gradcam"], on=["first", "image"])
    held["same"] = held["iou_x"].map("{:.4f}".format) == held["printed"].map("{:.4f}".format)
    return held


def printed_iou(published: PublishedReport) -> Finding:
    """What the printed IoUs measure: the agreement of two methods, or the size of a region."""
    held, rows = printed_beside(published), published.table("ious")
    main = pair_of(published, "lime_1", "gradcam")
    right, size = int(held["same"].sum()), rows["printed"].corr(rows["printed_first"])
    part = part_of(right, len(held), "printed IoU").capitalize().replace("iou", "IoU")
    are, says = "are" if right != 1 else "is", "say" if size > 0.9 else "do not only say"
    return Finding(
        f"{part} {are} right to four digits, and they {says} how large LIME's region is.",
        "By the printed rule whatever is not zero belongs to a region: of a Grad-CAM map that is "
        f"{span(main['printed_second'], as_percent=True)} of the image. The IoU and the region's "
        f"own share have the correlation {number(size, 3)} over {len(rows)} pairs of maps. The "
        f"Grad-CAM map of another image gives the mean "
        f"{number(main['printed_other_images'].mean())}, the image's own "
        f"{number(main['printed'].mean())}.",
    )


def equal_area(published: PublishedReport) -> Finding:
    """Whether the maps of an image agree more than maps of different images, at equal area."""
    pair = (published, "lime_1", "gradcam")
    main, gain = pair_of(*pair), pairing_difference(iou_matrix(*pair))
    return which_way(
        gain,
        "in one frame and at equal area the maps of one image agree [more|less] than those of "
        "others",
        f"The mean IoU is {number(main['iou'].mean())}, that of regions at random "
        f"{number(main['iou_chance'].mean())}. With the heatmap of another image it is "
        f"{number(main['iou_other_images'].mean())}. The mean gain is {spelt(gain, 3)}; by image "
        f"it is {span(main['iou'] - main['iou_other_images'], digits=3)}. "
        f"The images differ: the IoU goes from {number(main['iou'].min())} "
        f"({main['iou'].idxmin()}) to {number(main['iou'].max())} ({main['iou'].idxmax()}).",
        few="So few images cannot tell whether the maps of one image agree more than those of "
        "others.",
        undecided="That the maps of one image agree more than those of others cannot be shown.",
    )


def size_of_change(published: PublishedReport) -> Finding:
    """What negative superpixels do to the IoU at equal area."""
    wide = published.table("ious").query("second == 'gradcam'")
    wide = wide.pivot(index="image", columns="first", values="iou")
    change = paired_difference((wide["lime_2"] - wide["lime_1"]).to_numpy())
    return which_way(
        change,
        "superpixels of negative weight [raise|lower] the IoU",
        f"The mean change is {spelt(change, 3)}.",
        few="Whether superpixels of negative weight change the IoU cannot be told.",
        undecided="Whether superpixels of negative weight raise or lower the IoU is undecided.",
    )


def weighted(rows: pd.DataFrame, what: str) -> float:
    """A mean over units of rows of the table of label agreement."""
    return float(np.average(rows[what], weights=rows["units"]))


def three_methods(published: PublishedReport) -> Finding:
    """How far three labelling methods agree about the units of one network."""
    runs = [f"resnet50_imagenet{end}" for end in ("", "_netdissect", "_milan")]
    rows = published.table("label_agreement")
    rows = rows[rows["first"].isin(runs) & rows["second"].isin(runs)]
    if rows.empty:
        return absent("No network was labelled by several methods.")
    same, chance = weighted(rows, "same"), weighted(rows, "same_by_chance")
    text = (
        f"On ResNet-50 two of them use the same words for {percent(same)} of the units (chance "
        f"{percent(chance, 1)}). The mean cosine of their labels is "
        f"{number(weighted(rows, 'cosine'))}, that of labels of different units "
        f"{number(weighted(rows, 'cosine_by_chance'))}."
    )
    if same < 0.5:
        return Finding("Published labels of one unit by three methods differ.", text, "differ")
    return Finding("Published labels by three methods agree about most units.", text, "same")


def two_probing_sets(published: PublishedReport) -> Finding:
    """How many units keep their label when one method is given another probing set."""
    pair = "first == 'resnet18_places365' and second == 'resnet18_places365_authors'"
    rows = published.table("label_agreement").query(pair)
    if rows.empty:
        return absent("No network was labelled over two probing sets.")
    same, cosine = weighted(rows, "same"), weighted(rows, "cosine")
    text = (
        f"Two runs of CLIP-Dissect on ResNet-18 Places365, which share most images, give "
        f"{percent(same)} of {int(rows['units'].sum()):,} units the same word (chance "
        f"{percent(weighted(rows, 'same_by_chance'), 1)})."
    )
    if same < 1:
        changed = number((cosine - same) / (1 - same))
        text += f" Where the word changes, the mean cosine is about {changed}; of labels of "
        text += f"different units it is {number(weighted(rows, 'cosine_by_chance'))}."
    return Finding(f"Another probing set changes {percent(1 - same)} of the labels.", text)


def training_sets(published: PublishedReport) -> Finding:
    """Whether what a network learned to tell apart shows in its labels."""
    (objects, scenes), (objects_places, scenes_places) = (
        [float((published.labels(run)["kind"] == kind).mean()) for kind in ("object", "scene")]
        for run in TRAINED
    )
    text = (
        f"Over Broden, objects are the labels of {percent(objects)} of ResNet-18's units when it "
        f"learned ImageNet and of {percent(objects_places)} when it learned Places365. For scenes "
        f"it is {percent(scenes)} and {percent(scenes_places)}."
    )
    kinds = "in the kinds of its labels"
    if objects > objects_places and scenes_places > scenes:
        return Finding(f"A network's training set shows {kinds}.", text, "differ")
    return Finding(f"A network's training set does not show {kinds}.", text, "same")


def similarity_of_training(published: PublishedReport) -> Finding:
    """Which of two networks has the more similar labels, layer by layer, over one probing set."""
    imagenet, places = means = [
        published.labels(run).groupby("layer", sort=False)["similarity"].mean() for run in TRAINED
    ]
    above = int((places > imagenet.reindex(places.index)).sum())
    layers = part_of(above, len(places), "layer")
    text = (
        f"The mean rises with depth in both networks, to {number(imagenet.iloc[-1])} and "
        f"{number(places.iloc[-1])} in the classifiers. Another probing set may order the "
        "networks otherwise."
    )
    if above <= len(places) / 2 or not all((np.diff(values) > 0).all() for values in means):
        text = ""
    return Finding(f"Over Broden, Places365 has the greater mean similarity in {layers}.", text)


def classifier_names(published: PublishedReport) -> Finding:
    """How many units of the two classifiers are labelled with a name of their class."""
    rows = published.table("label_classes")
    listed = rows[rows["listed"].astype(bool)].groupby("run")["exact"].mean()
    imagenet, places = (listed[run] for run in TRAINED)
    are, verdict = ("are", "larger") if places > imagenet else ("are not", "smaller")
    text = f"Of the classes with a name in the list of concepts {percent(places)} are named "
    text += f"exactly for Places365 and {percent(imagenet)} for ImageNet."
    headline = f"Over Broden, ResNet-18's classifier units {are} named exactly more often when the "
    headline += "classes are places."
    return Finding(headline, text, verdict)


def shared_labels(published: PublishedReport) -> Finding:
    """How many labels the networks of two training sets share, and where textures go."""
    tables = [published.labels(run) for run in TRAINED]
    first, second = (set(labels["label"]) for labels in tables)
    textures = [(each["kind"] == "texture").groupby(each["layer"]).mean() for each in tables]
    text = " ".join(
        f"In the {name} network textures label {percent(share.get('layer3', np.nan))} of the units "
        f"of layer3 and {percent(share.get('fc', np.nan))} of the classifier's."
        for name, share in zip(("ImageNet", "Places365"), textures, strict=True)
    )
    shared = f"the two networks share {len(first & second):,}"
    return Finding(f"Of {len(first | second):,} different labels {shared}.", text)


def layers_beside(
    study: StudyReport, published: PublishedReport, networks: dict[str, str]
) -> pd.DataFrame:
    """A row a layer of published runs and of the study: units, different labels, similarities.

    networks : the titles of the published runs that are compared, by run. Columns: ``source``,
    ``network``, ``layer``, ``units``, ``different``, highest similarity ``printed`` and
    ``highest`` in the labels.
    """
    figures = published_figures(published.project, "highest_similarity")
    printed = figures.set_index(["network", "layer"])["highest_similarity"]
    tables = [
        published.labels(run).assign(source="published", run=run, network=title)
        for run, title in networks.items()
    ]
    if study.has("units"):
        tables.append(dissected(study).units.assign(source="the study shown", run=""))
    labels = pd.concat(tables, ignore_index=True)
    by = labels.groupby(["source", "run", "network", "layer"], sort=False)
    rows = by.agg(
        units=("unit", "size"), different=("label", "nunique"), highest=("similarity", "max")
    ).reset_index()
    layers = list(zip(rows["run"], rows["layer"], strict=True))
    rows["printed"] = [printed.get(key, np.nan) for key in layers]
    alone = [
        {"source": "printed only", "network": networks[run], "layer": layer}
        | {"printed": printed[run, layer]}
        for run, layer in printed.index
        if (run, layer) not in layers
    ]
    order = ["source", "network", "layer", "units", "different", "printed", "highest"]
    found = pd.concat([rows, pd.DataFrame(alone)], ignore_index=True)[order]
    return found.astype({"units": "Int64", "different": "Int64"})


def printed_order(published: PublishedReport, ours: pd.Series) -> Finding:
    """Whether the order of images by a printed IoU returns in masks, and in the shown study."""
    figures = published_figures(published.project, "iou").query("source == 'rehman2025'")
    values = figures.set_index("image")["iou"]
    means, printed = values.filter(like="mean"), values[~values.index.str.startswith("mean")]
    text = [
        f"The report gives {means.iloc[0]:.4f} as its mean IoU; the mean of the values in its "
        f"table is {printed.mean():.4f}."
    ]
    for what, other in (
        ("published masks of the same network", pair_of(published, "lime_1", "gradcam")["iou"]),
        ("the shown study", ours),
    ):
        both = pd.DataFrame({"one": printed, "other": other}).dropna()
        rho = spearman(both["one"].to_numpy(float), both["other"].to_numpy(float)).rho
        if np.isfinite(rho):
            text.append(f"Its rank correlation with the IoUs of {what} is {number(rho)}.")
    return Finding("", " ".join(text))

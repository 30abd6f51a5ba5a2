"""The front page's cards, what a study does otherwise than the assignment, and its tasks' pages."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from IPython.display import Markdown

from vitrine.data.images import image_name
from vitrine.errors import ResultsError
from vitrine.measures.thresholds import REGION_RULES
from vitrine.methods.superpixels import top_superpixels
from vitrine.report import cams, compared, figures, parts
from vitrine.report.dissected import dissected
from vitrine.report.findings import Finding, agreement, attribution, cam, labels, lime, measures
from vitrine.report.page import block, fenced, raw_html, this_page
from vitrine.report.study_report import StudyReport
from vitrine.report.text import (
    as_printed,
    listing,
    number,
    percent,
    plural,
    safe,
    safe_html,
    trained_on,
)
from vitrine.study import load_study

ORIGINAL = "assignment"
"""The study that asks what the assignment asks, of the networks that it names."""

TITLES = {
    "resnet18": "ResNet-18",
    "resnet18_places365": "ResNet-18 Places365",
    "resnet50": "ResNet-50",
    "clip": "CLIP",
}
"""What that study's networks and encoder are called; their rows cannot be read without torch."""

PACKAGE = Path(__file__).parents[1]

_SIDE = 320
"""Pixels along a side of an image on a card."""


def strongest_units(study: StudyReport, most: int) -> list[figures.Card]:
    """Units, each with the four images of the probing set that excite it most.

    Of those whose images were kept, from each network in turn: units before classes, significant
    ones first, then by similarity, each label once a network.
    """
    images = study.networks_table("top_images").query("rank <= 4").sort_values("rank")
    key = ["network", "layer", "unit"]
    kept = images.groupby(key, sort=False).agg(files=("image", list)).reset_index()
    units = dissected(study).units.merge(kept, on=key)
    order = ["is_class", "significant", "similarity"]
    units = units.sort_values(order, ascending=[True, False, False])
    units = units.drop_duplicates(["network", "label"])
    turn = units.groupby("network").cumcount()
    cards = []
    for _, unit in units.loc[turn.sort_values(kind="stable").index].head(most).iterrows():
        files, label = (unit["files"] * 4)[:4], str(unit["label"])
        tiles = [study.probing_image(file, _SIDE // 2) for file in files]
        pixels = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
        shown = listing(dict.fromkeys(image_name(file)[0] for file in files))
        place = f"unit {unit['unit']} of {unit['layer']}"
        panel = figures.Panel(label, pixels, f"The images that excite {place} most: {shown}")
        said = "significant" if unit["significant"] else "not significant"
        cards.append(figures.Card(label, (panel,), f"{place}, {unit['network']}: {said}"))
    return cards


def superpixel_card(study: StudyReport, image: str) -> figures.Card:
    """An image with the superpixels of greatest positive weight."""
    rows = study.table("superpixels").query("image == @image").sort_values("superpixel")
    weights = rows["weight"].to_numpy()
    marked = top_superpixels(weights, study.parameters("lime").get("features", 0))
    pixels = figures.outlined(study.crop(image), study.segments(image), marked, weights)
    alt = f"The superpixels of greatest positive weight for {study.subject(image)}"
    return figures.Card(image, (figures.Panel("LIME", pixels, alt),), study.prediction_note(image))


def activation_maps(study: StudyReport, image: str, most: int | None = None) -> figures.Card:
    """An image under the main class activation maps, the preferred one first."""
    names, panels = cams.main_methods(study), []
    for name in sorted(names, key=lambda name: name != cams.preferred(study, names))[:most]:
        title, heatmap = study.method_titles[name], study.heatmap(name, image)
        pixels = figures.overlay(study.crop(image), heatmap)
        panels.append(figures.Panel(title, pixels, f"{title} map of {study.subject(image)}"))
    return figures.Card(image, tuple(panels))


def both_regions(study: StudyReport, image: str) -> figures.Card:
    """The strongest parts of LIME's map and of a class activation map, at the study's share."""
    names = (compared.LIME, compared.second_method(study))
    share = compared.share_of(study)
    region = REGION_RULES["share"].region
    shown = [region(study.heatmap(name, image).values, share) for name in names]
    alt = f"The regions of {compared.pair(study)} on {image}"
    panel = figures.Panel("Regions", figures.regions(study.crop(image), *shown), alt)
    iou = compared.at_share(study)["iou"].dropna()
    return figures.Card(image, (panel,), f"IoU {number(iou[image])}" if image in iou else "no IoU")


@dataclass(frozen=True)
class TaskCard:
    """A task's card on the front page.

    part, tables : of the study, without which there is no card.
    page : of the task, and ``chapter`` without one, in the folder of the chapters.
    image : of one image of the study. found : the first to be had is said, or why there is none.
    """

    title: str
    part: str
    tables: tuple[str, ...]
    page: str
    chapter: str
    image: Callable[[StudyReport, str], figures.Card | None] | None
    found: tuple[Callable[[StudyReport], Finding], ...]


CARDS = (
    TaskCard("Network dissection", "dissection", ("units", "top_images"), "tasks/1", "dissection",
         lambda study, _: next(iter(strongest_units(study, 1)), None), (labels.significant_units,)),
    TaskCard("LIME", "lime", ("superpixels", "fidelity"), "tasks/2", "lime",
         superpixel_card, (lime.best_alone, lime.concentrated)),
    TaskCard("Class activation maps", "cam", ("maps",), "tasks/3", "cam",
         partial(activation_maps, most=1), (cam.on_object, cam.one_map, cam.half_maximum)),
    TaskCard("Comparison", "agreement", ("agreement",), "tasks/4", "comparison",
         both_regions, (agreement.same_image,)),
    TaskCard("Attribution", "attribution", ("attributions",), "attribution", "attribution",
         None, (attribution.most_stable, attribution.sums)),
    TaskCard("Which explanation to believe", "measures", ("evaluation",), "measures", "measures",
         None, (measures.against_baselines, measures.measures_agree)),
)  # fmt: skip
"""In the order of the assignment."""


def _example(study: StudyReport) -> str:
    """The image whose IoU is the middle one, of those that are predicted right if there are any.

    The first of a study that compares nothing.
    """
    if parts.missing(study, "agreement"):
        return study.images[0]
    images = list(compared.at_share(study)["iou"].dropna().sort_values().index)
    among = [image for image in images if study.is_correct(image)] or images or study.images[:1]
    return str(among[len(among) // 2])


def _ways(study: StudyReport, drawn: bool) -> list[tuple[str, str, str, figures.Card | None]]:
    """Of each part with an image, or each without: its title, what is said, address and image."""
    ways = []
    whole, image = parts.answers_assignment(study), _example(study)
    for card in CARDS:
        if not study.parameters(card.part) or parts.missing(study, *card.tables):
            continue
        shown = card.image(study, image) if card.image else None
        if bool(shown) != drawn:
            continue
        found = [one(study) for one in card.found]
        told = [one for one in found if not one.is_absent]
        clear = [one for one in told if one.verdict != "too few"]
        best = (clear or told or found)[0]
        address = f"chapters/{card.page if whole else card.chapter}"
        ways.append((card.title, as_printed(best.headline or best.text), address, shown))
    return ways


def lines(study: StudyReport) -> Markdown:
    """What the report finds in the parts that have no image of their own: a line for each."""
    ways = _ways(study, drawn=False)
    return block(*(f"**[{safe(t)}]({address}.qmd).** {safe(said)}" for t, said, address, _ in ways))


def cards(study: StudyReport) -> Markdown:
    """What the report finds: a card for each part that has an image."""
    ways = _ways(study, drawn=True)
    shown = [(t, card.panels[0], said, address) for t, said, address, card in ways if card]
    if not shown:
        return block("")
    if not this_page().is_html:
        paper = [figures.Card(title, (panel,), said) for title, panel, said, _ in shown]
        return figures.grid(paper, "ways", columns=4)
    links = "\n".join(
        f'<a class="vitrine-way" href="{address}.html">'
        f"{figures.still(panel, f'way-{number}')}<b>{safe_html(title)}</b>"
        f"<span>{safe_html(said)}</span></a>"
        for number, (title, panel, said, address) in enumerate(shown, start=1)
    )
    return block(raw_html(f'<div class="vitrine-ways">\n{links}\n</div>'))


def differences(study: StudyReport) -> Markdown:
    """What the study does otherwise than the assignment asks, why, and how to run the original.

    What the study file says of itself, for a study that does not answer the assignment.
    """
    project = study.store.project
    if not parts.answers_assignment(study) or not project.study_file(ORIGINAL).is_file():
        return study.about()
    asked, told = load_study(project, ORIGINAL), study.provenance
    pairs = [("explained", told["classifiers"], [row.name for row in asked.classifiers])]
    if study.dissection and asked.dissection:
        names = [row.name for row in asked.dissection.classifiers]
        pairs.append(("dissected", study.dissection["classifiers"], names))
    said = [
        f"**Networks {what}:** {_named(row['title'] for row in rows)}, "
        f"where the assignment has {_named(TITLES[name] for name in names)}."
        for what, rows, names in pairs
        if {row["name"] for row in rows} != set(names)
    ]
    encoder = study.dissection.get("encoder")
    wanted = asked.dissection.encoder.name if asked.dissection else ""
    if encoder and encoder["name"] != wanted:
        title, about = safe(encoder["title"]), safe(encoder.get("about", ""))
        said.append(f"**Encoder:** {title}, not {TITLES[wanted]}. {about}")
    if {row["file"] for row in told["images"]} != set(asked.images.all):
        said.append("**Images:** others than the ten of the assignment.")
    if not said:
        return study.about()
    first, _, reasons = str(told["study"]["description"]).partition(". ")
    why = f"**Why:** {safe(reasons or first)}"
    again = f"**To run the original:** `make study STUDY={ORIGINAL}`. {safe(asked.description)}"
    listed = "\n".join(f"- {line}" for line in (*said, why, again))
    head = "**What differs from the assignment, and why**"
    return block(fenced(".vitrine-about .vitrine-differs", head, listed))


def _named(titles: object) -> str:
    return safe(listing(dict.fromkeys(titles)))  # type: ignore[call-overload]


def ran(study: StudyReport, part: str) -> Markdown | Finding:
    """What was run for a section of the study file, as that and the provenance have it."""
    table = {"dissection": "units", "cam": "maps"}.get(part, part)
    if none := parts.missing(study, table):
        return none
    ways = {"dissection": _dissection, "lime": _lime, "cam": _cam, "agreement": _agreement}
    return block(f"**What was run.** {safe(ways[part](study))}")


def _subject(study: StudyReport) -> str:
    trained = f"{study.title} ({trained_on(study.facts['training_set'])})"
    return f"{trained}, {plural(len(study.images), 'image')}"


def _cam(study: StudyReport) -> str:
    titles = listing(study.method_titles[name] for name in cams.cam_methods(study))
    return f"{titles} of {_subject(study)}, at the layer {cams.layer_in_words(study)}."


def _agreement(study: StudyReport) -> str:
    given = study.parameters("agreement")
    share, shares = given["share"], given["shares"]
    return (
        f"{compared.pair(study)} of {_subject(study)}. Each region covers {percent(share)} of the "
        f"frame, and in turn {plural(len(shares), 'share')} from {percent(min(shares))} to "
        f"{percent(max(shares))}."
    )


def _lime(study: StudyReport) -> str:
    given = study.parameters("lime")
    cut = given["segmentation"]
    settings = ", ".join(f"{name} {value:g}" for name, value in cut.items() if name != "method")
    return (
        f"LIME of {_subject(study)}: {given['samples']:,} perturbed images each, "
        f"{given['features']} superpixels kept, kernel width {given['kernel_width']:g}, "
        f"seed {given['seed']}; segmentation {cut['method']}{f' ({settings})' if settings else ''}."
    )


def _dissection(study: StudyReport) -> str:
    found, facts = dissected(study), study.dissection
    networks = listing(
        title if trained in title else f"{title} (trained on {trained})"
        for title, trained in found.training_sets.items()
    )
    return (
        f"{networks}: {len(found.all_units):,} units of "
        f"{plural(len(found.layers), 'layer')}, {facts['probing_set']['images']:,} probing images, "
        f"{facts['concepts']['count']:,} concepts; encoder {facts['encoder']['title']}, similarity "
        f"{facts['similarity']['title']}, {facts['null_draws']:,} null units for the p-values."
    )


def code(*modules: str) -> Markdown:
    """Where the code of a task is; a page links each module where it knows the repository.

    Raises ``ResultsError`` for a module that is not there.
    """
    for module in modules:
        if not (PACKAGE / module).exists():
            raise ResultsError(f"There is no code/vitrine/{module}", "Name it where it is now")
    shown = ", ".join(f"[`{module}`]{{.vitrine-module}}" for module in modules)
    return block(f"**Code.** In `code/vitrine`: {shown}.")

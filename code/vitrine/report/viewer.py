"""The viewer: one image, the regions of two methods on it and how far they agree.

On the site any image, methods and area can be chosen, and the browser computes the IoU from the
maps. A map is sent as levels on 8 bits, cut where a region can end, so that its regions are those
of the map itself. The maps of a method are a file, loaded when the method is chosen.
"""

import json
import zlib
from base64 import b64encode
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import Markdown

from vitrine.arrays import Values
from vitrine.measures.agreement import chance_agreement, matched_and_mismatched, top_region
from vitrine.measures.registry import VALUES
from vitrine.measures.thresholds import REGION_RULES
from vitrine.methods.heatmap import Heatmap
from vitrine.report import figures, tables
from vitrine.report.compared import LIME
from vitrine.report.findings import absent
from vitrine.report.page import block, fenced, raw_html, this_page
from vitrine.report.parts import missing
from vitrine.report.study_report import StudyReport, unrounded
from vitrine.report.text import number, percent, safe, slug

SHARES = tuple(percents / 100 for percents in range(1, 51))
"""Shares of the frame that can be chosen on the site."""

BELOW = (0.65, 0.8, 0.95)
"""Shares at which a map is cut further, for its colours alone."""

SHARE = 0.2
"""Of the frame, where a study compares no methods and so names none."""

VIEWS = 10
"""Images at most that a reader without JavaScript, or with the PDF, sees."""

SCALE_STEPS = 16

Levels = npt.NDArray[np.uint8]


def mapped_methods(study: StudyReport) -> list[str]:
    """The methods with a map of one of the study's images or more; LIME first."""
    methods = [m for m in study.method_titles if any(study.map_or_none(m, i) for i in study.images)]
    return sorted(methods, key=lambda method: method != LIME)


def _share(study: StudyReport) -> float:
    return float(study.parameters("agreement").get("share", SHARE))


def levels_of(values: Values, areas: Sequence[float]) -> tuple[Levels, Values]:
    """The levels ``uint8 [h, w]`` of a map and the mean value of each, ascending.

    The top regions of the levels that cover ``areas`` of the frame are those of the values
    ``[h, w]``: a level begins where such a region ends, and ties have a level of their own.
    """
    known, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    reached = np.cumsum(counts[::-1])  # pixels of so many of the greatest values
    wanted = np.ceil(np.array([area for area in areas if 0 < area < 1]) * values.size - 1e-2)
    ends = len(known) - 1 - np.searchsorted(reached, wanted)
    begins = np.unique([0, *ends, *(ends[counts[ends] > 1] + 1)])
    level = np.searchsorted(begins, np.arange(len(known)), side="right") - 1
    levels = level[place.ravel()]
    means = np.bincount(levels, weights=np.ravel(values)) / np.bincount(levels)
    return levels.reshape(values.shape).astype(np.uint8), means


def _packed(levels: Levels) -> str:
    return b64encode(zlib.compress(levels.tobytes(), 9)).decode()


class _Maps:
    """What the site's script reads of each method and image."""

    def __init__(self, study: StudyReport) -> None:
        self.study = study
        chosen = study.parameters("agreement").get("shares", ())
        self.shares = [*SHARES, _share(study), *chosen, *BELOW]
        self.areas = self._nested("regions", "rule", "area")
        self.measures = self._nested("evaluation", "measure", "value")
        self.reasons = self._nested("evaluation", "measure", "reason")

    def _nested(self, name: str, key: str, column: str) -> dict[tuple[str, str], Any]:
        """A column of a table by method and image, and then by another key."""
        if not self.study.has(name):
            return {}
        return {
            pair: dict(zip(rows[key], rows[column], strict=True))  # type: ignore[misc]
            for pair, rows in self.study.table(name).groupby(["method", "image"], sort=False)
        }

    def of(self, method: str, image: str) -> dict[str, Any]:
        """The map with its curves and measures, or the reason why there is none."""
        reason = self.study.why_no_map(method, image)
        drawn = {"reason": reason} if reason else self._levels(method, image)
        return self._told(method, image) | drawn

    def _levels(self, method: str, image: str) -> dict[str, Any]:
        shown = self.study.heatmap(method, image)
        areas = {
            rule: unrounded(float(area), shown.values.size)
            for rule, area in self.areas.get((method, image), {}).items()
            if np.isfinite(area)
        }
        both = [r for r in areas if REGION_RULES[r].area == "both signs" and shown.signed]
        plain = [area for rule, area in areas.items() if rule not in both]
        levels, means = levels_of(shown.values, [*self.shares, *plain])
        extent = float(np.quantile(np.abs(shown.values), 0.99)) or np.abs(shown.values).max()
        found: dict[str, Any] = {
            "levels": _packed(levels),
            "values": np.round(np.clip(means / extent, -1, 1), 3).tolist(),
            "signed": shown.signed,
            "areas": areas,
        }
        if both:
            sizes, _ = levels_of(np.abs(shown.values), [areas[rule] for rule in both])
            found["sizes"] = _packed(sizes)
        return found

    def _told(self, method: str, image: str) -> dict[str, Any]:
        """The curves and the measures of a map, ``{}`` where it has none."""
        pair = (method, image)
        found: dict[str, Any] = {}
        task = f"{self.study.classifier}/{method}.faithfulness/{self.study.store.files()[image]}"
        if (result := self.study.store.task_or_none(task)) and "scores" in result.arrays:
            scores = np.round(result.arrays["scores"].astype(float), 3).tolist()
            found["curves"] = dict(zip(result.facts["curves"], scores, strict=True))
        found["measures"] = {
            name: round(float(value), 4) if np.isfinite(value) else str(self.reasons[pair][name])
            for name, value in self.measures.get(pair, {}).items()
        }
        return found


def viewer(study: StudyReport) -> Markdown:
    """The viewer of the study's maps; without JavaScript and on paper, the default views."""
    methods = mapped_methods(study)
    if not methods:
        return block(absent("This study has no maps of its images.").markdown)
    first, page = str(_default_views(study, methods[:2]).data), this_page()
    if not page.is_html:
        return block(first)
    maps, sources = _Maps(study), []
    for place, method in enumerate(methods):
        text = json.dumps([maps.of(method, i) for i in study.images], separators=(",", ":"))
        script = f"(window.VITRINE_MAPS??=[])[{place}]={text};\n"
        sources.append(page.write(f"maps-{place}-{slug(method)}.js", script.encode()))
    index = _index(study, methods, sources)
    text = json.dumps(index, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    data = raw_html(f'<script type="application/json" class="vitrine-views">{text}</script>')
    return block(fenced("#look .vitrine-viewer", first, data))


def _index(study: StudyReport, methods: list[str], sources: list[str]) -> dict[str, Any]:
    rules = study.table("regions")["rule"].unique() if study.has("regions") else ["share"]
    size = next(m.values.shape for i in study.images if (m := study.map_or_none(methods[0], i)))
    colours = matplotlib.colormaps[figures.SEQUENTIAL](np.linspace(0, 1, SCALE_STEPS + 1))
    lacking = [missing(study, name) for name in ("regions", "evaluation")]
    return {
        "network": study.title,
        "size": list(size),
        "share": _share(study),
        "shares": [SHARES[0], SHARES[-1]],
        "methods": [
            {"key": method, "title": study.method_titles[method], "source": source}
            for method, source in zip(methods, sources, strict=True)
        ],
        "rules": {rule: REGION_RULES[rule].title for rule in rules},
        "of_sizes": [rule for rule in rules if REGION_RULES[rule].area == "both signs"],
        "measures": {key: [row.title, row.direction, row.question] for key, row in VALUES.items()},
        "absent": [reason.text for reason in lacking if reason],
        "scale": np.round(colours[:, :3] * 255).astype(int).tolist(),
        "images": [_image(study, image, place) for place, image in enumerate(study.images)],
    }


def _image(study: StudyReport, image: str, place: int) -> dict[str, Any]:
    crop, rows = study.crop(image), study.ranked.loc[image].sort_index()
    return {
        "name": image,
        "source": this_page().write(f"image-{place}-{slug(image)}.webp", figures.webp(crop)),
        "thumbnail": figures.thumbnail(crop, 64),
        "correct": study.is_correct(image) if study.has_true_class(image) else None,
        "predictions": [
            [category, round(probability, 4)]
            for category, probability in zip(rows["category"], rows["probability"], strict=True)
        ],
    }


def _default_views(study: StudyReport, methods: Sequence[str]) -> Markdown:
    """Both regions, or the one of a single method, on at most ten images."""
    share = _share(study)
    titles = " and ".join(study.method_titles[method] for method in methods)

    cards, rows = [], agreement_rows(study, methods).head(VIEWS)
    for image, iou in zip(rows["image"], rows["iou"], strict=True):
        crop = study.crop(image)
        drawn = [_region(study.map_or_none(m, image), share, crop.shape[:2]) for m in methods]
        pixels = figures.regions(crop, *[*drawn, np.zeros(crop.shape[:2])][:2])
        alt = f"The strongest {percent(share)} of the frame by {titles} on {image}"
        note = f"IoU {number(iou)}" if np.isfinite(iou) else ""
        cards.append(figures.Card(image, (figures.Panel("Regions", pixels, alt),), note))
    grid = figures.grid(cards, name="views", columns=5)
    return block(f"The strongest {percent(share)} of the frame by {safe(titles)}.", str(grid.data))


def _region(shown: Heatmap | None, share: float, size: tuple[int, ...]) -> Values:
    return np.zeros(size) if shown is None else top_region(shown.values, share)


def agreement_rows(study: StudyReport, methods: Sequence[str]) -> pd.DataFrame:
    """By image: the IoU of two methods at the study's share, and its baselines, as the store's."""
    images, share = study.images, _share(study)
    frame = pd.DataFrame({"image": images, "iou": np.nan, "iou_other_images": np.nan})
    frame["iou_chance"] = chance_agreement(share)
    if len(methods) == 2:
        matrix = study.iou_matrix(methods[0], methods[1], share=share)
        frame["iou"], frame["iou_other_images"] = matched_and_mismatched(matrix)
    return frame


def agreement_table(study: StudyReport) -> Markdown:
    """The IoUs of the views that are shown at first, each with a link to its view."""
    methods = mapped_methods(study)[:2]
    if len(methods) < 2:
        return block(absent("An IoU needs two methods with maps.").markdown)
    rows = agreement_rows(study, methods)
    rows.insert(1, "prediction", [study.prediction_note(image, "") for image in rows["image"]])
    if this_page().is_html:
        rows["image"] = rows["image"].map(
            lambda image: tables.LinkedText(image, f"?{urlencode({'image': image})}#look")
        )
    ious = {"iou": "IoU", "iou_other_images": "Cross-image baseline", "iou_chance": "At random"}
    headings = {"image": "Image", "prediction": "Prediction"} | ious
    return tables.table(rows, "views", headings=headings, formats=dict.fromkeys(ious, 2))

"""Charts of a chapter: Altair in, a static image and on the site a live chart out."""

from __future__ import annotations

import copy
import json
import math
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from IPython.display import Markdown

from vitrine.project import Project
from vitrine.report.page import block, drawn_once, fenced, raw_html, this_page
from vitrine.report.text import safe_attribute

# After Okabe and Ito, told apart by readers with any kind of colour vision; purple and ochre are
# darker than theirs, so that each has a contrast of 3 to 1 on the page. The site's script swaps
# them for their partners in the dark theme (`--v-series-*` in assets/vitrine.css).
COLOURS = {
    "blue": "#0072b2",
    "orange": "#d55e00",
    "green": "#009e73",
    "purple": "#b04a86",
    "ochre": "#8a6a00",
    "grey": "#767676",
}

METHOD_COLOURS = {
    "LIME": COLOURS["orange"],
    "Grad-CAM": COLOURS["blue"],
    "AblationCAM": COLOURS["green"],
    "ScoreCAM": COLOURS["purple"],
    "chance": COLOURS["grey"],
}
"""One colour a method, the same in every chart."""

FONT = "'Source Sans 3', sans-serif"
"""Quoted: a family that ends in a digit is no CSS name otherwise, and viewers fall back."""

STATIC_WIDTH = 620
"""Width in pixels of a static chart. On paper this makes its labels as large as a caption's."""


def method_scale(*names: str) -> alt.Scale:
    """The colour scale of the given methods."""
    return alt.Scale(domain=list(names), range=[METHOD_COLOURS[name] for name in names])


def chart(drawing: alt.TopLevelMixin, name: str, alt_text: str) -> Markdown:
    """A chart as a static image, which a live one replaces on the site.

    name : of the image's file, without ending.
    alt_text : what the chart shows, for readers who do not see it.
    """
    spec = drawing.to_dict()
    given = spec.get("config", {})
    spec["config"] = {
        key: given.get(key, {}) | value if isinstance(value, dict) else value
        for key, value in _config().items()
    }
    page = this_page()
    # What a mark leads to is for the live chart: an image has no links.
    svg = re.sub(r"</?a\b[^>]*>", "", _svg(spec))
    address = page.write(f"{name}.svg", svg.encode())
    # As an attribute: in brackets it would become a visible caption.
    image = f'![]({address}){{fig-alt="{safe_attribute(alt_text)}"}}'
    if not page.is_html:
        return block(image)
    live = spec | ({"width": "container"} if _is_single(spec) else {})
    live["autosize"] = {"type": "fit-x" if _is_single(spec) else "pad", "contains": "padding"}
    script = json.dumps(live, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return block(
        fenced(
            ".vitrine-chart",
            image,
            raw_html(f'<script type="application/json" class="vitrine-spec">{script}</script>'),
        )
    )


def _is_single(spec: dict[str, Any]) -> bool:
    """Whether the chart is one view, whose width can be its container's."""
    return not {"hconcat", "vconcat", "concat", "facet", "repeat", "spec"} & set(spec)


def _svg(spec: dict[str, Any]) -> str:
    if _is_single(spec):
        given = spec.get("width", "container")
        return _drawn(spec | {"width": STATIC_WIDTH if given == "container" else given})
    views = [view["width"] for view in _views(spec) if isinstance(view.get("width"), int)]
    svg = _drawn(spec)
    excess = _width(svg) - STATIC_WIDTH
    if excess <= 0 or not views:
        return svg
    # The whole grows with the width of a view, as many times as there are views in a row.
    in_a_row = (_width(svg) - _width(_drawn(_with_views(spec, -10)))) / 10
    return _drawn(_with_views(spec, -math.ceil(excess / in_a_row))) if in_a_row >= 1 else svg


def _views(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The views that a specification sets beside each other."""
    return [
        *spec.get("hconcat", ()),
        *([spec["spec"]] if "column" in spec.get("facet", ()) else ()),
    ]


def _with_views(spec: dict[str, Any], more: int) -> dict[str, Any]:
    """The specification with every view that many pixels wider."""
    changed = copy.deepcopy(spec)
    for view in _views(changed):
        view["width"] += more
    return changed


def _drawn(spec: dict[str, Any]) -> str:
    fonts = _fonts()

    def draw() -> bytes:
        vl_convert.register_font_directory(str(fonts))
        return str(vl_convert.vegalite_to_svg(spec)).encode()

    files = sorted((path.name, path.stat().st_size) for path in fonts.glob("*"))
    made_of = f"vl_convert {version('vl-convert-python')} {files}"
    return drawn_once(made_of, json.dumps(spec).encode(), draw).decode()


def _width(svg: str) -> float:
    """The width in pixels that an SVG file says it has."""
    found = re.search(r'<svg[^>]* width="([\d.]+)"', svg)
    return float(found.group(1)) if found else 0.0


def _fonts() -> Path:
    return Project.find().assets / "fonts"


def _config() -> dict[str, Any]:
    """What all charts share: one typeface, quiet axes, no frame."""
    quiet = {
        "labelFontSize": 12,
        "labelLimit": 240,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titleLimit": 0,
    }
    return {
        "font": FONT,
        "background": "transparent",
        "view": {"stroke": None},
        "axis": quiet | {"domainColor": "#8a8a8a", "tickColor": "#8a8a8a", "gridOpacity": 0.5},
        # Full symbols also for marks that are pale, such as bands.
        "legend": quiet
        | {"orient": "top", "title": None, "symbolStrokeWidth": 2, "symbolOpacity": 1},
        "header": quiet,
        "title": {"fontSize": 14, "fontWeight": 600, "anchor": "start"},
        "range": {"category": list(COLOURS.values())},
    }

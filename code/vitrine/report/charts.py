"""Charts of a chapter: Altair in, a static image and on the site a live chart out."""

import copy
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import cycle, islice
from typing import Any, cast

import altair as alt
import pandas as pd
import vl_convert
from IPython.display import Markdown

from vitrine.project import Project
from vitrine.report.page import block, csv_link, data_file, drawn_once, fenced, raw_html, this_page
from vitrine.report.text import safe_attribute

alt.data_transformers.disable_max_rows()  # a point for each unit may be more than 5,000

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

INK = "#1e2024"
"""The colour of the text; the site's script swaps it as well."""

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


def chart(drawing: alt.TopLevelMixin, name: str, alt_text: str) -> Markdown:
    """A chart as a static image, which a live one replaces on the site.

    name : of the image's file, without ending. alt_text : what the chart shows, in words.
    """
    spec = drawing.to_dict()
    given = spec.get("config", {})
    spec["config"] = {
        key: given.get(key, {}) | value if isinstance(value, dict) else value
        for key, value in _config().items()
    }
    _mend(spec)
    page = this_page()
    address = page.write(f"{name}.svg", _still(spec).encode())
    # As an attribute: in brackets it would become a visible caption.
    lazy = ' loading="lazy"' if page.is_html else ""  # Quarto's images are not
    image = f'![]({address}){{fig-alt="{safe_attribute(alt_text)}"{lazy}}}'
    if not page.is_html:
        return block(image)
    live = _live(spec) | ({"width": "container"} if _is_single(spec) else {})
    live["autosize"] = {"type": "fit-x" if _is_single(spec) else "pad", "contains": "padding"}
    source = data_file(page, f"{name}-chart", _rounded(live))
    live_one = raw_html(f'<div hidden class="vitrine-spec" data-source="{source}"></div>')
    data = csv_link(page, f"{name}-chart", _data(spec))
    return block(fenced(".vitrine-chart", image, live_one, data))


SYMBOLS = {
    "bar": "square",
    "point": "circle",
    "ring": "M1,0A1,1,0,1,0,-1,0A1,1,0,1,0,1,0ZM.6,0A.6,.6,0,1,1,-.6,0A.6,.6,0,1,1,.6,0Z",
    "diamond": "diamond",
    "tick": "M-.3,-1.2H.3V1.2H-.3Z",
    "line": "M-1.5,-.15H1.5V.15H-1.5Z",
    "dashed": "M-1.5,-.15H-.9V.15H-1.5ZM-.3,-.15H.3V.15H-.3ZM.9,-.15H1.5V.15H.9Z",
    "dashes": "M-.2,-1.3H.2V-.6H-.2ZM-.2,-.35H.2V.35H-.2ZM-.2,.6H.2V1.3H-.2Z",
}
"""How a legend draws the marks of a chart."""


def legend_of(marks: Mapping[str, str]) -> alt.Legend:
    """A legend with the mark that each entry is drawn as: by entry, a key of ``SYMBOLS``."""
    paths = json.dumps({entry: SYMBOLS[mark] for entry, mark in marks.items()})
    return alt.Legend(symbolType=alt.ExprRef(f"({paths})[datum.label]"))


def scale(names: Sequence[str], looks: Iterable[Any] = tuple(COLOURS)) -> alt.Scale:
    """One look a name, from the first again where there are more names.

    looks : names of ``COLOURS``, or what Vega-Lite takes: colours, shapes, dashes.
    """
    known = cycle([COLOURS.get(str(look), look) for look in looks])
    return alt.Scale(domain=list(names), range=list(islice(known, len(names))))


def tooltips(*rows: tuple[Any, ...]) -> list[alt.Tooltip]:
    """The rows of a tooltip: of each its field, its title and the format of its numbers."""
    keys = ("shorthand", "title", "format")
    return [alt.Tooltip(**dict(zip(keys, row, strict=False))) for row in rows]


def _mend(spec: dict[str, Any]) -> None:
    """Strokes in a legend of lines, points in a line's colour, round labels on logarithmic axes."""
    for unit in _units(spec):
        mark, encoding = unit["mark"], unit.get("encoding", {})
        if _kind(unit) == "line":
            colour = encoding.get("color", {})
            if "field" in colour and colour.get("legend", {}) is not None:
                colour["legend"] = {"symbolType": "stroke"} | colour.get("legend", {})
            if isinstance(mark, dict) and mark.get("point") is True and "color" in mark:
                mark["point"] = {"color": mark["color"]}
        for channel in {"x", "y"} & set(encoding):
            how = encoding[channel]
            scale, axis = how.get("scale") or {}, how.get("axis", {})
            if scale.get("type") == "log" and axis is not None and "values" not in axis:
                how["axis"] = axis | {"values": log_ticks(_values(spec, how.get("field", "")))}
                if "domain" not in scale:
                    how["scale"] = {"nice": False, "padding": 10} | scale


def _values(spec: dict[str, Any], field: str) -> list[float]:
    """The positive values of a field in the data of a chart; 1 without any."""
    rows = (row for rows in spec.get("datasets", {}).values() for row in rows)
    return [row[field] for row in rows if (row.get(field) or 0) > 0] or [1.0]


def log_ticks(values: list[float]) -> list[float]:
    """Round ticks of a logarithmic axis: 1, 2, 5 of each decade, or 1, 3, or 1 of many."""
    low, high = math.log10(min(values)), math.log10(max(values))
    steps = (1, 2, 5) if high - low <= 1.5 else (1, 3) if high - low <= 3 else (1,)
    decades = range(math.floor(low), math.ceil(high) + 1)
    return [float(f"{step}e{decade}") for decade in decades for step in steps]


_POINTED = ("line", "point", "circle", "square", "bar", "tick")
"""Marks that the legend can pick out."""


def _titled(spec: dict[str, Any]) -> dict[str, Any]:
    """With titles such as ``"{measure}"`` as what the menu of that name shows at first."""
    text = json.dumps(spec, ensure_ascii=False)
    for param in spec.get("params", ()):
        bind = param.get("bind")
        if isinstance(bind, dict) and "options" in bind:
            shown = dict(zip(bind["options"], bind.get("labels") or bind["options"], strict=True))
            first = json.dumps(str(shown.get(param.get("value"), "")), ensure_ascii=False)
            text = text.replace(f'"{{{param["name"]}}}"', first)
    return cast(dict[str, Any], json.loads(text))


def _live(spec: dict[str, Any]) -> dict[str, Any]:
    """A specification for the site: lines that the pointer finds, and a legend to choose from."""
    live = copy.deepcopy(spec)
    for unit in list(_units(live)):
        told = unit["encoding"].get("tooltip", [])
        for row in told if isinstance(told, list) else [told]:
            if "field" in row:  # in words where the chart has none
                row.setdefault("title", row["field"].replace("_", " ").capitalize())
        if _kind(unit) == "line" and "tooltip" in unit["encoding"]:
            # A line of two pixels is hard to hit, and tells of its first point alone.
            hit = {"type": "point", "size": 250, "opacity": 0, "tooltip": True}
            mark, quiet = unit.pop("mark"), unit.pop("encoding")
            near = {key: how for key, how in quiet.items() if key not in ("strokeDash", "color")}
            colour = quiet.get("color", {})  # it would write into the legend
            if "field" in colour:
                near["detail"] = {"field": colour["field"], "type": "nominal"}
            del quiet["tooltip"]
            unit["layer"] = [{"mark": mark, "encoding": quiet}, {"mark": hit, "encoding": near}]
    _choose_in_legend(live)
    return live


def _choose_in_legend(spec: dict[str, Any]) -> None:
    """Let a click on an entry of the legend leave the marks of that entry, and fade the others."""
    drawn = [unit for unit in _units(spec) if _kind(unit) in _POINTED and _legend_field(unit)]
    fields = {_legend_field(unit) for unit in drawn}
    if len(fields) != 1 or "facet" in spec:
        return
    field = fields.pop()
    for unit in drawn:
        encoding, mark = unit["encoding"], unit["mark"]
        own = mark.get("opacity", 1) if isinstance(mark, dict) else 1
        if "opacity" not in encoding and own:
            chosen = {"param": "chosen", "value": own}
            encoding["opacity"] = {"condition": chosen, "value": 0.12 * own}
    select = {"type": "point", "fields": [field]}
    drawn[0].setdefault("params", []).append({"name": "chosen", "select": select, "bind": "legend"})


def _units(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The views of a specification that draw one kind of mark each."""
    if "mark" in spec:
        yield spec
    for key in ("layer", "concat", "hconcat", "vconcat"):
        for inner in spec.get(key, ()):
            yield from _units(inner)
    if "spec" in spec:
        yield from _units(spec["spec"])


def _kind(unit: dict[str, Any]) -> str:
    mark = unit["mark"]
    return str(mark["type"] if isinstance(mark, dict) else mark)


def _legend_field(unit: dict[str, Any]) -> str | None:
    """The field whose values the legend of a view lists by colour."""
    colour = unit.get("encoding", {}).get("color", {})
    is_listed = colour.get("type") in ("nominal", "ordinal") and colour.get("legend", 0) is not None
    return colour.get("field") if is_listed else None


def _data(spec: dict[str, Any]) -> pd.DataFrame:
    """What a chart draws: its largest data set, with the others that have the same columns."""
    frames = [pd.DataFrame(rows) for rows in spec["datasets"].values()]
    largest = max(frames, key=lambda frame: frame.size)
    alike = [frame for frame in frames if set(frame) == set(largest)]
    rows = pd.concat(alike).drop_duplicates(ignore_index=True)
    # Thumbnails, and where words stand (`_dx`), are drawn, not read.
    images = [name for name in rows if rows[name].astype(str).str.startswith("data:").any()]
    return rows.drop(columns=[*images, *(name for name in rows if str(name).startswith("_"))])


def _rounded(value: Any) -> Any:
    """A specification with numbers as exact as a screen shows them, which halves its size."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _is_single(spec: dict[str, Any]) -> bool:
    """Whether the chart is one view, whose width can be its container's."""
    return not {"hconcat", "vconcat", "concat", "facet", "repeat", "spec"} & set(spec)


_LONG = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?")


def _still(spec: dict[str, Any]) -> str:
    """The SVG file of a chart to a hundredth of a pixel, without links or words for each mark."""
    titled = _titled(spec)
    titled["config"] = titled["config"] | {"aria": False}
    svg = re.sub(r"</?a\b[^>]*>", "", _svg(titled))
    svg = re.sub(r' aria-[a-z]+="[^"]*"| role="[^"]*"', "", svg)
    exact = lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip(".")  # noqa: E731
    return re.sub(r' (?:transform|d|x\d?|y\d?)="[^"]*"', lambda one: _LONG.sub(exact, one[0]), svg)


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
    in_a_row = (_width(svg) - _width(_drawn(spec, -10))) / 10
    return _drawn(spec, -math.ceil(excess / in_a_row)) if in_a_row >= 1 else svg


def _views(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The views that a specification sets beside each other."""
    faceted = "column" in spec.get("facet", ())
    return [*spec.get("hconcat", ()), *([spec["spec"]] if faceted else [])]


def _drawn(spec: dict[str, Any], more: int = 0) -> str:
    """The SVG of a specification, with every view that many pixels wider."""
    spec, fonts = copy.deepcopy(spec), Project.find().assets / "fonts"
    for view in _views(spec) if more else ():
        view["width"] += more

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


def _config() -> dict[str, Any]:
    """What all charts share: one typeface, quiet axes, no frame."""
    quiet: dict[str, Any] = {"labelFontSize": 12, "labelLimit": 240}
    quiet |= {"titleFontSize": 12, "titleFontWeight": "normal", "titleLimit": 0}
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

"""Class activation maps, ours against the library grad-cam: ``python bench/cam.py``.

One image, one process a measurement, ours and the library's in turn. Ratios come from one run
of this script, so that other load on the machine falls on both. Memory is what the peak of the
process grows by while the map is computed. ScoreCAM runs with the fastest settings of the machine,
which are measured first.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measure import Measured, Sheet, ask, beside, fastest, in_turn, measured, network, options

from vitrine.methods.cam import CAM_METHODS, class_activation
from vitrine.methods.method import Query
from vitrine.models.inference import PLAIN, InferenceOptions

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
import libraries

SLOW = ("ablationcam", "scorecam")


def one(name: str, side: int, method: str, settings: InferenceOptions, way: str) -> Measured:
    """Measure one map: ``way`` is ``ours`` or ``library``."""
    query = Query("gradcam", *network(name, side), settings=settings)
    explain = libraries.class_activation if way == "library" else class_activation
    # The first pass of a process prepares what later ones use; it belongs to neither.
    explain(query)

    def work() -> tuple[np.ndarray, dict[str, Any]]:
        found = explain(replace(query, method=method))
        return found.heatmap.values, {"note": found.evidence.note}

    return measured(work)


def compare(
    name: str, side: int, settings: InferenceOptions, methods: list[str], runs: int
) -> Iterator[dict[str, object]]:
    """One row a method."""
    for method in methods:
        chosen = settings if method == "scorecam" else PLAIN
        asks = [partial(ask, one, name, side, method, chosen, way) for way in ("library", "ours")]
        library, ours = in_turn(1 if method in SLOW else runs, *asks)
        yield {
            "method": CAM_METHODS[method].title,
            **beside("library", library, ours),
            "r": f"{np.corrcoef(library.values, ours.values)[0, 1]:.7f}",
            "max diff": f"{np.abs(library.values - ours.values).max():.1e}",
            "note": ours.facts["note"],
        }


def main() -> None:
    parser = options("Class activation maps, ours against grad-cam")
    parser.add_argument(
        "--methods", nargs="+", choices=libraries.CAMS, default=list(libraries.CAMS)
    )
    given = parser.parse_args()
    sheet = Sheet(given.save, "grad-cam")
    for name in given.networks:
        best = ask(fastest, name, given.side)
        rows = compare(name, given.side, best, given.methods, given.runs)
        sheet.table(f"{name}: {best.facts()}", rows)


if __name__ == "__main__":
    main()

"""Class activation maps, ours against the library grad-cam: ``python bench/cam.py``.

One image, one process a measurement, ours and the library's in turn. Ratios come from one run
of this script, so that other load on the machine falls on both. Memory is what the peak of the
process grows by while the map is computed. ScoreCAM runs with the fastest settings of the machine,
which are measured first.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measure import Measured, Sheet, ask, in_turn, network, options, settings_of, tell

from vitrine.data.images import Frame, Pixels
from vitrine.methods.cam import CAM_METHODS, ClassActivation, class_activation
from vitrine.models.classifier import Classifier
from vitrine.models.inference import PLAIN, InferenceOptions

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
import libraries

SLOW = ("ablationcam", "scorecam")


def one(name: str, method: str, way: str, side: str, settings: str) -> None:
    """Measure one map: ``way`` is ``ours`` or ``library``."""
    classifier, crop, frame, target = network(name, int(side))

    def explain(method: str) -> ClassActivation:
        arguments: tuple[Classifier, Pixels, Frame, str, int]
        arguments = classifier, crop, frame, method, target
        if way == "library":
            return libraries.class_activation(*arguments)
        return class_activation(*arguments, settings=InferenceOptions(**json.loads(settings)))

    # The first pass of a process prepares what later ones use; it belongs to neither.
    explain("gradcam")

    def work() -> tuple[np.ndarray, dict[str, Any]]:
        found = explain(method)
        evidence = found.evidence
        return found.heatmap.values, {"passes": evidence.passes, "note": evidence.note}

    tell(work)


def compare(sheet: Sheet, name: str, methods: list[str], runs: int, side: int) -> None:
    """One row a method."""
    fastest = ask(__file__, "settings", name, str(side)).facts
    sheet.head(
        f"{name}: {fastest}",
        "method",
        "library s",
        "ours s",
        "ratio",
        "library MB",
        "ours MB",
        "r",
        "max diff",
        "note",
    )
    for method in methods:
        settings = fastest if method == "scorecam" else PLAIN.facts()

        def run(way: str, method: str = method, settings: dict[str, Any] = settings) -> Measured:
            return ask(__file__, name, method, way, str(side), json.dumps(settings))

        asks = partial(run, "library"), partial(run, "ours")
        (library, theirs), (mine, seconds) = in_turn(1 if method in SLOW else runs, *asks)
        sheet.row(
            CAM_METHODS[method].title,
            f"{theirs:.3f}",
            f"{seconds:.3f}",
            f"{theirs / seconds:.2f}",
            f"{library.megabytes:.0f}",
            f"{mine.megabytes:.0f}",
            f"{np.corrcoef(library.values, mine.values)[0, 1]:.7f}",
            f"{np.abs(library.values - mine.values).max():.1e}",
            mine.facts["note"],
        )


def main() -> None:
    parser = options("Class activation maps, ours against grad-cam")
    parser.add_argument(
        "--methods", nargs="+", choices=libraries.CAMS, default=list(libraries.CAMS)
    )
    given = parser.parse_args()
    if given.one and given.one[0] == "settings":
        settings_of(*given.one[1:])
    elif given.one:
        one(*given.one)
    else:
        sheet = Sheet(given.save, "grad-cam")
        for name in given.networks:
            compare(sheet, name, given.methods, given.runs, given.side)


if __name__ == "__main__":
    main()

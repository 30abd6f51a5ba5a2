"""Studies of any parts, images, methods, networks and numbers, in the experiments' own tables."""

from collections.abc import Collection, Iterable, Mapping
from itertools import chain, combinations, product
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from hypothesis import strategies as st

from stub_study import stub_study
from vitrine.data.wordnet import SAMPLES
from vitrine.experiments.registry import EXPERIMENTS
from vitrine.measures.registry import MEASURES
from vitrine.measures.thresholds import REGION_RULES
from vitrine.methods.baselines import BASELINES
from vitrine.report.attributions import PRINTED
from vitrine.report.study_report import StudyReport

PLACES = np.arange(36).reshape(6, 6)
"""The pixels of a map."""

COLUMNS = {name: columns for kind in EXPERIMENTS for name, columns in kind.TABLES.items()}
"""What the experiments say of each column of each table."""

IMAGES = ("goldfish", "tiger shark", "American coot", "West Highland white terrier", "vulture")
IMAGES += ("orange", "racer", "a", "b", "c")
CAMS = ("gradcam", "hirescam", "eigencam", "ablationcam", "scorecam", "layercam")
ATTRIBUTIONS = (*PRINTED.values(), "gradient", "lrp_captum")
STOCHASTIC = ("smoothgrad_squared", "vargrad", "gradient_shap")
PARTS = ("the chimney", "the house", "the sky")
NETWORKS = ("resnet50", "resnet18_places365", "x")
TRAINED = ("ImageNet", "Places365", "none (random weights)")
SEGMENTATIONS = ("quickshift-4-200-0.2", "grid-7-7")
KINDS = {"dog": "object", "bird": "object", "room": "scene", "forest": "scene"}
KINDS |= {"red": "color", "the": "other", "nan": "other"}
"""Labels of units, each with its kind."""

RANGES = {"similarity": (-3, 3), "local_prediction": (0, 3), "seconds": (0.01, 9)}
RANGES |= dict.fromkeys(("rho", "weight"), (-1, 1)) | {"rho_other_images": (-0.2, 0.2)}
RANGES |= dict.fromkeys(("total", "logit", "logit_of_nothing"), (-100, 100))
RANGES |= dict.fromkeys(("passes", "mean_passes", "head_passes"), (1, 900))
"""The least and the greatest number of the columns whose numbers are no shares."""

WORDS: dict[str, tuple[Any, ...]] = dict.fromkeys(("reason", "wnid", "method"), ("",))
WORDS |= dict.fromkeys(("is_constant", "signed", "exact", "listed"), (True, False))
WORDS |= dict.fromkeys(("label", *(f"runner_up_{place}" for place in range(1, 6))), (*KINDS,))
WORDS |= {"correct": ("True", "False", ""), "category": ("a cat", "a dog")}
WORDS |= {"image": ("n02084071_dog.JPEG",)}
"""What the columns hold that hold no numbers."""

GAPS = {"iou", "r_squared", "rho", "rho_absolute", "similarity", "stable", "value"}
GAPS |= {"by_channel", "seed_part_by_channel"}
"""The columns in which a number may be missing where nothing else says why."""


class Tables:
    """Makes the tables of one study.

    levels : so many numbers there are; where these are few, some are equal.
    spread : how far images differ, of one for that methods and all else do.
    gaps : the share of numbers that is missing, in the columns ``missing``.
    """

    def __init__(
        self, seed: int, levels: int, spread: float, gaps: float, missing: Collection[str]
    ) -> None:
        self.random = np.random.default_rng(seed)
        self.levels, self.spread, self.gaps, self.missing = levels, spread, gaps, missing

    def numbers(self, size: Any) -> npt.NDArray[np.float64]:
        """Numbers from 0 to 1."""
        return self.random.integers(self.levels + 1, size=size) / self.levels

    def some(self, rows: pd.DataFrame, share: float = 0.5) -> npt.NDArray[np.bool_]:
        """About a share of some rows."""
        return self.random.random(len(rows)) < share

    def made(self, name: str, keys: Mapping[str, Collection[Any]]) -> pd.DataFrame:
        """A table with a row for all values of the ``keys`` together.

        keys : by column, or by columns as in "first second", whose values are tuples then.
        """
        several = [[v if isinstance(v, tuple) else (v,) for v in key] for key in keys.values()]
        each = [tuple(chain.from_iterable(row)) for row in product(*several)]
        rows = pd.DataFrame(each, columns=" ".join(keys).split())
        places: dict[tuple[Any, ...], int] = {}
        of_images = int("image" in rows)  # the first column of those that have one
        kind = [places.setdefault(row[of_images:], len(places)) for row in each]
        for column in [one for one in COLUMNS[name] if one not in {*rows, "classifier"}]:
            low, high = RANGES.get(column, (0, 1))
            level, own = self.numbers(len(rows))[kind], self.numbers(len(rows))
            rows[column] = low + (high - low) * (level + self.spread * (own - level))
            if column in WORDS:
                rows[column] = self.random.choice(np.array(WORDS[column], object), len(rows))
            elif column in self.missing:  # of all images alike, or of some
                lost = self.some(rows, self.gaps)
                rows.loc[lost[kind] if self.random.random() < 0.5 else lost, column] = np.nan
        return rows


@st.composite
def any_study(
    draw: st.DrawFn,
    least: int = 1,
    most: int = 8,
    lacks: int = 4,
    missing: Collection[str] = frozenset(GAPS),
) -> StudyReport:
    """A study of so many images.

    lacks : how many tables it may not have. missing : the columns in which numbers may be missing.
    """

    def some_of(names: Iterable[Any], least: int = 0, most: int = 4) -> list[Any]:
        known = st.sampled_from([*names])
        return draw(st.lists(known, min_size=least, max_size=most, unique=True))

    gaps = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    tables = Tables(
        draw(st.integers(0, 2**16)),
        draw(st.sampled_from([1, 3, 1000])),
        draw(st.sampled_from([0.1, 1.0])),
        gaps,
        missing,
    )
    count = draw(st.integers(least, most) | st.just(most))
    images, cams = some_of(IMAGES, count, count), some_of(CAMS, 1)
    pixels = some_of(ATTRIBUTIONS, 0, len(ATTRIBUTIONS))
    methods, parts = ["lime", *cams, *pixels[:3]], {image: some_of(PARTS, 1) for image in images}
    trained = {name: draw(st.sampled_from(TRAINED)) for name in some_of(NETWORKS, 1)}
    layers = [(name, layer) for name in trained for layer in some_of(("a", "b", "fc"), 1)]
    many = [f"image {place}" for place in range(draw(st.integers(1, 16)))]
    rules = ["share", *some_of([*REGION_RULES][1:])]
    of_image, of_layer = {"image": images}, {"network layer": layers}
    of_pair = of_image | {"first second": [*combinations(methods, 2)]}
    of_map = of_image | {"method": methods}
    of_lime = {"first second": [("lime", method) for method in methods[1:]]}
    keys: dict[str, dict[str, Any]] = {
        "predictions": of_image | {"rank": [1, 2]},
        "maps": of_image | {"method": ["lime", *cams]},
        "costs": of_image | {"method": ["lime", *cams]},
        "variants": of_image | {"method": cams, "variant layer": [("second", "z"), ("at-a", "a")]},
        "attributions": of_image | {"method": pixels},
        "correlations": of_pair,
        "agreement": of_image | of_lime | {"share": [0.2, *some_of([0.1, 0.5])]},
        "ious": of_pair | {"rule": rules},
        "regions": of_map | {"rule": rules},
        "complexity": of_image,
        "evaluation": of_image
        | {"method": some_of([*methods, *BASELINES], 1, 9), "measure": some_of(MEASURES, 1, 12)},
        "randomised": of_map | {"stage block": [(1, "head"), (2, "all")]},
        "sensitivities": of_image | {"method": pixels},
        "lime": of_image,
        "superpixels": of_image | {"superpixel": range(4)},
        "fidelity": of_image | {"rule": ["positive", "both signs"]},
        "stability": of_image | {"samples": sorted(some_of([50, 600, 900, 3000], 1))},
        "search": of_image
        | {"segmentation": SEGMENTATIONS, "samples": [100, 600], "features": [2, 5]},
        "large_sample": {"image": many},
        "large_sample_iou": {"image": many, "first second": [("lime", cams[0])]},
        "region_occlusion": {"image region": [(i, part) for i in images for part in parts[i]]}
        | {"fill": some_of(("mean", "grey", "blur"), 1), "shown": ["rest", "region"]},
        "units": of_layer | {"unit": range(8)},
        "classes": {"network layer": [one for one in layers if one[1] == "fc"], "target": range(8)},
        "top_images": of_layer | {"unit": range(8), "rank": [1, 2]},
        "probing": of_layer
        | {"rule": some_of(("fixed", "share"), 1), "size": some_of([20, 50, 1000], 1)}
        | {"draw": [0, 1]},
    }
    found = {name: tables.made(name, of_table) for name, of_table in keys.items()}
    for name, column in (("correlations", "rho"), ("agreement", "iou"), ("ious", "iou")):
        # A map that is like its own image's is like some of the others', if there are any.
        none = found[name][column].isna() & tables.some(found[name])
        found[name].loc[none | (len(images) == 1), f"{column}_other_images"] = np.nan
    refused = tables.some(found["attributions"], gaps)
    found["attributions"].loc[refused, "reason"] = "It cannot be done"
    found["attributions"].loc[refused, ["total", "logit", "seconds", "passes"]] = np.nan
    stochastic = found["sensitivities"]["method"].isin(STOCHASTIC)
    found["sensitivities"].loc[~stochastic, "seed_part_by_channel"] = np.nan
    units = found["units"][tables.some(found["units"], 0.7) | (found["units"]["unit"] == 0)]
    q_values = tables.random.choice([0.01, 0.05, 0.9], len(units))
    units = units.assign(q_value=np.where(units["similarity"].isna(), 1.0, q_values))
    found |= {"units": units.assign(kind=units["label"].map(KINDS)), "layers": layers_of(units)}
    for name in draw(st.sets(st.sampled_from(sorted({*found} - {"predictions"})), max_size=lacks)):
        del found[name]
    maps = {
        (method, image): (tables.numbers(PLACES.shape) - 0.5 * (method in pixels))
        * (tables.random.random() >= gaps)
        for image in images
        for method in ("lime", *cams, *pixels)
    }
    rows = [{"name": name, "title": name, "training_set": of} for name, of in trained.items()]
    lam = draw(st.sampled_from([1.0, 0.6]))
    return stub_study(
        found,
        {
            "agreement": {"share": 0.2, "bootstrap": 100, "seed": 0},
            "attribution": {"methods": pixels},
            "cam": {"methods": cams, "layer": "z"},
            "dissection": {"images": {"source": draw(st.sampled_from(["others", SAMPLES]))}},
            "lime": {"samples": 50},
            "measures": {"bootstrap": 20, "seed": 0},
        },
        provenance={
            "images": [
                {"name": image, "extra": False, "label": draw(st.sampled_from(["", "a cat"]))}
                for image in images
            ],
            "dissection": {
                "classifiers": rows,
                "similarity": {"within_layer": True, "parameters": {"lam": lam}},
            },
        },
        objects={image: draw(st.integers(1, 35)) > PLACES for image in some_of(images, 0, most)},
        heatmap=lambda method, image, variant="": SimpleNamespace(values=maps[method, image]),
        parts=lambda image: {part: n == PLACES % 4 for n, part in enumerate(parts[image])},
        segments=lambda image: PLACES // 9,
    )


def layers_of(units: pd.DataFrame) -> pd.DataFrame:
    """The table ``layers`` of some units: how many each has, and its similarities."""
    found = units.groupby(["network", "layer"], sort=False).agg(
        units=("unit", "size"),
        constant=("similarity", lambda values: values.isna().sum()),
        greatest=("similarity", "max"),
        mean=("similarity", "mean"),
    )
    return found.reset_index().assign(null_mean=0.1)

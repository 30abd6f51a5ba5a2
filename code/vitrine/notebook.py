"""``from vitrine import explain``: maps of a network's predictions without a study on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from vitrine.data.images import Image, Pixels, check_sides, image_name, read_image
from vitrine.errors import ImageError, NotApplicable, StudyError
from vitrine.experiments.trials import TRIALS, Case
from vitrine.measures.registry import FAITHFULNESS, VALUES
from vitrine.methods.attribution import ATTRIBUTION_METHODS
from vitrine.methods.heatmap import Heatmap, heatmap_from
from vitrine.methods.method import Query
from vitrine.methods.registry import pick_method
from vitrine.models.architecture import checked_module
from vitrine.models.classifier import Classifier, preserved_state
from vitrine.models.inference import PLAIN
from vitrine.models.own import classifier_of
from vitrine.report.figures import overlay
from vitrine.study import Study
from vitrine.study.errors import validated
from vitrine.study.lime import Lime, segmentation_for
from vitrine.study.sections import Attribution, Cam, Images, Measures
from vitrine.study.sections import ClassifierSection as Row

_MEASURED = {
    key: row for key, row in VALUES.items() if row.of_map is not None or row.trial == FAITHFULNESS
}


@dataclass(frozen=True)
class Explanation:
    """What ``explain`` gives.

    heatmaps : by image and method; where a method is not applicable there is none.
    table : a row an image and method: the class, its probability, the measures of the map with the
        titles of ``vitrine.measures.registry.VALUES``, seconds, and the reason where there is none.
    crops : what the network sees of each image, ``uint8 [size, size, 3]``.
    """

    heatmaps: dict[tuple[str, str], Heatmap]
    table: pd.DataFrame
    crops: dict[str, Pixels]

    @property
    def figure(self) -> Figure:
        """Each image and its maps, on the scales of the report."""
        methods = list(dict.fromkeys(self.table["method"]))
        shape = (len(self.crops), 1 + len(methods))
        figure, axes = plt.subplots(
            *shape, figsize=(2.2 * shape[1], 2.4 * shape[0]), squeeze=False, layout="constrained"
        )
        for line, (name, crop) in zip(axes, self.crops.items(), strict=True):
            line[0].imshow(crop)
            line[0].set_title(name)
            for axis, method in zip(line[1:], methods, strict=True):
                heatmap = self.heatmaps.get((name, method))
                if heatmap is not None:
                    axis.imshow(overlay(crop, heatmap))
                axis.set_title(pick_method(method).title if heatmap else "not applicable")
        for axis in axes.flat:
            axis.set_axis_off()
        plt.close(figure)
        return figure


def explain(
    network: nn.Module,
    images: Sequence[str | Path | Pixels],
    methods: Sequence[str] = ("lime", "gradcam"),
    *,
    classes: Sequence[str] = (),
    size: int = 224,
    resize: int | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    link: str | None = None,
    target: int | None = None,
    samples: int = 300,
    seed: int = 0,
) -> Explanation:
    """Explain what a network says of images, by the functions that compute a study.

    network : from ``float32 [n, 3, size, size]`` to logits ``[n, classes]``. It is given back as it
        was: mode, hooks and gradients.
    images : paths, or ``uint8 [h, w, 3]`` in sRGB.
    methods : keys of ``vitrine.methods.registry.METHODS``.
    classes : their names in the order of the outputs; numbers by default.
    size, resize, mean, std, link : as in a study file; ImageNet's mean and deviation by default.
    target : the class that is explained; the predicted one by default.
    samples : perturbed images of LIME. seed : of what is drawn.

    Raises ``StudyError`` and ``ImageError``; what a method cannot do is in the table, with the
    reason.
    """
    given = {"size": size, "resize": resize, "mean": mean, "std": std, "link": link}
    with validated("explain", "Correct the call", Row, Lime):
        row = Row.model_validate({"name": "network", "network": "notebook"} | given)
        lime = Lime(samples=samples, seed=seed)
    checked_module(network, "`network` is")
    for name, listed in (("images", images), ("methods", methods)):
        if isinstance(listed, (str, Path)) or not hasattr(listed, "__len__") or not len(listed):
            raise StudyError(f"`{name}` is {listed!r} and no list of {name}", "Write [ … ]")
    for method in methods:
        pick_method(method)
    with preserved_state(network):
        classifier = classifier_of(network, row, tuple(classes))
        _check_target(target, len(classifier.categories))
        side = classifier.preprocessing.crop
        lime = lime.model_copy(update={"segmentation": segmentation_for(side)})
        study = _study(row, side, lime)
        crops: dict[str, Pixels] = {}
        heatmaps: dict[tuple[str, str], Heatmap] = {}
        rows = []
        for place, one in enumerate(images):
            image = _image(one, place)
            if image.name in crops:
                image = Image(f"{image.name} ({place + 1})", image.wnid, image.pixels)
            crops[image.name] = classifier.crop(image)
            for query in _queries(classifier, image, methods, study, target):
                about, heatmap = _explained(query, study)
                rows.append({"image": image.name} | about)
                if heatmap is not None:
                    heatmaps[image.name, query.method] = heatmap
    return Explanation(heatmaps, pd.DataFrame(rows), crops)


def _check_target(target: object, classes: int) -> None:
    is_number = isinstance(target, (int, np.integer)) and not isinstance(target, bool)
    if target is not None and not (is_number and target in range(classes)):
        raise StudyError(
            f"`target` is {target!r}, and the network has {classes} classes",
            "Give the whole number of a class, from 0",
        )


def _image(given: str | Path | Pixels, place: int) -> Image:
    if isinstance(given, (str, Path)):
        return read_image(Path(given).expanduser())
    pixels = np.asarray(given)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ImageError(
            f"Image {place + 1} is {pixels.dtype} of the shape {pixels.shape}, and not uint8 "
            "[h, w, 3]",
            "Give a path, or RGB pixels from 0 to 255 as np.asarray(image.convert('RGB')) has them",
        )
    check_sides(str(place + 1), (pixels.shape[1], pixels.shape[0]))
    return Image(f"image {place + 1}", "", pixels)


def _study(row: Row, side: int, lime: Lime) -> Study:
    """The sections that methods and measures take their parameters from."""
    return Study(
        name="notebook",
        title="notebook",
        description="notebook",
        classifiers=(row,),
        images=Images(folder=".", files=(image_name("image")[0],)),
        cam=Cam(),
        lime=lime,
        attribution=Attribution(
            methods=tuple(ATTRIBUTION_METHODS),
            window=max(2, side // 7),
            stride=max(1, side // 14),
            seed=lime.seed,
        ),
        measures=Measures(infidelity_side=max(2, side // 5), seed=lime.seed),
    )


def _queries(
    classifier: Classifier, image: Image, methods: Sequence[str], study: Study, target: int | None
) -> list[Query]:
    crop, frame = classifier.crop(image), classifier.frame(image)
    predicted = int(classifier.probabilities(crop[None])[0].argmax())
    chosen = predicted if target is None else target
    return [
        Query(name, classifier, crop, frame, chosen, pick_method(name).section(study), PLAIN)
        for name in methods
    ]


def _explained(query: Query, study: Study) -> tuple[dict[str, object], Heatmap | None]:
    """A map with its row of the table."""
    classifier = query.classifier
    probability = float(classifier.probabilities(query.crop[None])[0, query.target])
    about: dict[str, object] = {
        "method": query.method,
        "class": classifier.categories[query.target],
        "probability": probability,
    }
    try:
        heatmap = heatmap_from(*pick_method(query.method).explain(query), query.method)
    except NotApplicable as error:
        return about | {"reason": error.problem}, None
    assert study.measures is not None
    inputs = np.asarray(classifier.normalise(query.crop[None]).cpu().numpy())
    case = Case(query, inputs, study.measures, 0, lambda _: heatmap.values, False, {}, ())
    tried = TRIALS[FAITHFULNESS].compute(case)[query.method]
    for row in _MEASURED.values():
        read = row.of_map(heatmap.values) if row.of_map else None
        about[row.title] = row.read(tried.arrays, tried.facts) if row.read else read
    return about | {"seconds": heatmap.seconds, "reason": ""}, heatmap

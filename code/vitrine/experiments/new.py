"""``vitrine new``: a study of one's own images and network, looked at before it is written."""

import json
import os
import re
import time
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from vitrine.data.image_sets import files_below, unreadable
from vitrine.data.images import ENDINGS, Image, decode, image_name
from vitrine.errors import NotApplicable, StudyError, VitrineError
from vitrine.experiments.run import planned_passes
from vitrine.files import write_atomically
from vitrine.methods.attribution import ATTRIBUTION_METHODS, attribute
from vitrine.methods.method import Query
from vitrine.models.architecture import Architecture
from vitrine.models.classifier import Classifier
from vitrine.models.layers import traced_layers
from vitrine.models.own import IMAGENET, traced
from vitrine.models.registry import CLASSIFIERS, load_classifier, pick_architecture
from vitrine.project import Project
from vitrine.study import Study
from vitrine.study.errors import validated
from vitrine.study.lime import segmentation_for
from vitrine.study.sections import AttributionParameters
from vitrine.study.sections import ClassifierSection as Row

_MOST = {False: 12, True: 4}
"""Images that a study explains at most, spread over the folder; without ``quick``, and with."""

_CHANGED = "Give --weights, --classes and --size with a --network of your own or of a library only"


@dataclass(frozen=True)
class Wanted:
    """What ``vitrine new`` is given, as it is typed."""

    name: str
    images: Path
    network: str = "efficientnet_lite0"
    weights: str = ""
    classes: str = ""
    size: int | None = None
    quick: bool = False


def new_study(project: Project, wanted: Wanted) -> list[str]:
    """Look at images and network, and write ``data/studies/NAME/study.toml``.

    Returns what was found out, in sentences. Nothing is written before all was looked at, and
    nothing that exists is overwritten. Raises ``StudyError``, ``SourceError`` and ``ImageError``.
    """
    _check_name(project, wanted.name)
    for given in (wanted.images.resolve(), wanted.network, wanted.weights, wanted.classes):
        if not _is_text(str(given)):
            raise StudyError(
                f"The name {_readable(str(given))} is not UTF-8, as a study file is",
                "Rename the file or the folder",
            )
    files, damaged = usable_images(wanted.images)
    row = _row(wanted)
    known = traced(project.root, row) if row.network else pick_architecture(row.name)
    classifier = load_classifier(project, row.name, row.weights, row.seed, "cpu", known)
    chosen = spread(files, _MOST[wanted.quick])
    pixels = decode(wanted.images / chosen[0])
    image = Image(image_name(chosen[0])[0], "", pixels)
    refused = not_applicable(classifier, image)
    found = [
        *_said_of_images(files, chosen, damaged, classifier.categories),
        *_said_of_network(classifier, known),
        *_assumed(row, classifier, bool(wanted.classes)),
        *refused.values(),
    ]
    text = _text(wanted, row, known, chosen, damaged, found)
    study = without_methods(_parsed(project, wanted.name, text), refused)
    seconds = planned_passes(project, study) * _seconds_a_pass(classifier, image)
    told = f"about {_duration(seconds)} on this machine, measured by a few passes"
    path = project.study_file(wanted.name)
    write_atomically(path, text.replace("@time@", told).encode())
    return [*found, f"It takes {told}"]


def _check_name(project: Project, name: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise StudyError(
            f"{name!r} is not a plain word", "Name the study with small letters, digits, - and _"
        )
    for folder in (project.studies / name, project.results / name):
        if folder.exists():
            raise StudyError(
                f"There is a study {name!r} already ({project.relative(folder)})",
                "Take another name; nothing is overwritten",
            )


def usable_images(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The images below a folder as paths from it, sorted, and why others cannot be read.

    Raises ``StudyError`` where there is none.
    """
    if not folder.is_dir():
        raise StudyError(f"{folder} is not a folder", "Name the folder that holds the images")
    shown = files_below(folder)
    named = [file for file in shown if file.lower().endswith(ENDINGS)]
    if not named:
        raise StudyError(
            f"{folder} holds no images (other files: {len(shown)})",
            f"Put some there; their names end with {', '.join(ENDINGS)}",
        )
    foreign = {_readable(file): "its name is not UTF-8" for file in named if not _is_text(file)}
    named = [file for file in named if _is_text(file)]
    damaged = unreadable({file: folder / file for file in named}) | foreign
    files = [file for file in named if file not in damaged]
    if not files:
        raise StudyError(
            f"No image in {folder} can be read ({len(damaged)} tried), e.g. "
            f"{next(iter(damaged.values()))}",
            "Convert them to JPEG or PNG, with names in UTF-8",
        )
    return files, damaged


def _is_text(name: str) -> bool:
    """Whether a name of the file system is UTF-8; Python takes what is not for surrogates."""
    return not any("\ud800" <= sign <= "\udfff" for sign in name)


def _readable(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def spread(files: Sequence[str], most: int) -> list[str]:
    """At most so many files, at even distances, the first and the last among them."""
    places = np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(int)
    return [files[place] for place in places]


def _row(wanted: Wanted) -> Row:
    """The classifier's table of the study file. Raises ``StudyError``."""
    if wanted.network in CLASSIFIERS or ":" not in wanted.network:
        pick_architecture(wanted.network)
        if wanted.weights or wanted.classes or wanted.size:
            raise StudyError(f"{wanted.network} has its own weights, classes and size", _CHANGED)
        return Row(name=wanted.network)
    kind, _, name = wanted.network.partition(":")
    of_library = kind in ("timm", "torchvision")
    if not of_library:  # a path may have colons of its own
        kind, _, name = wanted.network.rpartition(":")
    given = {
        "name": re.sub(r"[^A-Za-z0-9_.+-]", "-", name).lstrip("_.+-") or "network",
        "network": wanted.network if of_library else f"{Path(kind).expanduser().resolve()}:{name}",
    }
    if wanted.weights:
        given["weights"] = str(Path(wanted.weights).expanduser().resolve())
    if wanted.classes:
        given["classes"] = str(Path(wanted.classes).expanduser().resolve())
    elif of_library:
        given["classes"] = IMAGENET
    if wanted.size:
        given["size"] = str(wanted.size)
    with validated("vitrine new", "Correct the command", Row):
        return Row.model_validate(given)


# --- what is said ---------------------------------------------------------------------------------


def _said_of_images(
    files: Sequence[str],
    chosen: Sequence[str],
    damaged: Mapping[str, str],
    classes: Sequence[str],
) -> list[str]:
    labelled = sum(Path(file).parent.name in classes for file in chosen)
    return [
        f"{len(files)} image{'s' * (len(files) > 1)}, of which the study explains {len(chosen)}",
        f"The folder names the true class of {labelled} of them"
        if labelled
        else "No folder is named as a class is, so true classes are not known",
        *(f"Left out: {file}: {why}" for file, why in damaged.items()),
    ]


def _said_of_network(classifier: Classifier, known: Architecture) -> list[str]:
    title, side = classifier.title, classifier.preprocessing.crop
    kinds = traced_layers(classifier.network, side, title).activations
    after = known.activation_after
    grid = classifier.token_grid
    of = f", of {grid.rows} × {grid.columns} tokens laid out on the image" if grid else ""
    maps = (
        f"its last feature maps are those of {known.last_convolution} ({known.channels} channels"
        f"{of}{f', before the {after} that follows' if after else ''})"
        if known.last_convolution
        else "it has no feature maps at its end"
    )
    return [
        f"{title}: {len(classifier.categories)} classes, input {side} × {side}; {maps}",
        f"Stages: {', '.join(known.stages)}; activations: {', '.join(kinds) or 'functions only'}",
        classifier.preprocessing.text,
    ]


def _assumed(row: Row, classifier: Classifier, named: bool) -> list[str]:
    """What the report says of the network that only its owner knows."""
    said = []
    if not classifier.training_set:
        told = "say it as training_set beside them in the study file"
        said.append(f"What its weights were trained on is not known; {told}")
    if row.classes == IMAGENET and not named:
        said.append("Its classes are taken to be ImageNet's, as none are named (--classes)")
    elif not row.classes:
        said.append("Its classes have numbers for names, as none are named (--classes)")
    if row.network and row.classes != IMAGENET and len(classifier.categories) > 1:
        said.append(
            "Its classes are taken to exclude each other (softmax); where an image may belong to "
            'several, say link = "sigmoid" beside them in the study file'
        )
    return said


def not_applicable(classifier: Classifier, image: Image) -> dict[str, str]:
    """Why the network does not support a method, by method, as it says when it is tried."""
    crop, frame = classifier.crop(image), classifier.frame(image)
    side = crop.shape[0]
    tiny = AttributionParameters(
        batch=4, steps=2, samples=2, noisy_steps=2, points=2, window=side // 2, stride=side // 2
    )
    reasons = {}
    if not classifier.last_convolution:
        reasons["cam"] = (
            "Class activation maps do not apply: no layer at the end has feature maps with places"
        )
    for name, method in ATTRIBUTION_METHODS.items():
        if method.reference:
            continue
        try:
            attribute(Query(name, classifier, crop, frame, 0, tiny))
        except NotApplicable as error:
            reasons[name] = f"{method.title} does not apply: {error.problem}"
    return reasons


def without_methods(study: Study, methods: Collection[str]) -> Study:
    """The study without some attribution methods, which cost no passes where they do not apply."""
    assert study.attribution is not None
    left = tuple(name for name in study.attribution.methods if name not in methods)
    attribution = study.attribution.model_copy(update={"methods": left})
    return study.model_copy(update={"attribution": attribution})


def _seconds_a_pass(classifier: Classifier, image: Image) -> float:
    crops = np.repeat(classifier.crop(image)[None], 8, axis=0)
    seconds = []
    for _ in range(4):  # the first is slower, and others may be at work here
        start = time.perf_counter()
        classifier.probabilities(crops)
        seconds.append(time.perf_counter() - start)
    return min(seconds) / len(crops)


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    if minutes < 120:
        return f"{minutes} minute{'s' * (minutes > 1)}"
    return f"{round(minutes / 60)} hours"


# --- the file -------------------------------------------------------------------------------------


def _text(
    wanted: Wanted,
    row: Row,
    known: Architecture,
    chosen: Sequence[str],
    damaged: Mapping[str, str],
    found: Sequence[str],
) -> str:
    said = [_of_folder(wanted.images, file, why) for file, why in damaged.items()]
    more = f"; and {len(said) - 5} more" if said[5:] else ""
    left_out = f" Left out: {'; '.join(said[:5])}{more}." if said else ""
    description = f"{known.title} on images of the folder {wanted.images.name}.{left_out}"
    table = row.model_dump(exclude_unset=True)
    classifier = ", ".join(f"{key} = {_toml(value)}" for key, value in table.items())
    files = "".join(f"  {_toml(file)},\n" for file in chosen)
    comments = "".join(f"# {line}\n" for line in "\n".join(found).splitlines())
    comments = re.sub(r"[\x00-\x09\x0b-\x1f\x7f]", "?", comments)  # none may stand in TOML
    side = known.preprocessing.crop
    numbers = {
        "segmentation": f'{{ method = "{segmentation_for(side).method}" }}',
        "window": max(2, side // 7),
        "stride": max(1, side // 14),
        "square": max(2, side // 5),
    }
    parts = [_LIME, _ATTRIBUTION, _MEASURES]
    if known.last_convolution:
        parts = [_CAM, *parts, _AGREEMENT]
    sections = "\n".join(part[wanted.quick] for part in parts)
    for key, number in numbers.items():
        sections = sections.replace(f"@{key}@", str(number))
    return (
        f"# What was found out when this file was written:\n{comments}# It takes @time@.\n\n"
        f"title = {_toml(wanted.name)}\ndescription = {_toml(description)}\n"
        "answers_assignment = false  # chapters of other parts are left out of the report\n"
        f"\nclassifiers = [{{ {classifier} }}]\n\n[images]\n"
        f"folder = {_toml(str(wanted.images.resolve()))}\nfiles = [\n{files}]\n\n{sections}"
    )


def _of_folder(folder: Path, file: str, why: str) -> str:
    """Why a file is left out, as a clause without the place of the folder."""
    where = str(folder / file)
    told = why.replace(where, file).removeprefix("The image ")
    return told if where in why else f"{file}, as {why}"


def _toml(value: object) -> str:
    """A value in TOML, whose texts, numbers and lists are written as in JSON, but for one sign."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _parsed(project: Project, name: str, text: str) -> Study:
    try:
        return Study(name=name, root=project.root, **tomllib.loads(text))
    except ValidationError as error:
        raise VitrineError(f"The study would not be valid: {error}") from error


_CAM = {
    False: """[cam]
methods = ["gradcam", "gradcam++", "hirescam", "layercam", "eigencam", "ablationcam", "scorecam"]
second = ["gradcam"]
""",
    True: '[cam]\nmethods = ["gradcam", "hirescam", "layercam", "eigencam"]\n',
}
_LIME = {
    False: """[lime]
samples = 1000
segmentation = @segmentation@

[lime.stability]
seeds = 10
samples = 601
""",
    True: "[lime]\nsamples = 150\nfeatures = 6\nsegmentation = @segmentation@\n",
}
_ATTRIBUTION = {
    False: """[attribution]
methods = [
  "integrated_gradients", "smoothgrad_squared", "vargrad", "gradient_shap", "occlusion", "lrp",
  "guided_backpropagation", "guided_gradcam", "gradient",
]
window = @window@
stride = @stride@
""",
    True: """[attribution]
methods = ["integrated_gradients", "lrp", "guided_backpropagation", "gradient"]
steps = 8
""",
}
_MEASURES = {
    False: "[measures]\ninfidelity_side = @square@\n",
    True: """[measures]
curve_steps = 8
infidelity_squares = 16
infidelity_side = @square@
perturbations = 2
stages = 2
expensive_repeats = 1
lime_samples = 30
bootstrap = 500
""",
}
_AGREEMENT = {False: "[agreement]\n", True: "[agreement]\nbootstrap = 500\n"}

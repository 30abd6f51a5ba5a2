"""A study file is read into frozen data, and what is wrong with it is said in the user's words."""

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import STUDY, change_study, write_study
from vitrine.errors import StudyError, suggestion
from vitrine.experiments.registry import context_of
from vitrine.models.registry import load_classifier
from vitrine.project import Project
from vitrine.study import load_study


@pytest.mark.parametrize("name", ["embedded", "assignment"])
def test_the_studies_of_the_repository_are_valid_and_name_the_ten_images(
    root: Path, name: str
) -> None:
    study = load_study(Project(root), name)
    assert study.name == name
    assert len(study.images.files) == 10
    assert study.cam and study.lime and study.agreement


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("samples = 24", "sample = 24", "unknown key `lime.sample`; Did you mean 'samples'?"),
        (
            "samples = 24",
            "samples = 1",
            "`lime.samples`: Input should be greater than or equal to 2",
        ),
        (
            "samples = 24",
            "samples = 100000000000000000000",
            "`lime.samples`: whole numbers are at most 4,294,967,295",
        ),
        ("samples = 24", "kernel_width = inf", "`lime.kernel_width`: Input should be a finite"),
        ("share = 0.2", "share = nan", "`agreement.share`: Input should be a finite number"),
        (
            'weights = "random"',
            'network = "a.py:b", std = [-1, 1, 1]',
            "`classifiers.0.std.0`: Input should be greater than 0",
        ),
        (
            'weights = "random"',
            'network = "a.py:b", mean = [124, 0.4, 0.4]',
            "`classifiers.0.mean.0`: Input should be less than or equal to 1, not 124",
        ),
        ("samples = 24", 'samples = "many"', "`lime.samples`: Input should be a valid integer"),
        ("share = 0.2", "share = 0.3", "`share` must be one of `shares`"),
        ("share = 0.2", "share = 2", "`agreement.share`: Input should be less than 1"),
        ('folder = "images"', "", "name either a `source` or a `folder`"),
        ('title = "tiny"', "", "the key `title` is missing"),
        ('title = "tiny"', 'name = "x"', "the key `name` is not allowed"),
        ('title = "tiny"', "title = ", "is not valid TOML"),
        (
            'weights = "random"',
            'weights = "none"',
            "`classifiers.0`: a file of weights belongs to a `network`",
        ),
        (
            'weights = "random"',
            'channels_first = ["a"], channels_last = ["a"]',
            "the channels of 'a' cannot lie first and last",
        ),
        (
            "[lime]\n",
            "[lime.segmentation]\nmethod = 'slick'\n[lime]\n",
            "`lime.segmentation.method` cannot be 'slick'; Did you mean 'slic'?",
        ),
        (
            "[lime]\n",
            "[lime.segmentation]\nmethod = 'slic'\nratio = 1\n[lime]\n",
            "unknown key `lime.segmentation.ratio`; the keys here are compactness, method, "
            "n_segments",
        ),
        (
            "[lime]\n",
            "[lime.segmentation]\nmethod = 'grid'\nrows = 0\n[lime]\n",
            "`lime.segmentation.rows`: Input should be greater",
        ),
        (
            "[lime]\n",
            "[lime.stability]\nseeds = 2\nsamples = 10\nsample_sizes = [10, 20]\n[lime]\n",
            "`lime.stability`: 2 seeds of 10 samples are fewer than two explanations of 20",
        ),
        (
            "[lime]\n",
            "[lime.search]\nsamples = [20, 10]\nsegmentations = [{ method = 'grid' }]\n[lime]\n",
            "`lime.search.samples`: the numbers must be ascending",
        ),
        (
            "[lime]\n",
            "[lime.search]\nsegmentations = [{ method = 'grid', row = 3 }]\n[lime]\n",
            "unknown key `lime.search.segmentations.0.row`; Did you mean 'rows'?",
        ),
        (
            "[lime]\n",
            "[lime]\nbackend = 'reference'\n",
            "unknown key `lime.backend`; the keys here are",
        ),
        ("[lime]", "[limes]", "unknown key `limes`; Did you mean 'lime'?"),
        ('methods = ["gradcam"]', 'methods = "gradcam"', "`cam.methods`: Write a list, [ … ]"),
        (
            'methods = ["gradcam"]',
            'methods = ["gradcam", "xgradcam", "gradcam"]',
            "`cam.methods`: listed twice: gradcam.",
        ),
        ('methods = ["gradcam"]', "methods = []", "`cam.methods`: Name at least one"),
        ('"gradcam"]', '"gradcam"]\nlayer = " "', "`cam.layer`: an empty text says nothing"),
        ('"gradcam"]', '"gradcam"]\nlayers = [""]', "`cam.layers`: an empty text says nothing"),
        ('title = "tiny"', 'title = ""', "`title`: an empty text says nothing"),
        ("[0.1, 0.2]", "[0.2, 0.2]", "`agreement.shares`: listed twice: 0.2."),
        (
            "share = 0.2",
            "seed = -3",
            "`agreement.seed`: Input should be greater than",
        ),
        (
            STUDY[STUDY.index("[cam]") :],
            "",
            "no method is asked for; add one of",
        ),
        ("n00000002_noise.png", "n00000001_red_square.png", "listed twice: n00000001_red_square"),
        (
            '{ name = "efficientnet_lite0", weights = "random" }',
            '"resnet"',
            "`classifiers.0`: Write a table with the keys channels_first, channels_last, classes, "
            "interpolation, link, mean, name, network, resize, seed, size, std, title, "
            "training_set, weights, e.g. { name = \"resnet\" }, not 'resnet'",
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_file_key_and_what_is_allowed(
    tiny: Project, old: str, new: str, said: str
) -> None:
    change_study(tiny, old, new)
    with pytest.raises(StudyError, match=r"^data/studies/tiny/study\.toml") as caught:
        load_study(tiny, "tiny")
    assert said in str(caught.value) and "\n" not in caught.value.problem


def test_all_mistakes_are_named_at_once(tiny: Project) -> None:
    change_study(tiny, "samples = 24", "samples = 0")
    change_study(tiny, "0.1, 0.2", "0.2, 7")
    with pytest.raises(StudyError, match=r"(?s)lime\.samples.*agreement\.shares\.1"):
        load_study(tiny, "tiny")


def test_an_unknown_study_is_answered_with_those_there_are(tiny: Project) -> None:
    with pytest.raises(StudyError, match=r"no study 'tinny'. Did you mean 'tiny'\?"):
        load_study(tiny, "tinny")


def test_a_study_outside_the_folder_of_studies_is_not_a_study(tiny: Project) -> None:
    write_study(tiny, "../outside", STUDY)
    with pytest.raises(StudyError, match="There is no study"):
        load_study(tiny, "../outside")


def test_a_study_cannot_be_changed(tiny: Project) -> None:
    study = load_study(tiny, "tiny")
    with pytest.raises(Exception, match="frozen"):
        study.lime.samples = 5  # type: ignore[union-attr, misc]


def test_a_study_states_where_the_channels_of_a_layer_lie(tiny: Project) -> None:
    layer = "blocks.0"
    change_study(tiny, '"random"', f'"random", channels_first = ["{layer}"]')
    study = load_study(tiny, "tiny")
    assert study.classifiers[0].channel_axes == {layer: "first"}
    known = context_of(tiny, study, "cpu").networks["efficientnet_lite0"]
    assert known.channel_axes == {layer: "first"}
    assert known.digest != load_classifier(tiny, "efficientnet_lite0", "random").digest


def test_a_file_that_is_no_text_or_no_toml_says_what_to_do(tiny: Project) -> None:
    path = tiny.study_file("tiny")
    path.write_bytes(STUDY.encode() + "# Größe".encode("latin-1"))
    with pytest.raises(StudyError, match=r"study\.toml:\d+ is not UTF-8 text. Save the file as"):
        load_study(tiny, "tiny")
    path.write_text("title = True")
    with pytest.raises(StudyError, match=r"is not valid TOML: .*line 1.* Correct it there"):
        load_study(tiny, "tiny")


def test_of_many_names_the_closest_are_told_and_their_number() -> None:
    names = [f"layer{number}.conv" for number in range(100)]
    assert suggestion("Layer7.conv", names, "They are").startswith("Did you mean 'layer7.conv' or")
    assert suggestion("xyz", names, "They are").endswith("layer2.conv, … (100 in all)")
    assert len(suggestion("layer", names, "They are")) < 120


def test_a_study_file_that_cannot_be_read_is_one_message(
    tiny: Project, spoil: Callable[[Path], None]
) -> None:
    spoil(tiny.study_file("tiny"))
    with pytest.raises(StudyError, match=r"data/studies/tiny/(study\.toml|nothing)") as caught:
        load_study(tiny, "tiny")
    assert caught.value.remedy


@pytest.mark.parametrize("change", ["mark", "line ends"])
def test_what_editors_add_to_a_study_file_changes_nothing(tiny: Project, change: str) -> None:
    path, before = tiny.study_file("tiny"), load_study(tiny, "tiny")
    content = path.read_bytes()
    path.write_bytes(
        b"\xef\xbb\xbf" + content if change == "mark" else content.replace(b"\n", b"\r\n")
    )
    assert load_study(tiny, "tiny") == before

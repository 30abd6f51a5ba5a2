"""The outlines drawn by hand parse, do not cross themselves and cover what they say."""

import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from vitrine.data.images import Frame
from vitrine.data.outlines import Outlines, Regions, load_outlines, load_regions
from vitrine.errors import SourceError
from vitrine.measures.localisation import gain_inside, object_mask, parts_of_frame, share_inside
from vitrine.project import Project

SOURCE = "imagenet-sample-images"


@pytest.fixture(scope="module")
def known(root: Path) -> dict[str, Outlines]:
    return load_outlines(Project(root), SOURCE)


def test_the_images_of_the_studies_have_outlines(known: dict[str, Outlines], root: Path) -> None:
    study = (root / "data" / "studies" / "embedded" / "study.toml").read_text(encoding="utf-8")
    # The ten of the assignment, and the one that attribution and the measures look at besides.
    assert len(known) == 11 and all(f'"{name}.JPEG"' in study for name in known)
    named = (root / "data" / "registries" / f"{SOURCE}.txt").read_text(encoding="utf-8")
    assert all(f"{name}.JPEG " in named for name in known)


def test_outlines_cover_the_area_that_is_stated_and_do_not_cross_themselves(
    root: Path, known: dict[str, Outlines]
) -> None:
    drawn = {(name, "object"): found for name, found in known.items()}
    for name, regions in load_regions(Project(root), SOURCE).items():
        assert name in known
        drawn |= {(name, region): found for region, found in regions.named.items()}
    for name, found in drawn.items():
        outlines = [np.array(outline) for outline in found.outlines]
        mask = object_mask([outline * 224 for outline in outlines], (224, 224))
        assert mask.mean() == pytest.approx(found.area, abs=0.001), name
        assert bool(found.outlines) == bool(found.area), name
        assert not any(_crossings(outline) for outline in outlines), name


def _crossings(outline: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of edges without a common end that cross."""

    def left(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> bool:
        return bool((b[0] - a[0]) * (c[1] - a[1]) > (b[1] - a[1]) * (c[0] - a[0]))

    edges = list(zip(outline, np.roll(outline, -1, axis=0), strict=True))
    return [
        (i, j)
        for (i, (a, b)), (j, (c, d)) in combinations(enumerate(edges), 2)
        if 1 < j - i < len(edges) - 1
        and left(a, c, d) != left(b, c, d)
        and left(a, b, c) != left(a, b, d)
    ]


def test_a_crossing_would_be_found() -> None:
    bow_tie = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert _crossings(bow_tie) == [(0, 2)]


def test_outlines_move_into_another_frame() -> None:
    square = np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]])
    drawn = Outlines(outlines=[square.tolist()], area=0.25, resize=256, crop=224)
    size = (256, 352)
    same = Frame("p", (16.0, 64.0, 224.0, 224.0), (224, 224))
    np.testing.assert_allclose(drawn.in_frame(same, size)[0], square * 224)
    # The whole image, at half its size: the square's middle stays the image's middle.
    whole = Frame("p", (0.0, 0.0, 256.0, 352.0), (128, 176))
    (moved,) = drawn.in_frame(whole, size)
    np.testing.assert_allclose(moved.mean(axis=0), (88, 64))
    assert object_mask([moved], (128, 176)).sum() == 56**2


def test_damaged_outlines_are_named(project: Project) -> None:
    folder = project.root / "data" / "objects"
    folder.mkdir()
    assert load_outlines(project, "s") == {}
    head = "resize = 256\ncrop = 224\n[images.a]\narea = 0.1\noutlines = "
    for text, message in {
        "[[[0, 0], [1, 1]]]": r"a.outlines.0: Tuple should have at least 3 .* three or more pairs",
        "[[[0, 0], [1, 1], [1.5, 0]]]": r"a.outlines.0.2.0: Input .* less than or equal to 1",
        "[[[0, 0], [1, 1], [1, 'x']]]": "cannot be read",
        "[": "cannot be read",
    }.items():
        (folder / "s.toml").write_text(head + text, encoding="utf-8")
        with pytest.raises(SourceError, match=message):
            load_outlines(project, "s")


def test_the_share_inside_is_that_of_positive_weight() -> None:
    mask = np.zeros((4, 4), dtype=bool)
    mask[:2, :2] = True
    values = np.full((4, 4), -5.0)
    values[0, 0], values[3, 3] = 3, 1
    assert share_inside(values, mask) == pytest.approx(0.75)
    assert gain_inside(values, mask) == pytest.approx(3)
    assert share_inside(np.ones((4, 4)), mask) == pytest.approx(0.25)
    assert gain_inside(np.ones((4, 4)), mask) == pytest.approx(1)


def test_without_weight_or_object_there_is_no_share() -> None:
    mask = np.ones((4, 4), dtype=bool)
    assert np.isnan(share_inside(-np.ones((4, 4)), mask & (np.eye(4) > 0)))
    assert np.isnan(share_inside(np.ones((4, 4)), mask))
    assert np.isnan(gain_inside(np.ones((4, 4)), ~mask))


def test_the_parts_of_a_frame_have_each_pixel_once(root: Path, known: dict[str, Outlines]) -> None:
    frame, size = Frame("p", (16.0, 64.0, 224.0, 224.0), (224, 224)), (256, 352)
    for name, regions in load_regions(Project(root), SOURCE).items():
        parts = parts_of_frame(regions, known[name], frame, size)
        assert (np.sum(list(parts.values()), axis=0) == 1).all()
        assert set(parts) == {regions.object, *regions.named, regions.rest} - {""}


def test_the_object_has_its_pixels_before_the_regions() -> None:
    square = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]
    drawn = Outlines(outlines=[square], area=0.5, resize=256, crop=256)
    frame = Frame("p", (0.0, 0.0, 8.0, 8.0), (8, 8))
    parts = parts_of_frame(
        Regions(named={"left": drawn}, object="thing", rest="rest"), drawn, frame, (8, 8)
    )
    assert set(parts) == {"thing", "rest"} and parts["thing"][:, :4].all()
    parts = parts_of_frame(Regions(named={"left": drawn}, object="", rest=""), None, frame, (8, 8))
    assert set(parts) == {"left"}


def test_damaged_regions_are_named(project: Project) -> None:
    folder = project.root / "data" / "objects"
    folder.mkdir(parents=True)
    path = folder / f"{SOURCE}.regions.toml"
    path.write_text("resize = 256\ncrop = 224\n[images.one]\nobject = ''\n", encoding="utf-8")
    with pytest.raises(SourceError, match="cannot be read"):
        load_regions(project, SOURCE)
    assert load_regions(project, "another") == {}


def test_outlines_that_cannot_be_read_are_one_message(
    project: Project, root: Path, spoil: Callable[[Path], None]
) -> None:
    path = project.data / "objects" / "source.toml"
    path.parent.mkdir()
    shutil.copy(root / "data" / "objects" / "imagenet-sample-images.toml", path)
    before = load_outlines(project, "source")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert before.keys() == load_outlines(project, "source").keys()
    spoil(path)
    with pytest.raises(SourceError, match=r"The outlines in .*source\.toml cannot be read"):
        load_outlines(project, "source")

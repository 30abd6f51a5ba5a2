"""Probing sets in tar files."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrine.data.image_sets import files_of, left_out, paths_of
from vitrine.data.images import decode
from vitrine.errors import StudyError
from vitrine.project import Project
from vitrine.study.sections import ProbingSet

KEY = "dissection.images"
SET = ProbingSet(folder="images")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "images").mkdir()
    return Project(tmp_path)


def _image(shade: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((20, 20, 3), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


def _pack(path: Path, contents: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_the_images_of_tar_files_are_files_of_the_folder(project: Project) -> None:
    folder = project.root / "images"
    (folder / "loose.png").write_bytes(_image(1))
    (folder / "deep.tar").mkdir()  # a folder, whatever its name
    (folder / "deep.tar" / "in.png").write_bytes(_image(2))
    labels = {"000.cls": b"7", "000.json": b"{}", "._000.png": b"", ".hidden/000.png": _image(9)}
    _pack(folder / "a.tar", {"000.png": _image(3), "sub/001.PNG": _image(4), **labels})
    _pack(folder / "b.tgz", {"./000.png": _image(5), "001.jpg": b"damaged"}, "w:gz")
    files = files_of(project, SET, KEY)
    assert files == (
        "a.tar/000.png",
        "a.tar/sub/001.PNG",
        "b.tgz/000.png",
        "deep.tar/in.png",
        "loose.png",
    )
    shades = [decode(path)[0, 0, 0] for path in paths_of(project, SET, files).values()]
    assert shades == [3, 4, 5, 2, 1]
    assert set(left_out(project, SET, KEY)) == {"b.tgz/001.jpg"}
    (project.root / "list.txt").write_text("b.tgz/000.png\na.tar\nloose.png\n")
    listed = files_of(project, ProbingSet(folder="images", file_list="list.txt"), KEY)
    assert listed == ("b.tgz/000.png", *files[:2], "loose.png")


def test_a_tar_file_is_unpacked_once_and_anew_when_it_changes(project: Project) -> None:
    shard = project.root / "images" / "a.tar"
    _pack(shard, {"000.png": _image(3)})
    (path,) = paths_of(project, SET, files_of(project, SET, KEY)).values()
    made = path.stat().st_ino
    (path,) = paths_of(project, SET, files_of(project, SET, KEY)).values()
    assert path.stat().st_ino == made
    _pack(shard, {"000.png": _image(200)})
    os.utime(shard, ns=(1, 1))
    (path,) = paths_of(project, SET, files_of(project, SET, KEY)).values()
    assert decode(path)[0, 0, 0] == 200


@pytest.mark.parametrize(
    ("content", "reason"), [({"../out.png": _image(1)}, "outside"), (None, "file could not be")]
)
def test_a_tar_file_that_cannot_be_unpacked_leaves_nothing(
    project: Project, content: dict[str, bytes] | None, reason: str
) -> None:
    shard = project.root / "images" / "a.tar"
    if content:
        _pack(shard, content)
    else:
        shard.write_bytes(b"no tar file")
    with pytest.raises(StudyError, match=f"a.tar cannot be unpacked into .*{reason}"):
        files_of(project, SET, KEY)
    assert not [*(project.cache / "shards").iterdir()]
    assert not (project.root / "out.png").exists()

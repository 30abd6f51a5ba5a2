"""Pickled arrays are read, and nothing in a file is ever run."""

import collections
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import Evil
from vitrine.data import safe_pickle
from vitrine.data.safe_pickle import read_pickled
from vitrine.errors import SourceError

ARRAYS = [
    np.arange(12, dtype=np.int64).reshape(3, 4),
    np.asfortranarray(np.random.default_rng(0).random((5, 7), dtype=np.float32)),
    np.array([[True, False], [False, True]]),
    np.arange(6, dtype=">f8").reshape(2, 3),
    np.arange(24, dtype=np.float16).reshape(2, 3, 4)[:, ::2],
]


def _zip(path: Path, content: bytes, **more: bytes) -> Path:
    """An archive as torch.save writes it, around any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3")
        for name, entry in more.items():
            archive.writestr(f"archive/data/{name}", entry)
    return path


def _assert_refused(path: Path, content: bytes | None = None, said: str = "is refused") -> None:
    """The file, or what is written into it, is one message."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=said):
        read_pickled(path)


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_are_read_as_pickle_reads_them(
    tmp_path: Path, array: np.ndarray, protocol: int
) -> None:
    path = tmp_path / "array.pkl"
    path.write_bytes(pickle.dumps(array, protocol=protocol))
    found = read_pickled(path)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("array", [*ARRAYS[:3], ARRAYS[4][0]], ids=lambda array: str(array.dtype))
def test_tensors_are_read_as_torch_reads_them(
    tmp_path: Path, array: np.ndarray, zipped: bool
) -> None:
    path = tmp_path / "tensor.pth"
    tensor = torch.from_numpy(np.array(array))
    saved = {"mask": tensor.T, "part": tensor[:1], "weight": torch.nn.Parameter(tensor.float())}
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    found = read_pickled(path)
    np.testing.assert_array_equal(found["mask"], array.T)
    np.testing.assert_array_equal(found["part"], array[:1])
    np.testing.assert_array_equal(found["weight"], array.astype(np.float32))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, protocol: int, zipped: bool
) -> None:
    trace = tmp_path / "it-ran"
    content = pickle.dumps(Evil(os.mkdir, str(trace)), protocol=protocol)
    pickle.loads(content)
    assert trace.is_dir()  # as it does where a file is trusted
    trace.rmdir()
    path = tmp_path / "evil.pth"
    if zipped:
        _zip(path, content)
    else:
        path.write_bytes(content)
    _assert_refused(path, said=r"is refused: it .*Nothing of it was run")
    assert not trace.exists()


def _tensor(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """The pickle of a tensor over the storage "0", as torch writes it."""

    class Storage:
        pass

    class Writer(pickle.Pickler):
        def persistent_id(self, thing: object) -> object:
            if isinstance(thing, Storage):
                return ("storage", torch.FloatStorage, "0", "cpu", 4)
            return None

    stream = io.BytesIO()
    function = torch._utils._rebuild_tensor_v2
    arguments = (Storage(), offset, size, stride, False, collections.OrderedDict())
    Writer(stream, protocol=2).dump(Evil(function, *arguments))
    return stream.getvalue()


@pytest.mark.parametrize(
    "function",
    [
        (eval, "1"),
        (getattr, "x", "upper"),
        (np.load, "x"),
        (np.frombuffer, b"x"),
        (np.ndarray, (1,), "O", b"12345678"),  # would take the bytes for an address
        (np.array, [1]),
        (torch.load, "x"),
        (io.open, "x", "w"),
    ],
    ids=lambda call: call[0].__name__,
)
def test_no_other_function_can_be_called(tmp_path: Path, function: tuple[Any, ...]) -> None:
    path = tmp_path / "evil.pth"
    content = pickle.dumps({"mask": [Evil(*function)]}, protocol=2)
    _assert_refused(path, content)
    _assert_refused(_zip(path, content))


def test_what_a_file_may_name_cannot_be_changed_by_it(tmp_path: Path) -> None:
    path = tmp_path / "evil.pkl"
    state = b"N}X\x06\x00\x00\x00valuesNs\x86"  # as the state of an object with slots
    for name in (*safe_pickle._NUMPY, "_codecs.encode"):
        named = "\n".join(name.rsplit(".", 1)).encode()
        _assert_refused(path, b"\x80\x02c" + named + b"\n" + state + b"b.")
    path.write_bytes(pickle.dumps(ARRAYS[0]))
    np.testing.assert_array_equal(read_pickled(path), ARRAYS[0])


def test_objects_records_and_texts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "array.pth"
    for array in (
        np.array([{}, []], dtype=object),
        np.array(["a"]),
        np.array([(1, 2.0)], dtype="i4,f8"),
        np.array(["2024-01-01"], dtype="M8[D]"),
    ):
        _assert_refused(path, pickle.dumps(array), "is refused: it holds")
        torch.save(array, path)
        _assert_refused(path)


@pytest.mark.parametrize("shape", [(10**6, 10**6), (2**40, 2**40), (3, 3)])
def test_a_declared_shape_is_held_against_the_bytes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "array.pkl"
    state = (1, shape, np.dtype(np.uint8), False, b"\0")

    class Declared:
        def __reduce__(self) -> tuple[Any, ...]:
            return (*np.zeros(1, np.uint8).__reduce__()[:2], state)

    for protocol in (2, 4):
        content = pickle.dumps(Declared(), protocol=protocol)
        _assert_refused(path, content, "is refused: cannot reshape|is refused: array is")


def test_a_tensor_lies_within_its_storage(tmp_path: Path) -> None:
    path = tmp_path / "tensor.pth"
    content = np.arange(4, dtype="<f4").tobytes()
    _zip(path, _tensor((2, 2), (2, 1)), **{"0": content})
    np.testing.assert_array_equal(read_pickled(path), [[0, 1], [2, 3]])
    for size, stride, offset in (
        ((2, 2), (2, 1), 1),
        ((5,), (1,), 0),
        ((2,), (9,), 0),
        ((2,), (-1,), 0),
        ((10**9,), (0,), 0),
    ):
        _assert_refused(_zip(path, _tensor(size, stride, offset), **{"0": content}))


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_pickle, "MAX_BYTES", 2**20)
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(np.zeros(3)))
        archive.writestr("archive/data/0", bytes(2**21))
    assert path.stat().st_size < 2**14
    _assert_refused(path, said="unpacks to more than 1 MiB")


def test_a_pickle_that_grows_when_it_is_read_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pkl"
    nested: Any = np.zeros(1)
    for _ in range(60):
        nested = [nested] * 10
    path.write_bytes(pickle.dumps(nested))
    found = read_pickled(path)
    assert all(part is found[0] for part in found)
    _assert_refused(path, b"\x80\x02Nr\xff\xff\xff\x7f.", "enormous memo")


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_one_message(tmp_path: Path, part: float) -> None:
    for zipped in (True, False):
        path = tmp_path / "tensor.pth"
        torch.save(torch.rand(40, 40), path, _use_new_zipfile_serialization=zipped)
        whole = path.read_bytes()
        _assert_refused(path, whole[: int(len(whole) * part)], r"tensor\.pth is refused")


def test_a_foreign_file_is_one_message(tmp_path: Path) -> None:
    path = tmp_path / "mask.pth"
    for content in (b"", b"\x89PNG\r\n\x1a\n", b"layer,unit\n", os.urandom(400)):
        _assert_refused(path, content, r"mask\.pth is refused")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
    _assert_refused(path)
    _assert_refused(tmp_path / "none.pth", said="does not exist")


def test_the_masks_of_the_published_run_are_what_the_readme_says(mirror: Path) -> None:
    (run,) = mirror.glob("balwanishivam/tml-assignment/*/Assignment-4")
    lime = read_pickled(run / "task-2/results/boundary_2/masks/n01616318_vulture.JPEG.pth")
    assert (lime.shape, lime.dtype) == ((224, 224), np.int64)
    assert set(np.unique(lime)) == {-1, 0, 1}
    cam = read_pickled(run / "task-3/results/gradcam_images/n01616318_vulture.JPEG/masks.pth")
    assert (cam.shape, cam.dtype) == ((500, 375, 3), np.float32)
    assert (cam == cam[..., :1]).all()

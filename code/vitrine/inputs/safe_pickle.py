"""Pickled arrays and tensors, read by a loader that can construct arrays and nothing else.

A pickle is a program: its ``REDUCE`` calls whatever function it names. Files of other people's runs
come as pickles all the same (``torch.save`` writes them, for tensors and for NumPy arrays alike).
Here

- the program is read before it is run: an opcode that arrays do not need is refused;
- a name is looked up in ``_NAMES`` and nowhere else, and what stands there are stand-ins of this
  module that note what array is asked for. No function of NumPy, torch or Python is ever called by
  the file;
- the arrays are built from the notes afterwards, each checked against the bytes that are there.

Formats: a plain pickle, the ZIP archive of ``torch.save``, and the form that torch wrote before it.
Nothing here needs torch.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import reprlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vitrine.errors import SourceError

MAX_BYTES = 512 * 2**20
"""Larger files, and archives that unpack to more, are refused before they are read."""

MAX_VALUES = 50_000_000
"""An array with more values than this is refused before it is built."""

MAX_MEMO = 100_000
"""A place in the memo beyond this is refused: the reader would make room for all below it."""

_MAX_ENTRIES = 10_000

Array = np.ndarray[Any, np.dtype[Any]]

_OPCODES = frozenset(
    """
    PROTO FRAME STOP MARK POP POP_MARK GLOBAL STACK_GLOBAL REDUCE BUILD BINPERSID
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 BINFLOAT
    STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS
    EMPTY_DICT DICT SETITEM SETITEMS
    PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    """.split()  # noqa: SIM905 - as lines they can be read
)


class Refused(pickle.UnpicklingError):
    """What the file asks for is not an array."""


# --- what a file may ask for ----------------------------------------------------------------------


class _Fixed:
    """A stand-in that a file can name, and cannot change."""

    __slots__ = ()

    def __setstate__(self, _state: object) -> None:
        raise Refused("it changes what it has no right to")


class _Call(_Fixed):
    """A stand-in for a function."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Callable[..., object]) -> None:
        self._answer = answer

    def __call__(self, *given: object) -> object:
        return self._answer(*given)


class _Type(_Fixed):
    """A stand-in for NumPy's array type, which is named and never called."""


class _StorageType(_Fixed):
    """A stand-in for a storage type of torch."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)


class _Dtype:
    """A note of a type of number; its byte order comes with the state."""

    def __init__(self, code: object) -> None:
        if not isinstance(code, str) or code.strip("<>=|") not in _NUMBERS:
            raise Refused(f"it holds values of the type {reprlib.repr(code)}, which are no numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(state[2:5]):
            raise Refused("it holds records instead of numbers")
        if state[1] not in ("<", ">", "=", "|"):
            raise Refused(f"it names the byte order {reprlib.repr(state[1])}")
        if state[1] in "<>":
            self.dtype = self.dtype.newbyteorder(state[1])


class _Noted(_Fixed):
    """A note of an array; ``build`` makes it."""

    def build(self) -> Array:
        raise Refused("it begins an array and does not end it")


class _NotedArray(_Noted):
    """An array of NumPy, whose state brings shape, type and bytes."""

    def __init__(self) -> None:
        self.parts: tuple[Any, _Dtype, Any, str] | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
            raise Refused("it holds an array in a form that is not NumPy's")
        _version, shape, dtype, fortran, content = state
        self.parts = (shape, dtype, content, "F" if fortran else "C")

    def build(self) -> Array:
        if self.parts is None:
            return super().build()
        shape, dtype, content, order = self.parts
        if not isinstance(content, bytes | bytearray):
            raise Refused("its array holds objects instead of numbers")
        wanted = _values(shape) * dtype.dtype.itemsize
        if wanted != len(content):
            raise Refused(f"its array of shape {shape} has {len(content)} bytes, not {wanted}")
        found = np.frombuffer(bytes(content), dtype.dtype)
        return found.reshape(shape, order="F" if order == "F" else "C")


@dataclass
class _Storage(_Fixed):
    """The bytes behind tensors; they stand outside the pickle."""

    dtype: np.dtype[Any]
    key: str
    content: bytes | None = None


@dataclass
class _NotedTensor(_Noted):
    """A tensor of torch: a view of a storage."""

    storage: _Storage
    offset: Any
    shape: Any
    stride: Any

    def build(self) -> Array:
        size = _values(self.shape)
        if not _are_counts(self.stride) or len(self.stride) != len(self.shape):
            raise Refused("its tensor has a stride that does not fit its shape")
        if not _are_counts((self.offset,)):
            raise Refused("its tensor begins nowhere")
        content = self.storage.content
        assert content is not None  # every storage is filled before anything is built
        itemsize = self.storage.dtype.itemsize
        last = self.offset + sum(
            (side - 1) * step for side, step in zip(self.shape, self.stride, strict=True)
        )
        if size and (last + 1) * itemsize > len(content):
            raise Refused(f"its tensor of shape {tuple(self.shape)} is larger than its storage")
        values = np.frombuffer(content[: len(content) // itemsize * itemsize], self.storage.dtype)
        steps = tuple(step * itemsize for step in self.stride)
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps)
        return np.array(view if size else np.zeros(self.shape, self.storage.dtype))


def _are_counts(numbers: object) -> bool:
    return isinstance(numbers, tuple | list) and all(
        isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**48
        for number in numbers
    )


def _values(shape: object) -> int:
    """How many values an array of a shape has. Raises ``Refused`` for too many."""
    if not isinstance(shape, tuple | list) or not _are_counts(shape) or len(shape) > 8:
        raise Refused(f"its array has the shape {reprlib.repr(shape)}")
    size = math.prod(shape)
    if size > MAX_VALUES:
        raise Refused(f"its array of shape {tuple(shape)} has more than {MAX_VALUES:,} values")
    return size


def _reconstruct(kind: object, _shape: object, _code: object) -> _NotedArray:
    if not isinstance(kind, _Type):
        raise Refused("it asks for something other than a plain array")
    return _NotedArray()


def _from_buffer(content: object, dtype: object, shape: object, order: object) -> _NotedArray:
    noted = _NotedArray()
    noted.__setstate__((1, shape, dtype, order == "F", content))
    return noted


def _scalar(dtype: object, content: object) -> _NotedArray:
    return _from_buffer(content, dtype, (), "C")


def _encode(text: object, encoding: object) -> bytes:
    """Bytes, as protocol 2 writes them: each as a character."""
    if not isinstance(text, str) or encoding != "latin1":
        raise Refused("it encodes a text in another way than arrays need")
    return text.encode("latin1")


def _no_bytes(*given: object) -> bytes:
    """The content of an empty array, as protocol 2 writes it."""
    if given:
        raise Refused("it makes bytes in another way than arrays need")
    return b""


def _tensor(storage: object, offset: object, shape: object, stride: object, *_: object) -> _Noted:
    if not isinstance(storage, _Storage):
        raise Refused("its tensor has no storage")
    return _NotedTensor(storage, offset, shape, stride)


def _parameter(tensor: object, *_: object) -> object:
    if not isinstance(tensor, _Noted):
        raise Refused("it holds a parameter that is no tensor")
    return tensor


def _ordered(*given: object) -> dict[Any, Any]:
    if given:
        raise Refused("it fills a dictionary in another way than torch does")
    return {}


_NUMBERS = frozenset(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"))

_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}

_NUMPY: dict[tuple[str, str], object] = {
    ("multiarray", "_reconstruct"): _Call(_reconstruct),
    ("multiarray", "scalar"): _Call(_scalar),
    ("numeric", "_frombuffer"): _Call(_from_buffer),
}

_NAMES: dict[tuple[str, str], object] = {
    **{
        (f"numpy.{package}.{module}", name): stand_in
        for package in ("core", "_core")
        for (module, name), stand_in in _NUMPY.items()
    },
    ("numpy", "ndarray"): _Type(),
    ("numpy", "dtype"): _Call(lambda code, *_: _Dtype(code)),
    ("_codecs", "encode"): _Call(_encode),
    ("__builtin__", "bytes"): _Call(_no_bytes),
    ("builtins", "bytes"): _Call(_no_bytes),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_tensor),
    ("torch._utils", "_rebuild_tensor"): _Call(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Call(_parameter),
    ("collections", "OrderedDict"): _Call(_ordered),
    **{("torch", name): _StorageType(dtype) for name, dtype in _STORAGES.items()},
}
"""Everything that a file may name, and what stands in for it."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, storages: dict[str, _Storage]) -> None:
        super().__init__(stream)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise Refused(f"it names {module}.{name}")
        return _NAMES[module, name]

    def persistent_load(self, identity: Any) -> _Storage:
        if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
            raise Refused("it names something outside that is no storage of a tensor")
        kind, key = identity[1], identity[2]
        if not isinstance(kind, _StorageType) or not isinstance(key, str):
            raise Refused("it names a storage of an unknown type")
        if len(identity) > 5 and identity[5] is not None:
            raise Refused("it names a part of a storage, which torch has long ceased to write")
        return self._storages.setdefault(key, _Storage(kind.dtype, key))


# --- reading --------------------------------------------------------------------------------------


def read_pickled(path: Path) -> Any:
    """The arrays of a pickled file: one, or tuples, lists and dictionaries of them.

    Raises ``SourceError`` for a file that is damaged, too large, or asks for anything else than
    arrays; nothing of it was run then.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Refused(f"it is larger than {MAX_BYTES // 2**20} MiB")
        with path.open("rb") as stream:
            zipped = zipfile.is_zipfile(stream)
            stream.seek(0)
            noted = _in_archive(stream) if zipped else _in_pickles(stream)
        return _Builder().build(noted)
    except FileNotFoundError as error:
        raise SourceError(f"{path} does not exist", "Check its name") from error
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read ({error.strerror or error})", "Give yourself the right to"
        ) from error
    except Refused as error:
        raise SourceError(
            f"{path} is refused: {error}",
            "Nothing of it was run. Only arrays and tensors of numbers are read from such files; "
            "save the array with numpy.save instead",
        ) from error
    except Exception as error:  # whatever a damaged file makes the reader stumble over
        raise SourceError(
            f"{path} is damaged, or no pickled array ({error or type(error).__name__})",
            "Fetch it again, or save the array with numpy.save instead",
        ) from error


def _in_archive(stream: BinaryIO) -> Any:
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if len(entries) > _MAX_ENTRIES or unpacked > MAX_BYTES:
            raise Refused(f"it unpacks to more than {MAX_BYTES // 2**20} MiB")
        roots = [entry.filename for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError("it is an archive, and not one that torch.save wrote")
        folder = roots[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist():
            order = archive.read(f"{folder}byteorder")
            if order != b"little":
                raise Refused(f"its tensors have the byte order {order[:20]!r}")
        storages: dict[str, _Storage] = {}
        noted = _load(io.BytesIO(archive.read(roots[0])), storages)
        for storage in storages.values():
            storage.content = archive.read(f"{folder}data/{storage.key}")
        return noted


_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def _in_pickles(stream: BinaryIO) -> Any:
    """One pickle, or the five of torch's older form with the storages' bytes behind them."""
    storages: dict[str, _Storage] = {}
    first = _load(stream, storages)
    if first != _LEGACY_MAGIC or isinstance(first, _Noted):
        if storages or stream.read(1):
            raise ValueError("it goes on behind its end")
        return first
    if _load(stream, {}) != _LEGACY_PROTOCOL:
        raise ValueError("it is of a version of torch that is not known")
    _load(stream, {})  # the machine that wrote it
    noted = _load(stream, storages)
    for key in _load(stream, {}):
        if key not in storages:
            raise ValueError("it holds a storage that no tensor uses")
        count = int.from_bytes(stream.read(8), "little")
        wanted = count * storages[key].dtype.itemsize
        if wanted > MAX_BYTES:
            raise Refused(f"it holds a storage of more than {MAX_BYTES // 2**20} MiB")
        storages[key].content = stream.read(wanted)
    if any(storage.content is None for storage in storages.values()):
        raise ValueError("a storage is missing")
    return noted


def _load(stream: BinaryIO, storages: dict[str, _Storage]) -> Any:
    """Run one pickle, after its opcodes were looked at; the stream stands behind it then."""
    start = stream.tell()
    for opcode, argument, _place in pickletools.genops(stream):
        if opcode.name not in _OPCODES:
            raise Refused(f"it uses the instruction {opcode.name}, which arrays do not need")
        if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > MAX_MEMO:
            raise Refused("it asks for an enormous memo")
    end = stream.tell()
    stream.seek(start)
    return _Unpickler(io.BytesIO(stream.read(end - start)), storages).load()


class _Builder:
    """Puts arrays in the place of notes, in containers that are small enough."""

    def __init__(self) -> None:
        self._parts = 0

    def build(self, noted: Any) -> Any:
        self._parts += 1
        if self._parts > _MAX_ENTRIES:
            raise Refused(f"it holds more than {_MAX_ENTRIES:,} parts")
        if isinstance(noted, _Noted):
            return noted.build()
        if isinstance(noted, dict):
            return {key: self.build(part) for key, part in noted.items()}
        if isinstance(noted, list | tuple):
            return type(noted)(self.build(part) for part in noted)
        if isinstance(noted, _Fixed | _Dtype):
            raise Refused("it holds a type instead of an array")
        return noted

"""Pickled arrays and tensors, read by loaders that can construct these and nothing else.

A pickle is a program: its ``REDUCE`` calls whatever function it names. Files of other people's runs
come as pickles all the same. What ``torch.save`` wrote is read by ``torch.load`` with
``weights_only``, any other pickle by Python's own unpickler; both find the names of ``_NUMPY`` and
no others of NumPy. What stands there are stand-ins: NumPy's own ``ndarray`` would, called by the
file with a buffer and the type "object", take the file's bytes for addresses.
"""

import codecs
import pickle
import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from vitrine.errors import SourceError

MAX_BYTES = 512 * 2**20
"""Larger files, and archives that unpack to more, are refused before they are read."""

MAX_VALUES = 50_000_000
"""An array with more values than this is refused."""

MAX_MEMO = 100_000
"""A place in the memo beyond this is refused: the reader would make room for all below it."""

Array = np.ndarray[Any, np.dtype[Any]]


class _Dtype:
    """A type of number; its byte order comes with the state."""

    def __init__(self, code: object, *_: object) -> None:
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"it holds {self.dtype} instead of numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array of NumPy, whose state brings shape, type and bytes."""

    values: Array | None = None

    def __init__(self, *_: object) -> None:
        """What ``_reconstruct`` is given says nothing yet."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, fortran, content = state
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("it holds an array without a type of number")
        self.values = np.frombuffer(content, dtype.dtype).reshape(
            shape, order="F" if fortran else "C"
        )


class _Buffer(_Array):
    """An array as protocol 5 writes it."""

    def __init__(self, content: object, dtype: object, shape: object, order: object) -> None:
        self.__setstate__((1, shape, dtype, order == "F", content))


_NUMPY: dict[str, Any] = {
    "numpy.ndarray": "ndarray",  # is named and never called
    "numpy.dtype": _Dtype,
    **{f"numpy.{core}.multiarray._reconstruct": _Array for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _Buffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # bytes, as protocol 2 writes them
            return codecs.encode
        if f"{module}.{name}" not in _NUMPY:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return _NUMPY[f"{module}.{name}"]


def read_pickled(path: Path) -> Any:
    """What a file of pickled arrays holds: arrays, or numbers, texts and containers of them.

    Read are plain pickles and both forms of ``torch.save``. Raises ``SourceError`` for a file that
    is damaged, larger than ``MAX_BYTES``, or names anything but arrays; nothing of it was run.
    """
    if not path.is_file():
        raise SourceError(f"{path} does not exist", "Check its name")
    try:
        return _plain(_load(path), {})
    except Exception as error:  # a file from elsewhere can make the readers raise anything
        raise SourceError(
            f"{path} is refused: {why_refused(error)}. Nothing of it was run",
            "Fetch it again, or save the array itself, e.g. with numpy.save",
        ) from error


def why_refused(error: Exception) -> str:
    """What a reader of pickles says of a file, without torch's advice to run its code."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    said = f"it names {named[1]}" if named else str(error).partition("\n")[0]
    if said.startswith(("Weights only", "Expected has")):
        return "it is damaged, or no file of arrays"
    return said or type(error).__name__


def _load(path: Path) -> Any:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 2**20} MiB")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise ValueError(f"it unpacks to more than {MAX_BYTES // 2**20} MiB")
        return _load_torch(path)
    with path.open("rb") as stream:
        for opcode, argument, _place in pickletools.genops(stream):
            if "PUT" in opcode.name and int(argument or 0) > MAX_MEMO:
                raise ValueError("it asks for an enormous memo")
        stream.seek(0)
        found = _Unpickler(stream).load()
    return _load_torch(path) if isinstance(found, int) else found  # torch's older form has a number


def _load_torch(path: Path) -> Any:
    import torch

    allowed = [(stand_in, name) for name, stand_in in _NUMPY.items()]
    with torch.serialization.safe_globals(allowed):  # type: ignore[arg-type]
        return torch.load(path, map_location="cpu", weights_only=True)


def _plain(found: Any, known: dict[int, Any]) -> Any:
    """Arrays in the place of stand-ins and tensors; what stands in several places is made once."""
    if id(found) in known:
        return known[id(found)]
    if isinstance(found, dict):
        made: Any = {key: _plain(part, known) for key, part in found.items()}
    elif isinstance(found, list | tuple):
        made = [_plain(part, known) for part in found]
    elif isinstance(found, _Array) or hasattr(found, "detach"):
        made = found.values if isinstance(found, _Array) else found.detach().numpy()
        if made is None or made.size > MAX_VALUES:
            raise ValueError(f"it holds an array with more than {MAX_VALUES:,} values, or none")
    elif isinstance(found, int | float | str | bytes | None):
        made = found
    else:
        raise ValueError(f"it holds a {type(found).__name__} instead of arrays")
    known[id(found)] = made
    return made

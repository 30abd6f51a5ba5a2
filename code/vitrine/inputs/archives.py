"""The tensors of a TorchScript archive, read without running what the archive holds.

OpenAI publishes CLIP as TorchScript: a ZIP file with code, an object tree pickled in ``data.pkl``,
and the bytes of each tensor in ``data/``. ``torch.jit.load`` would compile the code; all that is
needed here are the tensors. They are read with an unpickler that can build tensors, containers and
attribute holders and nothing else; whatever else the tree names is refused.
"""

from __future__ import annotations

import collections
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrine.errors import SourceError


class _Holder:
    """Stands in for a scripted module: it keeps attributes and does nothing."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.attributes = state


def read_archive(path: Path) -> dict[str, Tensor]:
    """The tensors of a TorchScript archive by dotted name. Raises ``SourceError``."""
    try:
        with zipfile.ZipFile(path) as archive:
            root = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            folder = root.removesuffix("data.pkl")
            with archive.open(root) as stream:
                tree = _Unpickler(stream, archive, folder).load()
    except Exception as error:
        raise SourceError(
            f"The archive {path} cannot be read as plain tensors ({error or type(error).__name__})",
            "Delete it and fetch it again; a file that runs code when loaded is refused",
        ) from error
    found: dict[str, Tensor] = {}
    _gather(tree, "", found)
    return found


def _gather(part: Any, prefix: str, found: dict[str, Tensor]) -> None:
    if isinstance(part, Tensor):
        found[prefix] = part
    elif isinstance(part, _Holder):
        for name, inner in getattr(part, "attributes", {}).items():
            _gather(inner, f"{prefix}.{name}" if prefix else name, found)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: Any, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(stream)
        self._archive = archive
        self._folder = folder
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Holder
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, identity: Any) -> Tensor:
        kind, dtype, key, _location, _count = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"it names an object of the kind {kind}")
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._folder}data/{key}"))
            self._storages[key] = torch.frombuffer(content, dtype=dtype)
        return self._storages[key]


def _rebuild(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_others: Any
) -> Tensor:
    """A tensor over a storage; torch checks that it lies within."""
    return storage.as_strided(size, stride, offset)


_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}

_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch.jit._pickle", "build_intlist"): list,
    ("torch.jit._pickle", "build_doublelist"): list,
    ("torch.jit._pickle", "build_boollist"): list,
    ("torch.jit._pickle", "build_tensorlist"): list,
}

"""Embeddings: unit vectors of texts and images, computed once and kept in the cache."""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vitrine.data.concepts import Concepts
from vitrine.data.images import Image
from vitrine.files import RIGHT_TO_CACHE, write_atomically
from vitrine.project import Project

Embeddings = npt.NDArray[np.float32]
"""``float32 [n, d]``, each row of length 1."""

OnTexts = Callable[[int], None]
"""Called with the number of texts or images just encoded."""

TEXTS_AT_ONCE = 256


class TextEncoder(Protocol):
    """What places texts."""

    @property
    def identity(self) -> str:
        """A digest of everything that its embeddings depend on besides their input."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Embeddings: ...


class Encoder(TextEncoder, Protocol):
    """What every row of ``ENCODERS`` makes."""

    def encode_images(self, images: Sequence[Image]) -> Embeddings: ...


def unit(vectors: npt.NDArray[Any]) -> Embeddings:
    """Vectors ``[n, d]`` scaled to length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def text_embeddings(
    project: Project, encoder: TextEncoder, concepts: Concepts, progress: OnTexts = lambda _: None
) -> Embeddings:
    """The embeddings of a concept list; from the cache if they were computed before."""

    words = concepts.words

    def compute() -> Embeddings:
        parts = []
        for start in range(0, len(words), TEXTS_AT_ONCE):
            parts.append(encoder.encode_texts(words[start : start + TEXTS_AT_ONCE]))
            progress(len(parts[-1]))
        return np.concatenate(parts)

    return cached(project, [encoder.identity, "texts", concepts.digest], len(words), compute)


def _cache_path(project: Project, known: list[str]) -> Path:
    digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()
    return project.cache / "embeddings" / f"{digest}.npy"


def read_embeddings(project: Project, known: list[str], rows: int) -> Embeddings | None:
    """Embeddings ``[rows, d]`` from the cache; ``None`` where they are not in it, or damaged.

    known : everything that they depend on.
    """
    try:
        found: Embeddings = np.load(_cache_path(project, known), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.ndim == 2 and len(found) == rows and found.dtype == np.float32 else None


def write_embeddings(project: Project, known: list[str], found: Embeddings) -> None:
    """Keep embeddings in the cache. Raises ``Unwritten`` if it cannot be written."""
    stream = io.BytesIO()
    np.save(stream, found)
    write_atomically(_cache_path(project, known), stream.getvalue(), RIGHT_TO_CACHE)


def cached(
    project: Project, known: list[str], rows: int, compute: Callable[[], Embeddings]
) -> Embeddings:
    """Embeddings ``[rows, d]`` from the cache; computed and kept if they are not in it."""
    if (found := read_embeddings(project, known, rows)) is not None:
        return found
    computed = compute()
    write_embeddings(project, known, computed)
    return computed

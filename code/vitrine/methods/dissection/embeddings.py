"""Embeddings: unit vectors of texts and images, computed once and kept in the cache."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vitrine.data.concepts import Concepts
from vitrine.data.images import Image
from vitrine.errors import SourceError, unwritten
from vitrine.files import write_atomically
from vitrine.project import Project

Embeddings = npt.NDArray[np.float32]
"""``float32 [n, d]``, each row of length 1."""

Progress = Callable[[int], None]
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
    project: Project, encoder: TextEncoder, concepts: Concepts, progress: Progress = lambda _: None
) -> Embeddings:
    """The embeddings of a concept list; from the cache if they were computed before."""

    words = concepts.words
    batches = (words[at : at + TEXTS_AT_ONCE] for at in range(0, len(words), TEXTS_AT_ONCE))
    known = [encoder.identity, "texts", concepts.digest]
    return cached(project, known, len(words), lambda: _all(encoder.encode_texts, batches, progress))


def image_embeddings(
    project: Project,
    encoder: Encoder,
    digests: Sequence[str],
    batches: Callable[[], Any],
    progress: Progress = lambda _: None,
) -> Embeddings:
    """The embeddings of a probing set; from the cache if they were computed before.

    digests : the SHA-256 of every image's file and its name, in order.
    batches : gives the images, some at a time; called only if they are needed.
    """
    known = [encoder.identity, "images", *digests]
    return cached(
        project, known, len(digests), lambda: _all(encoder.encode_images, batches(), progress)
    )


def _all(
    encode: Callable[[Any], Embeddings], batches: Iterable[Any], progress: Progress
) -> Embeddings:
    parts = []
    for batch in batches:
        parts.append(encode(batch))
        progress(len(parts[-1]))
    return np.concatenate(parts)


def cached(
    project: Project, known: list[str], rows: int, compute: Callable[[], Embeddings]
) -> Embeddings:
    """Embeddings ``[rows, d]`` from the cache; computed and kept if they are not in it.

    known : everything that they depend on. Raises ``SourceError`` if the cache cannot be written.
    """
    digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()
    path = project.cache / "embeddings" / f"{digest}.npy"
    try:
        found: Embeddings = np.load(path, allow_pickle=False)
        if found.ndim == 2 and len(found) == rows and found.dtype == np.float32:
            return found
    except (OSError, ValueError, EOFError):
        pass  # not there, or damaged: computed again
    computed = compute()
    stream = io.BytesIO()
    np.save(stream, computed)
    try:
        write_atomically(path, stream.getvalue())
    except OSError as error:
        raise SourceError(
            f"The cache folder {path.parent} cannot be written ({error.strerror})",
            unwritten(
                error,
                "Give yourself the right to write there, or set VITRINE_CACHE to another folder",
            ),
        ) from error
    return computed

"""Concept lists: the words that units of a network may be labelled with."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vitrine.data import sources
from vitrine.errors import StudyError, suggestion
from vitrine.project import Project

CONCEPT_SOURCE = "clip-dissect"


@dataclass(frozen=True)
class ConceptList:
    """A row of ``CONCEPT_LISTS``: a file of the source ``clip-dissect``, and how a line is read."""

    title: str
    file: str
    concept: Callable[[str], str] = str.strip


def places_category(line: str) -> str:
    """The name of a category of Places365.

    >>> places_category("/a/apartment_building/outdoor 8")
    'apartment building, outdoor'
    """
    path = line.strip().split(" ")[0].split("/", 2)[-1]
    return path.replace("_", " ").replace("/", ", ")


CONCEPT_LISTS: dict[str, ConceptList] = {
    "20k": ConceptList("The 20,000 most common English words", "20k.txt"),
    "10k": ConceptList("The 10,000 most common English words", "10k.txt"),
    "3k": ConceptList("3,000 common English words", "3k.txt"),
    "broden": ConceptList("The labels of Broden", "broden_labels_clean.txt"),
    "imagenet": ConceptList("The classes of ImageNet", "imagenet_labels.txt"),
    "places365": ConceptList(
        "The categories of Places365", "categories_places365.txt", places_category
    ),
}


@dataclass(frozen=True)
class Concepts:
    """A concept list, cleaned.

    cleaned : what was cleaned, in words; empty if nothing was.
    digest : SHA-256 of the cleaned words, which is what embeddings are cached under.
    """

    name: str
    words: tuple[str, ...]
    cleaned: str

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()


def read_concepts(project: Project, named: str) -> Concepts:
    """The concept list called ``named`` in ``CONCEPT_LISTS``, or any text file, one a line.

    A file's path is relative to the project's root. Raises ``StudyError`` for a list that is
    unknown, unreadable or empty, and ``SourceError`` where it cannot be fetched.
    """
    row = CONCEPT_LISTS.get(named, ConceptList(named, named))
    return clean(named, concept_file(project, named), row.concept)


def concept_file(project: Project, named: str) -> Path:
    """The file of a concept list; fetched if it is one of ``CONCEPT_LISTS``."""
    if named in CONCEPT_LISTS:
        return sources.fetch_one(project, CONCEPT_SOURCE, CONCEPT_LISTS[named].file)
    path = project.root / named
    if not os.path.isfile(path):
        raise StudyError(
            f"There is no concept list {named!r}, and no such file",
            suggestion(named, sorted(CONCEPT_LISTS), "The lists are")
            + "; or name a text file in the project",
        )
    return path


def clean(named: str, path: Path, concept: Callable[[str], str] = str.strip) -> Concepts:
    """Read a list: one concept a line, without blanks, repetitions and stray spaces.

    UTF-8 with or without a byte-order mark, UTF-16 with one, or else Latin-1. Raises
    ``StudyError`` if no concept is left, or the file is none of text.
    """
    text, encoding = _decoded(path)
    lines = text.splitlines()
    found = [" ".join(concept(line).split()) for line in lines]
    filled = [word for word in found if word]
    words = tuple(dict.fromkeys(filled))
    if not words:
        raise StudyError(
            f"The concept list {named!r} has no concepts", "Write one concept on each line"
        )
    notes = [
        (len(lines) - len(filled), "blank lines left out"),
        (len(filled) - len(words), "repetitions left out"),
    ]
    said = [f"{count} {what}" for count, what in notes if count]
    if encoding != "UTF-8":
        said.append(f"read as {encoding}")
    return Concepts(named, words, ", ".join(said))


def _decoded(path: Path) -> tuple[str, str]:
    """The text of a file, and the encoding that it has."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StudyError(
            f"{path} cannot be read ({error.strerror})", "Give yourself the right to read it"
        ) from error
    for mark, codec, name in (
        (b"\xef\xbb\xbf", "utf-8-sig", "UTF-8 with a byte-order mark"),
        (b"\xff\xfe", "utf-16", "UTF-16"),
        (b"\xfe\xff", "utf-16", "UTF-16"),
        (b"", "utf-8", "UTF-8"),
    ):
        if content.startswith(mark):
            try:
                text = content.decode(codec)
            except UnicodeDecodeError:
                break
            if "\0" not in text:
                return text, name
    if b"\0" in content:
        raise StudyError(f"{path} is not a text file", "Name a text file with one concept a line")
    return content.decode("latin-1"), "Latin-1"


def training_classes(project: Project, training_set: str) -> tuple[str, ...]:
    """The classes of a training set, in order, each with all its names: ``"tench, Tinca tinca"``.

    None for a training set whose classes stand in no list.
    """
    known = {"ImageNet": "imagenet", "Places365": "places365"}.get(training_set)
    return read_concepts(project, known).words if known else ()

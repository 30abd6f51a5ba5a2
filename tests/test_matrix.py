"""The report follows the study: the whole book for tiny studies that differ in every way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from matrix import MATRIX, NETWORKS, compute, set_up
from vitrine.book.freeze import freeze
from vitrine.models.registry import CLASSIFIERS
from vitrine.project import Project
from vitrine.store import Store

UNSAID = re.compile(
    r"\bnan\b|\bNone\b(?! stated)|\bno of\b|\(none\)|\b\w+Error\b|\b[Nn]o a\b|\bTraceback\b"
)
"""What no page may say."""

SEEN = (
    "terrier|coot|racer|flamingo|magnolia|goldfish|shark|vulture|iguana|triceratops|chimney|"
    "EfficientNet|ten images|eleven images|twelve"
)
"""What a page could only know from a study of ours."""

CITING = ("published", "methods")
"""The chapters that cite what others found and what was timed, on networks and images of theirs."""


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return set_up(tmp_path_factory.mktemp("matrix"))


@pytest.mark.parametrize("name", MATRIX)
def test_the_book_follows_the_study(
    book: Project, name: str, monkeypatch: pytest.MonkeyPatch, mirror: Path
) -> None:
    monkeypatch.setenv("VITRINE_MIRROR", str(mirror))
    compute(book, name, monkeypatch)
    freeze(book, formats=("html",))
    titles = {CLASSIFIERS[network].title for network in NETWORKS}
    own = _titles(book, name)
    for path in sorted(book.freeze.rglob("html.json")):
        chapter = path.parent.parent.name
        said = _prose(path.read_text(encoding="utf-8").encode().decode("unicode_escape"))
        found = UNSAID.search(said)
        assert not found, f"{chapter}: {said[max(0, found.start() - 80) : found.end() + 80]}"
        if chapter in CITING:
            continue
        for word in (*SEEN.split("|"), *(titles - own)):
            assert not re.search(rf"\b{re.escape(word)}\b", said), f"{chapter}: {word}"


def _titles(book: Project, name: str) -> set[str]:
    """The titles of a study's networks, explained or dissected."""
    networks = Store(book, name).provenance()["networks"]
    return {CLASSIFIERS[network].title for network in networks}


def _prose(markdown: str) -> str:
    """What a reader reads of a page: no code, no charts, no addresses."""
    text = re.sub(r"^(`{3,})\s*\{(?:\.python|=html|=typst).*?^\1", "", markdown, flags=re.M | re.S)
    text = re.sub(r"\]\([^)]*\)|\{[^{}]*\}", "]", text)
    return text.replace("\\", "")

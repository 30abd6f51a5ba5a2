"""The report follows the study: the whole book for tiny studies that differ in every way."""

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import pypdf
import pytest

from matrix import MATRIX, NETWORKS, UNSAID, compute, know_networks, said, set_up
from vitrine.book.freeze import freeze
from vitrine.book.render import render
from vitrine.models.registry import CLASSIFIERS
from vitrine.project import Project
from vitrine.store import Store

SEEN = (
    "terrier|coot|racer|flamingo|magnolia|goldfish|shark|vulture|iguana|triceratops|chimney|"
    "EfficientNet|ten images|eleven images|twelve"
)
"""What a page could only know from a study of ours."""

CITING = ("published", "methods")
"""The chapters that cite what others found and what was timed, on networks and images of theirs."""

PRINTED = ("three",)
"""The studies of which the PDF is made as well."""


@pytest.fixture(scope="module")
def books(
    tmp_path_factory: pytest.TempPathFactory, mirror: Path
) -> Iterator[dict[str, Future[Project]]]:
    """The studies, frozen and rendered: the book of one while the next is computed."""
    folder = tmp_path_factory.mktemp("matrix")
    with (
        pytest.MonkeyPatch.context() as patch,
        ThreadPoolExecutor(1) as showing,
        ThreadPoolExecutor(1) as computing,
    ):
        patch.setenv("VITRINE_MIRROR", str(mirror))
        patch.setenv("VITRINE_CACHE", str(folder / "cache"))
        know_networks(patch)
        computed = {name: computing.submit(compute, set_up(folder / name), name) for name in MATRIX}
        shown = {name: showing.submit(_shown, name, done) for name, done in computed.items()}
        wait(shown.values())  # a test's own environment has no mirror
        yield shown


def _shown(name: str, computed: Future[Project]) -> Project:
    project, printed = computed.result(), name in PRINTED
    freeze(project, formats=("html", "typst") if printed else ("html",))
    render(project, renderer="bundled", formats=("html", "pdf") if printed else ("html",))
    return project


@pytest.mark.parametrize("name", MATRIX)
def test_the_book_follows_the_study(books: dict[str, Future[Project]], name: str) -> None:
    project = books[name].result()
    networks = Store(project, name).provenance()["networks"]
    own = {CLASSIFIERS[network].title for network in networks}
    foreign = {CLASSIFIERS[network].title for network in NETWORKS} - own
    pages = sorted(project.site.rglob("*.html"))
    listed = (project.root / "_quarto.yml").read_text(encoding="utf-8")
    assert len(pages) == len(re.findall(r"^ +- \S+\.qmd", listed, re.MULTILINE))
    for page in pages:
        words = said(page)
        assert len(words) > 1000
        _check(page.stem, words, foreign)
    for path in project.site.glob("*.pdf"):
        reader = pypdf.PdfReader(path)
        assert not UNSAID.search(_before_references(reader))
    assert bool(list(project.site.glob("*.pdf"))) == (name in PRINTED)


def _check(page: str, words: str, foreign: set[str]) -> None:
    found = UNSAID.search(words)
    assert not found, f"{page}: {words[max(0, found.start() - 80) : found.end() + 80]}"
    if page not in CITING:
        for word in (*SEEN.split("|"), *foreign):
            assert not re.search(rf"\b{re.escape(word)}\b", words), f"{page}: {word}"


def _before_references(reader: pypdf.PdfReader) -> str:
    """What the pages of a PDF say, without its bibliography."""
    text = " ".join(page.extract_text() for page in reader.pages)
    return text[: text.rindex("References")] if "References" in text else text

"""Pandoc with the book's Lua filter, and where in a chapter stands what it refuses."""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pypandoc

from vitrine.book.chapter import Chapter, Prose
from vitrine.errors import ChapterError

FILTER = Path(__file__).with_name("filter.lua")

# Pandoc reads tags like <b> as raw HTML as well, which would be lost in the PDF: raw blocks that
# name their format are renamed, so that the filter can tell the two apart.
_EXPLICIT_HTML = "{=html-as-written}"

# What the filter refuses comes out of Lua's error as JSON between two of these.
_REFUSAL = re.compile("\x01(.*)\x01", re.DOTALL)
# The pandoc that comes with the Python package.
_PANDOC = cache(pypandoc.get_pandoc_path)
# Repeated identifiers are found on the written pages.
_CHECKED_LATER = "[WARNING] Duplicate identifier"

_WRITERS = {
    "html": (
        "--to=html5", "--mathml", "--email-obfuscation=none", "--syntax-highlighting=pygments",
    ),
    "typst": ("--to=typst", "--syntax-highlighting=idiomatic"),
}  # fmt: skip


def run(
    arguments: Sequence[str],
    text: str,
    chapters: Sequence[Chapter] = (),
    settings: Mapping[str, Any] | None = None,
) -> str:
    """What Pandoc writes for ``text``; with ``settings``, through the book's filter.

    Raises ``ChapterError`` with the place in ``chapters`` for what the filter refuses, and with
    Pandoc's words for an error or a warning: something would come out other than written.
    """
    environment = {**os.environ, "VITRINE": json.dumps(settings)} if settings else None
    done = subprocess.run(
        [_PANDOC(), *arguments],
        input=text.encode(),
        capture_output=True,
        check=False,
        env=environment,
    )
    said = done.stderr.decode(errors="replace")
    if refusal := _REFUSAL.search(said):
        found = json.loads(refusal.group(1))
        refuse(chapters, found["problem"], found["remedy"], found["near"], found["within"])
    lines = [line for line in said.splitlines() if not line.startswith(_CHECKED_LATER)]
    if done.returncode or "".join(lines).strip():
        names = chapters[0].name if len(chapters) == 1 else "the book"
        raise ChapterError(
            f"{names}: pandoc says: {' '.join(lines).strip()}", "Correct the text it names"
        )
    return done.stdout.decode()


def read(markdown: str, chapter: Chapter, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A chapter's executed Markdown as Pandoc's document (JSON), after the filter's first run."""
    text = markdown.replace("\r\n", "\n").replace("{=html}", _EXPLICIT_HTML)
    before = [f"--lua-filter={settings['before']}"] if settings["before"] else []
    options = ["--from=markdown", "--to=json", *before, f"--lua-filter={FILTER}"]
    return dict(json.loads(run(options, text, [chapter], settings)))


def write(
    document: Mapping[str, Any],
    target: str,
    chapters: Sequence[Chapter],
    settings: Mapping[str, Any],
    options: Sequence[str] = (),
) -> str:
    """A document as HTML or Typst, after the filter's second run; ``options`` are Pandoc's."""
    arguments = [*_WRITERS[target], "--wrap=none", "--from=json", f"--lua-filter={FILTER}"]
    return run([*arguments, *options], json.dumps(document), chapters, settings)


def citation_keys(bibliography: Sequence[Path]) -> list[str]:
    """The keys that may be cited."""
    keys: list[str] = []
    for path in bibliography:
        reader = {".bib": "biblatex", ".json": "csljson"}.get(path.suffix)
        if reader is None:
            raise ChapterError(
                f"{path.name} is not a bibliography that can be read", "Use a .bib or .json file"
            )
        text = path.read_text(encoding="utf-8")
        keys += [str(item["id"]) for item in json.loads(run(["-f", reader, "-t", "csljson"], text))]
    return keys


def refuse(
    chapters: Sequence[Chapter],
    problem: str,
    remedy: str,
    near: Sequence[str],
    within: Sequence[str] = (),
) -> NoReturn:
    """Raise ``ChapterError`` at the first line with one of the texts ``near``.

    What only the output of a cell contains has no line: the error then names the nearest thing
    around it that has one, the label of the cell or the heading (``within``, nearest first).
    """
    place = find(chapters, near)
    around = next((text for text in within if text and find(chapters, [text])), "")
    if not place and around:
        place = f"{find(chapters, [around])} (in or after {around!r})"
    raise ChapterError(f"{place or ', '.join(c.name for c in chapters)}: {problem}", remedy)


def find(chapters: Sequence[Chapter], texts: Sequence[str]) -> str:
    """``file:line`` of the first of ``texts`` that stands in the chapters, or ``""``."""
    for text in filter(None, texts):
        start, end = (r"(?<![\w-])" if text[0].isalnum() else ""), text[-1].isalnum()
        expression = re.compile(start + re.escape(text) + (r"(?![\w-])" if end else ""))
        lines = (line for chapter in chapters for line in _lines(chapter))
        place = next((place for place, line in lines if expression.search(line)), "")
        if place:
            return place
    return ""


def _lines(chapter: Chapter) -> Iterator[tuple[str, str]]:
    """Place and text of every line: the prose first, then the cells, then the front matter."""
    prose = [b for b in chapter.blocks if isinstance(b, Prose) and not b.raw]
    for first, text in [*((block.line, block.text) for block in prose), (1, chapter.text)]:
        for number, line in enumerate(text.split("\n"), start=first):
            yield f"{chapter.name}:{number}", line

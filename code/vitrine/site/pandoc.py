"""Pandoc: Markdown to a document tree, and trees to HTML and Typst."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import panflute as pf
import pypandoc

from vitrine.errors import ChapterError, VitrineError

# Pandoc's Markdown, which is Quarto's. Tags like <b> are read (so that they can be refused);
# raw blocks that name their format are renamed first, to tell the two apart.
READER = "markdown"
EXPLICIT_HTML = "html-as-written"

# Panflute's own list is older than Typst.
pf.elements.RAW_FORMATS.update({"typst", EXPLICIT_HTML})

# Repeated identifiers are found, with file and line, when the whole book is known.
_CHECKED_LATER = "[WARNING] Duplicate identifier"

_WRITER_OPTIONS = {
    "html": (
        "--to=html5",
        "--mathml",
        "--email-obfuscation=none",
        "--syntax-highlighting=pygments",
    ),
    "typst": ("--to=typst", "--syntax-highlighting=idiomatic"),
}


@cache
def pandoc_path() -> str:
    """The pandoc that comes with the Python package ``pypandoc_binary``."""
    try:
        return str(pypandoc.get_pandoc_path())
    except OSError:
        raise VitrineError(
            "Pandoc is missing from the Python environment", "Install pypandoc_binary"
        ) from None


def parse(markdown: str, name: str) -> Any:
    """Pandoc's document tree (``panflute.Doc``) of a Markdown text; ``name`` is for errors."""
    text = markdown.replace("{=html}", "{=" + EXPLICIT_HTML + "}")
    output = _run(["--from", READER, "--to", "json"], text, name)
    try:
        return pf.load(io.StringIO(output))
    except TypeError as error:
        raise ChapterError(
            f"{name}: a raw block has an unknown format ({error})", "Use {=html} or {=typst}"
        ) from None


def parse_inlines(texts: Sequence[str]) -> list[list[Any]]:
    """Short Markdown texts (captions, titles) as lists of inline elements, in one call."""
    if not texts:
        return []
    doc = parse("\n\n".join(f"::: {{.text}}\n{' '.join(t.split())}\n:::" for t in texts), "caption")
    blocks = list(doc.content)
    result = []
    for text, block in zip(texts, blocks, strict=True):
        inner = list(block.content)
        if len(inner) > 1 or (inner and not isinstance(inner[0], (pf.Para, pf.Plain))):
            raise ChapterError(
                f"the caption or title {text!r} is not a single paragraph", "Shorten it"
            )
        result.append(list(inner[0].content) if inner else [])
    return result


def write(
    blocks: Sequence[Any],
    target: str,
    *,
    name: str = "document",
    bibliography: Sequence[Path] = (),
    csl: Path | None = None,
    link_citations: bool = False,
) -> str:
    """Blocks as an HTML fragment or as Typst markup; citations are resolved by citeproc.

    ``name`` is what an error calls the document. Raises ``ChapterError`` with Pandoc's words.
    """
    options = [*_WRITER_OPTIONS[target], "--wrap=none", "--from=json"]
    if bibliography:
        options += ["--citeproc", *(f"--bibliography={path}" for path in bibliography)]
        options += [f"--metadata=link-citations={str(link_citations).lower()}"]
    if csl:
        options += [f"--csl={csl}"]
    stream = io.StringIO()
    pf.dump(pf.Doc(*blocks), stream)
    return _run(options, stream.getvalue(), name)


def write_inlines(texts: Sequence[Sequence[Any]], target: str) -> list[str]:
    """Lists of inline elements as HTML or Typst, in one call."""
    if not texts:
        return []
    # A private-use character cannot come out of escaping, so it separates the texts safely.
    mark = "\ue000"
    blocks: list[Any] = []
    for inlines in texts:
        blocks += [pf.Plain(*inlines), pf.Plain(pf.Str(mark))]
    pieces = write(blocks, target).split(mark)
    return [piece.strip() for piece in pieces[: len(texts)]]


def citation_keys(bibliography: Sequence[Path]) -> set[str]:
    """The keys that may be cited."""
    keys: set[str] = set()
    for path in bibliography:
        reader = {".bib": "biblatex", ".json": "csljson"}.get(path.suffix)
        if reader is None:
            raise ChapterError(
                f"{path.name} is not a bibliography that can be read", "Use a .bib or .json file"
            )
        text = path.read_text(encoding="utf-8")
        items = json.loads(_run(["--from", reader, "--to", "csljson"], text, path.name))
        keys |= {str(item["id"]) for item in items}
    return keys


def _run(arguments: list[str], text: str, name: str) -> str:
    done = subprocess.run(
        [pandoc_path(), *arguments], input=text.encode(), capture_output=True, check=False
    )
    lines = done.stderr.decode(errors="replace").splitlines()
    messages = "\n".join(line for line in lines if not line.startswith(_CHECKED_LATER)).strip()
    # A warning means that something would come out other than written: that is an error here.
    if done.returncode or messages:
        raise ChapterError(f"{name}: pandoc says: {messages}", "Correct the text it names")
    return done.stdout.decode()

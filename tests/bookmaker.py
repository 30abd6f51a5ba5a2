"""Small books for the tests of the renderer: real files, real Pandoc, real Typst."""

import json
import re
import shutil
from dataclasses import dataclass
from hashlib import md5
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image
from pypdf import PdfReader

from vitrine.book.render import Rendered, render
from vitrine.errors import ChapterError
from vitrine.project import Project

REPOSITORY = Path(__file__).resolve().parent.parent

CONFIG = """\
project:
  type: book
  output-dir: _site
book:
  title: "A small book"
  subtitle: "On {testing} & $dollars"
  author: ["Ada Lovelace", "Łukasz <Ó>"]
  output-file: small
  chapters:
    - index.qmd
{chapters}
bibliography: references.bib
link-citations: true
number-sections: true
lang: en
format:
  html:
    toc: true
    code-fold: true
    code-summary: "Code"
  typst:
    toc: true
    papersize: a4
"""

BIBLIOGRAPHY = """\
@article{ribeiro2016,
  title = {Why Should {I} Trust You?}, author = {Ribeiro, Marco}, year = 2016, journal = {KDD}
}
"""

WHOLE = """\
---
subtitle: "How *far* it goes"
description: "A page with everything"
abstract: |
  In short, **much**.
---

# Everything {#sec-all}

See @fig-blue, [-@fig-blue], [Figures @fig-blue] and [-@fig-pair], @fig-pair-2, @tbl-small,
@sec-part, @sec-all, [the home page](../index.qmd) and [below](#sec-part).
As @ribeiro2016 said [@ribeiro2016].

![The caption of **blue**](../assets/blue.png){#fig-blue fig-alt="A blue plane" width=50%}

::: {#fig-pair layout-ncol=2}
![Left](../assets/blue.png){#fig-pair-1}

![Right](../assets/blue.png){#fig-pair-2}

Two planes
:::

| name | value |
|:-----|------:|
| a    |   1.5 |

: The caption of the table {#tbl-small}

## Part {#sec-part}

::: {.callout-note title="A *title*"}
Noted.
:::

::: {.callout-tip collapse="true"}
### From a heading
Folded.
:::

::: {.callout-warning appearance="simple"}
Simply.
:::

::: {.callout-important icon="false"}
Importantly.
:::

::: {.callout-caution appearance="minimal"}
Carefully.
:::

::: {.panel-tabset}
### First tab
In the first.

### Second tab
In the second.
:::

### Deeper

The end.
"""

OTHER = "# Other\n\n## Its part\n\nBack to @fig-blue and [all](all.qmd#deeper).\n"
"""Chapters with what has numbers, parts or a form of its own, and with what leads there."""

COPIED = ("page.html", "report.typ", "icon.svg", "page.css", "vitrine.css", "vitrine.js")
HOME = "# Home {.unnumbered}\n\nWelcome.\n"


def as_markdown(text: str) -> str:
    """Markdown that shows ``text`` as it is."""
    return re.sub(r"([^\w\s])", r"\\\1", text)


def text_of(pdf: Path | None) -> str:
    """The words of a PDF, with single spaces."""
    pages = "\n".join(page.extract_text() for page in PdfReader(pdf).pages)
    return re.sub(r"\s+", " ", pages.replace("\u00a0", " "))


def pages_of(site: Path) -> dict[Path, str]:
    """The pages of a site, as they are written."""
    return {path: path.read_text("utf-8") for path in site.resolve().rglob("*.html")}


def addresses(page: str) -> list[str]:
    """What a page loads, and what it leads to."""
    return [unescape(found) for found in re.findall(r'\s(?:href|src)="([^"]*)"', page)]


def missing(site: Path) -> list[str]:
    """The addresses of a site's pages that lead to no file of it, or to no place on a page."""
    pages = pages_of(site)
    places = {path: re.findall(r'\sid="([^"]*)"', page) for path, page in pages.items()}
    found = []
    for path, page in pages.items():
        assert len(places[path]) == len(set(places[path])), path
        for address in addresses(page):
            target = urlsplit(address)
            if target.scheme in ("http", "https", "mailto", "data"):
                continue
            file = (path.parent / unquote(target.path)).resolve() if target.path else path
            lost = target.fragment and unquote(target.fragment) not in places.get(file, [])
            if not file.is_file() or (lost and file in pages):
                found.append(address)
    return found


@dataclass
class Book:
    """A book in a folder; chapters are added with ``chapter``, in order."""

    root: Path
    chapters: list[str]

    @classmethod
    def at(cls, root: Path) -> "Book":
        book = cls(root, [])
        book.write("references.bib", BIBLIOGRAPHY)
        book.write("index.qmd", HOME)
        book.picture("assets/blue.png", (60, 40))
        for name in COPIED:
            shutil.copy(REPOSITORY / "assets" / name, root / "assets" / name)
        book.configure()
        return book

    @classmethod
    def whole(cls, root: Path) -> "Book":
        """A book with the chapters ``WHOLE`` and ``OTHER``."""
        book = cls.at(root)
        book.chapter("all", WHOLE)
        book.chapter("other", OTHER)
        return book

    @property
    def project(self) -> Project:
        return Project(self.root)

    @property
    def site(self) -> Path:
        return self.root / "_site"

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def picture(self, name: str, size: tuple[int, int]) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (20, 90, 160)).save(path)
        return path

    def configure(self, config: str = CONFIG) -> None:
        listed = "\n".join(f"    - {name}" for name in self.chapters)
        self.write("_quarto.yml", config.replace("{chapters}", listed))

    def chapter(self, name: str, text: str) -> None:
        """Add the chapter ``chapters/<name>.qmd``, or replace it."""
        path = f"chapters/{name}.qmd"
        self.write(path, text)
        if path not in self.chapters:
            self.chapters.append(path)
        self.configure()

    def freeze(self, name: str, html: str, typst: str | None = None) -> None:
        """Store executed Markdown of a chapter, as ``vitrine freeze`` or Quarto would."""
        source = (self.root / f"chapters/{name}.qmd").read_bytes().replace(b"\r\n", b"\n")
        for file, markdown in (("html.json", html), ("typ.json", html if typst is None else typst)):
            frozen = {"hash": md5(source).hexdigest(), "result": {"markdown": markdown}}
            self.write(f"_freeze/chapters/{name}/execute-results/{file}", json.dumps(frozen))

    def render(self, *formats: str) -> Rendered:
        return render(self.project, renderer="bundled", formats=formats or ("html", "pdf"))

    def assert_refused(self, said: str, target: str = "html") -> ChapterError:
        """Rendering for a format ends in this message."""
        with pytest.raises(ChapterError, match=said) as caught:
            self.render(target)
        return caught.value

    def page(self, name: str) -> str:
        """The HTML of ``index`` or of a chapter, rendered before."""
        folder = self.site if name == "index" else self.site / "chapters"
        return (folder / f"{name}.html").read_text(encoding="utf-8")

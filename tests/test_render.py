"""The bundled renderer: pages, numbers, links, search, and what it refuses."""

import json
import os
import re
import stat
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from pypdf import PdfReader

from bookmaker import CONFIG, Book, as_markdown, missing, text_of
from vitrine.book.freeze import freeze
from vitrine.book.render import render
from vitrine.errors import ChapterError, VitrineError


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book.at(tmp_path)


def page_of(book: Book, text: str, name: str = "one") -> str:
    """The page of a book's only chapter."""
    book.chapter(name, text)
    book.render("html")
    return book.page(name)


def body(page: str) -> str:
    return re.search(r"<main[^>]*>(.*)</main>", page, re.DOTALL)[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Book:
    book = Book.whole(tmp_path_factory.mktemp("whole"))
    book.render("html")
    return book


class TestWholePage:
    @pytest.mark.parametrize(
        "pattern",
        [
            r'id="fig-blue">\s*<img [^>]*alt="A blue plane"[^>]*>\s*<figcaption[^>]*>'
            r'<span class="caption-number">Figure\u00a01\.1:</span> The caption of <strong>blue<',
            r'<figure class="quarto-float quarto-float-fig" id="fig-pair">',
            r'id="fig-pair-2">.*?\(b\)</span> Right',
            r'id="tbl-small">.*?Table\u00a01\.1:.*<table.*scope="col"',
            r'<span class="header-section-number">1\.1\.1</span> Deeper',
            r'class="callout callout-note callout-style-default callout-titled"',
            r'<details class="callout callout-tip.*From a heading.*Folded',
            r'class="callout callout-warning callout-style-simple"',
            r"callout-important callout-style-default no-icon",
            r"callout-caution callout-style-simple no-icon",
            r'role="tablist".*role="tab" aria-controls="tabset-1-2" aria-selected="false"',
            r'id="tabset-1-2"[^>]*role="tabpanel"[^>]*data-title="Second tab"',
            r'href="#ref-ribeiro2016".*id="refs".*Ribeiro',
            r'rel="prev" href="\.\./index\.html".*rel="next" href="other\.html"',
            r'class="subtitle lead">How <em>far</em>.*class="abstract".*<strong>much</strong>',
        ],
    )
    def test_the_form_of(self, whole: Book, pattern: str) -> None:
        assert re.search(pattern, whole.page("all"), re.DOTALL)

    def test_references_read_like_their_targets(self, whole: Book) -> None:
        page = whole.page("all")
        for label, text in (
            ("fig-blue", "Figure\u00a01.1"),
            ("fig-blue", "1.1"),
            ("fig-blue", "Figures\u00a01.1"),
            ("fig-pair", "1.2"),
            ("fig-pair-2", "Figure\u00a01.2 (b)"),
            ("tbl-small", "Table\u00a01.1"),
            ("sec-part", "Section\u00a01.1"),
            ("sec-all", "Chapter\u00a01"),
        ):
            assert f'<a href="#{label}" class="quarto-xref">{text}</a>' in page
        other = whole.page("other")
        assert '<a href="all.html#fig-blue" class="quarto-xref">Figure\u00a01.1</a>' in other
        assert 'id="refs"' not in other

    def test_the_reader_knows_where_he_is(self, whole: Book) -> None:
        page = whole.page("all")
        assert page.count("<h1") == 1
        assert page.count('aria-current="page"') == 1
        assert 'href="all.html" aria-current="page"' in page
        contents = re.search(r'<nav class="page-toc".*?</nav>', page, re.DOTALL)[0]
        assert '<a href="#sec-part"' in contents and contents.count("<ul>") == 2

    def test_every_address_leads_somewhere_though_there_is_no_pdf(self, whole: Book) -> None:
        assert not missing(whole.site)

    def test_search_knows_every_section(self, whole: Book) -> None:
        script = (whole.site / "search.js").read_text()
        entries = json.loads(script.removeprefix("window.VITRINE_SEARCH = ").rstrip(";\n"))
        part = next(entry for entry in entries if entry["section"] == "Part")
        assert (part["page"], part["title"]) == ("chapters/all.html", "Everything")
        assert part["href"] == "chapters/all.html#sec-part"
        assert "In the second" in part["text"]

    def test_nothing_of_the_workshop_is_published(self, whole: Book) -> None:
        names = {path.name for path in whole.site.rglob("*")}
        assert "blue.png" in names
        assert not names & {"report.typ", "page.html"}


class TestCells:
    QMD = """\
# Cells

```{python}
#| label: fig-plot
#| fig-cap: "A plot"
plot()
```

```{python}
#| label: tbl-numbers
#| tbl-cap: "Numbers of *it*"
numbers()
```
"""
    FROZEN = """\
# Cells

::: {#cell-fig-plot .cell execution_count=1}
``` {.python .cell-code}
plot()
```

::: {#fig-plot .cell-output .cell-output-display .cell-output-markdown execution_count=1}
::: {.vitrine-chart}
![](cells_files/figure-html/plot.svg){fig-alt="A line that rises"}

``` {=html}
<div hidden class="vitrine-spec" data-source="cells_files/figure-html/plot-chart.js"></div>
```
:::

A plot
:::
:::

::: {#tbl-numbers .cell tbl-cap='Numbers of *it*' execution_count=2}
``` {.python .cell-code code-fold="show" code-summary="How"}
numbers()
```

::: {.cell-output .cell-output-display .cell-output-markdown execution_count=2}
::: {.vitrine-table}
| a | b |
|---|--:|
| 1 | 2 |

[Download as CSV](cells_files/figure-html/numbers.csv){.vitrine-download download="numbers.csv"}
:::
:::
:::

See @fig-plot and @tbl-numbers.
"""

    @pytest.fixture
    def cells(self, book: Book) -> Book:
        book.chapter("cells", self.QMD)
        book.freeze("cells", self.FROZEN, "# Cells\n\n::: {#fig-plot}\nx\n:::\n")
        figures = "_freeze/chapters/cells/figure-html"
        svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'
        book.write(f"{figures}/plot.svg", svg)
        book.write(f"{figures}/numbers.csv", "a,b\n1,2\n")
        book.write("assets/vega.js", "window.vegaEmbed = null;\n")
        return book

    def test_outputs_are_floats_with_their_code_before_them(self, cells: Book) -> None:
        cells.render("html")
        page = cells.page("cells")
        assert '<details class="code-fold"><summary>Code</summary>' in page
        assert '<details class="code-fold" open><summary>How</summary>' in page
        assert 'src="cells_files/figure-html/plot.svg" alt="A line that rises"' in page
        assert (cells.site / "chapters/cells_files/figure-html/plot.svg").is_file()
        table = re.search(r'<figure [^>]*id="tbl-numbers">.*?</figure>', page, re.DOTALL)[0]
        assert "Numbers of <em>it</em>" in table and "vitrine-download" in table
        assert "numbers()" not in table

    def test_charts_bring_the_vega_bundle(self, cells: Book) -> None:
        cells.render("html")
        assert (cells.site / "assets/vega.js").is_file()
        cells.chapter("cells", "# Cells\n\nNo chart.\n")
        cells.render("html")
        assert not (cells.site / "assets/vega.js").exists()

    @pytest.mark.parametrize(
        ("gone", "problem"),
        [
            ("assets/vega.js", r"assets/vega\.js is missing.*vitrine freeze"),
            ("execute-results/html.json", r"chapters/cells\.qmd .* `vitrine freeze`"),
            ("figure-html/plot.svg", r"fig-plot.*plot\.svg does not exist"),
        ],
    )
    def test_what_is_missing_is_named(self, cells: Book, gone: str, problem: str) -> None:
        home = cells.root if gone.startswith("assets") else cells.root / "_freeze/chapters/cells"
        (home / gone).unlink()
        cells.assert_refused(problem)

    def test_a_stale_freeze_is_not_shown(self, cells: Book) -> None:
        cells.chapter("cells", self.QMD + "\nOne more sentence.\n")
        cells.assert_refused(r"was changed since .* `vitrine freeze`")

    def test_line_ends_do_not_make_a_freeze_stale(self, cells: Book) -> None:
        path = cells.root / "chapters/cells.qmd"
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        cells.render("html")

    @pytest.mark.parametrize("text", ["", "{", '{"hash": 1}', '{"hash": "x", "result": []}'])
    def test_a_damaged_freeze_is_an_error(self, cells: Book, text: str) -> None:
        cells.write("_freeze/chapters/cells/execute-results/html.json", text)
        cells.assert_refused(r"html\.json is damaged")

    def test_errors_in_output_name_the_cell(self, cells: Book) -> None:
        cells.freeze("cells", self.FROZEN.replace(".vitrine-table", ".unheard-of"))
        cells.assert_refused(r"qmd:10 \(in or after 'tbl-numbers'\): .*unheard-of")

    def test_parts_of_a_figure_from_a_cell(self, cells: Book) -> None:
        cells.freeze(
            "cells",
            """\
# Cells

::: {#fig-two .cell layout-ncol=2 execution_count=1}
``` {.python .cell-code}
plot()
```

::: {.cell-output .cell-output-display}
![One](cells_files/figure-html/plot.svg){#fig-two-1 fig-alt='1'}
:::

::: {.cell-output .cell-output-display}
![Two](cells_files/figure-html/plot.svg){#fig-two-2 fig-alt='2'}
:::

Both
:::

See @fig-two-2.
""",
        )
        cells.render("html")
        page = cells.page("cells")
        assert "Figure\u00a01.1 (b)</a>" in page
        assert page.count("quarto-layout-cell") == 2
        assert page.index("plot") < page.index('id="fig-two"')


IMAGE = "../assets/blue.png"

# What is shown in both formats: each holds the word Marker.
SHOWN = {
    "callout": "::: {.callout-note}\nMarker\n:::",
    "callout with a title": '::: {.callout-tip title="Marker *of* it" icon="false"}\nx\n:::',
    "folded callout": '::: {.callout-note collapse="true"}\n## Marker\nx\n:::',
    "simple callout": '::: {.callout-caution appearance="simple"}\nMarker\n:::',
    "minimal callout": '::: {.callout-important appearance="minimal"}\nMarker\n:::',
    "warning": '::: {.callout-warning collapse="false"}\nMarker\n:::',
    "tab's title": "::: {.panel-tabset}\n### Marker\nx\n\n### Two\ny\n:::",
    "second tab": "::: {.panel-tabset}\n### One\nx\n\n### Two\nMarker\n:::",
    "footnote": "A.[^a]\n\n[^a]: Marker *it*.",
    "inline footnote": "A.^[Marker]",
    "figure": f"![Marker]({IMAGE}){{#fig-x fig-alt='y'}}",
    "figure around text": f"::: {{#fig-x}}\n![]({IMAGE})\n\nMarker\n:::",
    "sub-caption": f"::: {{#fig-x layout-ncol=2}}\n![Marker]({IMAGE}){{#fig-x-1}}\n\n"
    f"![y]({IMAGE}){{#fig-x-2}}\n\nBoth\n:::",
    "table": "| a |\n|---|\n| Marker |",
    "table's caption": "| a |\n|---|\n| 1 |\n\n: Marker {#tbl-x}",
    "table in a float": "::: {#tbl-x tbl-cap='Marker'}\n| a |\n|---|\n| 1 |\n:::",
    "table without a header": "|   |\n|---|\n| Marker |",
    "wide": "::: {.column-page}\nMarker\n:::",
    "own class": "::: {.vitrine-table}\n[Marker]{.vitrine-x}\n:::",
    "labelled block": "::: {#place}\nMarker\n:::\n\n[x](#place)",
    "quote": "> Marker",
    "list": "1. one\n   - Marker",
    "task": "- [x] Marker",
    "definition": "Term\n: Marker",
    "term": "Marker\n: x",
    "lines": "| Marker\n| y",
    "example list": "(@) Marker",
    "code": "```python\nMarker = 1\n```",
    "inline code": "`Marker`{.python}",
    "span": "[Marker]{.smallcaps} [x]{.underline} [y]{.mark}",
    "sub- and superscript": "x^Marker^ H~2~O",
    "struck out": "~~Marker~~",
    "mathematics": "$\\text{Marker}$",
    "unlisted heading": "## Marker {.unnumbered .unlisted}",
    "heading": "#### Marker",
    "link": "[Marker](https://example.org)",
    "link to a file": "[Marker](../data.csv){download='data.csv'}",
    "emphasis": "*[Marker]{.mark}* **x**",
    "escapes": "\\<Marker\\>",
    "a written shortcode": "`{{{< Marker >}}}`",
}

REFUSED = {
    "div class": ("::: {.strange}\nx\n:::", "unknown class strange"),
    "div attribute": ("::: {.column-page data-x=1}\nx\n:::", "unknown attribute data-x"),
    "callout type": ("::: {.callout-danger}\nx\n:::", "unknown callout type danger"),
    "callout attribute": ("::: {.callout-note colour=red}\nx\n:::", "unknown attribute colour"),
    "callout appearance": ('::: {.callout-note appearance="big"}\nx\n:::', "appearance cannot be"),
    "shortcode": ("{{< video x.mp4 >}}", "shortcodes are not supported"),
    "shortcode in a sentence": ("A {{< meta title >}}.", "shortcodes are not supported"),
    "shortcode in a title": ("## {{< fa bell >}}", "shortcodes are not supported"),
    "shortcode in a link": ("[x]({{< meta url >}})", "shortcodes are not supported"),
    "diagram": ("```{mermaid}\ngraph\n```", "was not executed"),
    "cell option": ("```{python}\n#| strange: 1\n1\n```", "'strange' is not known"),
    "cell language": ("```{r}\n1\n```", "was not executed"),
    "expression": ("Inline `{python} 1` alone.", "was not executed"),
    "figure reference": ("See @fig-nowhere.", "@fig-nowhere leads nowhere"),
    "capital reference": ("See @Sec-nowhere.", "@Sec-nowhere leads nowhere"),
    "unnumbered section": ("## A {.unnumbered #sec-a}\n\n@sec-a", "section without a number"),
    "text after a reference": ("[see @sec-x for more]\n\n## X {#sec-x}", "would be lost"),
    "references among citations": ("[@sec-x; @ribeiro2016]\n\n## X {#sec-x}", "mixes references"),
    "equation reference": ("See @eq-one.", "references like @eq-one are not supported"),
    "equation": ("$$x$$ {#eq-one}", "labels like eq-one are not supported"),
    "theorem": ("::: {#thm-one}\nx\n:::", "labels like thm-one are not supported"),
    "citation": ("As [@nobody1999] said.", "nobody1999 is not in the bibliography"),
    "label twice": ("## A {#sec-a}\n\n## B {#sec-a}", "label sec-a is used twice"),
    "picture without text": (f"![]({IMAGE})", "no alternative text"),
    "picture from elsewhere": ("![x](https://example.org/x.png){#fig-x}", "from another host"),
    "picture attribute": (f"![]({IMAGE}){{fig-alt='x' zoom=1}}", "unknown attribute zoom"),
    "caption without label": (f"![Caption]({IMAGE})", "has a caption but no label"),
    "table without label": ("| a |\n|---|\n| 1 |\n\n: Caption", "has a caption but no label"),
    "cell without label": (
        "::: {.cell tbl-cap='C'}\n| a |\n|---|\n| 1 |\n:::",
        "has a caption but no label",
    ),
    "caption of another kind": ("::: {#fig-x tbl-cap='C'}\nx\n:::", "has a caption but no label"),
    "empty float": ("::: {#fig-x}\n:::", "fig-x is empty"),
    "chapter link": ("[x](nowhere.qmd)", "nowhere.qmd does not exist"),
    "unsafe link": ("[x](javascript:alert%281%29)", "links to javascript: are not allowed"),
    "HTML tag": ("A <b>bold</b> word.", "stands outside a raw block"),
    "HTML block": ("<table><tr><td>x</td></tr></table>", "stands outside a raw block"),
    "HTML div": ('<div class="strange">\nx\n</div>', "unknown class strange"),
    "LaTeX": ("A \\emph{word}.", "raw tex is not supported"),
    "raw format": ("```{=latex}\nx\n```", "raw latex is not supported"),
    "condition": ('::: {.content-visible when-format="html"}\nx\n:::', "class content-visible"),
    "condition in a sentence": ("[x]{.content-hidden}", "unknown class content-hidden"),
    "margin": ("::: {.column-margin}\nx\n:::", "unknown class column-margin"),
    "aside": ("[x]{.aside}", "unknown class aside"),
    "layout": ('::: {layout="[[1,1]]"}\nx\n\ny\n:::', "unknown attribute layout"),
    "layout in rows": ("::: {layout-nrow=2}\nx\n\ny\n:::", "unknown attribute layout-nrow"),
    "columns": ("::: {.columns}\n::: {.column width=50%}\nx\n:::\n:::", "unknown class column"),
    "layout columns": ("::: {#fig-x layout-ncol=none}\nx\n:::", "layout-ncol cannot be"),
    "tabs without headings": ("::: {.panel-tabset}\nx\n:::", "starts with a heading"),
    "heading class": ("## A {.strange}", "unknown heading class strange"),
    "span class": ("[x]{.strange}", "unknown class strange"),
    "code attribute": ('``` {.python filename="x.py"}\nx\n```', "unknown attribute filename"),
    "second title": ("# Another title", "second title"),
    "callout in a footnote": (
        "A.[^a]\n\n[^a]: Note.\n\n    ::: {.callout-tip}\n    Tip\n    :::",
        "a footnote holds more than text",
    ),
}

# What only the pages can show to be wrong.
REFUSED_ON_PAGES = {
    "identifier twice": ("## A {#a}\n\n## B {#a}", "identifier a is used twice"),
    "picture": ("![](missing.png){fig-alt='x'}", "missing.png does not exist"),
    "anchor": ("[x](#nowhere)", "has no nowhere"),
    "anchor elsewhere": ("[x](../index.qmd#nowhere)", "has no nowhere"),
    "file link": ("[x](data.csv)", "data.csv does not exist"),
    "link out of the project": ("[x](../../etc/passwd)", "does not exist"),
    "link to a source": ("[x](../conf.py)", "none to be published"),
    "raw picture without text": (f'```{{=html}}\n<img src="{IMAGE}">\n```', "no alternative"),
    "raw picture missing": ('```{=html}\n<img src="x.png" alt="">\n```', "x.png does not exist"),
    "raw script from elsewhere": (
        '```{=html}\n<script src="//cdn.example.org/x.js"></script>\n```', "from another host"),
    "raw style from elsewhere": (
        '```{=html}\n<p style="background: url(https://example.org/x)">x</p>\n```',
        "from another host"),
}  # fmt: skip


class TestConstructs:
    """Whatever Quarto knows is shown in both formats, or refused in both; nothing is dropped."""

    @pytest.fixture(scope="class")
    @classmethod
    def shown(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Book, str]:
        """A chapter for each construct, with labels and markers of its own; and the PDF's words."""
        book = Book.at(tmp_path_factory.mktemp("shown"))
        book.write("data.csv", "a\n1\n")
        for number, text in enumerate(SHOWN.values()):
            own = text.replace("-x", f"-x{number}").replace("Marker", f"Marker{number}it")
            book.chapter(f"c{number}", f"# Chapter\n\nFirst.\n\n{own}\n")
        pdf = PdfReader(book.render().pdf)
        return book, "".join(page.extract_text() for page in pdf.pages)

    @pytest.mark.parametrize("number", range(len(SHOWN)), ids=SHOWN)
    def test_it_is_shown(self, shown: tuple[Book, str], number: int) -> None:
        book, words = shown
        assert f"Marker{number}it" in body(book.page(f"c{number}"))
        assert f"MARKER{number}IT" in words.upper().replace("\n", "")

    def test_raw_blocks_are_for_their_format(self, book: Book) -> None:
        raw = "```{=html}\n<i>Screen</i>\n```\n\n```{=typst}\n#[Paper]\n```\n\n`<b>s</b>`{=html}"
        book.chapter("one", f"# One\n\n{raw} <!-- gone -->\n\n<!-- gone -->\n")
        words = text_of(book.render().pdf)
        page = body(book.page("one"))
        assert ("<i>Screen</i>" in page, "Paper" in page, "<b>s</b>" in page) == (True, False, True)
        assert ("Screen" in words, "Paper" in words, "gone" in words + page) == (False, True, False)

    @pytest.mark.parametrize("case", [*REFUSED, *REFUSED_ON_PAGES])
    def test_it_is_refused_with_file_and_line(self, book: Book, case: str) -> None:
        text, problem = (REFUSED | REFUSED_ON_PAGES)[case]
        book.write("conf.py", "")
        book.chapter("one", f"# One\n\nFirst.\n\n{text}\n")
        for format in ("html", "pdf") if case in REFUSED else ("html",):
            error = book.assert_refused(r"^chapters/one\.qmd:([5-9]|1\d)\b", format)
            assert problem in error.problem and error.remedy
        assert not book.site.exists()

    def test_a_size_that_typst_cannot_read(self, book: Book) -> None:
        book.chapter("one", f"# One\n\n![]({IMAGE}){{fig-alt='x' width=wide}}\n")
        book.assert_refused(r"one\.qmd:3: .* width", "pdf")


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "text", "problem"),
        [
            ("one", "---\ntitle: One\nbanner: x\n---\n", r"one\.qmd:3: unknown front matter key"),
            ("one", '---\ntitle: "One {.unnumbered}"\n---\n', r"one\.qmd:2: .*attributes"),
            ("one", "Text.\n", r"chapters/one\.qmd: .*no title"),
            ("../index", "---\ntitle: Home\n---\n", r"index\.qmd:2: .*chapter 1 under Quarto"),
            ("two", "# Two\n\n## A {#sec-a}\n", r"two\.qmd:3: .*twice.*zero\.qmd:3"),
        ],
    )
    def test_titles_and_labels(self, book: Book, name: str, text: str, problem: str) -> None:
        book.chapter("zero", "# Zero\n\n## A {#sec-a}\n")
        book.write(f"chapters/{name}.qmd", text)
        if name != "../index":
            book.chapter(name, text)
        book.assert_refused(problem)

    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            ("lang: en", "lang: en\nfilters: [x]", r"_quarto\.yml:16: filters"),
            ("type: book", "type: website", r":2: project\.type.*book"),
            ("_site", "public", r":3: project\.output-dir.*_site"),
            ("- index.qmd", "- part: x", r":9: book\.chapters.*string"),
            ("- index.qmd", "- index.qmd\n    - no.qmd", r"no\.qmd, which does not exist"),
            ("references.bib", "nowhere.bib", r"bibliography: names nowhere\.bib"),
            ("lang: en", "lang: [", r"_quarto\.yml:\d+: cannot be read"),
            ("code-fold: true", "code-fold: maybe", r":19: html\.code-fold: "),
            ("code-fold: true", "code-folds: true", r":19: html\.code-folds: .*; code-fold is"),
            ("papersize", "paper-size", r":23: typst\.paper-size: is not known; papersize is"),
            ("output-file", "outputfile", r":8: book\.outputfile: is not known; output-file is"),
            ("output-dir: _site", "output-dir: _site\n  resource: x", r":4: project\.resource: "),
        ],
    )
    def test_configuration(self, book: Book, old: str, new: str, problem: str) -> None:
        book.configure(CONFIG.replace(old, new, 1))
        book.assert_refused(problem)

    @pytest.fixture
    def quarto(self, book: Book, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The place of a Quarto, in front of the PATH; the book has a site of an earlier time."""
        command = book.write("bin/quarto", "")
        command.chmod(0o755)
        monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
        monkeypatch.chdir(book.root)
        book.write("_site/index.html", "of an earlier time")
        return command

    QUARTO = '#!/bin/sh\n[ "$1" = --version ] && echo 1.9.38 && exit\n'

    @pytest.mark.parametrize(
        ("script", "said"),
        [
            ("exit 3", r"it ended with status 3 and said nothing"),
            (
                r"echo half > $4/index.html; printf '\033[91mno such thing\033[39m' >&2; exit 1",
                r"could not render the book: no such thing\. Correct what",
            ),
            ("exit 0", r"ended without an error and did not write _site/index\.html"),
        ],
    )
    def test_a_quarto_that_fails_or_does_nothing(
        self, book: Book, quarto: Path, script: str, said: str
    ) -> None:
        quarto.write_text(self.QUARTO + script)
        with pytest.raises(ChapterError, match=said) as caught:
            render(book.project, renderer="quarto")
        assert "--renderer bundled" in caught.value.remedy
        assert (book.site / "index.html").read_text() == "of an earlier time"
        assert os.listdir(book.site) == ["index.html"]

    def test_quarto_is_not_asked_to_execute_an_edited_chapter(
        self, book: Book, quarto: Path
    ) -> None:
        quarto.write_text(f"{self.QUARTO}touch started")
        book.chapter("one", "# One\n\n```{python}\n1\n```\n")
        freeze(book.project)
        book.chapter("one", "# One, edited\n\n```{python}\n1\n```\n")
        with pytest.raises(ChapterError, match=r"one\.qmd was changed .* Run `vitrine freeze`"):
            render(book.project, renderer="quarto")
        assert (book.site / "index.html").read_text() == "of an earlier time"
        assert not (book.root / "started").exists()

    @pytest.mark.parametrize("pdf", [False, True])
    def test_quartos_pages_link_to_the_pdf_that_is_there(
        self, book: Book, quarto: Path, pdf: bool
    ) -> None:
        link = """<a href="./small.pdf" title="Download PDF"><i class="bi bi-file-pdf"></i></a>"""
        script = f"echo '<p>{link}</p>' > $4/index.html; mkdir $4/_site"  # as of a resource there
        quarto.write_text(self.QUARTO + script)
        if pdf:
            book.write("_site/small.pdf", "%PDF")
        render(book.project, renderer="quarto", formats=["html"])
        assert not missing(book.site)
        assert ("small.pdf" in book.page("index")) == pdf
        assert not (book.site / "_site").exists()

    @pytest.mark.parametrize(
        ("program", "said"),
        [
            (b"", "Quarto is not on the PATH"),
            (b"\x00 no program", "cannot be run, or does not give its version"),
            (b"#!/bin/sh\necho 1.8.25\n", r"Quarto 1\.8\.25 makes no PDF of a book"),
        ],
    )
    def test_where_quarto_is_missing_or_cannot_be_used_the_bundled_renderer_is_taken(
        self, book: Book, quarto: Path, monkeypatch: pytest.MonkeyPatch, program: bytes, said: str
    ) -> None:
        monkeypatch.setenv("PATH", str(quarto.parent))
        quarto.write_bytes(program)
        quarto.chmod(0o755 if program else 0o644)
        with pytest.raises(VitrineError, match=said):
            render(book.project, renderer="quarto")
        assert render(book.project, renderer="auto", formats=["html"]).renderer == "bundled"

    def test_the_template_of_the_pages(self, book: Book) -> None:
        book.write("assets/page.html", "<p>$body$ costs 5$</p>")
        book.assert_refused(r"index\.qmd: pandoc says: .*page\.html")
        (book.root / "assets/page.html").unlink()
        book.assert_refused(r"assets/page\.html is missing")


class TestWhatComesThrough:
    def test_unnumbered_chapters_do_not_count(self, book: Book) -> None:
        book.chapter("a", "# A {.unnumbered}\n\n## Part\n\n![x](../assets/blue.png){#fig-a}\n")
        book.chapter("b", "# B\n\n## Part {#sec-b}\n\n@sec-b, @fig-a\n")
        book.render("html")
        assert "Figure\u00a01:" in book.page("a")
        assert "header-section-number" not in body(book.page("a"))
        assert "Section\u00a01.1</a>" in book.page("b")
        assert "Figure\u00a01</a>" in book.page("b")

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("---\ntitle: A *fine* title\n---\n", 'title">A <em>fine</em> title</span></h1>'),
            ("# One\n\n## A\n\n## B {.unnumbered}\n\n## D\n", 'section-number">1.2</span> D</h2>'),
            ("# One\n\n## B {.unnumbered}\n\n### C\n\n## D\n", 'section-number">1.1</span> D</h2>'),
            ("# One\n\n$$\\frac{1}{2}$$\n", "<mfrac><mn>1</mn><mn>2</mn></mfrac>"),
            (
                "# One\n\n````\n```{=html}\n{{{< meta x >}}} @fig-nowhere <b>\n```\n````\n",
                "```{=html}\n{{&lt; meta x &gt;}} @fig-nowhere &lt;b&gt;",
            ),
            ("# One\n\nA {=html} or `{=html}`.\n", "A {=html} or <code>{=html}</code>"),
            ("# One\n\n::: {#fig-x}\n![](../assets/blue.png)\n\nThe sea\n:::\n", 'alt="The sea"'),
        ],
    )
    def test_it_comes_through(self, book: Book, text: str, shown: str) -> None:
        page = page_of(book, text)
        assert shown in page
        assert page.count("<script") == 2  # of the template

    @pytest.mark.parametrize(
        "text",
        [
            "</script><script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            '"><b>',
            "&amp;",
            "$x",
        ],
    )
    def test_what_comes_from_outside_is_escaped(self, book: Book, text: str) -> None:
        markdown = as_markdown(text)
        config = CONFIG.replace('"A small book"', json.dumps(text))
        config = config.replace('"Ada Lovelace"', json.dumps(text))
        book.chapter(
            "one",
            f"---\ndescription: {json.dumps(markdown)}\nkeywords: [{json.dumps(text)}]\n---\n\n"
            f"# T {markdown}\n\n## S {markdown}\n\n"
            f"![C {markdown}](../assets/blue.png){{#fig-x fig-alt={json.dumps(text)}}}\n",
        )
        book.configure(config)
        book.render("html")
        everything = book.page("one") + book.page("index") + (book.site / "search.js").read_text()
        for piece in ("<script>alert", "<img src=x", '"><b>'):
            assert piece not in everything
        assert unescape(book.page("one")).count(text) > 6

    def test_odd_file_names(self, book: Book) -> None:
        name = "a b#c%d&'é.png"
        book.picture(f"assets/{name}", (3, 3))
        page = page_of(book, "# One\n\n![](<../assets/a b%23c%25d&'é.png>){fig-alt='x'}\n")
        assert (book.site / "assets" / name).is_file()
        assert "../assets/a%20b%23c%25d&amp;&#39;é.png" in page

    def test_a_bibliography_can_be_placed(self, book: Book) -> None:
        text = "# One\n\n@ribeiro2016\n\n## Sources\n\n::: {#refs}\n:::\n\n## After\n"
        page = page_of(book, text)
        assert page.count('id="refs"') == 1
        assert page.index("Sources</h2>") < page.index('id="refs"') < page.index("After</h2>")


class TestAtomicity:
    def test_an_error_leaves_the_old_site(self, book: Book) -> None:
        page_of(book, "# One\n\nThe first version.\n")
        book.chapter("one", "# One\n\n@fig-nowhere\n")
        with pytest.raises(ChapterError):
            book.render()
        assert "The first version." in book.page("one")
        assert not list(book.root.glob(".vitrine-render-*"))

    def test_pages_that_are_gone_do_not_stay(self, book: Book) -> None:
        page_of(book, "# One\n\nText.\n")
        book.chapters.clear()
        book.configure()
        book.render("html")
        assert not (book.site / "chapters").exists()

    def test_the_pdf_stays_when_only_the_pages_are_made(self, book: Book) -> None:
        book.site.mkdir()
        (book.site / "small.pdf").write_bytes(b"%PDF")
        book.render("html")
        assert (book.site / "small.pdf").read_bytes() == b"%PDF"
        assert 'href="small.pdf"' in book.page("index")

    def test_a_site_that_is_a_file_or_link_is_not_replaced(self, book: Book) -> None:
        book.write("_site", "mine")
        with pytest.raises(VitrineError, match="_site is not a folder of its own"):
            book.render("html")
        assert book.site.read_text() == "mine"
        book.site.unlink()
        elsewhere = book.root / "elsewhere"
        elsewhere.mkdir()
        book.site.symlink_to(elsewhere)
        with pytest.raises(VitrineError, match="_site is not a folder of its own"):
            book.render("html")
        assert not list(elsewhere.iterdir())

    def test_an_unwritable_folder_is_a_clear_error(self, book: Book, unwritable: None) -> None:
        with pytest.raises(VitrineError, match="the site in .* cannot be written"):
            book.render("html")

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (PermissionError(13, "Denied", "references.bib"), r"references\.bib cannot be read"),
            (OSError(28, "Full"), r"the site in .* cannot be written .*Make room"),
            (OSError("No pandoc was found"), "^No pandoc was found$"),
        ],
    )
    def test_only_what_cannot_be_written_is_called_so(
        self, book: Book, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
    ) -> None:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr("vitrine.book.render.write_pages", fail)
        with pytest.raises((VitrineError, OSError), match=said):
            book.render("html")


@pytest.fixture
def unwritable(book: Book) -> Iterator[None]:
    mode = book.root.stat().st_mode
    book.root.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.access(book.root, os.W_OK):
        book.root.chmod(mode)
        pytest.skip("this user can write anywhere")
    yield
    book.root.chmod(mode)

"""Chapters executed in a real kernel, frozen as Quarto freezes them, and checked for currency."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import contents
from vitrine.book.freeze import FORMATS, Stale, check, freeze
from vitrine.book.frozen import RESULT_FILES
from vitrine.errors import ChapterError, StudyNotRun, Unwritten, VitrineError
from vitrine.project import Project

CONFIG = """\
project:
  type: book
book:
  title: "Tiny"
  chapters:
{chapters}
execute:
  freeze: auto
  warning: false
  fig-format: svg
"""

MakeBook = Callable[..., Project]


@pytest.fixture
def book(tmp_path: Path) -> MakeBook:
    """Makes a project of chapters given as name → text; their folders are made as well."""
    return partial(make_book, tmp_path)


def make_book(root: Path, **chapters: str) -> Project:
    names = [f"chapters/{name}.qmd" for name in chapters]
    (root / "_quarto.yml").write_text(
        CONFIG.format(chapters="\n".join(f"    - {name}" for name in names))
    )
    for folder in ("chapters", "code", "data/studies"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in zip(names, chapters.values(), strict=True):
        (root / name).write_text(text)
    return Project(root)


def cell(code: str) -> str:
    return f"```{{python}}\n{code}\n```\n"


ONE = cell("1")
CHANGED = "chapters/page.qmd was changed since it was executed"


def frozen(project: Project, name: str, target: str = "html") -> dict[str, Any]:
    """The JSON frozen for a chapter."""
    path = project.freeze / "chapters" / name / RESULT_FILES[target]
    return json.loads(path.read_text(encoding="utf-8"))


def markdown(project: Project, name: str, target: str = "html") -> str:
    return frozen(project, name, target)["result"]["markdown"]


def execute_one(book: MakeBook, text: str) -> str:
    """The frozen Markdown of a chapter with this text."""
    project = book(page=text)
    freeze(project, formats=["html"])
    return markdown(project, "page")


def refused(
    project: Project,
    said: str = "",
    formats: Sequence[str] = ("html",),
    kind: type[VitrineError] = ChapterError,
) -> str:
    """The message with which freezing ends; no file of an execution stays."""
    chapters = sorted(os.listdir(project.root / "chapters"))
    with pytest.raises(kind, match=said) as caught:
        freeze(project, formats=formats)
    assert sorted(os.listdir(project.root / "chapters")) == chapters
    return str(caught.value)


def problem(book: MakeBook, text: str) -> str:
    """The message with which freezing a chapter with this text ends."""
    project = book(page=text)
    said = refused(project)
    assert not (project.freeze / "chapters").exists()
    return said


SHOWN_AS_MARKDOWN = ".cell-output .cell-output-display .cell-output-markdown"
CELLS: list[tuple[str, str, str, list[tuple[str, str]]]] = [
    ("", "from IPython.display import Markdown, display\nx = 41 + 1", "#cell-1 .cell", []),
    (
        'label: fig-one\nfig-cap: "A caption with *stars*"\n'
        'fig-alt: "It\'s an alternative"\necho: false',
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])",
        "#cell-fig-one .cell",
        [
            (
                ".cell-output .cell-output-display",
                "![A caption with *stars*](page_files/figure-html/fig-one-output-1.svg)"
                "{#fig-one fig-alt='It\\'s an alternative'}",
            )
        ],
    ),
    (
        "label: fig-md\nfig-cap: A caption",
        'Markdown("not an image")',
        "#cell-fig-md .cell",
        [(f"#fig-md {SHOWN_AS_MARKDOWN} execution_count=3", "not an image\n\nA caption")],
    ),
    (
        'label: tbl-one\ntbl-cap: "Table it\'s caption"',
        'Markdown("| a | b |\\n|---|---|\\n| 1 | 2 |")',
        "#tbl-one .cell tbl-cap='Table it\\'s caption'",
        [(f"{SHOWN_AS_MARKDOWN} execution_count=4", "| a | b |\n|---|---|\n| 1 | 2 |")],
    ),
    (
        "label: fig-many\nfig-cap: Whole\nfig-subcap:\n  - one\n  - two\n"
        "layout-ncol: 2\ncolumn: page",
        'display(Markdown("*one*"))\ndisplay(Markdown("*two*"))',
        "#fig-many .cell .column-page layout-ncol='2'",
        [
            (f"#fig-many-1 {SHOWN_AS_MARKDOWN}", "*one*\n\none"),
            (f"#fig-many-2 {SHOWN_AS_MARKDOWN}", "*two*\n\ntwo"),
        ],
    ),
    ("output: false", 'print("not shown")', "#cell-6 .cell", []),
    ("include: false", "hidden = 1", "", []),
    ("eval: false", "raise SystemExit", "#cell-8 .cell", []),
    (
        'warning: true\ncode-fold: show\ncode-summary: "Show me"',
        'import sys\nprint("err", file=sys.stderr)',
        "#cell-9 .cell",
        [(".cell-output .cell-output-stderr", "```\nerr\n```")],
    ),
    (
        "",
        'print("unseen", file=sys.stderr)\nprint("out 1")\nprint("out 2", end="")',
        "#cell-10 .cell",
        [(".cell-output .cell-output-stdout", "```\nout 1\nout 2\n```")],
    ),
    (
        "",
        'print("""\n```\nfence\n```\n""")',
        "#cell-11 .cell",
        [(".cell-output .cell-output-stdout", "````\n\n```\nfence\n```\n\n````")],
    ),
]
"""Options, code, the attributes of the cell's div, and its outputs' attributes and content."""


def page_and_markdown() -> tuple[str, str]:
    """A chapter with each kind of cell, and what Quarto makes of it."""
    page = made = '---\ntitle: "Cells"\n---\n\n# First {#sec-first}\n\nText.\n\n'
    for number, (options, code, attributes, outputs) in enumerate(CELLS, start=1):
        ticks = "````" if "```" in code else "```"
        told = "".join(f"#| {line}\n" for line in options.split("\n") if line)
        page += f"{ticks}{{python}}\n{told}{code}\n{ticks}\n\n"
        fold = ' code-fold="show" code-summary="Show me"' if "code-fold" in options else ""
        shown = f"{ticks} {{.python .cell-code{fold}}}\n{code}\n{ticks}\n"
        body = "" if "echo: false" in options else shown
        body += "".join(f"\n::: {{{kind}}}\n{content}\n:::\n" for kind, content in outputs)
        body += "\nWhole\n" if "subcap" in options else ""
        opening = f"::: {{{attributes} execution_count={number}}}\n"
        made += f"{opening}{body}:::\n\n\n" if attributes else "\n"
    callout = "::: {.callout-note}\n"
    page += callout + cell("#| echo: false\nNone") + ":::\n\nLast `{python} x`.\n"
    return page, f"{made}{callout}\n\n\n:::\n\nLast 42.\n\n"


PAGE, EXPECTED = page_and_markdown()


def test_each_kind_of_cell_becomes_the_markdown_that_quarto_writes(book: MakeBook) -> None:
    project = book(page=PAGE)
    freeze(project)
    assert markdown(project, "page") == EXPECTED
    typst = re.sub(r"::: \{#cell-[\w-]+ ", "::: {", EXPECTED)
    assert markdown(project, "page", "typst") == typst.replace("figure-html", "figure-typst")
    for folder in ("figure-html", "figure-typst"):
        path = project.freeze / "chapters" / "page" / folder / "fig-one-output-1.svg"
        assert "<svg" in path.read_text()


def test_the_frozen_file_has_the_form_and_the_order_of_quartos_own(book: MakeBook) -> None:
    text = f"A.\n\n{ONE}"
    project = book(page=text)
    freeze(project)
    html = frozen(project, "page")
    path = project.freeze / "chapters/page/execute-results/html.json"
    assert path.read_text() == json.dumps(html, indent=2, ensure_ascii=False)
    assert list(html) == ["hash", "result"]
    assert html["hash"] == hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    result = html["result"]
    assert result.pop("markdown").startswith("A.\n\n::: {#cell-1 .cell")
    known = {"engine": "jupyter", "supporting": ["page_files"], "filters": [], "includes": {}}
    assert result == known
    typst = frozen(project, "page", "typst")["result"]
    # The whole folder here would make Quarto delete the figures of the pages.
    assert typst["supporting"] == ["page_files/figure-typst"]
    assert "includes" not in typst


@pytest.mark.skipif(shutil.which("quarto") is None, reason="Quarto is not installed")
def test_quarto_itself_freezes_the_same_markdown(book: MakeBook) -> None:
    project = book(page=PAGE)
    (project.root / "index.qmd").write_text("Home.\n")
    replace("_quarto.yml", "chapters:\n", "chapters:\n    - index.qmd\n")(project.root)
    environment = {**os.environ, "QUARTO_PYTHON": sys.executable}
    for target in FORMATS:
        command = ["quarto", "render", "--to", target]
        subprocess.run(command, check=False, cwd=project.root, env=environment, capture_output=True)
    own = {target: markdown(project, "page", target) for target in FORMATS}
    freeze(project, force=True)
    for target in FORMATS:
        # Quarto gives cells without a label a random name.
        quartos = re.sub(r"(?m)^::: \{#[0-9a-f]{8} ", "::: {#ID ", own[target])
        ours = re.sub(r"(?m)^::: \{#cell-\d+ ", "::: {#ID ", markdown(project, "page", target))
        assert ours == quartos


INLINE = """\
```{python}
#| include: false
import numpy as np, pandas as pd
class Rich:
    def _repr_markdown_(self):
        return "**rich** [link](page.qmd)"
count = 1
rich = Rich()
```

"""


SHOWN = {
    "40 + 2": "42",
    "2.5": "2.5",
    "-1": "-1",
    '"plain"': "plain",
    'f"{31.4:.1f}%"': r"31\.4%",
    '"a*b_c [d] #1, 2!"': r"a\*b\_c \[d\] \#1\, 2\!",
    "rich": "**rich** [link](page.qmd)",
    "[1, 'b']": "[1, 'b']",
    "np.float64(0.25)": "0.25",
    "np.arange(3).sum()": "3",
    "np.array(1.5)": "1.5",
    "np.True_": "True",
}


def test_inline_expressions_show_their_values(book: MakeBook) -> None:
    values = "".join(f"Value: `{{python}} {expression}`.\n\n" for expression in SHOWN)
    text = execute_one(book, INLINE + values)
    assert re.findall(r"(?m)^Value: (.*)\.$", text) == list(SHOWN.values())


@pytest.mark.parametrize(
    "expression",
    [
        "None",
        "float('nan')",
        "np.datetime64('NaT')",
        "pd.NaT",
        "pd.NA",
        "f'{np.nan:.1f} %'",
        "str(None)",
    ],
)
def test_a_missing_value_is_never_printed_in_prose(book: MakeBook, expression: str) -> None:
    said = problem(book, f"{INLINE}Text.\nValue `{{python}} {expression}`.\n")
    assert "chapters/page.qmd:12: the inline expression" in said and "no value" in said


def test_inline_expressions_see_the_state_at_their_place(
    book: MakeBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Quarto shows `{python} n` between two backticks as it is; the bundled renderer refuses it.
    monkeypatch.setattr("vitrine.book.freeze.check_constructs", lambda *_: None)
    text = execute_one(
        book,
        "```{python}\nn = 1\n```\n\nNow `{python} n` and `{python} n + 4`, `{python} (n := 5)`.\n\n"
        "```{python}\nn += 1\n```\n\nThen `{python} n`; ``{python} n`` and `{python}n` are code.\n",
    )
    assert "Now 1 and 5, 5." in text
    assert "Then 6; ``{python} n`` and `{python}n` are code." in text


def test_front_matter_and_yaml_blocks_are_left_as_they_are(book: MakeBook) -> None:
    head = '---\ntitle: "A `{python} 1`"\n---\nStarts at once.\n\n'
    assert execute_one(book, head + ONE).startswith(
        '---\ntitle: "A `{python} 1`"\n---\n\nStarts at once.\n\n'
    )


TOLD = """\
```{python}
#| echo: false
import json, os, pathlib
from IPython.display import Markdown
info = json.loads(pathlib.Path(os.environ["QUARTO_EXECUTE_INFO"]).read_text())
document = pathlib.Path(info["document-path"])
target = info["format"]["identifier"]["target-format"]
files = document.parent / f"{document.stem}_files" / f"figure-{target}"
files.mkdir(parents=True)
_ = (files / "own.txt").write_text("written by the chapter")
Markdown(f"{document.name} {target} {pathlib.Path.cwd().name} {os.environ['PYTHONHASHSEED']}")
```
"""


def test_a_chapter_learns_its_format_and_writes_its_own_figure_files(book: MakeBook) -> None:
    project = book(page=TOLD)
    freeze(project)
    for target in FORMATS:
        assert f"page.qmd {target} chapters 0\n" in markdown(project, "page", target)
        own = project.freeze / "chapters" / "page" / f"figure-{target}" / "own.txt"
        assert own.read_text() == "written by the chapter"
    assert sorted(os.listdir(project.root / "chapters")) == ["page.qmd"]


def test_options_of_the_book_the_format_and_the_chapter_overrule_each_other(book: MakeBook) -> None:
    project = book(page="---\nexecute:\n  output: true\n---\n\n" + ONE)
    config = project.root / "_quarto.yml"
    config.write_text(
        config.read_text().replace("warning: false", "output: false\n  echo: false")
        + "format:\n  typst:\n    echo: true\n  html: default\n"
    )
    freeze(project)
    assert "cell-code" not in markdown(project, "page")
    assert "cell-code" in markdown(project, "page", "typst")
    assert "cell-output-display" in markdown(project, "page")


def test_a_chapter_without_cells_is_not_frozen_as_under_quarto(book: MakeBook) -> None:
    project = book(page="Only words.\n", other=ONE)
    report = freeze(project, formats=["html"])
    assert report.executed == ("chapters/other.qmd",)
    assert not (project.freeze / "chapters" / "page").exists()
    assert check(project, ["html"]) == []


DRAWN = """\
```{python}
#| label: fig-drawn
#| fig-cap: Drawn
import matplotlib.pyplot as plt
print({f"{n}" for n in range(20)})
plt.plot([3, 1])
```

```{python}
#| warning: true
import warnings
print("\\x1b[31mred\\x1b[0m")
warnings.warn("careful")
```
"""


def test_two_freezes_give_the_same_bytes(book: MakeBook) -> None:
    project = book(page=DRAWN)
    freeze(project, formats=["html"])
    first = contents(project.freeze)
    shutil.rmtree(project.freeze)
    freeze(project, formats=["html"])
    assert contents(project.freeze) == first
    assert "<cell>:3: UserWarning: careful" in markdown(project, "page")
    assert "\nred\n" in markdown(project, "page")


def test_a_second_freeze_executes_nothing(book: MakeBook) -> None:
    project = book(page=ONE)
    assert freeze(project, formats=["html"]).executed == ("chapters/page.qmd",)
    before = {path: path.stat().st_mtime_ns for path in project.freeze.rglob("*.json")}
    calls: list[str] = []
    again = freeze(project, formats=["html"], progress=lambda d, t, what: calls.append(what))
    assert (again.executed, again.current, calls) == ((), ("chapters/page.qmd",), [])
    results = [path for path in before if path.name == "html.json"]
    assert all(path.stat().st_mtime_ns == before[path] for path in results)
    assert freeze(project, formats=["html"], force=True).executed == ("chapters/page.qmd",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Text.\n\n" + cell("#| echo: false\n\na = 1\nb = a / 0\nc = 2"),
            "chapters/page.qmd:7: ZeroDivisionError: division by zero",
        ),
        (cell("a = ("), "chapters/page.qmd:2: "),
        (
            cell("def f():\n    raise KeyError('k')") + "\n" + cell("1\nf()"),
            "chapters/page.qmd:8: KeyError: 'k'",
        ),
        (
            ONE + "\nOne `{python} 1`,\ntwo `{python} nothing`.\n",
            "chapters/page.qmd:6: `nothing`: NameError: name 'nothing' is not defined",
        ),
        (
            ONE + '\nNo `{python} ""`.\n',
            'chapters/page.qmd:5: the inline expression `""` gives an empty text',
        ),
        (
            ONE + '\nBreak `{python} "a\\nb"`.\n',
            "which has characters that Quarto would show as escape codes",
        ),
        (
            cell("import os\nos._exit(3)"),
            "chapters/page.qmd: Python ended while the chapter was executed",
        ),
        (
            cell("class P:\n    def _repr_markdown_(self):\n        1 / 0\nP()"),
            "ZeroDivisionError: division by zero",
        ),
        (
            cell("from IPython.display import Javascript\nJavascript('1')"),
            "chapters/page.qmd:2: the cell's output has no form that this format can show",
        ),
        (
            cell("from IPython.display import Latex\nLatex('$x$')"),
            "chapters/page.qmd:2: the cell's output has no form that this format can show "
            "(text/latex, text/plain). Show it as Markdown",
        ),
        ("A\n\n```{python}\n#| label: a\n#| fig-capt: b\n1\n```\n", "page.qmd:5: the cell option"),
        (cell("#| echo: maybe\n1"), "page.qmd:2: the cell option echo is 'maybe'"),
        (cell("#| output: asis\n1"), "It must be true or false"),
        (cell("#| classes: x\n1"), "page.qmd:2: the cell option 'classes' is not"),
        (cell("#| error: true\n1"), "page.qmd:2: the cell option 'error' is not"),
        (cell("#| fig-cap: 12\n1"), "It must be a text (quote a number"),
        (cell("#| fig-cap: a: b\n1"), "page.qmd:2: cannot be read (mapping values"),
        (cell("#| echo=FALSE\n1"), "page.qmd:2: cannot be read (these are not keys"),
        (cell("#| label: a b\n1"), "It must be a name of letters"),
        (cell("#| layout-ncol: 0\n1"), "It must be a whole number above 0"),
        (
            cell("#| label: a\n1") + "\n" + cell("#| label: a\n2"),
            "page.qmd:6: the label 'a' is taken by the cell at chapters/page.qmd:1",
        ),
        ("Text.\n\n```{python}\n1\n", "page.qmd:3: the Python cell that opens here never ends"),
        ("- a\n\n  ```{python}\n  1\n  ```\n", "page.qmd:3: the Python cell is indented"),
        ("---\ntitle: a: b\n---\n\n" + ONE, "page.qmd:2: cannot be read"),
        ("---\njupyter: other\n---\n\n" + ONE, "page.qmd:2: unknown front matter key jupyter"),
        ("---\nexecute:\n  ecko: true\n---\n\n" + ONE, "unknown key 'ecko'"),
        ("---\nexecute:\n  echo: 3\n---\n\n" + ONE, "option echo is 3"),
        ("---\nformat:\n  html:\n    fig-format: png\n---\n\n" + ONE, "be svg"),
        ("---\nexecute:\n  fig-dpi: 9\n---\n\n" + ONE, "unknown key 'fig-dpi'"),
        (ONE + "\n{{< include part.md >}}\n", "page.qmd:5: shortcodes are not"),
        (ONE + "\n::: {.strange}\nText.\n:::\n", "chapters/page.qmd:5: unknown class strange"),
    ],
)
def test_an_error_names_the_file_and_the_line(book: MakeBook, text: str, message: str) -> None:
    assert message in problem(book, text)


def test_an_error_that_says_what_to_do_is_told_once_with_its_line(book: MakeBook) -> None:
    code = "from vitrine.errors import StudyError\nraise StudyError('One.\\nTwo', 'Do this')"
    assert problem(book, cell(code)) == (
        "chapters/page.qmd:3: One.\nTwo. Do this. Then run `vitrine freeze` again."
    )
    plain = problem(book, cell("raise ValueError('It ends.')"))
    assert "ValueError: It ends. Correct the cell" in plain


def test_a_study_that_was_never_run_is_said_once_and_at_once(book: MakeBook) -> None:
    text = cell("from vitrine.report import open_study\nopen_study('mine')")
    project = book(a=text, b=text, c=cell("import time\ntime.sleep(600)"))
    with pytest.raises(StudyNotRun) as caught:
        freeze(project)
    said = "'mine' has not been run here. Run `vitrine run --study mine`"
    assert str(caught.value).count(said) == 1
    assert str(caught.value).endswith("Then run `vitrine freeze` again.")


REMOTE = (
    "import altair as alt, pandas as pd\n"
    "alt.Chart(pd.DataFrame({'x': [1]})).mark_line().encode(x='x')",
    "from IPython.display import IFrame\nIFrame('https://example.org', 9, 9)",
    "from IPython.display import HTML\nHTML('<style>@import \"//example.org/a\";</style>')",
)


@pytest.mark.parametrize("code", REMOTE)
@pytest.mark.parametrize("target", FORMATS)
def test_html_that_loads_from_another_host_is_refused(
    book: MakeBook, code: str, target: str
) -> None:
    refused(book(page=cell(code)), r"page\.qmd:2: the output is HTML .* another host", [target])


def test_an_exception_in_a_module_is_told_with_the_calls_that_led_to_it(book: MakeBook) -> None:
    project = book(page=cell("import helper\nhelper.load(0)"))
    (project.root / "chapters" / "helper.py").write_text("def load(n):\n    return 1 / n\n")
    assert refused(project).startswith(
        "chapters/page.qmd:3: ZeroDivisionError: division by zero "
        "(through chapters/helper.py:2 in load). Correct the cell"
    )


def test_a_table_that_only_a_web_page_can_show_is_refused_for_typst(book: MakeBook) -> None:
    project = book(page=cell("import pandas as pd\npd.DataFrame({'a': [1]})"))
    refused(project, r"page\.qmd:2: .* no form .* vitrine\.report\.tables", ["typst"])


def test_one_broken_chapter_keeps_its_old_freeze_and_the_others_are_frozen(book: MakeBook) -> None:
    project = book(good=ONE, bad=ONE)
    freeze(project, formats=["html"])
    before = contents(project.freeze / "chapters" / "bad")
    book(
        good=cell("2"),
        bad=cell(
            "from pathlib import Path\nPath('bad_files/figure-html').mkdir(parents=True)\n"
            "Path('bad_files/figure-html/a.txt').write_text('a')\nraise ValueError('no')"
        ),
    )
    refused(project, r"chapters/bad\.qmd:5: ValueError: no")
    assert contents(project.freeze / "chapters" / "bad") == before
    assert "2\n" in markdown(project, "good")
    assert check(project, ["html"]) == [Stale("chapters/bad.qmd", CHANGED.replace("page", "bad"))]


def test_several_broken_chapters_are_all_named(book: MakeBook) -> None:
    said = refused(book(a=cell("1 / 0"), b=cell("#| ecko: true\n1")))
    assert "2 errors" in said
    assert "chapters/a.qmd:2: ZeroDivisionError" in said
    assert "chapters/b.qmd:2: the cell option 'ecko'" in said


def test_a_chapter_that_does_not_exist_is_a_clear_error(book: MakeBook) -> None:
    project = book(page=ONE)
    (project.root / "chapters" / "page.qmd").unlink()
    refused(project, r"chapters/page\.qmd cannot be read \(No such file")
    (project.root / "_quarto.yml").write_text("book:\n  chapters: [part: x]\n")
    refused(project, "parts and appendices are not supported")


def test_a_freeze_that_cannot_be_written_is_a_clear_error(book: MakeBook) -> None:
    project = book(page=ONE)
    project.freeze.write_text("a file in the folder's place")
    refused(project, r"_freeze/chapters/page/.*json cannot be written", kind=Unwritten)


def test_torch_stays_out_of_chapters(book: MakeBook) -> None:
    project = book(page=cell("import sys\nsys.path.insert(0, '../code')\nimport torch"))
    (project.root / "code" / "torch.py").write_text("")
    refused(project, r"page\.qmd:4: ModuleNotFoundError: a chapter imports no torch, .*vitrine run")


def test_an_interruption_ends_the_kernels_and_leaves_nothing_behind(book: MakeBook) -> None:
    project = book(quick=ONE, slow=cell("import time\ntime.sleep(600)"))

    def interrupt(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        freeze(project, formats=["html"], progress=interrupt)
    assert time.monotonic() - begun < 300, "it waited for the sleeping cell"
    assert sorted(os.listdir(project.root / "chapters")) == ["quick.qmd", "slow.qmd"]


READS = """\
```{python}
import pathlib, sys
sys.path.insert(0, "../code")
import helper
text = pathlib.Path("../data/results.csv").read_text()
book = pathlib.Path("../_quarto.yml").read_text()
names = sorted(path.name for path in pathlib.Path("../data").iterdir())
```

Read `{python} text.strip()` through `{python} helper.NAME`.
"""


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frozen project whose chapter reads data and imports a module; tests work on copies."""
    project = make_book(tmp_path_factory.mktemp("reading"), page=READS)
    (project.root / "code" / "helper.py").write_text("NAME = 'helper'\n")
    (project.data / "results.csv").write_text("1\n")
    (project.data / "unread.csv").write_text("1\n")
    freeze(project)
    return project.root


@pytest.fixture
def copy(reading: Path, tmp_path: Path) -> Project:
    shutil.copytree(reading, tmp_path / "copy")
    return Project(tmp_path / "copy")


def write(path: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_text(text)


def replace(path: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_text((root / path).read_text().replace(old, new))


def delete(path: str) -> Callable[[Path], object]:
    return lambda root: (root / path).unlink()


FROZEN = "_freeze/chapters/page/execute-results/html.json"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (write("chapters/page.qmd", READS + "\nMore.\n"), CHANGED),
        (write("data/results.csv", "2\n"), "data/results.csv changed"),
        (delete("data/results.csv"), "files in data/ came or went"),
        (write("data/new.csv", "1\n"), "files in data/ came or went"),
        (write("code/helper.py", "NAME = 'other'\n"), "code/helper.py changed"),
        (delete("code/helper.py"), "code/helper.py is gone"),
        (write(FROZEN, "{"), f"{FROZEN} is damaged"),
        (
            delete(FROZEN),
            f"chapters/page.qmd has not been executed for html ({FROZEN} is missing)",
        ),
        (replace(FROZEN, "through", "by"), "frozen by Quarto since"),
        (replace("_quarto.yml", "qmd\n", "qmd\n    - b.qmd\n"), "_quarto.yml changed"),
        (
            replace("_quarto.yml", "ing: false", "ing: true"),
            "the options it is executed with changed",
        ),
    ],
)
def test_check_says_what_changed(
    copy: Project, change: Callable[[Path], object], reason: str
) -> None:
    assert check(copy) == []
    change(copy.root)
    assert Stale("chapters/page.qmd", reason) in check(copy)


def test_a_change_of_what_no_chapter_reads_is_no_change(copy: Project) -> None:
    (copy.data / "unread.csv").write_text("2\n")
    (copy.root / "code" / "unused.py").write_text("")
    replace("_quarto.yml", '"Tiny"', '"Renamed"\n  repo-url: https://host/me')(copy.root)
    (copy.root / "data" / "results.csv").write_bytes(b"1\r\n")
    assert check(copy) == []


def test_freezing_again_follows_the_data(copy: Project) -> None:
    (copy.root / "data" / "results.csv").write_text("7\n")
    assert freeze(copy).executed == ("chapters/page.qmd",)
    assert "Read 7 through helper." in markdown(copy, "page")
    assert check(copy) == []


def test_a_lost_or_damaged_manifest_is_said_and_mended(copy: Project) -> None:
    manifest = copy.freeze / "vitrine.json"
    before = contents(copy.freeze)
    manifest.write_text("{ not json")
    assert [stale.chapter for stale in check(copy)] == ["_freeze/vitrine.json"]
    manifest.unlink()
    assert "does not exist" in check(copy)[0].reason
    freeze(copy)
    assert contents(copy.freeze) == before


def test_stale_figures_vanish(copy: Project) -> None:
    folder = copy.freeze / "chapters" / "page" / "figure-html"
    folder.mkdir()
    (folder / "old.svg").write_text("<svg/>")
    expected = "_freeze/chapters/page/figure-html/old.svg changed"
    assert check(copy) == [Stale("chapters/page.qmd", expected)]
    freeze(copy)
    assert not folder.exists()
    assert check(copy) == []


def test_a_chapter_that_left_the_book_leaves_the_freeze(copy: Project) -> None:
    (copy.root / "other.qmd").write_text("Words.\n")
    replace("_quarto.yml", "chapters/page.qmd", "other.qmd")(copy.root)
    assert check(copy) == [Stale("chapters/page.qmd", "no longer in the book")]
    freeze(copy)
    assert not (copy.freeze / "chapters" / "page").exists()
    assert check(copy) == []


SHOWS = """\
```{python}
#| include: false
from vitrine.project import Project
study = Project.find().shown_study
assert study != "broken" or Project.find().root.name == "mended"
```

Study `{python} study`.
"""
NAMES = "# Which study.\nstudy: first\nother: 1\n"


@pytest.fixture
def showing(book: MakeBook) -> Project:
    """A book frozen for the study ``first``."""
    project = book(a=SHOWS, b=f"Of it.\n\n{ONE}")
    (project.root / "_variables.yml").write_text(NAMES)
    assert freeze(project, formats=["html"]).study == "first"
    return project


def test_the_freeze_knows_which_study_it_shows(showing: Project) -> None:
    assert check(showing, ["html"]) == []
    assert "Study first." in markdown(showing, "a")
    (showing.root / "_variables.yml").write_text("# A word.\nstudy: first\n")
    assert check(showing, ["html"]) == []
    for text, named in (("study: second\n", "second"), ("other: 1\n", "(none)")):
        (showing.root / "_variables.yml").write_text(text)
        expected = f"names the study {named}, and first is frozen"
        assert check(showing, ["html"]) == [Stale("_variables.yml", expected)]
    (showing.root / "_variables.yml").write_text("study: second\n")
    assert freeze(showing, ["html"]).executed == ("chapters/a.qmd", "chapters/b.qmd")
    assert "Study second." in markdown(showing, "a")
    assert check(showing, ["html"]) == []


def test_freezing_for_a_study_names_it_in_its_file(showing: Project) -> None:
    assert freeze(showing, ["html"], study="second").study == "second"
    assert (showing.root / "_variables.yml").read_text() == NAMES.replace("first", "second")
    assert "Study second." in markdown(showing, "a")
    assert check(showing, ["html"]) == []


def test_a_study_is_shown_by_all_chapters_or_by_none(showing: Project) -> None:
    before = contents(showing.freeze)
    with pytest.raises(ChapterError, match=r"chapters/a\.qmd:5: AssertionError"):
        freeze(showing, ["html"], study="broken")
    assert contents(showing.freeze) == before
    assert (showing.root / "_variables.yml").read_text() == NAMES


def test_a_chapter_that_quarto_executes_shows_the_frozen_study(
    showing: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (showing.root / "_variables.yml").write_text("study: second\n")
    assert showing.shown_study == "second"
    monkeypatch.setenv("QUARTO_EXECUTE_INFO", "info.json")
    assert showing.shown_study == "first"
    (showing.freeze / "vitrine.json").unlink()
    assert showing.shown_study == "second"


def test_the_vega_bundle_is_one_classic_script_that_is_written_once(copy: Project) -> None:
    path = copy.root / "assets" / "vega.js"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("/*! Vega ")
    assert "Redistribution and use" in text
    assert "window.vegaEmbed=" in text[-200:]
    assert len(text.encode()) < 2_000_000
    assert not re.search(r"^\s*(import|export)\b", text, re.MULTILINE)
    before = path.stat().st_mtime_ns
    freeze(copy)
    assert path.stat().st_mtime_ns == before
    path.write_text("damaged")
    assert check(copy) == [Stale("assets/vega.js", "changed")]
    freeze(copy)
    assert path.read_text(encoding="utf-8") == text

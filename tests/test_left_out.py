"""Parts that a study does not have: said once at the head of a page, and left out below."""

import re
import shutil
from pathlib import Path

import pytest

from bookmaker import CONFIG, REPOSITORY, Book
from stub_study import stub_study
from vitrine.book.config import LEFT_OUT
from vitrine.methods.registry import METHODS
from vitrine.report import parts
from vitrine.report.provenance import used_sources
from vitrine.report.study_report import StudyReport

HEAD = (
    "# One\n\n::: {.vitrine-absent .vitrine-without parts='lime.search cam'}\nNo search.\n:::\n\n"
)
BODY = """\
## Kept {#sec-kept needs="lime"}

```python
# no heading {needs="cam"}
```

One[, two by [the search](#sec-gone)]{needs="cam"} and [three]{needs="lime"}.

![Kept](../assets/blue.png){#fig-kept fig-alt="x"}

## Search {#sec-gone needs="lime.search"}

![Gone](../assets/blue.png){#fig-gone fig-alt="x"}

### Below it

@fig-gone shows four.

::: {.callout-note collapse="true"}
## Aside

![Gone as well](../assets/blue.png){#fig-gone-aside fig-alt="x"}
:::

## Either {#sec-either needs="cam/lime"}

::: {needs="lime cam"}

Five.

![Gone too](../assets/blue.png){#fig-gone-too fig-alt="x"}

:::

::: {needs="lime"}

![Last](../assets/blue.png){#fig-last fig-alt="x"}

:::
"""


@pytest.fixture
def study(tmp_path: Path) -> StudyReport:
    """A study with LIME, and neither its search nor class activation maps."""
    asked = {"lime": {"samples": 10}, "images": {"source": "torchvision"}}
    asked["answers_assignment"] = False
    known = {"study": asked, "networks": {"squeezenet1_0": "pretrained"}}
    table = {"image": ["a"], "r_squared": [0.5]}
    return stub_study({"lime": table}, asked, provenance=known)


def test_what_needs_a_missing_part_is_left_out_of_the_page(tmp_path: Path) -> None:
    book = Book.at(tmp_path)
    shutil.copy(REPOSITORY / LEFT_OUT, tmp_path / LEFT_OUT)
    text = CONFIG.replace("lang: en", f"lang: en\nfilters:\n  - path: {LEFT_OUT}\n    at: pre-ast")
    book.chapter("one", HEAD + BODY)
    listed = text.replace("{chapters}", "    - chapters/one.qmd")
    book.write("_quarto.yml", listed)
    book.render("html", "pdf")
    page = book.page("one")
    assert page.count("No search.") == 1 and 'needs="' not in page
    for kept in ("sec-kept", "fig-kept", "sec-either", "fig-last", "Figure\u00a01.2", "and three"):
        assert kept in page
    for gone in ("sec-gone", "fig-gone", "the search", "Below it", "four", "Five"):
        assert gone not in page


def test_the_figures_of_a_page_are_those_that_it_has(study: StudyReport, tmp_path: Path) -> None:
    chapter = tmp_path / "one.qmd"
    chapter.write_text(HEAD + BODY)
    assert parts.lacking(study, chapter.read_text()) == ["cam", "lime.search"]
    assert list(parts.kept_floats(study, chapter)) == ["fig-kept", "fig-last"]


def test_what_is_missing_is_said_once(
    study: StudyReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebook.qmd").write_text(BODY + '## Ours {needs="own_study answers_assignment"}')
    monkeypatch.chdir(tmp_path)
    said = str(parts.lacking_parts(study).data)
    assert 'parts="cam lime.search answers_assignment"' in said
    assert "class activation maps" in said and "a search of LIME" in said
    assert "assignment" not in said.partition("\n")[2]
    (tmp_path / "notebook.qmd").write_text('## A {needs="lime"}')
    assert not parts.lacking_parts(study).data


def test_chapters_need_what_a_study_can_have() -> None:
    known = {*parts.SECTIONS, "cam.second", "extra_images", "outlines", "own_study"}
    known |= {"answers_assignment", *(f"methods.{name}" for name in METHODS)}
    for chapter in [REPOSITORY / "index.qmd", *(REPOSITORY / "chapters").rglob("*.qmd")]:
        for needs in re.findall(r'needs="([^"]*)"', chapter.read_text(encoding="utf-8")):
            assert set(re.split("[ /]", needs)) <= known, f"{chapter.name}: {needs}"


def test_a_study_lists_the_sources_that_it_uses(
    study: StudyReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_PROJECT", str(REPOSITORY))
    said = str(used_sources(study).data)
    assert said.count("\n- **") == 2 and "torchvision" in said and "Song Han" in said
    study.provenance.update(networks={"own": "file"}, study={"images": {"source": None}})
    assert not used_sources(study).data

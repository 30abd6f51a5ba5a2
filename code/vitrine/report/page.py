"""The page that is being executed: its format, and where its figures go."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from IPython.display import Markdown

from vitrine.errors import Unwritten
from vitrine.files import write_atomically
from vitrine.project import Project
from vitrine.report.text import safe, safe_html


@dataclass(frozen=True)
class Page:
    """A chapter while its cells run, by its file ``document``.

    format : what it is executed for; charts and images differ between screen and paper.
    """

    document: Path
    format: Literal["html", "typst"]

    @property
    def is_html(self) -> bool:
        return self.format == "html"

    @property
    def figures(self) -> Path:
        """The folder for this page's figure files, made when it is first asked for."""
        folder = self.document.parent / f"{self.document.stem}_files" / f"figure-{self.format}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write(self, name: str, content: bytes) -> str:
        """Write a figure file and return its address relative to the page."""
        path = self.figures / name
        path.write_bytes(content)
        return path.relative_to(self.document.parent).as_posix()


def this_page() -> Page:
    """The page that is being executed, from what Quarto tells its kernels.

    Quarto (1.8 and newer) and ``vitrine freeze`` name a JSON file in ``QUARTO_EXECUTE_INFO``.
    Without it, in a notebook say, the page is HTML in the working folder.
    """
    named = os.environ.get("QUARTO_EXECUTE_INFO")
    if not named:
        return Page(Path.cwd() / "notebook.qmd", "html")
    told = json.loads(Path(named).read_text(encoding="utf-8"))
    target = str(told["format"]["identifier"]["target-format"])
    return Page(Path(told["document-path"]), "typst" if target.startswith("typst") else "html")


def drawn_once(made_of: str, content: bytes, draw: Callable[[], bytes]) -> bytes:
    """What ``draw`` gives; from the cache if it was drawn before, for this page or another.

    made_of, content : all that it depends on, the version of the library that draws it included.
    """
    digest = hashlib.sha256(made_of.encode() + b"\0" + content).hexdigest()
    path = Project.find().cache / "figures" / digest
    with suppress(OSError):
        return path.read_bytes()
    drawn = draw()
    with suppress(Unwritten):  # drawn again the next time
        write_atomically(path, drawn)
    return drawn


def csv_link(page: Page, name: str, frame: pd.DataFrame, words: str = "Data (CSV)") -> str:
    """Write a frame as a CSV file beside the page; the link to it."""
    address = page.write(f"{name}.csv", frame.to_csv(index=False, lineterminator="\n").encode())
    return f'[{words}]({address}){{.vitrine-download download="{name}.csv"}}'


def data_file(page: Page, name: str, content: Any) -> str:
    """Write data as a script, because ``fetch()`` does not read ``file://``; its address."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    script = f"(window.VITRINE_DATA??={{}})[{json.dumps(name)}]={text};\n"
    return page.write(f"{name}.js", script.encode())


def block(*parts: str) -> Markdown:
    """Markdown of several blocks, as the output of a cell."""
    return Markdown("\n\n".join(part.strip("\n") for part in parts))  # type: ignore[no-untyped-call]


def raw_html(html: str) -> str:
    """HTML as a raw block. It may hold no line of three backticks."""
    return f"```{{=html}}\n{html}\n```"


def fenced(classes: str, *parts: str) -> str:
    """Blocks inside a fenced div, e.g. ``fenced(".vitrine-table", ...)``."""
    return "\n\n".join([f"::: {{{classes}}}", *(part.strip("\n") for part in parts), ":::"])


_FLOAT = re.compile(r"(?:^#\| label: |\{#)((?:fig|tbl)-[\w-]+)")


def float_lines(document: Path) -> dict[str, int]:
    """The lines of a chapter's file on which its figures and tables begin, by label."""
    text = document.read_text(encoding="utf-8") if document.is_file() else ""
    lines = enumerate(text.splitlines(), start=1)
    return {found[1]: number for number, line in lines if (found := _FLOAT.search(line))}


def study_line(study: str, floats: Mapping[str, int], *words: str) -> Markdown:
    """One line that says which study a page shows, and ``words`` about it; all are escaped.

    floats : the lines of the chapter's figures and tables, by label, for the site's script.
    """
    page = this_page()
    if not page.is_html:
        return block(" · ".join([f"*Study* **{safe(study)}**", *map(safe, words)]))
    root, made = Project.find().root.resolve(), page.document.resolve()
    source = made.relative_to(root).as_posix() if made.is_relative_to(root) else made.name
    lines = safe_html(json.dumps(floats, separators=(",", ":")))
    start = f'<p class="vitrine-study" data-source="{safe_html(source)}" data-lines="{lines}">'
    text = " · ".join([f"Study <b>{safe_html(study)}</b>", *map(safe_html, words)])
    return block(raw_html(f"{start}{text}</p>"))

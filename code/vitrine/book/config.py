"""``_quarto.yml`` as the bundled renderer reads it: the same file that Quarto reads."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, StrictBool, ValidationError

from vitrine.book.chapter import read_text, read_yaml
from vitrine.errors import ChapterError
from vitrine.project import Project

BOOK = "_quarto.yml"


def _listed(value: Any) -> list[Any]:
    """One entry or several; an author is a text or a mapping with ``name``."""
    entries = value if isinstance(value, list) else [value] if value else []
    return [entry.get("name") if isinstance(entry, dict) else entry for entry in entries]


Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class _Section(BaseModel):
    model_config = ConfigDict(alias_generator=lambda name: name.replace("_", "-"))

    @classmethod
    def names(cls) -> list[str]:
        return [name.replace("_", "-") for name in cls.model_fields]


class _Folders(_Section):
    type: Literal["book"]
    output_dir: Literal["_site", "_site/"]
    resources: Texts = ()


class _Tool(_Section):
    text: str
    href: str


class _Sidebar(_Section):
    """Quarto's own key for what stands beside the search on every page."""

    tools: tuple[_Tool, ...] = ()


class _About(_Section):
    title: str = "Untitled"
    subtitle: str = ""
    author: Texts = ()
    description: str = ""
    favicon: str = ""
    output_file: str = ""
    search: StrictBool = True
    repo_url: str = ""
    sidebar: _Sidebar = _Sidebar()
    chapters: list[str]


LEFT_OUT = "assets/left-out.lua"


class Filter(_Section):
    """The one filter of Pandoc's that both renderers run, before any of their own."""

    path: Literal["assets/left-out.lua"]
    at: Literal["pre-ast"]


class Look(_Section):
    """How a format is set; what else stands there concerns only how Quarto's own pages look."""

    toc: StrictBool = True
    toc_depth: int = 3
    code_fold: StrictBool | Literal["show"] = False
    code_summary: str = "Code"
    papersize: str = "a4"


_SECTIONS: dict[str, type[_Section]]
_SECTIONS = {"project": _Folders, "book": _About, "html": Look, "typst": Look}


class Book(_Section):
    """What the book is called, which chapters it has, in order, and how it is set.

    The fields have the names of ``_quarto.yml``. A key at the top that is not known here could
    change what the book says (``crossref``, another filter), and is refused.
    """

    model_config = ConfigDict(extra="forbid")

    project: _Folders
    book: _About
    bibliography: Texts = ()
    csl: str = ""
    link_citations: StrictBool = False
    lang: str = "en"
    number_sections: StrictBool = True
    number_depth: int = 6
    html: Look
    typst: Look
    format: Any = None
    execute: Any = None
    filters: tuple[Filter, ...] = ()
    jupyter: Any = None
    engine: Any = None

    @property
    def chapters(self) -> tuple[str, ...]:
        """Paths from the project's root; Quarto moves the home page to the front as well."""
        listed = [PurePosixPath(name).as_posix() for name in self.book.chapters]
        return ("index.qmd", *(name for name in listed if name != "index.qmd"))


def read_book(project: Project) -> Book:
    """Read and check ``_quarto.yml``.

    Raises ``ChapterError`` with file and line for a key that this renderer does not know, or that
    looks like a misspelt one (below ``project``, ``book`` and ``format`` Quarto knows many more,
    none so close to ours), for a value that it cannot follow, and for a file that is not there.
    """
    text = read_text(project.root / BOOK, BOOK)
    data = read_config(project)
    formats = data.get("format") or {}
    looks = {key: data.pop(key) for key in Look.names() if key in data}
    for name in ("html", "typst"):
        own = formats.get(name) if isinstance(formats, dict) else None
        data[name] = {**looks, **(own if isinstance(own, dict) else {})}
    for name, section in _SECTIONS.items():
        for key in data[name] if isinstance(data.get(name), dict) else ():
            near = get_close_matches(str(key), section.names(), 1, cutoff=0.8)
            if near and key not in section.names():
                raise _refused(text, [name, str(key)], f"is not known; {near[0]} is")
    try:
        book = Book.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        keys = [str(key) for key in first["loc"] if not isinstance(key, int)]
        raise _refused(text, keys[:2], first["msg"]) from None
    if problem := _chapters_problem(project, book):
        raise _refused(text, ["book", "chapters"], problem)
    for key, names in (("bibliography", book.bibliography), ("csl", (book.csl,))):
        for name in filter(None, names):
            if not (project.root / name).is_file():
                raise _refused(text, [key], f"names {name}, which does not exist")
    if {"/", "\\"} & {*pdf_name(project)}:
        raise _refused(text, ["book", "output-file"], "must be a file name without a folder")
    return book


def read_config(project: Project) -> dict[str, Any]:
    """What ``_quarto.yml`` says, unchecked: Quarto knows more than the bundled renderer."""
    return read_yaml(read_text(project.root / BOOK, BOOK), BOOK)


def chapter_names(config: Mapping[str, Any]) -> list[str]:
    """The ``.qmd`` files of the book in their order, as paths from the project's root.

    Raises ``ChapterError`` where they are not a list of such files.
    """
    book = config.get("book")
    listed = book.get("chapters") if isinstance(book, dict) else None
    names = listed if isinstance(listed, list) else []
    if not names or not all(isinstance(name, str) and name.endswith(".qmd") for name in names):
        raise ChapterError(
            f"{BOOK}: book.chapters is not a list of .qmd files",
            "List them there, one a line; parts and appendices are not supported",
        )
    return list(dict.fromkeys(PurePosixPath(name).as_posix() for name in names))


def pdf_name(project: Project) -> str:
    """The name of the report's PDF; other keys are not checked."""
    book = read_config(project).get("book")
    about = book if isinstance(book, dict) else {}
    name = str(about.get("output-file") or about.get("title") or "Untitled")
    return f"{name.removesuffix('.pdf')}.pdf"


def _refused(text: str, keys: list[str], problem: str) -> ChapterError:
    """The error about a key, at the first line that has it."""
    pattern = re.compile(rf"\s*{re.escape(keys[-1])}\s*:")
    lines = enumerate(text.splitlines(), start=1)
    line = next((number for number, line in lines if pattern.match(line)), 1)
    return ChapterError(
        f"{BOOK}:{line}: {'.'.join(keys)}: {problem}", "Correct it, or render with Quarto"
    )


def _chapters_problem(project: Project, book: Book) -> str:
    listed = [PurePosixPath(name) for name in book.book.chapters]
    for path in listed:
        if path.suffix != ".qmd" or path.is_absolute() or ".." in path.parts:
            return f"has {path}, which is not a .qmd file inside the project"
        if listed.count(path) > 1:
            return f"has {path} twice"
        if not (project.root / path).is_file():
            return f"has {path}, which does not exist"
    if PurePosixPath("index.qmd") not in listed:
        return "must contain index.qmd, the home page"
    return ""

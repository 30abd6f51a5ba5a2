"""``_quarto.yml`` as the bundled renderer reads it: the same file that Quarto reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from vitrine.errors import ChapterError
from vitrine.project import Project
from vitrine.site import marked
from vitrine.site.marked import KeyPath, Marked

# Keys that this renderer follows.
FOLLOWED = {
    "project.type",
    "project.output-dir",
    "project.resources",
    "book.title",
    "book.subtitle",
    "book.author",
    "book.description",
    "book.favicon",
    "book.output-file",
    "book.search",
    "book.chapters",
    "bibliography",
    "csl",
    "lang",
    "link-citations",
    "number-sections",
    "number-depth",
    "toc",
    "toc-depth",
    "code-fold",
    "code-summary",
    *(f"format.html.{key}" for key in ("toc", "toc-depth", "code-fold", "code-summary")),
    *(f"format.typst.{key}" for key in ("toc", "toc-depth", "papersize")),
}

# Keys that only say how cells are executed or how Quarto's own pages look. The bundled pages and
# PDF have their look from assets/page.html, page.css and report.typ, so nothing is lost.
_EXECUTION = (
    "eval",
    "echo",
    "output",
    "warning",
    "error",
    "include",
    "fig-width",
    "fig-height",
    "fig-format",
    "fig-dpi",
)
QUARTO_ONLY = {
    *(f"format.{name}.{key}" for name in ("html", "typst") for key in _EXECUTION),
    "execute",
    "jupyter",
    "engine",
    "project.render",
    "book.sidebar",
    "book.navbar",
    "book.page-navigation",
    "book.page-footer",
    "book.reader-mode",
    "book.downloads",
    "book.sharing",
    "book.site-url",
    "book.repo-url",
    "book.repo-actions",
    "format.html.theme",
    "format.html.css",
    "format.html.grid",
    "format.html.html-math-method",
    "format.html.anchor-sections",
    "format.html.smooth-scroll",
    "format.html.code-copy",
    "format.html.code-link",
    "format.html.code-overflow",
    "format.html.highlight-style",
    "format.html.include-in-header",
    "format.html.include-before-body",
    "format.html.include-after-body",
    "format.html.respect-user-color-scheme",
    "format.html.toc-location",
    "format.html.toc-title",
    "format.html.page-layout",
    "format.html.minimal",
    "format.html.link-external-newwindow",
    "format.html.email-obfuscation",
    "format.html.tbl-cap-location",
    "format.html.fig-cap-location",
    "format.html.fig-align",
    "format.html.mainfont",
    "format.html.monofont",
    "format.html.fontsize",
    "format.html.linestretch",
    "format.html.backgroundcolor",
    "format.html.title-block-banner",
    "format.html.lang",
    "format.typst.section-numbering",
    "format.typst.mainfont",
    "format.typst.monofont",
    "format.typst.fontsize",
    "format.typst.linestretch",
    "format.typst.font-paths",
    "format.typst.margin",
    "format.typst.citeproc",
    "format.typst.columns",
    "format.typst.keep-typ",
    "format.typst.include-in-header",
    "format.typst.include-before-body",
    "format.typst.include-after-body",
    "format.typst.template",
    "format.typst.template-partials",
    "format.typst.syntax-highlighting",
    "format.typst.highlight-style",
    "format.typst.fig-align",
    "format.typst.output-file",
}


@dataclass(frozen=True)
class Book:
    """What the book is called, which chapters it has, in order, and how it is set.

    ``chapters`` are paths from the project's root, such as ``chapters/lime.qmd``; the first is
    ``index.qmd``. ``code_fold`` is ``"none"``, ``"hide"`` or ``"show"``.
    """

    title: str
    subtitle: str
    authors: tuple[str, ...]
    description: str
    favicon: str
    chapters: tuple[str, ...]
    output_file: str
    search: bool
    resources: tuple[str, ...]
    bibliography: tuple[str, ...]
    csl: str
    link_citations: bool
    lang: str
    number_sections: bool
    number_depth: int
    html_toc: bool
    html_toc_depth: int
    pdf_toc: bool
    pdf_toc_depth: int
    papersize: str
    code_fold: str
    code_summary: str


def read_book(project: Project) -> Book:
    """Read and check ``_quarto.yml``.

    Raises ``ChapterError`` with file and line for a key that this renderer does not know, for a
    value that it cannot follow, and for a chapter that is not there.
    """
    config = _read_config(project)
    _check_keys(config, config.data, ())
    _check_project(config)
    return Book(
        title=config.text("book", "title") or "Untitled",
        subtitle=config.text("book", "subtitle"),
        authors=_authors(config),
        description=config.text("book", "description"),
        favicon=config.text("book", "favicon"),
        chapters=_chapters(project, config),
        output_file=_output_file(config),
        search=config.flag("book", "search", default=True),
        resources=config.texts("project", "resources"),
        bibliography=_files(project, config, "bibliography"),
        csl="".join(_files(project, config, "csl")[:1]),
        link_citations=config.flag("link-citations", default=False),
        lang=config.text("lang") or "en",
        number_sections=config.flag("number-sections", default=True),
        number_depth=config.whole("number-depth", default=6),
        html_toc=_either(config, "html", "toc", True),
        html_toc_depth=_either(config, "html", "toc-depth", 3),
        pdf_toc=_either(config, "typst", "toc", True),
        pdf_toc_depth=_either(config, "typst", "toc-depth", 3),
        papersize=config.text("format", "typst", "papersize") or "a4",
        code_fold=fold_mode(config, _nearest(config, "html", "code-fold")),
        code_summary=config.text(*_nearest(config, "html", "code-summary")) or "Code",
    )


def output_name(project: Project) -> str:
    """The name of the report's PDF without its ending; other keys are not checked."""
    return _output_file(_read_config(project))


def fold_mode(config: Marked, path: KeyPath) -> str:
    """``code-fold`` under ``path`` as ``"none"``, ``"hide"`` or ``"show"``."""
    value = config.get(*path)
    modes = {None: "none", False: "none", True: "hide", "show": "show"}
    if not isinstance(value, (bool, str, type(None))) or value not in modes:
        config.refuse(path, "must be true, false or show")
    return modes[value]


def _read_config(project: Project) -> Marked:
    try:
        text = (project.root / "_quarto.yml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ChapterError(f"_quarto.yml cannot be read ({error})", "Restore the file") from None
    return marked.load(text, "_quarto.yml")


def _check_keys(config: Marked, value: dict[str, Any], parent: KeyPath) -> None:
    known = FOLLOWED | QUARTO_ONLY
    for key, below in value.items():
        path = (*parent, str(key))
        dotted = ".".join(path)
        if dotted in known:
            continue
        if isinstance(below, dict) and any(name.startswith(dotted + ".") for name in known):
            _check_keys(config, below, path)
            continue
        near = sorted(name for name in known if name.split(".")[:-1] == list(parent))
        raise ChapterError(
            f"{config.where(*path)}: the bundled renderer does not know the key {dotted}",
            "Remove it, or render with Quarto; known here: " + ", ".join(near),
        )


def _check_project(config: Marked) -> None:
    if config.text("project", "type") != "book":
        config.refuse(("project", "type"), "must be book")
    if config.text("project", "output-dir") not in ("_site", "_site/"):
        config.refuse(("project", "output-dir"), "must be _site")


def _authors(config: Marked) -> tuple[str, ...]:
    """Author names; each entry is a text or a mapping with ``name``."""
    value = config.get("book", "author")
    names = []
    for entry in value if isinstance(value, list) else [value] if value else []:
        name = entry.get("name") if isinstance(entry, dict) else entry
        if not isinstance(name, str):
            config.refuse(("book", "author"), "must be a name, or mappings with a name")
        names.append(str(name))
    return tuple(names)


def _chapters(project: Project, config: Marked) -> tuple[str, ...]:
    path = ("book", "chapters")
    value = config.get(*path)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        config.refuse(path, "must be a list of .qmd files (parts are not supported)")
    chapters = [PurePosixPath(item).as_posix() for item in value]
    for chapter in chapters:
        pure = PurePosixPath(chapter)
        if pure.suffix != ".qmd" or pure.is_absolute() or ".." in pure.parts:
            config.refuse(path, f"has {chapter}, which is not a .qmd file inside the project")
        if chapters.count(chapter) > 1:
            config.refuse(path, f"has {chapter} twice")
        if not (project.root / chapter).is_file():
            config.refuse(path, f"has {chapter}, which does not exist")
    if "index.qmd" not in chapters:
        config.refuse(path, "must contain index.qmd, the home page")
    # Quarto moves the home page to the front as well.
    return ("index.qmd", *(chapter for chapter in chapters if chapter != "index.qmd"))


def _output_file(config: Marked) -> str:
    name = config.text("book", "output-file") or config.text("book", "title") or "book"
    if "/" in name or "\\" in name or name in (".", ".."):
        config.refuse(("book", "output-file"), "must be a file name without a folder")
    return name.removesuffix(".pdf")


def _files(project: Project, config: Marked, key: str) -> tuple[str, ...]:
    names = config.texts(key)
    for name in names:
        if not (project.root / name).is_file():
            config.refuse((key,), f"names {name}, which does not exist")
    return names


def _nearest(config: Marked, target: str, key: str) -> KeyPath:
    """The path of ``key`` for one output format: under the format, else at the top."""
    inside = ("format", target, key)
    return inside if inside in config.lines else (key,)


def _either(config: Marked, target: str, key: str, default: Any) -> Any:
    path = _nearest(config, target, key)
    if isinstance(default, bool):
        return config.flag(*path, default=default)
    return config.whole(*path, default=default)

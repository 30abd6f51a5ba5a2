"""``vitrine render``: the site and the PDF, made by Quarto or by the bundled renderer."""

import errno
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vitrine.book.chapter import read_chapter
from vitrine.book.config import chapter_names, pdf_name, read_book, read_config
from vitrine.book.document import read_document
from vitrine.book.frozen import read_frozen
from vitrine.book.manifest import Manifest
from vitrine.book.pages import write_pages
from vitrine.book.pdf import write_pdf
from vitrine.errors import ChapterError, VitrineError
from vitrine.files import writing
from vitrine.project import Project

Renderer = Literal["auto", "quarto", "bundled"]
PUBLISHED_AS = ("html", "pdf")

QUARTO_NEEDED = (1, 9)
"""Older versions make no PDF of a book through Typst."""

_WORKPLACE = ".vitrine-render-"  # how the folder begins in which a site is made

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
"""How a terminal is told of colours, which Quarto does even where there is none."""


@dataclass(frozen=True)
class Rendered:
    """What was made, and by which renderer, ``"quarto"`` or ``"bundled"``.

    ``site`` is the folder with ``index.html`` (``None`` when only the PDF was asked for), ``pdf``
    the whole report (``None`` when only the site was); ``study`` is the one that the freeze shows,
    or ``""``; ``warnings`` are for the author.
    """

    site: Path | None
    pdf: Path | None
    renderer: str
    study: str
    warnings: tuple[str, ...] = ()


def render(
    project: Project, *, renderer: Renderer = "auto", formats: Sequence[str] = PUBLISHED_AS
) -> Rendered:
    """Render the book from its frozen chapters; no chapter is executed.

    Parameters
    ----------
    renderer : ``"auto"`` takes Quarto when it is on the ``PATH`` and new enough, and the bundled
        one elsewhere.
    formats : of ``"html"`` and ``"pdf"``.

    Raises ``ChapterError`` when a chapter cannot be rendered, and ``VitrineError`` when the
    output folder cannot be written; what was there before stays.
    """
    quarto, why = pick_quarto()
    if renderer == "bundled":
        quarto = None
    elif quarto is None and renderer == "quarto":
        needed = ".".join(map(str, QUARTO_NEEDED))
        remedy = f"Install Quarto {needed} or newer, or render with --renderer bundled"
        raise VitrineError(why, remedy)
    pdf, warnings = pdf_name(project), list[str]()
    with _workplace(project) as work:
        site = work / "site"
        site.mkdir()
        if "pdf" not in formats:
            for old in project.site.glob("*.pdf"):
                shutil.copyfile(old, site / old.name)
        if quarto is None:
            warnings = _render_bundled(project, formats, site, pdf)
        else:
            _render_with_quarto(project, formats, site, pdf, quarto)
        _publish(project, site, formats)
    return Rendered(
        site=project.site if "html" in formats else None,
        pdf=project.site / pdf if "pdf" in formats else None,
        renderer="quarto" if quarto else "bundled",
        study=(Manifest.read(project) or Manifest()).study,
        warnings=tuple(warnings),
    )


def pick_quarto() -> tuple[str | None, str]:
    """The ``quarto`` on the ``PATH`` and its version; ``None``, and why it cannot be taken."""
    quarto = shutil.which("quarto")
    if quarto is None:
        return None, "Quarto is not on the PATH"
    try:
        done = subprocess.run([quarto, "--version"], capture_output=True, check=False, timeout=60)
        version = re.match(r"\d+\.\d+(\.\d+)?", done.stdout.decode(errors="replace").strip())
    except (OSError, subprocess.TimeoutExpired):
        version = None
    if version is None:
        return None, f"{quarto} cannot be run, or does not give its version"
    if tuple(map(int, version[0].split("."))) < QUARTO_NEEDED:
        return None, f"Quarto {version[0]} makes no PDF of a book"
    return quarto, version[0]


def _render_bundled(project: Project, formats: Sequence[str], site: Path, pdf: str) -> list[str]:
    """Make the pages and the PDF; returns warnings."""
    book, warnings = read_book(project), list[str]()
    if "pdf" in formats:
        warnings = write_pdf(read_document(project, book, "typst"), site / pdf)
    if "html" in formats:
        write_pages(read_document(project, book, "html"), site)
    return warnings


@contextmanager
def _workplace(project: Project) -> Iterator[Path]:
    """A new folder beside ``_site``, on the same disk; it is removed at the end.

    Raises ``Unwritten`` when it or ``_site`` cannot be written, and ``VitrineError`` when ``_site``
    is not a folder that may be replaced, and for a file that cannot be read.
    """
    if project.site.is_symlink() or (project.site.exists() and not project.site.is_dir()):
        raise VitrineError(
            f"{project.site.name} is not a folder of its own", "Move it out of the way"
        )
    try:
        if project.site.exists() and not os.access(project.site, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "Permission denied", str(project.site))
        with tempfile.TemporaryDirectory(
            prefix=_WORKPLACE, dir=project.root, ignore_cleanup_errors=True
        ) as work:
            yield Path(work)
    except OSError as error:
        named = str(error.filename or "")
        written = tuple(str(project.root / name) for name in (_WORKPLACE, project.site.name))
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) or isinstance(error, shutil.Error)
        if full or named.startswith(written):
            with writing(f"the site in {project.root}"):
                raise
        if not named:
            raise
        file = project.relative(Path(named))
        raise VitrineError(
            f"{file} cannot be read ({error.strerror})", "Give yourself the right, or restore it"
        ) from error


def _publish(project: Project, site: Path, formats: Sequence[str]) -> None:
    """Put a finished site in place of the old one; what was not made anew stays."""
    if "html" not in formats:
        project.site.mkdir(exist_ok=True)
        for pdf in site.glob("*.pdf"):
            os.replace(pdf, project.site / pdf.name)
        return
    former = site.parent / "former"
    if project.site.exists():
        os.rename(project.site, former)
    try:
        os.rename(site, project.site)
    except OSError:
        if former.exists():
            os.rename(former, project.site)
        raise


def _render_with_quarto(
    project: Project, formats: Sequence[str], site: Path, pdf: str, quarto: str
) -> None:
    """Let Quarto render the book from the freeze."""
    _check_frozen(project, formats)
    command = [quarto, "render", str(project.root), "--output-dir", str(site), "--no-clean"]
    if set(formats) != set(PUBLISHED_AS):
        command += ["--to", "html" if "html" in formats else "typst"]
    _run_quarto(command)
    # The resources of _quarto.yml are found in the former site as well.
    shutil.rmtree(site / project.site.name, ignore_errors=True)
    for name in formats:
        made = "index.html" if name == "html" else pdf
        if not (site / made).is_file():
            raise ChapterError(
                f"Quarto ended without an error and did not write {project.site.name}/{made}",
                "See what `quarto check` says, or render with --renderer bundled",
            )
    if not (site / pdf).exists():
        _remove_links(site, pdf)


def _check_frozen(project: Project, formats: Sequence[str]) -> None:
    """Raise ``ChapterError`` for a chapter that Quarto would execute, and perhaps could not."""
    for name in chapter_names(read_config(project)):
        chapter = read_chapter(project, project.root / name)
        for target in formats:
            read_frozen(project, chapter, "html" if target == "html" else "typst")


def _remove_links(site: Path, pdf: str) -> None:
    """Take off Quarto's pages the links to a PDF that is not there; ``downloads`` asks for them."""
    icon = r'\s*<i class="bi bi-file-pdf[^>]*></i>'
    link = re.compile(rf'<a [^>]*href="[./]*{re.escape(pdf)}"[^>]*>{icon}.*?</a>', re.DOTALL)
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        if link.search(text):
            page.write_text(link.sub("", text), encoding="utf-8")


def _run_quarto(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        said = (done.stderr + b"\n" + done.stdout).decode(errors="replace")
        lines = [line for line in _ESCAPES.sub("", said).splitlines() if line.strip()]
        reason = (
            " | ".join(lines[-6:]) or f"it ended with status {done.returncode} and said nothing"
        )
        raise ChapterError(
            f"Quarto could not render the book: {reason}",
            "Correct what it names, run `vitrine freeze` after editing a chapter, or render with "
            "--renderer bundled",
        )

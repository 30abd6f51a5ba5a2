"""The command line: ``vitrine new | fetch | run | import | freeze | render | doctor``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from vitrine.errors import VitrineError
from vitrine.external.study import ImportStudy, is_import_study, load_import_study
from vitrine.project import Project
from vitrine.study import Study, load_study

if TYPE_CHECKING:
    from vitrine.book.freeze import Stale

app = typer.Typer(
    name="vitrine",
    help="A living report on what image classifiers look at: fetch, run, import, freeze, render.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()
complaints = Console(stderr=True)


StudyName = Annotated[str, typer.Option("--study", "-s", help="A folder of data/studies.")]


INTERRUPTED = 130
"""The status with which typer ends a command that the user stopped."""


def main() -> None:
    """Run the command line; an error of ours ends in one message and status 1."""
    for name in ("VITRINE_MIRROR", "VITRINE_CACHE", "VITRINE_PROJECT"):
        if os.environ.get(name):
            # Chapters are executed in their own folder, where a relative path means another place.
            os.environ[name] = os.path.abspath(os.environ[name])
    try:
        app()
    except VitrineError as error:
        _complain("error:", "bold red", error.problem)
        if error.remedy:
            _complain("→", "bold", error.remedy)
        sys.exit(1)
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        _complain("error:", "bold red", f"The memory is full: {str(error).splitlines()[0]}")
        _complain("→", "bold", "Ask for less at a time: a smaller batch, fewer samples or images")
        sys.exit(1)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _say("stopped; what was computed is kept, the same command goes on there", complaints)
        raise


def _out_of_memory(error: Exception) -> bool:
    """As Python and NumPy say it, or PyTorch, which is not imported here."""
    torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or torch


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Of the study: small letters, digits, - and _.")],
    images: Annotated[
        Path,
        typer.Option(
            help="A folder of images, at any depth; one named like a class tells the true class."
        ),
    ],
    network: Annotated[
        str,
        typer.Option(
            help="timm:NAME, torchvision:NAME, FILE.py:FUNCTION (which returns a torch.nn.Module; "
            "your code is run), or a row of our table."
        ),
    ] = "efficientnet_lite0",
    weights: Annotated[
        str, typer.Option(help="A file: safetensors, or a checkpoint of plain tensors.")
    ] = "",
    classes: Annotated[
        str, typer.Option(help="A text file, one class a line, in the order of the outputs.")
    ] = "",
    size: Annotated[
        int | None, typer.Option(min=8, help="Side of the network's input in pixels.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A small study of four images: minutes on two cores.")
    ] = False,
) -> None:
    """Write a study of your own images and network, after a look at both.

    The images stay where they are, and nothing that exists is overwritten.
    """
    project = Project.find()
    _pipeline()
    from vitrine.experiments.new import Wanted, new_study

    wanted = Wanted(name, images.expanduser(), network, weights, classes, size, quick)
    if ".py" in network:
        _say(f"{network.rpartition(':')[0]} is your own code, and it is run", complaints)
    for line in new_study(project, wanted):
        _say(line)
    _say(f"written: {project.relative(project.study_file(name))}")
    _say(f"Now type: make study STUDY={name}")


@app.command()
def fetch(study: StudyName = "embedded") -> None:
    """Bring images and weights into the cache, each verified by its SHA-256."""
    project = Project.find()
    wanted: Study | ImportStudy
    bringing: ModuleType
    if is_import_study(project, study):
        from vitrine.external import run as importing

        wanted, bringing = load_import_study(project, study), importing
    else:
        wanted, bringing = load_study(project, study), _pipeline()
    with _bar(MofNCompleteColumn()) as bar:
        task = bar.add_task("fetch", total=bringing.fetched_files(project, wanted))
        bringing.fetch(project, wanted, lambda file: bar.update(task, advance=1, description=file))
        bar.update(task, description="fetched and verified")


@app.command()
def run(
    study: StudyName = "embedded",
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes the GPU where there is one.")
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="So many processes of this machine, through Dask.")
    ] = None,
    scheduler: Annotated[
        str, typer.Option(help="Of a Dask cluster that is there already, as tcp://HOST:8786.")
    ] = "",
) -> None:
    """Compute what a study asks for and is not there yet."""
    project = Project.find()
    if workers and scheduler:
        raise VitrineError(
            "The workers of a scheduler are there already", "Leave --workers or --scheduler away"
        )
    if is_import_study(project, study):
        _import_all(project, study)
        return
    wanted = load_study(project, study)
    pipeline = _pipeline()
    from vitrine.experiments.workers import workers_for

    with _bar(TaskProgressColumn(), TextColumn("left"), TimeRemainingColumn()) as bar:
        task = bar.add_task("loading", total=None)
        summary = pipeline.run(
            project,
            wanted,
            device,
            pipeline.Progress(
                plan=lambda passes, todo, done: bar.update(task, total=passes),
                step=lambda name: _announce(bar, task, name),
                advance=lambda passes: bar.update(task, advance=passes),
            ),
            workers_for(device, workers, scheduler),
        )
        bar.update(task, description="done", total=1, completed=1)
    folder = project.relative(project.results / study)
    _say_changed(summary.changed)
    if summary.computed:
        steps = _counted(summary.computed, "step")
        _say(f"computed {steps}, kept {summary.kept}; results in {folder}")
    elif summary.changed:
        _say(f"assembled the tables again from {_counted(summary.kept, 'step')}; {study} is whole")
    else:
        _say(f"nothing to do: all {_counted(summary.kept, 'step')} of {study} are in {folder}")


def _say_changed(files: tuple[str, ...]) -> None:
    """Name the files of a store that were not as they had been written."""
    if files:
        more = f" and {len(files) - 5} more" if files[5:] else ""
        _say(f"changed by hand, and made again: {', '.join(files[:5])}{more}")


@app.command("import")
def import_(study: StudyName = "published") -> None:
    """Take other people's results into a store: labels of units, masks and heatmaps."""
    _import_all(Project.find(), study)


def _import_all(project: Project, name: str) -> None:
    """Import the runs that a study's file names."""
    from vitrine.external import run as importing

    study = load_import_study(project, name)
    with _bar() as bar:
        task = bar.add_task("import", total=None)
        done = importing.import_study(project, study, lambda what: _announce(bar, task, what))
        bar.update(task, description="done", total=1, completed=1)
    runs, folder = _counted(done.runs, "run"), project.relative(project.results / name)
    _say_changed(done.mended)
    for note in done.notes:  # what was done to the values of the files
        _say(note)
    if done.changed:
        _say(f"imported {runs} from {_counted(done.files, 'file')}; results in {folder}")
    else:
        _say(f"nothing to do: all {runs} of {name} are in {folder}")


@app.command()
def freeze(
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether the freeze is current.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Execute every chapter again.")] = False,
    study: Annotated[
        str, typer.Option("--study", "-s", help="Show this study from now on (_variables.yml).")
    ] = "",
) -> None:
    """Execute the chapters over the stored results, without torch, and keep what they print."""
    from vitrine.book import freeze as freezer

    project = Project.find()
    if study:
        load_study(project, study)  # it is one
    if check:
        stale = freezer.check(project)
        for item in stale:
            _say(str(item))
        if stale:
            raise VitrineError(
                "The freeze is not current", "Run `vitrine freeze` and commit _freeze"
            )
        _say("the freeze is current")
        return
    with _bar(MofNCompleteColumn()) as bar:
        task = bar.add_task("chapters", total=None)
        frozen = freezer.freeze(
            project,
            force=force,
            study=study,
            progress=lambda done, total, what: bar.update(
                task, description=what, completed=done, total=total
            ),
        )
        bar.update(task, description="done")
    current = len(frozen.current)
    were = "was" if current == 1 else "were"
    _say(f"executed {_counted(len(frozen.executed), 'chapter')}, {current} {were} current")
    _say_shown(frozen.study)


@app.command()
def render(
    renderer: Annotated[
        Literal["auto", "quarto", "bundled"],
        typer.Option(help="auto takes Quarto where it is installed."),
    ] = "auto",
    to: Annotated[Literal["all", "html", "pdf"], typer.Option(help="What to build.")] = "all",
) -> None:
    """Build the site and the PDF from the freeze; nothing is executed."""
    from vitrine.book import freeze as freezer
    from vitrine.book import render as renderers

    project = Project.find()
    stale: list[Stale] = []
    with suppress(VitrineError):  # rendering itself will say what is wrong
        stale = freezer.check(project)  # before Quarto, which writes into the freeze
    rendered = renderers.render(
        project, renderer=renderer, formats=("html", "pdf") if to == "all" else (to,)
    )
    _say(f"rendered by {rendered.renderer}")
    _say_shown(rendered.study)
    if rendered.site:
        _say(f"site  {project.relative(rendered.site / 'index.html')}")
    if rendered.pdf:
        _say(f"PDF   {project.relative(rendered.pdf)}")
    for warning in rendered.warnings:
        _complain("warning:", "bold yellow", warning)
    if stale:
        listed = "; ".join(map(str, stale))
        _complain("warning:", "bold yellow", f"the freeze is not current, so this is old: {listed}")
        _complain("→", "bold", "Run `vitrine freeze` and render again")


@app.command()
def doctor() -> None:
    """Say what is installed and present, and what to do about what is not."""
    from vitrine.doctor import examine

    bad = False
    for finding in examine(Project.find()):
        mark = {"good": ("✓", "green"), "note": ("·", "yellow"), "bad": ("✗", "red")}[finding.state]
        _say(Text.assemble(mark, f" {finding.subject}: {finding.text}"))
        if finding.remedy:
            _say(f"    → {finding.remedy}")
        bad = bad or finding.state == "bad"
    if bad:
        raise typer.Exit(1)


def _announce(bar: Progress, task: TaskID, name: str) -> None:
    """Name the step that begins; in a log, where no bar is drawn, as a line of its own."""
    bar.update(task, description=name)
    if not complaints.is_terminal:
        _say(name, complaints)


def _say(text: str | Text, to: Console = console) -> None:
    """Print a line as it is: only a terminal wraps it, so that a log can be searched."""
    to.print(text, markup=False, highlight=False, soft_wrap=not to.is_terminal)


def _complain(mark: str, style: str, text: str) -> None:
    _say(Text.assemble((mark, style), f" {text}"), complaints)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _say_shown(study: str) -> None:
    """Which study the frozen report shows; a book need not show any."""
    if study:
        _say(f"study {study}")


def _pipeline() -> ModuleType:
    """The pipeline, with torch behind it; a clear word if that is not installed."""
    try:
        from vitrine.experiments import run as pipeline
    except ModuleNotFoundError as error:
        raise VitrineError(
            f"The package {error.name} is not installed, which computing a study needs",
            "Run `make study`, or install the project with its extra `study`",
        ) from error
    return pipeline


@contextmanager
def _bar(*columns: object) -> Iterator[Progress]:
    """A progress bar that says what is going on, how far it is and how long it took."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,  # type: ignore[arg-type]
        TimeElapsedColumn(),
        console=complaints,
    ) as bar:
        yield bar

"""Tables about the report itself: its sources, its studies, its software."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from vitrine.data.sources import load_sources
from vitrine.errors import ResultsError, StudyError
from vitrine.external.study import is_import_study, load_import_study
from vitrine.project import Project
from vitrine.report.study_report import StudyReport
from vitrine.report.tables import table
from vitrine.store import Store
from vitrine.study import load_study, study_names


def sources_table() -> Markdown:
    """Where files from outside come from, and under which licence."""
    rows = [
        (source.title, source.owner, source.used_for, source.licence)
        for source in load_sources(Project.find()).values()
    ]
    return table(pd.DataFrame(rows, columns=["Source", "Owner", "Used for", "Licence"]), "sources")


def studies_table() -> Markdown:
    """The studies of the project, and when each was computed here; what is wrong with a file."""
    project = Project.find()
    rows = [_study_row(project, name) for name in study_names(project)]
    return table(pd.DataFrame(rows, columns=["Study", "What it is", "Computed"]), "studies")


def _study_row(project: Project, name: str) -> tuple[str, str, str]:
    try:
        load = load_import_study if is_import_study(project, name) else load_study
        study = load(project, name)
    except StudyError as error:
        return name, f"Its file cannot be read: {error.problem}", "not run here"
    try:
        store = Store(project, name)
        computed = store.provenance()["computed"] if store.is_finished() else "not run here"
    except ResultsError as error:
        computed = f"not readable: {error.problem}"
    return study.title, study.description, computed


def software_table(study: StudyReport) -> Markdown:
    """The packages that computed a study, with their versions."""
    packages = {"vitrine": study.provenance["vitrine"]} | study.provenance["packages"]
    return table(pd.DataFrame(packages.items(), columns=["Package", "Version"]), "software")

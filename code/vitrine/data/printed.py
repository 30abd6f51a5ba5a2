"""Figures that earlier reports printed, copied into ``data/published/*.csv``.

Each row begins with the key of its source in the bibliography. What other people's runs left in
files is imported (``vitrine.external``) and not copied.
"""

import pandas as pd

from vitrine.errors import SourceError, pick
from vitrine.project import Project


def published_figures(project: Project, name: str) -> pd.DataFrame:
    """The figures of ``data/published/NAME.csv``. Raises ``SourceError``."""
    tables = {path.stem: path for path in (project.data / "published").glob("*.csv")}
    path = pick(tables, name, "table of published figures", "tables", SourceError)
    return pd.read_csv(path, keep_default_na=False)

"""Figures that earlier reports printed, copied into ``data/published/*.csv``.

Each row begins with the key of its source in the bibliography. What other people's runs left in
files is imported (``vitrine.external``) and not copied.
"""

import pandas as pd

from vitrine.errors import SourceError, suggestion
from vitrine.project import Project


def published_figures(project: Project, name: str) -> pd.DataFrame:
    """The figures of ``data/published/NAME.csv``. Raises ``SourceError``."""
    folder = project.data / "published"
    path = folder / f"{name}.csv"
    if not path.is_file():
        known = sorted(each.stem for each in folder.glob("*.csv"))
        raise SourceError(
            f"There are no published figures {name!r}", suggestion(name, known, "There are")
        )
    return pd.read_csv(path, keep_default_na=False)

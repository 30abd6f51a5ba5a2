"""What a person saw in the images of a study, each with the condition under which it stands.

``data/studies/NAME/observations.md`` holds one section an observation::

    ## place: sec-lime-maps
    images: [American coot]
    seen: 2026-11-26
    when:
      predictions: image == "American coot" and rank == 1 and category == "American coot"

    On the coot the ten superpixels hold reeds and water at the right edge.

place : the anchor in a chapter where it is shown. seen : the day on which the maps were looked at.
when : by table, a query of pandas, or a list of them, each of which must find a row: of the study's
classifier, or, in the tables of the dissection, of the network that its ``classifier`` names. What
follows the empty line is the text, in Markdown.
"""

import datetime
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field

from vitrine.errors import StudyError, wrong_values

OBSERVATIONS = "observations.md"

_HEADING = re.compile(r"^## place: *(\S+) *$", re.MULTILINE)


class Observation(BaseModel):
    """One observation. when : tables and queries. line : where it stands in its file."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    place: str
    line: int
    text: str = Field(min_length=1)
    images: tuple[str, ...]
    seen: datetime.date
    when: dict[str, str | list[str]] = Field(min_length=1)

    @property
    def name(self) -> str:
        """What a message calls it: its place and its first words."""
        return f"{self.place} (line {self.line}): {' '.join(self.text.split()[:8])} ..."

    def failed(self, table: Callable[[str], pd.DataFrame]) -> str | None:
        """The first condition that does not hold, or ``None``. ``table`` gives one by its name."""
        for name, queries in self.when.items():
            for query in [queries] if isinstance(queries, str) else queries:
                try:
                    if table(name).query(query, engine="python").empty:
                        return f"{name}: {query}"
                except Exception as error:  # whatever pandas says of it, or the store of a table
                    return f"{name}: {query} ({error})"
        return None


def read_observations(folder: Path) -> list[Observation]:
    """The observations of the study in a folder, ``[]`` without a file. Raises ``StudyError``."""
    path = folder / OBSERVATIONS
    return list(_sections(path.read_text(encoding="utf-8"), path)) if path.is_file() else []


def _sections(text: str, path: Path) -> Iterator[Observation]:
    headings = list(_HEADING.finditer(text))
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        line = text.count("\n", 0, heading.start()) + 1
        body = text[heading.end() : following.start() if following else len(text)].strip()
        head, _, words = body.partition("\n\n")
        try:
            facts = dict(yaml.safe_load(head))
            yield Observation(place=heading[1], line=line, text=words.strip(), **facts)
        except (yaml.YAMLError, TypeError, ValueError) as error:
            problem = f"{path.parent.name}/{path.name}:{line}: {wrong_values(error)}"
            needs = (
                "`images`, `seen` (a day), `when` (tables with queries), an empty line, its text"
            )
            raise StudyError(problem, f"An observation has {needs}") from error

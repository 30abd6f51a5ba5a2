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
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from vitrine.errors import StudyError

OBSERVATIONS = "observations.md"

_HEADING = re.compile(r"^## place: *(\S+) *$", re.MULTILINE)


@dataclass(frozen=True)
class Observation:
    """One observation. when : tables and queries. line : where it stands in its file."""

    place: str
    images: tuple[str, ...]
    seen: datetime.date
    when: tuple[tuple[str, str], ...]
    text: str
    line: int

    @property
    def name(self) -> str:
        """What a message calls it: its place and its first words."""
        return f"{self.place} (line {self.line}): {' '.join(self.text.split()[:8])} ..."

    def failed(self, table: Callable[[str], pd.DataFrame]) -> str | None:
        """The first condition that does not hold, or ``None``. ``table`` gives one by its name."""
        for name, query in self.when:
            try:
                if table(name).query(query, engine="python").empty:
                    return f"{name}: {query}"
            except Exception as error:  # whatever pandas says of the query, or the store of a table
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
            facts = yaml.safe_load(head)
            known = isinstance(facts, dict) and set(facts) == {"images", "seen", "when"}
            if not known or not words.strip():
                raise ValueError("it needs `images`, `seen`, `when`, an empty line and its text")
            if not isinstance(facts["seen"], datetime.date):
                raise ValueError("`seen` is a day, as in 2026-11-26")
            if not isinstance(facts["when"], dict) or not facts["when"]:
                raise ValueError("`when` holds a table and a query of it, or several")
        except (yaml.YAMLError, ValueError) as error:
            where = f"{path.parent.name}/{path.name}:{line}"
            raise StudyError(f"{where}: {error}", "Mend the observation there") from error
        images = tuple(str(name) for name in facts["images"] or ())
        when = tuple(
            (str(name), str(query))
            for name, queries in facts["when"].items()
            for query in (queries if isinstance(queries, list) else [queries])
        )
        yield Observation(heading.group(1), images, facts["seen"], when, words.strip(), line)

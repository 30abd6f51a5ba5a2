"""The store: what a study computed, as arrays, tidy tables and provenance.

``data/results/STUDY/`` holds

- ``tasks/NAME.npz``: the arrays of one task and, as JSON, its key and facts;
- one CSV file a table, assembled from the tasks, and ``tables.json``: what their columns say;
- ``provenance.json``: from what, with what and when, and the SHA-256 digest of every other file.

Every file is written to a temporary name in its own folder and moved into place, so that a run that
is stopped leaves only whole files. A store is finished when its provenance says so; then no file is
believed whose digest is another.
"""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from vitrine.data.images import Frame
from vitrine.errors import ResultsError, StudyNotRun, suggestion
from vitrine.files import sha256, sha256_of, write_atomically, writing
from vitrine.methods.heatmap import Heatmap, frame_from, heatmap_from
from vitrine.project import Project

Arrays = dict[str, np.ndarray]

PROVENANCE = "provenance.json"
TABLES = "tables.json"

_PROVENANCE = {"study", "signature", "computed", "classifiers", "methods", "images"}
"""What every provenance tells."""


@dataclass(frozen=True)
class TaskResult:
    """What one task computed: arrays, and facts that JSON can hold."""

    arrays: Arrays
    facts: dict[str, Any]


class Store:
    """The results of one study, to write (by a run) and to read (by the report).

    command : what computes them, in words for the person who has to.
    """

    command: ClassVar[str] = "run"

    def __init__(self, project: Project, study: str) -> None:
        self.project = project
        self.study = study
        self.folder = project.results / study
        self._digests: tuple[tuple[int, int], dict[str, str]] | None = None

    # --- writing ---------------------------------------------------------------------------------

    def write_task(self, name: str, key: str, result: TaskResult) -> None:
        """Store one task's result under its name, e.g. ``efficientnet_lite0/lime/kite.jpg``."""
        meta = json.dumps({"key": key, "facts": result.facts}, sort_keys=True)
        stream = io.BytesIO()
        try:
            np.savez_compressed(stream, meta=np.array(meta), **result.arrays)  # type: ignore[arg-type]
        except ValueError as error:  # zipfile's, which cannot close what an interrupt left open
            raise (error.__context__ or error) from None
        write_atomically(self._task_path(name), stream.getvalue())

    def write_tables(self, tables: dict[str, tuple[dict[str, str], pd.DataFrame]]) -> None:
        """Write all tables as CSV, with eight significant digits; any other table is removed.

        tables : by name, what each column says and the rows.
        """
        facts = {}
        for name, (columns, table) in tables.items():
            if list(table.columns) != list(columns):
                raise ValueError(
                    f"the table {name} has columns {list(table.columns)}, not {list(columns)}"
                )
            text = table.to_csv(index=False, float_format="%.8g", lineterminator="\n")
            write_atomically(self.folder / f"{name}.csv", text.encode())
            numbers = [column for column in columns if table[column].dtype.kind == "f"]
            texts = [column for column in columns if _holds_text(table[column])]
            facts[name] = {"columns": columns, "numbers": numbers, "texts": texts}
        text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self.folder / TABLES, text.encode())
        for path in sorted(self.folder.glob("*.csv")):
            if path.stem not in tables:
                with writing(path):
                    path.unlink()

    def write_provenance(self, provenance: dict[str, Any]) -> None:
        """Finish the store: say from what it is, and hold every file by its digest."""
        tables = [*self.folder.glob("*.csv"), self.folder / TABLES]
        files = [*tables, *(self.folder / "tasks").rglob("*.npz")]
        named = {path.relative_to(self.folder).as_posix(): path for path in files}
        held = {name: sha256_of(name, named[name].read_bytes()) for name in sorted(named)}
        text = json.dumps(provenance | {"files": held}, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self.folder / PROVENANCE, text.encode())

    def drop_other_tasks(self, names: set[str]) -> None:
        """Remove tasks that the study no longer asks for."""
        for path in sorted((self.folder / "tasks").rglob("*.npz")):
            if path.relative_to(self.folder / "tasks").as_posix().removesuffix(".npz") not in names:
                with writing(path):
                    path.unlink()

    # --- reading ---------------------------------------------------------------------------------

    def task_key(self, name: str) -> str | None:
        """The key under which a task was computed; ``None`` if it was not, or cannot be read."""
        try:
            with self._task(name) as (archive, meta):
                dict(archive)  # all of it: a file that is damaged anywhere is computed again
                return str(meta["key"])
        except ResultsError:
            return None

    def has_task(self, name: str) -> bool:
        """Whether a task of that name is stored."""
        return self._task_path(name).is_file()

    def read_task(self, name: str) -> TaskResult:
        """One task's result. Raises ``ResultsError``."""
        with self._task(name) as (archive, meta):
            arrays = {key: archive[key] for key in archive.files if key != "meta"}
            return TaskResult(arrays, meta["facts"])

    def task_or_none(self, name: str) -> TaskResult | None:
        """One task's result, or ``None`` where it is not stored."""
        return self.read_task(name) if self.has_task(name) else None

    def facts(self, name: str) -> dict[str, Any]:
        """The facts of one task's result; none if it was not computed, or cannot be read."""
        try:
            with self._task(name) as (_, meta):
                return dict(meta["facts"])
        except ResultsError:
            return {}

    @contextmanager
    def _task(self, name: str) -> Iterator[tuple[Any, dict[str, Any]]]:
        """The archive of one task, and its key and facts. Raises ``ResultsError``."""
        with (
            self._reading(self._task_path(name)) as content,
            np.load(io.BytesIO(content), allow_pickle=False) as archive,
        ):
            yield archive, dict(json.loads(str(archive["meta"])))

    @contextmanager
    def _reading(self, path: Path) -> Iterator[bytes]:
        """The bytes of a file of the store, as it was written, to be read in the block.

        Whatever goes wrong with it is a ``ResultsError``.
        """
        try:
            content, name = path.read_bytes(), path.relative_to(self.folder).as_posix()
            held = self._held() if name != PROVENANCE else {}
            if held and held.get(name) != sha256_of(name, content):
                raise ResultsError(
                    f"{self.project.relative(path)} is not as `vitrine {self.command}` wrote it: "
                    "its SHA-256 digest is another than in provenance.json",
                    f"{self._how_to_run()} to make it again, or restore it",
                )
            yield content
        except (ResultsError, MemoryError):  # a full memory does not damage a file
            raise
        except FileNotFoundError as error:
            raise ResultsError(
                f"{self.project.relative(path)} does not exist: the results of {self.study!r} are "
                "not whole",
                self._how_to_run(),
            ) from error
        except OSError as error:
            raise ResultsError(
                f"{self.project.relative(path)} cannot be read ({error.strerror})",
                f"Give yourself the right to read it. {self._how_to_run()}",
            ) from error
        except Exception as error:
            raise self._damaged(path, error) from error

    def _held(self) -> dict[str, str]:
        """The digests by which the provenance holds the other files; none until it is written."""
        try:
            found = (self.folder / PROVENANCE).stat()
            known = (found.st_mtime_ns, found.st_size)
            if self._digests is None or self._digests[0] != known:
                self._digests = (known, self.provenance().get("files", {}))
        except (OSError, ResultsError):
            return {}
        return self._digests[1]

    def changed(self) -> list[str]:
        """The files of a finished store that are not as they were written, by their paths in it."""
        return [name for name, kept in self._held().items() if sha256(self.folder / name) != kept]

    def _damaged(self, path: Path, error: Exception | None = None) -> ResultsError:
        why = f" ({error})" if error else ""
        return ResultsError(
            f"{self.project.relative(path)} is damaged{why}",
            f"Delete it. {self._how_to_run()}",
        )

    def _task_path(self, name: str) -> Path:
        return self.folder / "tasks" / f"{name}.npz"

    def provenance(self) -> dict[str, Any]:
        """From what, with what and when. Raises ``ResultsError`` if the store is not finished."""
        if not self.is_finished():
            started = (self.folder / "tasks").is_dir()
            problem = "is not finished" if started else "has not been run here"
            raise StudyNotRun(f"The study {self.study!r} {problem}", self._how_to_run())
        found = self._json(PROVENANCE)
        if not (found.keys() >= _PROVENANCE and isinstance(found.get("files", {}), dict)):
            raise self._damaged(self.folder / PROVENANCE)
        return found

    def _json(self, name: str) -> dict[str, Any]:
        """What a file of the store's folder says. Raises ``ResultsError``."""
        path = self.folder / name
        with self._reading(path) as content:
            found = json.loads(content)
            if not isinstance(found, dict):
                raise self._damaged(path)
            return found

    def is_whole(self, signature: str, tables: set[str]) -> bool:
        """Whether the store holds these tables, finished from exactly what the signature says."""
        try:
            finished = self.is_finished() and self.provenance()["signature"] == signature
            files = {TABLES, *(f"{name}.csv" for name in tables)}
            return finished and files <= self._held().keys() and not self.changed()
        except ResultsError:
            return False

    def reopen(self) -> None:
        """Mark the store as unfinished; what it holds stays."""
        path = self.folder / PROVENANCE
        with writing(path):
            path.unlink(missing_ok=True)

    def is_finished(self) -> bool:
        """Whether the study has been run to its end here."""
        return (self.folder / PROVENANCE).is_file()

    def tables(self) -> dict[str, dict[str, Any]]:
        """What the tables' columns say, and which of them hold numbers that may be missing."""
        self.provenance()
        return dict(self._json(TABLES))

    def table(self, name: str) -> pd.DataFrame:
        """A table as pandas frame. Raises ``ResultsError``.

        An empty cell is a missing number in a column of fractions, and a text anywhere else. What
        was written as text is read as text, though each name looks like a number.
        """
        known = self.tables()
        if name not in known:
            raise ResultsError(
                f"The study {self.study!r} has no table {name!r}",
                suggestion(name, sorted(known), "Its tables are"),
            )
        path = self.folder / f"{name}.csv"
        empty = {column: [""] for column in known[name]["numbers"]}
        texts = dict.fromkeys(known[name].get("texts", ()), str)  # older results do not say
        with self._reading(path) as content:
            table = pd.read_csv(
                io.BytesIO(content), keep_default_na=False, na_values=empty, dtype=texts
            )
        if list(table.columns) != list(known[name]["columns"]):
            raise ResultsError(
                f"{self.project.relative(path)} has other columns than it should",
                self._how_to_run(),
            )
        return table

    def files(self) -> dict[str, str]:
        """The image file behind each image's name."""
        return {row["name"]: row["file"] for row in self.provenance()["images"]}

    def frame(self, classifier: str, image: str) -> Frame:
        """The crop of ``image`` that ``classifier`` saw."""
        facts = self.read_task(f"{classifier}/predictions/{self.files()[image]}").facts
        return frame_from(facts["frame"])

    def heatmap(self, classifier: str, method: str, image: str, variant: str = "") -> Heatmap:
        """The heatmap of a method, or of a variant of it, for an image."""
        way = f"{method}.{variant}" if variant else method
        result = self.read_task(f"{classifier}/{way}/{self.files()[image]}")
        return heatmap_from(result.arrays, result.facts, method)

    def _how_to_run(self) -> str:
        return f"Run `vitrine {self.command} --study {self.study}`"


def _holds_text(column: pd.Series) -> bool:
    """Whether all that a column says is text, as names are."""
    said = column.dropna()
    return bool(len(said)) and all(isinstance(value, str) for value in said)


def explained_alike(project: Project, name: str) -> list[tuple[Store, str]]:
    """Every classifier that explains the images of a study: with its store, the study's own first.

    Of studies that were run to their end here; imported runs have no classifier of their own.
    """
    folders = sorted(path.name for path in project.results.glob("*") if path.is_dir())
    stores = [Store(project, study) for study in dict.fromkeys([name, *folders])]
    if not stores[0].is_finished():
        return []
    known = [(store, store.provenance()) for store in stores if store.is_finished()]
    asked = [told.get("study", {}).get("images", {}) for _, told in known]
    images = [[one.get(key) for key in ("source", "folder", "files")] for one in asked]
    return [
        (store, str(row["name"]))
        for (store, told), shown in zip(known, images, strict=True)
        if shown == images[0]
        for row in told.get("classifiers", ())
    ]

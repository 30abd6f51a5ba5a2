"""YAML that remembers on which line each key stands, so that an error can point at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from vitrine.errors import ChapterError

KeyPath = tuple[str, ...]


@dataclass(frozen=True)
class Marked:
    """A YAML mapping, and the line of each of its keys.

    ``data`` is the mapping as plain Python values; ``lines`` maps a path of keys, such as
    ``("book", "title")``, to a line of ``file`` counted from 1.
    """

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def where(self, *path: str) -> str:
        """``file:line`` of a key, or of the nearest key around it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return f"{self.file}:{self.lines[path[:end]]}"
        return self.file

    def get(self, *path: str) -> Any:
        """The value under a path of keys, or ``None``."""
        value: Any = self.data
        for key in path:
            if not isinstance(value, dict) or key not in value:
                return None
            value = value[key]
        return value

    def text(self, *path: str) -> str:
        """The value as text, ``""`` when absent. Raises ``ChapterError`` for lists and mappings."""
        value = self.get(*path)
        if value is None:
            return ""
        if isinstance(value, (list, dict)):
            self.refuse(path, "must be a single text")
        return str(value)

    def texts(self, *path: str) -> tuple[str, ...]:
        """The value as a list of texts; a single text is a list of one."""
        value = self.get(*path)
        if value is None:
            return ()
        values = value if isinstance(value, list) else [value]
        for item in values:
            if isinstance(item, (list, dict)):
                self.refuse(path, "must be a text or a list of texts")
        return tuple(str(item) for item in values)

    def flag(self, *path: str, default: bool) -> bool:
        """The value as true or false. Raises ``ChapterError`` for anything else."""
        value = self.get(*path)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(path, "must be true or false")
        return bool(value)

    def whole(self, *path: str, default: int) -> int:
        """The value as a whole number. Raises ``ChapterError`` for anything else."""
        value = self.get(*path)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(path, "must be a whole number")
        return int(value)

    def refuse(self, path: KeyPath, problem: str) -> NoReturn:
        """Raise ``ChapterError`` about the key under ``path``."""
        raise ChapterError(f"{self.where(*path)}: {'.'.join(path)} {problem}", "Correct the value")


def load(text: str, file: str, first_line: int = 1) -> Marked:
    """Read a YAML mapping that starts on ``first_line`` of ``file``.

    Raises ``ChapterError`` with file and line when it is not valid YAML, is not a mapping, or
    has a key twice.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = first_line + (mark.line if mark else 0)
        problem = getattr(error, "problem", None) or "cannot be read"
        raise ChapterError(f"{file}:{line}: not valid YAML ({problem})", "Correct it") from None
    if node is None:
        return Marked(file)
    if not isinstance(node, yaml.MappingNode) or not isinstance(data, dict):
        raise ChapterError(f"{file}:{first_line}: expected `key: value` lines", "Correct them")
    lines: dict[KeyPath, int] = {}
    for path, line in _keys(node, ()):
        if path in lines:
            raise ChapterError(
                f"{file}:{first_line + line}: {'.'.join(path)} is set twice", "Remove one of them"
            )
        lines[path] = first_line + line
    return Marked(file, data, lines)


def _keys(node: yaml.MappingNode, parent: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    for key, value in node.value:
        path = (*parent, str(key.value))
        yield path, key.start_mark.line
        if isinstance(value, yaml.MappingNode):
            yield from _keys(value, path)

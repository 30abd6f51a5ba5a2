"""What pydantic finds wrong with a file, in the words of TOML."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from vitrine.errors import StudyError, suggestion


@contextmanager
def validated(shown: str, remedy: str, *models: type[BaseModel]) -> Iterator[None]:
    """What pydantic says of one of these models in the block becomes a ``StudyError``.

    shown : the file that is read, for the reader of the error.
    """
    try:
        yield
    except ValidationError as error:
        whole = next(model for model in models if model.__name__ == error.title)
        raise StudyError("\n".join(_problems(shown, error, whole)), remedy) from error


def _problems(shown: str, error: ValidationError, whole: type[BaseModel]) -> list[str]:
    """One sentence for each problem that pydantic found: file, key, problem, allowed values."""
    sentences = []
    for problem in error.errors():
        location = problem["loc"]
        key = ".".join(_keys(location, whole)[0]) or "the whole file"
        if problem["type"] == "extra_forbidden":
            advice = suggestion(
                str(location[-1]), _keys(location[:-1], whole)[1], "the keys here are"
            )
            sentences.append(f"{shown}: unknown key `{key}`; {advice}")
        elif problem["type"] == "missing":
            sentences.append(f"{shown}: the key `{key}` is missing")
        elif problem["type"] == "too_short" and problem["input"]:
            pass  # what it holds is wrong, and named by itself
        elif problem["type"] == "union_tag_invalid":
            tag, allowed = problem["ctx"]["tag"], problem["ctx"]["expected_tags"]
            names = [name.strip(" '") for name in allowed.split(",")]
            advice = suggestion(tag, names, "it is one of")
            sentences.append(f"{shown}: `{key}.method` cannot be {tag!r}; {advice}")
        else:
            value = problem["input"]
            ours = problem["type"] == "value_error" or isinstance(value, dict)
            shown_value = "" if ours else f", not {value!r}"
            sentences.append(f"{shown}: `{key}`: {_expected(problem, whole)}{shown_value}")
    return sentences


def _expected(problem: Any, whole: type[BaseModel]) -> str:
    """What one problem of pydantic asks for, in the words of TOML."""
    if problem["type"] == "model_type":
        keys, value = _keys(problem["loc"], whole)[1], problem["input"]
        example = f"{{ name = {json.dumps(value)} }}" if isinstance(value, str) else "{ … }"
        return f"Write a table with the keys {', '.join(keys)}, e.g. {example}"
    if problem["type"] == "tuple_type":
        return "Write a list, [ … ]"
    if problem["type"] == "too_short":
        return "Name at least one"
    return str(problem["msg"]).removeprefix("Value error, ")


def _keys(location: tuple[int | str, ...], whole: type[BaseModel]) -> tuple[list[str], list[str]]:
    """The keys that lead to a place of the study file, and the keys that are allowed there.

    pydantic adds the tag of a union to the place, which is not a key of the file.
    """
    keys: list[str] = []
    parts: list[Any] = [whole]
    for step in location:
        tagged = [part for part in parts if part.model_fields.get("method") and len(parts) > 1]
        chosen = [part for part in tagged if part.model_fields["method"].default == step]
        if chosen:
            parts = chosen
            continue
        keys.append(str(step))
        if not isinstance(step, int):
            fields = [part.model_fields[step] for part in parts if step in part.model_fields]
            parts = [model for field in fields for model in _models_in(field.annotation)]
    allowed = {name for part in parts for name in part.model_fields}
    return keys, sorted(allowed - ({"name", "root"} if parts == [whole] else set()))


def _models_in(annotation: Any) -> list[Any]:
    """The pydantic models inside an annotation such as ``Lime | None`` or ``tuple[Lime, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]

"""What a section of a study file is: frozen, validated data without an unknown key."""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

Entry = TypeVar("Entry")


def listed_once(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The entries, each another; tables are told apart by their name where they have one."""
    names = [getattr(entry, "name", entry) for entry in entries]
    doubled = dict.fromkeys(str(name) for name in names if names.count(name) > 1)
    if doubled:
        raise ValueError(f"listed twice: {', '.join(doubled)}")
    return entries


def one_origin(section: Entry) -> Entry:
    """A section whose files lie in a source of ``data/sources.toml``, or in a local folder."""
    located: Any = section
    if (located.source is None) == (located.folder is None):
        raise ValueError("name either a `source` or a `folder`, not both and not neither")
    return section


Unique = Annotated[tuple[Entry, ...], AfterValidator(listed_once)]
"""A list in which nothing stands twice."""


def _ascending(numbers: tuple[Any, ...]) -> tuple[Any, ...]:
    if list(numbers) != sorted(set(numbers)):
        raise ValueError("the numbers must be ascending")
    return numbers


Ascending = Annotated[tuple[Entry, ...], Field(min_length=1), AfterValidator(_ascending)]
"""Numbers that become larger, one at least."""

Share = Annotated[float, Field(gt=0.0, lt=1.0)]

Seed = Annotated[int, Field(ge=0)]


LARGEST = 2**32 - 1
"""Of all whole numbers, seeds among them: what every generator of random numbers takes."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _can_mean_something(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ValueError(f"whole numbers are at most {LARGEST:,}")
        texts = value if isinstance(value, tuple) else (value,)
        if any(isinstance(text, str) and not text.strip() for text in texts):
            raise ValueError("an empty text says nothing; leave the key out, or write something")
        return value

"""What a similarity's parameters can be."""

from collections.abc import Callable

from vitrine.errors import StudyError

_ALLOWED: dict[str, tuple[str, Callable[[float], bool]]] = {
    "top_k": ("a whole number from 1", lambda value: value >= 1 and value == int(value)),
    "top_fraction": ("above 0 and at most 1", lambda value: 0 < value <= 1),
    "p_start": ("above 0 and at most 1", lambda value: 0 < value <= 1),
    "p_end": ("above 0 and at most 1", lambda value: 0 < value <= 1),
    "a": ("above 0", lambda value: value > 0),
    "lam": ("0 or more", lambda value: value >= 0),
}


def check_range(key: str, value: float) -> None:
    """Raises ``StudyError`` for a value with which the formula means nothing."""
    words, allows = _ALLOWED.get(key, ("", lambda _: True))
    if not allows(value):
        raise StudyError(
            f"The similarity's parameter {key!r} is {value!r}, and it must be {words}",
            f"Correct dissection.parameters.{key} in the study file",
        )

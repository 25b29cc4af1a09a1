"""The server's JSON, read field by field: what must be there is asked for, anything else may be absent or odd."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias

from .errors import UnexpectedAnswer

Wire: TypeAlias = Mapping[str, Any]
"""A JSON object as it came."""


def object_of(raw: Any, what: str, *needed: str) -> Wire:
    """`raw`, which must be an object that has the `needed` fields. Raises UnexpectedAnswer: it is no `what`."""
    if not isinstance(raw, Mapping) or any(name not in raw for name in needed):
        raise UnexpectedAnswer(f"the server's answer is no {what}: is the URL that of a Brim server?")
    return raw


def list_of(raw: Any, what: str) -> list[Any]:
    """The list that an object holds as `data`. Raises UnexpectedAnswer: it is no list of `what`."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get("data"), list):
        raise UnexpectedAnswer(f"the server's answer is no list of {what}: is the URL that of a Brim server?")
    return list(raw["data"])


def object_or_none(value: Any) -> Wire | None:
    """An object; None for anything else."""
    return value if isinstance(value, Mapping) else None


def elements(value: Any) -> list[Any]:
    """The elements of a list; none of anything else."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str | None:
    """A text; None for anything else."""
    return value if isinstance(value, str) else None


def number(value: Any) -> float:
    """A number; 0 for anything else."""
    return float(value) if isinstance(value, int | float) else 0.0


def count(value: Any) -> int:
    """A whole number; 0 for what is no number."""
    return int(number(value))


def count_or_none(value: Any) -> int | None:
    """A whole number; None where there is nothing."""
    return None if value is None else count(value)


def time(value: Any) -> datetime | None:
    """A time in ISO form; None for anything else: it is still in `raw`, and an odd one is no reason to lose the answer
    around it."""
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None

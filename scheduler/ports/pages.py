"""Pages of long lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page, newest or lowest first; `next_after` continues it, None at the end."""

    data: tuple[T, ...]
    next_after: str | None

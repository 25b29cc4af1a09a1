"""Why a batch or an item waits, and connections that are parked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .errors import UnexpectedAnswer

_Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why it waits. `message` says it in words; `binding_limit` is the server's object, None: nothing holds it back.

    `earliest_start` and `expected_end` hold if nothing else arrives; None when they cannot be told. `raw` has the rest.
    """

    message: str
    binding_limit: _Raw | None
    items_ahead: int
    requests_ahead: int
    earliest_start: datetime | None
    expected_end: datetime | None
    raw: _Raw = field(repr=False, compare=False)

    @classmethod
    def from_wire(cls, raw: Any) -> Explanation:
        """Read the server's JSON object. Raises UnexpectedAnswer when it is no explanation."""
        if not isinstance(raw, Mapping) or "message" not in raw:
            raise UnexpectedAnswer("the server's answer is no explanation")
        limit = raw.get("bindingLimit")
        return cls(
            message=str(raw["message"]),
            binding_limit=limit if isinstance(limit, Mapping) else None,
            items_ahead=int(raw.get("itemsAhead") or 0),
            requests_ahead=int(raw.get("requestsAhead") or 0),
            earliest_start=_time(raw.get("earliestStart")),
            expected_end=_time(raw.get("expectedEnd")),
            raw=raw,
        )


@dataclass(frozen=True, slots=True)
class Connection:
    """A provider account. `parked`: why nothing is sent through it now, one object a reason; empty: it works."""

    connection_id: str
    name: str
    provider: str
    parked: tuple[_Raw, ...]
    raw: _Raw = field(repr=False, compare=False)

    @classmethod
    def from_wire(cls, raw: Any) -> Connection:
        """Read the server's JSON object. Raises UnexpectedAnswer when it is no connection."""
        if not isinstance(raw, Mapping) or "connectionId" not in raw:
            raise UnexpectedAnswer("the server's answer is no connection")
        parked = raw.get("parked") or ()
        return cls(
            connection_id=str(raw["connectionId"]),
            name=str(raw.get("name") or ""),
            provider=str(raw.get("provider") or ""),
            parked=tuple(each for each in parked if isinstance(each, Mapping)),
            raw=raw,
        )


def connections_of(raw: Any) -> tuple[Connection, ...]:
    """Read a list of connections. Raises UnexpectedAnswer when it is none."""
    if not isinstance(raw, Mapping) or not isinstance(raw.get("data"), list):
        raise UnexpectedAnswer("the server's answer is no list of connections")
    return tuple(Connection.from_wire(each) for each in raw["data"])


def _time(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None

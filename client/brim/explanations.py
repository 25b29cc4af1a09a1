"""Why a batch or an item waits, and connections that are parked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .wire import Wire, count, elements, list_of, object_of, object_or_none, text, time


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why it waits. `message` says it in words; `binding_limit` is the server's object, None: nothing holds it back.

    `earliest_start` and `expected_end` hold if nothing else arrives; None when they cannot be told. `raw` has the rest.
    """

    message: str
    binding_limit: Wire | None
    items_ahead: int
    requests_ahead: int
    earliest_start: datetime | None
    expected_end: datetime | None
    raw: Wire = field(repr=False, compare=False)

    @classmethod
    def from_wire(cls, raw: Any) -> Explanation:
        """Read the server's JSON object. Raises UnexpectedAnswer when it is no explanation."""
        wire = object_of(raw, "explanation", "message")
        return cls(
            message=str(wire["message"]),
            binding_limit=object_or_none(wire.get("bindingLimit")),
            items_ahead=count(wire.get("itemsAhead")),
            requests_ahead=count(wire.get("requestsAhead")),
            earliest_start=time(wire.get("earliestStart")),
            expected_end=time(wire.get("expectedEnd")),
            raw=wire,
        )


@dataclass(frozen=True, slots=True)
class Connection:
    """A provider account. `parked`: why nothing is sent through it now, one object a reason; empty: it works."""

    connection_id: str
    name: str
    provider: str
    parked: tuple[Wire, ...]
    raw: Wire = field(repr=False, compare=False)

    @classmethod
    def from_wire(cls, raw: Any) -> Connection:
        """Read the server's JSON object. Raises UnexpectedAnswer when it is no connection."""
        wire = object_of(raw, "connection", "connectionId")
        return cls(
            connection_id=str(wire["connectionId"]),
            name=text(wire.get("name")) or "",
            provider=text(wire.get("provider")) or "",
            parked=tuple(each for each in elements(wire.get("parked")) if isinstance(each, Mapping)),
            raw=wire,
        )


def connections_of(raw: Any) -> tuple[Connection, ...]:
    """Read a list of connections. Raises UnexpectedAnswer when it is none."""
    return tuple(map(Connection.from_wire, list_of(raw, "connections")))

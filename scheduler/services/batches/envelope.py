"""What a caller says about a batch besides its items: read field by field, so that all problems show at
once."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from scheduler.domain.batch import AskedEvent, BatchChange, CallbackOptions, NewBatch
from scheduler.domain.capacity import Capacity
from scheduler.domain.priority import Priority
from scheduler.domain.setup import ApiKey
from scheduler.domain.status import BatchType
from scheduler.services.budgets.capacity_body import CapacityBody, Slots, capacities_of
from scheduler.services.callers.callback_guard import Resolve, refusal_of_target, resolve_host
from scheduler.services.reading.json_text import Fields, JsonText, is_null, is_object
from scheduler.services.reading.problems import Problems

KNOWN_FIELDS: Final = frozenset(
    {"type", "items", "capacity", "maxInFlight", "priority", "metadata", "deadline", "callbackOptions"}
)
CHANGEABLE_FIELDS: Final = frozenset({"capacity", "priority", "deadline"})
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_OUR_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "trailer"})


Seal = Callable[[str], bytes]
"""Encrypts a secret (services.callers.secrets.Vault)."""


class CallbackOptionsBody(Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """Where and when to call back. previous_secret: also signs, while receivers change from it to `secret`."""

    url: Annotated[str, Meta(min_length=1, max_length=4096)]
    events: Annotated[list[AskedEvent], Meta(min_length=1)]
    headers: dict[str, str] = {}
    secret: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None
    previous_secret: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None

    def __post_init__(self) -> None:
        if self.previous_secret is not None and self.secret is None:
            raise ValueError("`previousSecret` needs a `secret` that follows it")
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name) or name.lower() in _OUR_HEADERS:
                raise ValueError(f"`headers` cannot set {name[:64]!r}")
            if not value.isprintable() or not value.isascii():
                raise ValueError(f"`headers` must be printable ASCII: the value of {name[:64]} is not")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A checked batch without its items."""

    type: BatchType
    callback: CallbackOptions | None
    capacity: tuple[Capacity, ...]
    max_in_flight: int | None
    priority: Priority
    metadata: bytes | None
    deadline: datetime | None

    def new_batch(self, workspace_id: UUID, environment_id: UUID, batch_id: UUID, key: ApiKey | None) -> NewBatch:
        """The batch that is to be stored. key: of who asks; None: the admin."""
        return NewBatch(
            workspace_id=workspace_id,
            environment_id=environment_id,
            batch_id=batch_id,
            type=self.type,
            callback=self.callback,
            capacity=self.capacity,
            max_in_flight=self.max_in_flight,
            priority=self.priority,
            metadata=self.metadata,
            deadline=self.deadline,
            api_key_id=key.api_key_id if key else None,
            caller=key.caller if key else None,
        )


class EnvelopeReader:
    """Reads the fields of one create body; what is wrong goes to `problems`."""

    def __init__(self, document: JsonText, fields: Fields, problems: Problems) -> None:
        self._document = document
        self._fields = fields
        self._problems = problems

    async def read(
        self, now: datetime, allow_hosts: Collection[str], seal: Seal, resolve: Resolve = resolve_host
    ) -> Envelope:
        """The envelope; only to be used when `problems` is still empty afterwards. seal: encrypts secrets."""
        for name in self._fields:
            if name not in KNOWN_FIELDS:
                self._problems.add(name, "is not a known field")
        kind = self._required("type", BatchType) or BatchType.ASYNC
        return Envelope(
            type=kind,
            callback=await self._callback(kind, allow_hosts, seal, resolve),
            capacity=self._capacity(),
            max_in_flight=self._optional("maxInFlight", Slots),
            priority=self._optional("priority", Priority) or Priority.NORMAL,
            metadata=self._object("metadata"),
            deadline=self._deadline(now),
        )

    def read_change(self, now: datetime) -> BatchChange:
        """What a PATCH asks for; only to be used when `problems` is still empty afterwards."""
        for name in self._fields:
            if name not in CHANGEABLE_FIELDS:
                known = name in KNOWN_FIELDS
                self._problems.add(name, "cannot be changed" if known else "is not a known field")
        if not self._fields:
            self._problems.add("body", f"must name what to change: {', '.join(sorted(CHANGEABLE_FIELDS))}")
        capacity = self._capacity()
        return BatchChange(
            priority=self._optional("priority", Priority),
            capacity=capacity if "capacity" in self._fields else None,
            deadline=self._deadline(now),
            no_deadline="deadline" in self._fields and self._present("deadline") is None,
        )

    def _present(self, name: str) -> msgspec.Raw | None:
        raw = self._fields.get(name)
        return None if raw is None or is_null(raw) else raw

    def _required(self, name: str, kind: Any) -> Any:
        if self._present(name) is None:
            self._problems.add(name, "is required")
            return None
        return self._optional(name, kind)

    def _optional(self, name: str, kind: Any) -> Any:
        raw = self._present(name)
        if raw is None:
            return None
        try:
            return msgspec.json.decode(raw, type=kind)
        except msgspec.ValidationError as error:
            self._problems.add_decoding(error, kind, name)
            return None

    def _object(self, name: str) -> bytes | None:
        raw = self._present(name)
        if raw is None:
            return None
        if not is_object(raw):
            self._problems.add(name, "must be an object")
        return self._document.bytes_of(raw)

    def _capacity(self) -> tuple[Capacity, ...]:
        bodies: list[CapacityBody] = self._optional("capacity", list[CapacityBody]) or []
        for position, each in enumerate(bodies):
            if each.dimension is not None:
                self._problems.add(f"capacity[{position}].dimension", "is for capacities of API keys only")
        return capacities_of(bodies)

    def _deadline(self, now: datetime) -> datetime | None:
        deadline: datetime | None = self._optional("deadline", datetime)
        if deadline is None:
            return None
        if deadline.tzinfo is None:
            self._problems.add("deadline", "must carry a time zone, as in 2030-01-31T12:00:00Z")
            return None
        if deadline <= now:
            self._problems.add("deadline", "must lie in the future")
        try:
            return deadline.astimezone(UTC)
        except OverflowError:
            self._problems.add("deadline", "lies beyond the year 9999")
            return None

    async def _callback(
        self, kind: BatchType, allow_hosts: Collection[str], seal: Seal, resolve: Resolve
    ) -> CallbackOptions | None:
        name = "callbackOptions"
        if kind is not BatchType.CALLBACK:
            if self._present(name) is not None:
                self._problems.add(name, "is for batches of type CALLBACK only")
            return None
        body: CallbackOptionsBody | None = self._required(name, CallbackOptionsBody)
        if body is None:
            return None
        refusal = await refusal_of_target(body.url, allow_hosts, resolve)
        if refusal is not None:
            self._problems.add(f"{name}.url", f"is refused: {refusal}")
        secrets = [each for each in (body.secret, body.previous_secret) if each is not None]
        texts = (body.url, *secrets, *body.headers, *body.headers.values())
        if any("\0" in text or self._document.holds_surrogate(text) for text in texts):
            self._problems.add(name, "holds a character that cannot be stored")
            return None
        events = tuple(dict.fromkeys(body.events))
        return CallbackOptions(body.url, dict(body.headers), events, tuple(map(seal, secrets)))

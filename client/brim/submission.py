"""What a caller sends: items, capacities, callback options, and the body of a create made of them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack

from .errors import ConfigurationError

Priority = Literal["trivial", "low", "normal", "high", "critical"]
Period = Literal["SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "LIFETIME"]
CallbackEvent = Literal["item_update", "batch_update", "all"]


_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class NewItem:
    """One request to run: `resource_id` is the resource's name or UUID, `request` the body for the provider.

    `endpoint` is /v1/chat/completions (None means this), /v1/completions, /v1/embeddings or /v1/responses.
    """

    resource_id: str
    request: Mapping[str, Any]
    endpoint: str | None = None
    custom_id: str | None = None
    metadata: Mapping[str, Any] | None = None

    def to_wire(self) -> dict[str, Any]:
        """The item as the server reads it; what is None stays out."""
        return _present(
            resourceId=self.resource_id,
            request=self.request,
            endpoint=self.endpoint,
            customId=self.custom_id,
            metadata=self.metadata,
        )


@dataclass(frozen=True, slots=True)
class Capacity:
    """At most so many requests and tokens per period; None leaves a dimension unlimited."""

    period: Period
    requests: int | None = None
    tokens: int | None = None
    enabled: bool = True
    burst_s: float | None = None

    def to_wire(self) -> dict[str, Any]:
        """The capacity as the server reads it; what is None stays out."""
        wire = _present(period=self.period, requests=self.requests, tokens=self.tokens, burstSeconds=self.burst_s)
        return wire if self.enabled else {**wire, "enabled": False}


@dataclass(frozen=True, slots=True)
class CallbackOptions:
    """Where a CALLBACK batch reports. With a `secret` each delivery is signed; `previous_secret` signs as well, while
    the receiver changes from one to the other."""

    url: str
    events: Sequence[CallbackEvent] = ("all",)
    headers: Mapping[str, str] | None = None
    secret: str | None = field(default=None, repr=False)
    previous_secret: str | None = field(default=None, repr=False)

    def to_wire(self) -> dict[str, Any]:
        """The options as the server reads them; what is None stays out."""
        return _present(
            url=self.url,
            events=list(self.events),
            headers=self.headers,
            secret=self.secret,
            previousSecret=self.previous_secret,
        )


ItemInput = NewItem | Mapping[str, Any]
CapacityInput = Capacity | Mapping[str, Any]
CallbackInput = CallbackOptions | Mapping[str, Any]


class BodyOptions(TypedDict, total=False):
    """What may be said about a batch. Objects may be given as our classes or as the server's own JSON."""

    capacity: Iterable[CapacityInput] | None
    max_in_flight: int | None
    priority: Priority | None
    metadata: Mapping[str, Any] | None
    deadline: datetime | str | None
    callback_options: CallbackInput | None


class BatchChanges(TypedDict, total=False):
    """What may be changed of a live batch. What is not named stays as it is; None takes the limits, or the deadline,
    away."""

    priority: Priority
    capacity: Iterable[CapacityInput] | None
    deadline: datetime | str | None


class CreateOptions(BodyOptions, total=False):
    """The options of `create` and `run`.

    `idempotency_key` makes repeating safe for 24 h; without one a random key guards our own retries only.
    """

    idempotency_key: str | None


def create_body(
    items: Iterable[ItemInput],
    type: str,
    *,
    capacity: Iterable[CapacityInput] | None = None,
    max_in_flight: int | None = None,
    priority: Priority | None = None,
    metadata: Mapping[str, Any] | None = None,
    deadline: datetime | str | None = None,
    callback_options: CallbackInput | None = None,
) -> bytes:
    """The JSON of a create. Raises ConfigurationError for what JSON cannot say."""
    envelope = _envelope(
        type,
        capacity=capacity,
        max_in_flight=max_in_flight,
        priority=priority,
        metadata=metadata,
        deadline=deadline,
        callback_options=callback_options,
    )
    return encode({**envelope, "items": [_wire(item) for item in items]})


def create_lines(items: Iterable[ItemInput], type: str, **options: Unpack[BodyOptions]) -> Iterator[bytes]:
    """The gzipped lines of a create: the batch, then an item a line; made as they are consumed. Raises
    ConfigurationError for what JSON cannot say."""
    packer = zlib.compressobj(6, wbits=31)
    gathered = [encode(_envelope(type, **options)), b"\n"]
    size = 0
    for item in items:
        line = encode(_wire(item))
        gathered += (line, b"\n")
        size += len(line)
        if size >= _PIECE_BYTES:
            yield packer.compress(b"".join(gathered))
            gathered, size = [], 0
    yield packer.compress(b"".join(gathered)) + packer.flush()


def change_body(**changes: Unpack[BatchChanges]) -> bytes:
    """The JSON of a change. Raises ConfigurationError when it names nothing to change, no priority in the place of one,
    or what JSON cannot say."""
    if not changes:
        raise ConfigurationError(f"nothing to change: name {', '.join(BatchChanges.__annotations__)}, or several")
    wire: dict[str, Any] = dict(changes)
    if wire.get("priority", "") is None:
        raise ConfigurationError("priority cannot be taken away: name another one, or leave it out")
    if (capacity := changes.get("capacity")) is not None:
        wire["capacity"] = [_wire(each) for each in capacity]
    if "deadline" in changes:
        wire["deadline"] = _time(changes["deadline"])
    return encode(wire)


def _envelope(
    type: str,
    *,
    capacity: Iterable[CapacityInput] | None = None,
    max_in_flight: int | None = None,
    priority: Priority | None = None,
    metadata: Mapping[str, Any] | None = None,
    deadline: datetime | str | None = None,
    callback_options: CallbackInput | None = None,
) -> dict[str, Any]:
    return _present(
        type=type,
        capacity=None if capacity is None else [_wire(each) for each in capacity],
        maxInFlight=max_in_flight,
        priority=priority,
        metadata=metadata,
        deadline=_time(deadline),
        callbackOptions=None if callback_options is None else _wire(callback_options),
    )


def encode(value: Any) -> bytes:
    """Compact UTF-8 JSON. Raises ConfigurationError for NaN, Infinity and values that JSON does not have."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_mapping)
    except (TypeError, ValueError) as fault:
        raise ConfigurationError(f"the batch cannot be written as JSON: {fault}") from None
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8 form but can be escaped; whether it may pass is for the server to say.
        return json.dumps(value, separators=(",", ":"), default=_mapping).encode("ascii")


def _mapping(value: Any) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _wire(value: NewItem | Capacity | CallbackOptions | Mapping[str, Any]) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else value.to_wire()


def _time(value: datetime | str | None) -> str | None:
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise ConfigurationError("deadline needs a time zone: a time without one means different moments")
    return value.isoformat()


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}

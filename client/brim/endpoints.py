"""Every request the client makes, as a value: no I/O here, so both clients share it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, Unpack
from urllib.parse import quote

from .errors import UnexpectedAnswer
from .explanations import Connection, Explanation, connections_of
from .records import Batch, DeadLetter, Delivery, Headroom, Item, Page, Replay
from .settings import Settings
from .submission import BatchChanges, BodyOptions, ItemInput, change_body, create_body, create_lines, encode
from .wire import list_of

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Call(Generic[_T]):
    """One HTTP request and how to read its answer's JSON. `repeatable`: sending it twice does no harm.
    `pieces`: a body that is made while it is sent, in place of `body`."""

    method: str
    path: str
    read: Callable[[Any], _T]
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    pieces: Iterable[bytes] | None = None
    repeatable: bool = True


class Endpoints:
    """Builds the calls of one tenant. Ids are quoted, so an odd one cannot lead to another path."""

    def __init__(self, settings: Settings) -> None:
        self._tenant = f"{quoted(settings.workspace)}/{quoted(settings.environment)}"
        self._batches = f"/v1/completion-batch/{self._tenant}"

    def create(
        self,
        items: Iterable[ItemInput],
        type: str,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[BodyOptions],
    ) -> Call[Batch]:
        """Create a batch; an idempotency key is made where none is given."""
        key = idempotency_key or str(uuid.uuid4())
        return Call(
            "POST",
            self._batches,
            Batch.from_wire,
            headers={"content-type": "application/json", "idempotency-key": key},
            body=create_body(items, type, **options),
        )

    def create_from_lines(
        self,
        items: Iterable[ItemInput],
        type: str,
        *,
        early_start: bool,
        idempotency_key: str | None,
        **options: Unpack[BodyOptions],
    ) -> Call[Batch]:
        """Create a batch from items that are sent while they are made: hence once only."""
        headers = {"content-type": "application/x-ndjson", "content-encoding": "gzip"}
        if early_start:
            headers["prefer"] = "early-start"
        if idempotency_key is not None:
            headers["idempotency-key"] = idempotency_key
        pieces = create_lines(items, type, **options)
        return Call("POST", self._batches, Batch.from_wire, headers=headers, pieces=pieces, repeatable=False)

    def get(
        self,
        batch_id: str,
        *,
        include_items: bool = False,
        items_limit: int | None = None,
        items_after: str | None = None,
    ) -> Call[Batch]:
        """Read a batch, with no, all or a page of its items."""
        params = {"includesItems": "true" if include_items else "false", "includesUsers": "false"}
        if items_limit is not None:
            params["itemsLimit"] = str(items_limit)
        if items_after is not None:
            params["itemsAfter"] = items_after
        return Call("GET", self._batch(batch_id), Batch.from_wire, params=params)

    def get_item(self, batch_id: str, item_id: str) -> Call[Item]:
        """Read one item."""
        return Call("GET", f"{self._batch(batch_id)}/{quoted(item_id)}", Item.from_wire)

    def explain(self, batch_id: str, item_id: str | None) -> Call[Explanation]:
        """Why a batch, or one item of it, waits."""
        part = "" if item_id is None else f"/{quoted(item_id)}"
        return Call("GET", f"{self._batch(batch_id)}{part}/explain", Explanation.from_wire)

    def connections(self) -> Call[tuple[Connection, ...]]:
        """The tenant's connections."""
        return Call("GET", f"/v1/ai-connection/{self._tenant}", connections_of)

    def resume_connection(self, connection: str) -> Call[Connection]:
        """Let a parked connection be tried at once. May be repeated."""
        return Call("POST", f"/v1/ai-connection/{self._tenant}/{quoted(connection)}/resume", Connection.from_wire)

    def list(self, *, status: str | None, page_size: int, after: str | None) -> Call[Page[Batch]]:
        """Read one page of the batches, newest first."""
        params = {"limit": str(page_size)}
        if status is not None:
            params["status"] = status
        if after is not None:
            params["after"] = after
        return Call("GET", self._batches, _batch_page, params=params)

    def control(self, batch_id: str, verb: str) -> Call[Batch]:
        """`cancel`, `pause` or `resume`: each may be repeated."""
        return Call("POST", f"{self._batch(batch_id)}/{verb}", Batch.from_wire)

    def change(self, batch_id: str, **changes: Unpack[BatchChanges]) -> Call[Batch]:
        """Change what a live batch was given. May be repeated: it says what is to be, not by how much."""
        headers = {"content-type": "application/json"}
        return Call("PATCH", self._batch(batch_id), Batch.from_wire, headers=headers, body=change_body(**changes))

    def retry(self, batch_id: str, item_ids: Sequence[str] | None) -> Call[Batch]:
        """Run failed items again. Sent once only: a second one would find the batch open."""
        body = None if item_ids is None else encode({"items": list(item_ids)})
        headers = {} if body is None else {"content-type": "application/json"}
        path = f"{self._batch(batch_id)}/retry"
        return Call("POST", path, Batch.from_wire, headers=headers, body=body, repeatable=False)

    def dead_letters(
        self,
        *,
        error_code: str | None,
        resource: str | None,
        batch_id: str | None,
        page_size: int,
        after: str | None,
    ) -> Call[Page[DeadLetter]]:
        """Read one page of the items that ended FAILED, newest batch first."""
        params = {"limit": str(page_size)}
        given = {"errorCode": error_code, "resource": resource, "batchId": batch_id, "after": after}
        params |= {name: value for name, value in given.items() if value is not None}
        return Call("GET", f"{self._batches}/dead-letters", _dead_letter_page, params=params)

    def replay_dead_letters(
        self,
        *,
        error_code: str | None,
        resource: str | None,
        batch_id: str | None,
        after: str | None,
        dry_run: bool,
    ) -> Call[Replay]:
        """Run dead letters again, of up to 100 batches. Only a dry run may be repeated."""
        given = {"errorCode": error_code, "resource": resource, "batchId": batch_id, "after": after}
        body = {name: value for name, value in given.items() if value is not None} | {"dryRun": dry_run}
        return Call(
            "POST",
            f"{self._batches}/dead-letters/replay",
            Replay.from_wire,
            headers={"content-type": "application/json"},
            body=encode(body),
            repeatable=dry_run,
        )

    def deliveries(
        self, batch_id: str, *, page_size: int, after: str | None, state: str | None = None
    ) -> Call[Page[Delivery]]:
        """Read one page of the callbacks of a batch, oldest first."""
        params = {"limit": str(page_size)} | ({} if after is None else {"after": after})
        if state is not None:
            params["state"] = state
        return Call("GET", f"{self._batch(batch_id)}/deliveries", _delivery_page, params=params)

    def replay(self, batch_id: str, delivery_id: str) -> Call[Delivery]:
        """Send a callback again. Sent once only."""
        path = f"{self._batch(batch_id)}/deliveries/{quoted(delivery_id)}/replay"
        return Call("POST", path, Delivery.from_wire, repeatable=False)

    def replay_dead_deliveries(self, batch_id: str) -> Call[int]:
        """Send the dead callbacks of a batch again, up to 10,000."""
        return Call("POST", f"{self._batch(batch_id)}/deliveries/replay", _replayed, repeatable=False)

    def events(self, batch_id: str, last_event_id: int | None) -> Call[None]:
        """The event stream after `last_event_id`, or from the start."""
        headers = {"accept": "text/event-stream", "cache-control": "no-store"}
        if last_event_id is not None:
            headers["last-event-id"] = str(last_event_id)
        return Call("GET", f"{self._batch(batch_id)}/events", _no_json, headers=headers)

    def results(self, batch_id: str, status: str | None) -> Call[None]:
        """The finished items as NDJSON."""
        params = {} if status is None else {"status": status}
        headers = {"accept": "application/x-ndjson"}
        return Call("GET", f"{self._batch(batch_id)}/results", _no_json, params=params, headers=headers)

    def headroom(self, *, resource: str | None, connection: str | None) -> Call[Headroom]:
        """What a resource or a connection would admit now. Exactly one of the two must be given."""
        match resource, connection:
            case str(), None:
                kind, target = "ai-resource", resource
            case None, str():
                kind, target = "ai-connection", connection
            case _:
                raise ValueError("headroom needs a resource or a connection, and not both")
        return Call("GET", f"/v1/{kind}/{self._tenant}/{quoted(target)}/headroom", _headroom)

    def _batch(self, batch_id: str) -> str:
        return f"{self._batches}/{quoted(batch_id)}"


def quoted(part: str) -> str:
    """One part of a path, so that whatever it is cannot lead to another path."""
    # "." and ".." need no quoting by the standard and would be resolved away.
    return quote(part, safe="").replace(".", "%2E") if part.strip(".") == "" else quote(part, safe="")


def _page(raw: Any, what: str, read: Callable[[Any], _T]) -> Page[_T]:
    data = tuple(map(read, list_of(raw, what)))
    after = raw.get("nextAfter") if raw.get("hasMore", True) else None
    return Page(data, None if after is None else str(after))


def _batch_page(raw: Any) -> Page[Batch]:
    return _page(raw, "batches", Batch.from_wire)


def _delivery_page(raw: Any) -> Page[Delivery]:
    return _page(raw, "deliveries", Delivery.from_wire)


def _dead_letter_page(raw: Any) -> Page[DeadLetter]:
    return _page(raw, "dead letters", DeadLetter.from_wire)


def _replayed(raw: Any) -> int:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("replayed"), int):
        raise UnexpectedAnswer("the server's answer does not say how many callbacks are sent again")
    return int(raw["replayed"])


def _headroom(raw: Any) -> Headroom:
    if not isinstance(raw, Mapping):
        raise UnexpectedAnswer("the server's answer is no headroom")
    return Headroom(raw)


def _no_json(raw: Any) -> None:
    """A stream is not read as one JSON value."""

"""Reading streams that may break: what to ask for next, what is new. No I/O; the clients drive it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from httpx_sse import ServerSentEvent

from .endpoints import Call, Endpoints
from .errors import BrimError, ConnectionFailed, StreamError, UnexpectedAnswer
from .lines import LineSplitter
from .records import Batch, Event, Item
from .retrying import RetryPolicy, Tries, worth_retrying


class EventCursor:
    """One reader's place in a batch's events, across any number of connections.

    Starts with a batch's id, or with the create of a SYNC batch, whose id it learns from the stream.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        policy: RetryPolicy,
        *,
        batch_id: str | None = None,
        last_event_id: int | None = None,
        create: Call[Batch] | None = None,
    ) -> None:
        self.batch_id = batch_id
        self.last_event_id = last_event_id
        self.done = False
        self._endpoints = endpoints
        self._policy = policy
        self._create = create
        self._creating = Tries(policy, repeatable=True)
        self._failures = 0
        self._id_on_this_connection = ""
        self._reported: tuple[str, str | None] | None = None

    def next_call(self) -> Call[Batch] | Call[None]:
        """The request of the next connection: the create until the batch is known, then its events."""
        self._id_on_this_connection = ""
        if self.batch_id is not None:
            return self._endpoints.events(self.batch_id, self.last_event_id)
        if self._create is None:
            raise ValueError("an event cursor needs a batch id or a create")
        return self._create

    def accept(self, frame: ServerSentEvent) -> Event | None:
        """The event in `frame` if it is one and new; sets `done` at the stream's end.

        Raises StreamError when the server says the stream failed, UnexpectedAnswer for a frame that is none
        of ours.
        """
        if not frame.data:
            return None  # a keep-alive
        if frame.data == "[DONE]":
            self.done = True
            return None
        if frame.data == "[ERROR]":
            message, code = self._reported or ("the server ended the stream with an error", None)
            raise StreamError(message, code, self.last_event_id)
        raw = _json(frame.data)
        if isinstance(raw, Mapping) and "error" in raw and "action" not in raw:
            self._reported = _reason(raw["error"])
            return None
        event = Event.from_wire(self._number(frame.id), raw)
        if event.id is not None:
            if self.last_event_id is not None and event.id <= self.last_event_id:
                return None
            self.last_event_id = event.id
        if self.batch_id is None:
            self.batch_id = _batch_id(event)
        self._failures = 0
        return event

    def pause_s_after(self, error: BrimError | None) -> float:
        """Seconds before the next connection; `error` is None when the stream just ended early.

        Raises the error when it is final or when too many connections in a row brought nothing.
        """
        cause = error or ConnectionFailed("the event stream ended before the batch did")
        if self.batch_id is None:
            return self._creating.pause_s_after(cause)
        self._failures += 1
        if not worth_retrying(cause) or self._failures >= self._policy.stream_attempts:
            raise cause
        return self._policy.pause_s(self._failures, cause)

    def _number(self, frame_id: str) -> int | None:
        """The number of a frame, None for one that carried none.

        An SSE decoder hands the last id on to frames without one: an id counts only where it first appears.
        """
        if frame_id == self._id_on_this_connection:
            return None
        self._id_on_this_connection = frame_id
        try:
            return int(frame_id)
        except ValueError:
            raise UnexpectedAnswer(f"the server sent the event id {frame_id!r}, which is no number") from None


class ResultsCursor:
    """One reader's place in a batch's NDJSON of finished items.

    The lines come in the order in which the items ended, so after a break the first ones are the same again
    and are skipped by their count. A user's `retry` of the batch meanwhile may change that order.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._tries = Tries(policy, repeatable=True)
        self._seen = 0
        self._line = 0
        self._splitter = LineSplitter()

    def connected(self) -> None:
        """A new connection begins: its lines start from the first again."""
        self._line = 0
        self._splitter = LineSplitter()

    def accept(self, chunk: bytes) -> list[Item]:
        """The new items that `chunk` completes."""
        return self._read(self._splitter.push(chunk))

    def finish(self) -> list[Item]:
        """The item in a last line without a line feed, if there is one. Call at the stream's proper end."""
        return self._read([self._splitter.rest()])

    def pause_s_after(self, error: BrimError) -> float:
        """Seconds before the next connection. Raises `error` when there is to be none."""
        return self._tries.pause_s_after(error)

    def _read(self, lines: list[bytes]) -> list[Item]:
        items = []
        for line in lines:
            if not line.strip():
                continue
            self._line += 1
            if self._line > self._seen:
                items.append(Item.from_wire(_json(line)))
                self._seen = self._line
        if items:
            self._tries = Tries(self._policy, repeatable=True)
        return items


def _json(data: str | bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise UnexpectedAnswer("the server's stream holds something that is no JSON") from None


def _reason(error: object) -> tuple[str, str | None]:
    """(message, code) of an error frame."""
    if not isinstance(error, Mapping):
        return str(error), None
    code = error.get("errorCode")
    message = error.get("errorMessage") or error.get("message") or code or dict(error)
    return str(message), None if code is None else str(code)


def _batch_id(event: Event) -> str | None:
    if event.batch is not None:
        return event.batch.batch_id
    return None if event.item is None else event.item.batch_id

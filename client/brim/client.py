"""The synchronous client: the shell of I/O around endpoints, answers and following."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack

import httpx
from httpx_sse import EventSource

from .answers import lacks_results, raise_refusal, read_answer, require_event_stream
from .endpoints import Call, Endpoints
from .errors import ApiError, BrimError, WaitTimedOut
from .explanations import Connection, Explanation
from .following import EventCursor, ResultsCursor
from .records import Batch, DeadLetter, Delivery, Event, Headroom, Item, Replay
from .retrying import RetryPolicy, Tries
from .settings import settings
from .submission import BatchChanges, BodyOptions, CreateOptions, ItemInput
from .transport import DEFAULT_TIMEOUT_S, ITEMS_PAGE, WAIT_PAUSES_S, headers, mapped, request, timeout

_T = TypeVar("_T")


class Client:
    """Brim over HTTP. Use it as a context manager, or call `close`.

    What is not given comes from BRIM_URL, BRIM_API_KEY, BRIM_WORKSPACE and BRIM_ENVIRONMENT. Calls raise the
    errors drawn in `brim.errors`; connection failures and 503 are retried as `retry` says, a create under an
    idempotency key, so that no second batch can come of it. May be shared between threads.

    `timeout_s` bounds the connecting, and each silence while an answer is read. `transport` replaces httpx's
    own.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        workspace: str | None = None,
        environment: str | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        found = settings(base_url, api_key, workspace, environment)
        self._base_url = found.base_url
        self._endpoints = Endpoints(found)
        self._policy = retry or RetryPolicy()
        self._http = httpx.Client(
            base_url=found.base_url, headers=headers(found), timeout=timeout(timeout_s), transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Batches run on."""
        self._http.close()

    def create(
        self,
        items: Iterable[ItemInput],
        *,
        type: Literal["ASYNC", "CALLBACK"] = "ASYNC",
        **options: Unpack[CreateOptions],
    ) -> Batch:
        """Hand in a batch; it runs without us. All faults of all items come in one Invalid."""
        return self._send(self._endpoints.create(items, type, **options))

    def create_from_lines(
        self,
        items: Iterable[ItemInput],
        *,
        type: Literal["ASYNC", "CALLBACK"] = "ASYNC",
        early_start: bool = False,
        idempotency_key: str | None = None,
        **options: Unpack[BodyOptions],
    ) -> Batch:
        """Hand in a batch of any length: `items` are consumed while they are sent, and never held together.

        Nothing runs before all of them are there and good; with `early_start` they run as they arrive, and bad
        ones end as FAILED items. Sent once, whatever happens: it cannot be told whether a broken one was stored.
        """
        call = self._endpoints.create_from_lines(
            items, type, early_start=early_start, idempotency_key=idempotency_key, **options
        )
        return self._send(call)

    def run(self, items: Iterable[ItemInput], **options: Unpack[CreateOptions]) -> Iterator[Event]:
        """Create a SYNC batch and yield its events until it ends; broken connections are resumed.

        Leaving the loop early leaves the batch running: the first event, `batch-created`, tells its id.
        """
        call = self._endpoints.create(items, "SYNC", **options)
        return self._follow(EventCursor(self._endpoints, self._policy, create=call))

    def get(self, batch_id: str, include_items: bool = False) -> Batch:
        """Read a batch, with all of its items if asked."""
        return self._send(self._endpoints.get(batch_id, include_items=include_items))

    def get_item(self, batch_id: str, item_id: str) -> Item:
        """Read one item, with its response once COMPLETED."""
        return self._send(self._endpoints.get_item(batch_id, item_id))

    def list(self, status: str | None = None, *, page_size: int = 100) -> Iterator[Batch]:
        """All batches, newest first, fetched page by page as they are consumed."""
        after: str | None = None
        while True:
            page = self._send(self._endpoints.list(status=status, page_size=page_size, after=after))
            yield from page.data
            after = page.next_after
            if after is None:
                return

    def items(self, batch_id: str, *, page_size: int = ITEMS_PAGE) -> Iterator[Item]:
        """All items of a batch in whatever state, fetched page by page as they are consumed."""
        after: str | None = None
        while True:
            call = self._endpoints.get(batch_id, include_items=True, items_limit=page_size, items_after=after)
            batch = self._send(call)
            yield from batch.items or ()
            after = batch.next_items_after
            if after is None:
                return

    def cancel(self, batch_id: str) -> Batch:
        """Stop a batch: no new provider call starts after this returns. A finished batch stays as it is."""
        return self._send(self._endpoints.control(batch_id, "cancel"))

    def pause(self, batch_id: str) -> Batch:
        """Hold the waiting items; running ones end by themselves."""
        return self._send(self._endpoints.control(batch_id, "pause"))

    def resume(self, batch_id: str) -> Batch:
        """Let the held items go."""
        return self._send(self._endpoints.control(batch_id, "resume"))

    def change(self, batch_id: str, **changes: Unpack[BatchChanges]) -> Batch:
        """Change `priority`, `capacity` or `deadline` of a batch that has not ended; what is not named stays.

        `capacity` takes the place of all limits that the batch had of its own; None takes them away, or the deadline.
        Waiting items follow at once, running ones are not touched. Raises ConfigurationError when nothing is named,
        Conflict when the batch has ended.
        """
        return self._send(self._endpoints.change(batch_id, **changes))

    def retry(self, batch_id: str, item_ids: Sequence[str] | None = None) -> Batch:
        """Run the FAILED items of an ended batch again: all, or those named. Without any it stays as it is."""
        return self._send(self._endpoints.retry(batch_id, item_ids))

    def dead_letters(
        self,
        *,
        error_code: str | None = None,
        resource: str | None = None,
        batch_id: str | None = None,
        page_size: int = 100,
    ) -> Iterator[DeadLetter]:
        """Items that ended FAILED and were not run again since, newest batch first; of one error code, resource (id or
        name) or batch where given. Fetched page by page as they are consumed."""
        after: str | None = None
        while True:
            page = self._send(
                self._endpoints.dead_letters(
                    error_code=error_code, resource=resource, batch_id=batch_id, page_size=page_size, after=after
                )
            )
            yield from page.data
            after = page.next_after
            if after is None:
                return

    def replay_dead_letters(
        self,
        *,
        error_code: str | None = None,
        resource: str | None = None,
        batch_id: str | None = None,
        after: str | None = None,
        dry_run: bool = False,
    ) -> Replay:
        """Run dead letters of ended batches again, of up to 100 batches from `after` on; `dry_run` only says which."""
        return self._send(
            self._endpoints.replay_dead_letters(
                error_code=error_code, resource=resource, batch_id=batch_id, after=after, dry_run=dry_run
            )
        )

    def deliveries(self, batch_id: str, *, state: str | None = None, page_size: int = 100) -> Iterator[Delivery]:
        """Callbacks of a batch, oldest first: all, or those of one state. Fetched page by page as they are consumed."""
        after: str | None = None
        while True:
            page = self._send(self._endpoints.deliveries(batch_id, page_size=page_size, after=after, state=state))
            yield from page.data
            after = page.next_after
            if after is None:
                return

    def replay(self, batch_id: str, delivery_id: str) -> Delivery:
        """Send a callback again, whether it was delivered or is dead."""
        return self._send(self._endpoints.replay(batch_id, delivery_id))

    def replay_dead_deliveries(self, batch_id: str) -> int:
        """Send the dead callbacks of a batch again, up to 10,000; answers how many."""
        return self._send(self._endpoints.replay_dead_deliveries(batch_id))

    def headroom(self, resource: str | None = None, *, connection: str | None = None) -> Headroom:
        """What a resource or a connection would admit now."""
        return self._send(self._endpoints.headroom(resource=resource, connection=connection))

    def explain(self, batch_id: str, item_id: str | None = None) -> Explanation:
        """Why a batch, or one item of it, waits: which limit binds, when it starts, when it ends."""
        return self._send(self._endpoints.explain(batch_id, item_id))

    def connections(self) -> Sequence[Connection]:
        """The tenant's connections, and why those that are parked are. Needs a key with the scope setup:*."""
        return self._send(self._endpoints.connections())

    def resume_connection(self, connection: str) -> Connection:
        """Let a parked connection be tried at once, by its id or name. Needs a key with the scope setup:*."""
        return self._send(self._endpoints.resume_connection(connection))

    def stream(self, batch_id: str, last_event_id: int | None = None) -> Iterator[Event]:
        """Yield a batch's events, each once, from the start or after `last_event_id`, until it ends.

        Broken connections are resumed. `item-running` events are live only: those of a gap are not seen.
        Raises StreamError when the server reports that the stream failed.
        """
        return self._follow(EventCursor(self._endpoints, self._policy, batch_id=batch_id, last_event_id=last_event_id))

    def wait(self, batch_id: str, timeout: float | None = None) -> Batch:
        """Ask until the batch is final and return it. Raises WaitTimedOut after `timeout` seconds."""
        deadline_s = None if timeout is None else time.monotonic() + timeout
        pauses_s = iter(WAIT_PAUSES_S)
        pause_s = 0.0
        while True:
            batch = self.get(batch_id)
            if batch.is_final:
                return batch
            pause_s = next(pauses_s, pause_s)
            if deadline_s is not None:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise WaitTimedOut(batch, timeout or 0.0)
                pause_s = min(pause_s, left_s)
            time.sleep(pause_s)

    def results(self, batch_id: str, *, status: str | None = None) -> Iterator[Item]:
        """The items that have ended, with their responses; of a running batch those that have ended by now.

        In order of completion where the server streams results, in order of submission where it does not.
        """
        cursor = ResultsCursor(self._policy)
        call = self._endpoints.results(batch_id, status)
        while True:
            try:
                cursor.connected()
                with self._open(call) as response, mapped(self._base_url):
                    for chunk in response.iter_bytes():
                        yield from cursor.accept(chunk)
                    yield from cursor.finish()
                return
            except ApiError as error:
                if lacks_results(error):
                    break
                pause_s = cursor.pause_s_after(error)
            except BrimError as error:
                pause_s = cursor.pause_s_after(error)
            time.sleep(pause_s)
        for item in self.items(batch_id):
            if item.is_final and status in (None, item.status):
                yield item

    def _follow(self, cursor: EventCursor) -> Iterator[Event]:
        while True:
            cause: BrimError | None = None
            try:
                with self._open(cursor.next_call()) as response, mapped(self._base_url):
                    require_event_stream(response)
                    for frame in EventSource(response).iter_sse():
                        event = cursor.accept(frame)
                        if event is not None:
                            yield event
                        if cursor.done:
                            return
            except BrimError as error:
                cause = error
            time.sleep(cursor.pause_s_after(cause))

    def _send(self, call: Call[_T]) -> _T:
        tries = Tries(self._policy, repeatable=call.repeatable)
        while True:
            try:
                with mapped(self._base_url):
                    return read_answer(call, self._http.send(request(self._http, call)))
            except BrimError as error:
                pause_s = tries.pause_s_after(error)
            time.sleep(pause_s)

    @contextmanager
    def _open(self, call: Call[Any]) -> Iterator[httpx.Response]:
        """A streamed answer whose body has yet to come. A refusal is read and raised."""
        with mapped(self._base_url):
            response = self._http.send(request(self._http, call, stream=True), stream=True)
        try:
            if not response.is_success:
                with mapped(self._base_url):
                    response.read()
                raise_refusal(response)
            yield response
        finally:
            response.close()

"""Following one batch for a person: by its counts, or by its events where the stream is ours anyway."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..client import Client
from ..errors import ApiError, BrimError, ConnectionFailed, Unavailable
from ..records import Batch, Event
from .tally import Tallier
from .views import View
from .wording import headroom_text

# Counts cost the server the same for ten items and ten million, which events would not.
_ASK_EVERY_S = 0.5
_HEADROOM_EVERY_S = 2.0
_PATIENCE_S = 120.0


class Interrupted(BrimError):
    """Ctrl-C while a batch was followed. `batch_id` is None when it was not known yet."""

    def __init__(self, batch_id: str | None, last_event_id: int | None = None) -> None:
        super().__init__("interrupted")
        self.batch_id = batch_id
        self.last_event_id = last_event_id


class HeadroomAsker:
    """Asks for a resource's headroom now and then, and stops for good once that is refused."""

    def __init__(self, client: Client, resource: str | None) -> None:
        self._client = client
        self._resource = resource
        self._asked_at_s = float("-inf")
        self._text: str | None = None

    def text(self, at_s: float) -> str | None:
        """The headroom as last heard, None when there is nothing to tell."""
        if self._resource is None or at_s - self._asked_at_s < _HEADROOM_EVERY_S:
            return self._text
        self._asked_at_s = at_s
        try:
            self._text = headroom_text(self._client.headroom(self._resource))
        except (ConnectionFailed, Unavailable):
            self._text = None
        except BrimError:
            # Most keys may not ask (scope), and an older server has no such endpoint.
            self._resource = self._text = None
        return self._text


def watch_batch(client: Client, batch_id: str, view: View, resource: str | None = None) -> Batch:
    """Show the batch until it is final and return it. The server may be away for up to two minutes meanwhile.

    Raises Interrupted on Ctrl-C.
    """
    try:
        batch = client.get(batch_id)
        asker = HeadroomAsker(client, resource or _resource_of(client, batch))
        tallier = Tallier(time.monotonic())
        heard_at_s = time.monotonic()
        with view:
            while True:
                at_s = time.monotonic()
                view.show(tallier.see_batch(batch, at_s), asker.text(at_s))
                if batch.is_final:
                    return batch
                time.sleep(_ASK_EVERY_S)
                try:
                    batch = client.get(batch_id)
                except (ConnectionFailed, Unavailable) as error:
                    if time.monotonic() - heard_at_s > _PATIENCE_S:
                        raise
                    view.trouble(f"no news, trying again: {error}")
                else:
                    heard_at_s = time.monotonic()
                    view.trouble(None)
    except KeyboardInterrupt:
        raise Interrupted(batch_id) from None


def watch_events(client: Client, events: Iterator[Event], view: View, resource: str) -> Batch:
    """Show a SYNC batch until its stream ends and return the batch as it was at its last event.

    Raises Interrupted on Ctrl-C.
    """
    tallier = Tallier(time.monotonic())
    asker = HeadroomAsker(client, resource)
    batch: Batch | None = None
    try:
        with view:
            for event in events:
                batch = event.batch or batch
                at_s = time.monotonic()
                tally = tallier.see_event(event, at_s)
                if tally is not None:
                    view.show(tally, asker.text(at_s))
    except KeyboardInterrupt:
        raise Interrupted(None if batch is None else batch.batch_id) from None
    if batch is None:
        raise ConnectionFailed("the stream ended without telling of a batch")
    return batch


def _resource_of(client: Client, batch: Batch) -> str | None:
    """The resource of the batch's first item; None when the server does not say."""
    try:
        first = next(client.items(batch.batch_id, page_size=1), None)
    except ApiError:
        return None
    return None if first is None else first.resource_id

"""Events of a batch as frames of an SSE stream."""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.domain.batch import BatchEvent, Event, Item, ItemEvent
from scheduler.domain.errors import InvariantBroken
from scheduler.domain.ids import ItemIds
from scheduler.domain.status import ItemStatus
from scheduler.services.batches.progress import utc_of
from scheduler.services.batches.views import encode, encode_batch, item_view, running_item_view

_ITEM_ACTIONS: Mapping[ItemStatus, str] = {
    ItemStatus.COMPLETED: "item-completed",
    ItemStatus.FAILED: "item-failed",
    ItemStatus.CANCELLED: "item-cancelled",
}


def event_frame(event: Event, ids: ItemIds) -> bytes:
    """The SSE frame of a numbered event."""
    match event:
        case BatchEvent(event_no, action, batch):
            payload = encode_batch(batch)
        case ItemEvent(event_no, item):
            recorded = _ITEM_ACTIONS.get(item.status)
            if recorded is None:
                raise InvariantBroken(f"event {event_no} of batch {item.batch_id} has no outcome")
            action, payload = recorded, encode(item_view(item, ids))
    return b'id: %d\ndata: {"action":"%s","payload":%s}\n\n' % (event_no, action.encode(), one_line(payload))


def running_frame(item: Item, ids: ItemIds, started_ms: int) -> bytes:
    """The SSE frame of an item that started at a time of the engine: live only, without an id."""
    shown = running_item_view(item, ids, max(item.created_at, utc_of(started_ms)))
    return b'data: {"action":"item-running","payload":%s}\n\n' % one_line(encode(shown))


_LINE_ENDS = (
    (b"\r", b" "),
    (b"\n", b" "),
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)


def one_line(payload: bytes) -> bytes:
    """JSON without line ends, which would break a frame. Bodies are kept as given: between its parts
    (never inside a string) JSON may hold CR and LF; its strings may hold Unicode's own line ends, which
    many SSE readers split at, so those are escaped."""
    for end, instead in _LINE_ENDS:
        if end in payload:
            payload = payload.replace(end, instead)
    return payload

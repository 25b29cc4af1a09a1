"""What goes out for a delivery: the body in its format, and the headers that prove it is ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

import msgspec

from scheduler.domain.batch import Batch, Item
from scheduler.domain.ids import ItemIds
from scheduler.domain.public_ids import BATCH, EVENT, shown_id
from scheduler.domain.status import ItemStatus
from scheduler.domain.submission import WebhookFormat
from scheduler.ports.deliveries import Delivery, Webhook
from scheduler.services.batches.views import encode, encode_batch, item_view, running_item_view
from workers.signing import delivery_headers


@dataclass(frozen=True, slots=True)
class Parcel:
    """The exact bytes of one try, and its headers."""

    body: bytes
    headers: dict[str, str]


class Parcels:
    """Packs deliveries. secrets: those of the settings, the newest first, for targets that have none of their own;
    unseal: opens the secrets of the others."""

    def __init__(self, secrets: Sequence[str], unseal: Callable[[bytes], str]) -> None:
        self._secrets = secrets
        self._unseal = unseal

    def of(self, delivery: Delivery, now_s: int) -> Parcel:
        """What to send for it. now_s: Unix time of this try. Raises Unavailable or InvariantBroken when a secret cannot
        be opened here."""
        payload, callback = delivery.payload, delivery.callback
        if isinstance(payload, Webhook):
            event_id = shown_id(EVENT, delivery.delivery_id)
            body = _webhook_body(event_id, delivery, payload)
            return Parcel(body, delivery_headers(event_id, body, {}, self._secrets_of(payload), now_s))
        body = _callback_body(delivery.event_name, payload)
        headers = callback.headers if callback else {}
        secrets = [] if callback is None else [self._unseal(each) for each in callback.sealed_secrets]
        if callback is not None and callback.secret is not None:
            secrets.append(callback.secret)
        return Parcel(body, delivery_headers(str(delivery.delivery_id), body, headers, secrets, now_s))

    def _secrets_of(self, webhook: Webhook) -> Sequence[str]:
        sealed = webhook.target.sealed_secrets
        return self._secrets if sealed is None else [self._unseal(each) for each in sealed]


def _callback_body(event: str, payload: Batch | Item) -> bytes:
    """The event, and the item or batch as it was then."""
    if isinstance(payload, Batch):
        shown = encode_batch(payload)
    else:
        ids = ItemIds(payload.batch_id)
        running = payload.status is ItemStatus.RUNNING
        shown = encode(running_item_view(payload, ids) if running else item_view(payload, ids))
    return b'{"event":"%s","payload":%s}' % (event.encode(), shown)


def _webhook_body(event_id: str, delivery: Delivery, webhook: Webhook) -> bytes:
    match webhook.target.format:
        case WebhookFormat.BRIM:
            data = msgspec.Raw(webhook.data)
            return encode({"event_id": event_id, "event_type": delivery.event_name, "data": data})
        case WebhookFormat.OPENAI:
            return encode(
                {
                    "id": event_id,
                    "object": "event",
                    "created_at": int(delivery.created_at.timestamp()),
                    "type": delivery.event_name,
                    "data": {"id": shown_id(BATCH, delivery.batch_id)},
                }
            )
        case _:
            assert_never(webhook.target.format)

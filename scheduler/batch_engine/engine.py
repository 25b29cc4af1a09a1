"""`BatchEngine`: submit, get, list, cancel, read, replay, whatever keeps the batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from scheduler.batch_engine.failures import InvalidSubmission, UnknownBatch
from scheduler.batch_engine.jobs import BatchItem, BatchJob, BatchSubmission, DeadLetter, JobPage, WebhookDelivery
from scheduler.batch_engine.ports import BatchQueue, WebhookQueue
from scheduler.domain.batch import ENDPOINTS
from scheduler.domain.ids import uuid7
from scheduler.domain.priority import MOST_FINE_PRIORITY
from scheduler.domain.public_ids import BATCH, shown_id
from scheduler.domain.submission import STANDARD_SECRET, SourceFormat, is_readable_secret

MOST_ITEMS = 50_000
MOST_CUSTOM_ID_CHARS = 64
MOST_RETRIES = 100
LONGEST = timedelta(days=365)
MOST_PAIRS, MOST_KEY_CHARS, MOST_VALUE_CHARS = 16, 64, 512


class BatchEngine:
    """The batches of one caller. now: wall time."""

    def __init__(
        self,
        queue: BatchQueue,
        webhooks: WebhookQueue,
        *,
        most_items: int = MOST_ITEMS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._queue = queue
        self._webhooks = webhooks
        self._most_items = most_items
        self._now = now

    async def submit(self, submission: BatchSubmission) -> BatchJob:
        """Take a submission; it runs by itself. Raises InvalidSubmission with nothing stored, QueueError."""
        _check(submission, self._most_items)
        now = self._now()
        batch_id = shown_id(BATCH, uuid7(int(now.timestamp() * 1000), os.urandom(10)))
        return await self._queue.add(batch_id, submission, now)

    async def get(self, batch_id: str) -> BatchJob:
        """A batch as it stands. Raises UnknownBatch, QueueError."""
        return _known(await self._queue.job(batch_id), batch_id)

    async def list(self, cursor: str | None = None, limit: int = 20) -> JobPage[BatchJob]:
        """Batches, newest first."""
        return await self._queue.jobs(cursor=cursor, limit=limit)

    async def cancel(self, batch_id: str) -> BatchJob:
        """Stop a batch: one that is queued is cancelled at once, one that runs when its items in flight have ended, a
        final one stays as it is. Raises UnknownBatch, QueueError."""
        return _known(await self._queue.cancel(batch_id, self._now()), batch_id)

    async def get_items(self, batch_id: str, cursor: str | None = None, limit: int = 100) -> JobPage[BatchItem]:
        """Items of a batch with their results. Raises UnknownBatch, QueueError."""
        await self.get(batch_id)
        return await self._queue.items(batch_id, cursor=cursor, limit=limit)

    async def dead_letters(
        self, *, batch_id: str | None = None, cursor: str | None = None, limit: int = 100
    ) -> JobPage[DeadLetter]:
        """Items that failed for good, of one batch or all."""
        return await self._queue.dead_letters(batch_id=batch_id, cursor=cursor, limit=limit)

    async def replay(self, batch_id: str) -> int:
        """Run the dead letters of a batch that has ended again; how many. Raises UnknownBatch, QueueError."""
        await self.get(batch_id)
        return await self._queue.replay(batch_id)

    async def deliveries(
        self, batch_id: str, *, cursor: str | None = None, limit: int = 100
    ) -> JobPage[WebhookDelivery]:
        """The events of a batch that are, or were, to be sent."""
        await self.get(batch_id)
        return await self._webhooks.deliveries(batch_id, cursor=cursor, limit=limit)

    async def replay_deliveries(self, batch_id: str) -> int:
        """Send the dead ones again; how many."""
        await self.get(batch_id)
        return await self._webhooks.replay_dead(batch_id)


def _known(job: BatchJob | None, batch_id: str) -> BatchJob:
    if job is None:
        raise UnknownBatch(batch_id)
    return job


def _check(submission: BatchSubmission, most_items: int) -> None:
    """Raise InvalidSubmission for the first thing that is wrong."""
    if not submission.items:
        raise InvalidSubmission("items", "must not be empty")
    if len(submission.items) > most_items:
        raise InvalidSubmission("items", f"may be at most {most_items}")
    if submission.endpoint not in ENDPOINTS:
        raise InvalidSubmission("endpoint", f"must be one of {', '.join(ENDPOINTS)}")
    if submission.source_format is SourceFormat.ANTHROPIC and submission.endpoint != "/v1/chat/completions":
        raise InvalidSubmission("endpoint", "of Anthropic's messages is /v1/chat/completions")
    if not 0 <= submission.priority <= MOST_FINE_PRIORITY:
        raise InvalidSubmission("priority", f"must be 0 to {MOST_FINE_PRIORITY}")
    if not 0 <= submission.max_retries <= MOST_RETRIES:
        raise InvalidSubmission("max_retries", f"must be 0 to {MOST_RETRIES}")
    if not timedelta(0) < submission.expires_after <= LONGEST:
        raise InvalidSubmission("expires_after", "must be above 0, up to 365 days")
    _check_secret(submission.webhook_secret, submission.webhook_url)
    _check_metadata(submission.metadata or {})
    seen: set[str] = set()
    for index, item in enumerate(submission.items):
        _check_item(f"items[{index}]", item.custom_id, item.body, seen)


def _check_secret(secret: str | None, url: str | None) -> None:
    if secret is None:
        return
    if url is None:
        raise InvalidSubmission("webhook_secret", "goes with webhook_url only")
    if not is_readable_secret(secret):
        raise InvalidSubmission("webhook_secret", f"must be text, base64 behind '{STANDARD_SECRET}'")


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if len(metadata) > MOST_PAIRS:
        raise InvalidSubmission("metadata", f"may have at most {MOST_PAIRS} pairs")
    for key, text in metadata.items():
        if len(key) > MOST_KEY_CHARS or len(text) > MOST_VALUE_CHARS:
            raise InvalidSubmission("metadata", f"{key[:MOST_KEY_CHARS]} is too long")


def _check_item(place: str, custom_id: Any, body: Any, seen: set[str]) -> None:
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MOST_CUSTOM_ID_CHARS:
        raise InvalidSubmission(f"{place}.custom_id", f"must have 1 to {MOST_CUSTOM_ID_CHARS} characters")
    if custom_id in seen:
        raise InvalidSubmission(f"{place}.custom_id", f"comes twice: {custom_id!r}")
    seen.add(custom_id)
    if not isinstance(body, Mapping):
        raise InvalidSubmission(f"{place}.body", "must be an object")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise InvalidSubmission(f"{place}.body.model", "is required and must be a string")
    if body.get("stream"):
        raise InvalidSubmission(f"{place}.body.stream", "is not possible in a batch")

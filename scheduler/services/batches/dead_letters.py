"""Dead letters: items that failed for good, found by what failed them, and run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from scheduler.domain.errors import Conflict, Invalid, NotFound
from scheduler.domain.ids import ItemIds
from scheduler.ports.dead_letters import DeadLetter, DeadLetterFilter, DeadLetterStore
from scheduler.services.batches.reopening import Reopening

BATCHES_AT_ONCE = 100
"""One replay goes through so many batches; its answer says where the next one goes on."""

ErrorCode = Annotated[str, Meta(min_length=1, max_length=200)]


class DeadLetterView(Struct, rename="camel", frozen=True):
    """An item whose run ended FAILED. replayable: its batch has ended, and it is no bad line of an upload."""

    batch_id: UUID
    item_id: UUID
    custom_id: str | None
    resource_id: UUID
    run: int
    retry_count: int
    error_code: str | None
    error_message: str | None
    completed_at: datetime
    replayable: bool


class ReplayBody(Struct, rename="camel", forbid_unknown_fields=True):
    """Which dead letters to run again: all that the given fields mean. resource: id or name. after: where the replay
    before this one left off. dry_run: only say which it would be."""

    error_code: ErrorCode | None = None
    resource: ErrorCode | None = None
    batch_id: UUID | None = None
    after: UUID | None = None
    dry_run: bool = False


class ReplayedBatch(Struct, rename="camel", frozen=True):
    """state: RETRIED, RETRIABLE (a dry run), or RUNNING: it has not ended yet, so nothing of it was run again."""

    batch_id: UUID
    items: int
    state: Literal["RETRIED", "RETRIABLE", "RUNNING"]


class ReplayView(Struct, rename="camel", frozen=True):
    """What a replay did. items: how many were (or would be) run again. next_after: there are more batches."""

    dry_run: bool
    items: int
    batches: list[ReplayedBatch]
    next_after: UUID | None


@dataclass(frozen=True, slots=True)
class DeadLetterPage:
    """next_after: the cursor of the next page."""

    data: Sequence[DeadLetterView]
    next_after: str | None


class DeadLetters:
    """Lists them, and runs them again batch by batch: a crash between two leaves the rest for the next replay."""

    def __init__(self, store: DeadLetterStore, reopening: Reopening) -> None:
        self._store = store
        self._reopening = reopening

    async def page(
        self, environment_id: UUID, which: DeadLetterFilter, *, after: str | None, limit: int
    ) -> DeadLetterPage:
        """Newest batch first, then in order of items. Raises Invalid for a cursor that none of our pages named."""
        cursor = None if after is None else _cursor(after)
        found = await self._store.page(environment_id, which, after=cursor, limit=limit + 1)
        shown = found[:limit]
        more = len(found) > limit
        return DeadLetterPage(
            [_view(each) for each in shown], f"{shown[-1].batch_id}.{shown[-1].seq}" if more else None
        )

    async def replay(
        self, environment_id: UUID, which: DeadLetterFilter, *, after: UUID | None = None, dry_run: bool = False
    ) -> ReplayView:
        """Run them again, of up to 100 batches; those of a batch that has not ended stay."""
        found = await self._store.batches(environment_id, which, after=after, limit=BATCHES_AT_ONCE + 1)
        batches: list[ReplayedBatch] = []
        for failed in found[:BATCHES_AT_ONCE]:
            if not failed.ended or dry_run:
                batches.append(ReplayedBatch(failed.batch_id, failed.items, "RETRIABLE" if failed.ended else "RUNNING"))
                continue
            again = await self._retry(environment_id, failed.batch_id, which)
            if again is None:
                batches.append(ReplayedBatch(failed.batch_id, failed.items, "RUNNING"))
            elif again:
                batches.append(ReplayedBatch(failed.batch_id, again, "RETRIED"))
        return ReplayView(
            dry_run,
            sum(each.items for each in batches if each.state != "RUNNING"),
            batches,
            found[BATCHES_AT_ONCE - 1].batch_id if len(found) > BATCHES_AT_ONCE else None,
        )

    async def _retry(self, environment_id: UUID, batch_id: UUID, which: DeadLetterFilter) -> int | None:
        """How many items of a batch run again; None when another's retry opened it meanwhile."""
        try:
            return await self._reopening.retry_some(environment_id, batch_id, which)
        except Conflict:
            return None
        except NotFound:
            return 0


def _cursor(text: str) -> tuple[UUID, int]:
    batch, _, seq = text.partition(".")
    try:
        found = UUID(batch), int(seq)
    except ValueError:
        raise Invalid("after is no cursor of this list.") from None
    if not (seq.isascii() and seq.isdigit() and found[1] < 2**31):
        raise Invalid("after is no cursor of this list.")
    return found


def _view(found: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        batch_id=found.batch_id,
        item_id=ItemIds(found.batch_id).of(found.seq),
        custom_id=found.custom_id,
        resource_id=found.resource_id,
        run=found.run,
        retry_count=found.retry_count,
        error_code=found.error_code,
        error_message=found.error_message,
        completed_at=found.completed_at,
        replayable=found.ended and found.runnable,
    )

"""Corrects what was reserved for calls whose entries waited in Redis with an older guess of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

import structlog

from scheduler.domain.errors import Unavailable
from scheduler.domain.work import LeaseRef
from scheduler.ports.engine import Engine
from scheduler.ports.items import LoadedItem
from workers.holdings import Held

WORTH = 1.25
"""A guess that is so many times the other is worth a correction: learned lengths come in steps of a tenth."""
AT_ONCE = 128

_log = structlog.get_logger(__name__)


class Reserves:
    """A flow's window holds thousands of entries with the guess of the time when they were pushed: without this, a
    batch whose answers are longer overruns its limits, and one whose answers are shorter leaves most of them unused.

    likely: what answers of a (resource, batch) need by now; None: nobody knows.
    """

    def __init__(self, engine: Engine, likely: Callable[[UUID, UUID], int | None]) -> None:
        self._engine = engine
        self._likely = likely
        self._amending: set[asyncio.Task[None]] = set()

    def correct(self, shard: int, claimed: Iterable[tuple[Held, LoadedItem]]) -> None:
        """Reserve what is likely now for those of one claim, beside their calls: these need not wait for it."""
        likely: dict[tuple[UUID, UUID], int | None] = {}
        amended: list[tuple[LeaseRef, int]] = []
        for held, item in claimed:
            if item.guess is None:
                continue
            key = (item.resource_id, item.batch_id)
            if key not in likely:
                likely[key] = self._likely(*key)
            one = likely[key]
            if one is None:
                continue
            entry, tokens = held.lease.entry, item.guess.tokens(one)
            if tokens > entry.out_tokens * WORTH or tokens * WORTH < entry.out_tokens:
                held.lease = held.lease._replace(entry=entry._replace(out_tokens=tokens))
                amended.append((held.lease.ref, tokens))
        if amended:
            task = asyncio.create_task(self._amend(shard, amended))
            self._amending.add(task)
            task.add_done_callback(self._amending.discard)

    async def _amend(self, shard: int, amended: Sequence[tuple[LeaseRef, int]]) -> None:
        try:
            for start in range(0, len(amended), AT_ONCE):
                await self._engine.amend(shard, amended[start : start + AT_ONCE])
        except Unavailable:
            return  # what the calls really need is booked when they end
        except Exception:
            _log.exception("reserves.not_amended", shard=shard, leases=len(amended))

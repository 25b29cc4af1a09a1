"""The outbox of callbacks."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from scheduler.domain.batch import Batch, Item
from scheduler.domain.errors import InvariantBroken
from scheduler.domain.status import ItemStatus
from scheduler.domain.submission import WebhookFormat, WebhookTarget
from scheduler.ports.deliveries import Delivery, DeliveryRecord, DeliveryResult, Webhook
from scheduler.ports.pages import Page
from scheduler.store.database import Database
from scheduler.store.item_rows import item_of, storable
from scheduler.store.rows import Row, batch_as_of, batch_of
from scheduler.store.statements import load_statements

_SQL = load_statements("delivery")
_GET_BATCHES = load_statements("batch")["get_batches"]
_FIRST_ID = UUID(int=0)
_RECEIVERS = 200
"""How many receivers one claim looks at; the next claim goes on behind them."""


class PostgresDeliveryStore:
    """Implements ports.deliveries.DeliveryStore."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._served_up_to = ""

    async def add_running(self, items: Sequence[tuple[UUID, int, int]], now: datetime) -> None:
        """Write "running" deliveries for batches that ask for them, in one statement; see the port."""
        await self._database.execute(
            _SQL["add_running"], [i[0] for i in items], [i[1] for i in items], [i[2] for i in items], now
        )

    async def claim(
        self,
        holder: str,
        limit: int,
        lease_s: float,
        *,
        per_receiver: int | None = None,
        one_for: Collection[str] = (),
        except_receivers: Sequence[str] = (),
    ) -> Sequence[Delivery]:
        """Lease due deliveries, an equal share for each receiver; see the port."""
        due = await self._due_receivers(limit, except_receivers)
        if not due:
            return ()
        share = min(math.ceil(limit / len(due)), limit if per_receiver is None else per_receiver)
        most = [1 if receiver in one_for else share for receiver in due]
        leased = await self._database.fetch(_SQL["lease_deliveries"], due, most, limit, holder, lease_s)
        return await self._payloads(leased)

    async def renew(self, holder: str, deliveries: Sequence[tuple[UUID, UUID]], lease_s: float) -> frozenset[UUID]:
        """Prolong leases, in one statement; see the port."""
        rows = await self._database.fetch(
            _SQL["renew_leases"], holder, [each[0] for each in deliveries], [each[1] for each in deliveries], lease_s
        )
        return frozenset(row["delivery_id"] for row in rows)

    async def next_due_s(self) -> float | None:
        """Seconds until the next delivery is due (0: now); None when none waits."""
        seconds: float | None = await self._database.fetchval(_SQL["next_due"])
        return None if seconds is None else max(0.0, seconds)

    async def record(self, holder: str, results: Sequence[DeliveryResult]) -> None:
        """Record tries, where the lease is still the holder's."""
        await self._database.execute(
            _SQL["record"],
            holder,
            [result.delivery_id for result in results],
            [_state(result) for result in results],
            [result.retry_at for result in results],
            [storable(result.dead_reason or result.problem) for result in results],
            [result.status for result in results],
        )

    async def list(
        self, batch_id: UUID, *, after: UUID | None, limit: int, state: str | None = None
    ) -> Page[DeliveryRecord]:
        """Deliveries of a batch, oldest first; see the port."""
        rows = await self._database.fetch(_SQL["list_deliveries"], batch_id, after or _FIRST_ID, limit + 1, state)
        data = tuple(DeliveryRecord(**row) for row in rows[:limit])
        return Page(data, str(data[-1].delivery_id) if len(rows) > limit else None)

    async def replay(self, batch_id: UUID, delivery_id: UUID) -> DeliveryRecord | None:
        """Due now; see the port."""
        await self._database.execute(_SQL["replay_delivery"], batch_id, delivery_id)
        row = await self._database.fetchrow(_SQL["delivery"], batch_id, delivery_id)
        return None if row is None else DeliveryRecord(**row)

    async def replay_dead(self, batch_id: UUID, limit: int) -> int:
        """Dead ones are due now; see the port."""
        return await self._database.execute(_SQL["replay_dead"], batch_id, limit)

    async def _due_receivers(self, limit: int, left_out: Sequence[str]) -> Sequence[str]:
        """Up to `limit` receivers that have something due, going round all of them from call to call."""
        after, first_round = self._served_up_to, True
        while True:
            rows = await self._database.fetch(_SQL["due_receivers"], after, _RECEIVERS, left_out)
            due = [row["receiver"] for row in rows if row["is_due"]][:limit]
            more = len(rows) == _RECEIVERS
            if due:
                self._served_up_to = due[-1] if len(due) == limit else rows[-1]["receiver"] if more else ""
                return due
            if more:
                after = rows[-1]["receiver"]
            elif first_round and self._served_up_to:
                after, first_round = "", False
            else:
                self._served_up_to = ""
                return ()

    async def _payloads(self, leased: Sequence[Row]) -> Sequence[Delivery]:
        batch_ids = [row["batch_id"] for row in leased]
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["payloads"], batch_ids, [row["delivery_id"] for row in leased])
            found = await connection.fetch(_GET_BATCHES, list(set(batch_ids)))
        batches = {row["batch_id"]: batch_of(row) for row in found}
        return tuple(
            _webhook_of(row) if row["kind"] == "webhook" else _delivery_of(row, batches[row["of_batch"]])
            for row in rows
        )


def _state(result: DeliveryResult) -> str:
    if result.delivered:
        return "delivered"
    if result.retry_at is not None:
        return "waiting"
    return "dead"


def _delivery_of(row: Row, batch: Batch) -> Delivery:
    if batch.callback is None:
        raise InvariantBroken(f"batch {batch.batch_id} has deliveries but no callback")
    return Delivery(
        delivery_id=row["delivery_id"],
        batch_id=batch.batch_id,
        callback=batch.callback,
        event_name="BATCH_UPDATE" if row["kind"] == "batch" else "ITEM_UPDATE",
        payload=_payload_of(row, batch),
        attempts=row["attempts"],
        created_at=row["delivery_created_at"],
        tried_since=row["tried_since"],
    )


def _webhook_of(row: Row) -> Delivery:
    secrets = row["secrets"]
    target = WebhookTarget(WebhookFormat(row["format"]), row["url"], None if secrets is None else tuple(secrets))
    return Delivery(
        delivery_id=row["delivery_id"],
        batch_id=row["of_batch"],
        callback=None,
        event_name=row["event"],
        payload=Webhook(target, row["data"].encode()),
        attempts=row["attempts"],
        created_at=row["delivery_created_at"],
        tried_since=row["tried_since"],
    )


def _payload_of(row: Row, batch: Batch) -> Batch | Item:
    match row["kind"]:
        case "batch":
            return batch_as_of(batch, row["snapshot"])
        case "item":
            return item_of(row)
        case "running":
            # As it was then: whatever the outcome of this run is by now.
            return replace(
                item_of(row),
                status=ItemStatus.RUNNING,
                response=None,
                response_headers=None,
                error_code=None,
                error_message=None,
                prompt_tokens=None,
                output_tokens=None,
                served_connection=None,
                served_model=None,
                started_at=row["delivery_created_at"],
                completed_at=None,
                event_no=None,
            )
        case kind:
            raise InvariantBroken(f"unknown kind of delivery: {kind}")

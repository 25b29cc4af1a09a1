"""The rows that a batch is made of, besides its items: written in the transaction of whoever makes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from scheduler.domain.batch import NewBatch
from scheduler.domain.errors import NotFound
from scheduler.store.ingest import FlowTally
from scheduler.store.rows import Row, json_text, receiver_of
from scheduler.store.statements import load_statements

if TYPE_CHECKING:
    from scheduler.store.database import PooledConnection

_BATCH = load_statements("batch")


async def hold_resources(connection: PooledConnection, environment_id: UUID, resource_ids: Sequence[UUID]) -> None:
    """Keep resources from being deleted until the transaction ends. Raises NotFound when one is gone."""
    if not resource_ids:
        return
    held = await connection.fetch(_BATCH["hold_resources"], environment_id, resource_ids)
    if missing := set(resource_ids) - {row["resource_id"] for row in held}:
        raise NotFound(f"AI resource {min(missing)} does not exist.", code="AI_RESOURCE_NOT_FOUND")


async def create_batch(
    connection: PooledConnection, batch: NewBatch, items: int, in_tokens: int, *, sealed: bool = True
) -> None:
    """The row of a batch of so many items, which have so many tokens. Raises NotFound when its environment is gone."""
    if await connection.fetchval(_BATCH["create_batch"], *_columns(batch, items, in_tokens, sealed)) is None:
        raise NotFound("The environment does not exist.", code="ENVIRONMENT_NOT_FOUND")


async def create_flows(connection: PooledConnection, batch_id: UUID, flows: FlowTally) -> Sequence[Row]:
    """The rows of its flows, for rows.flow_of."""
    rows: Sequence[Row] = await connection.fetch(
        _BATCH["create_flows"],
        batch_id,
        list(flows.number),
        list(range(len(flows.items))),
        flows.items,
        flows.first,
        flows.last,
    )
    return rows


def _columns(batch: NewBatch, items: int, in_tokens: int, sealed: bool) -> list[object]:
    """The parameters of create_batch."""
    callback = batch.callback
    return [
        batch.batch_id,
        batch.environment_id,
        batch.type.value,
        batch.priority.value,
        items,
        in_tokens,
        batch.max_in_flight,
        batch.deadline,
        batch.api_key_id,
        json_text(batch.capacity),
        json_text(callback) if callback else None,
        receiver_of(callback) if callback else None,
        callback is not None and callback.wants("item_update"),
        callback is not None and callback.wants("batch_update"),
        batch.metadata,
        batch.workspace_id,
        sealed,
        batch.fine_priority,
        batch.max_retries,
        batch.caller,
    ]

"""The rows of a batch whose items are stored already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from scheduler.domain.errors import NotFound
from scheduler.store.ingest import FlowTally
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


async def create_batch(connection: PooledConnection, columns: Sequence[object]) -> None:
    """The row of a batch (batch_store.batch_columns). Raises NotFound when its environment is gone."""
    if await connection.fetchval(_BATCH["create_batch"], *columns) is None:
        raise NotFound("The environment does not exist.", code="ENVIRONMENT_NOT_FOUND")


async def create_flows(connection: PooledConnection, batch_id: UUID, flows: FlowTally) -> None:
    """The rows of its flows."""
    await connection.execute(
        _BATCH["create_flows"],
        batch_id,
        list(flows.number),
        list(range(len(flows.items))),
        flows.items,
        flows.first,
        flows.last,
    )

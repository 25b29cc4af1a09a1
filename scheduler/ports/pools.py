"""Pools of resources, one definition an environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from scheduler.domain.pools import Pool, PoolDefinition


class PoolStore(Protocol):
    """Keeps definitions. One that was deleted is kept without pools, so that its version never falls."""

    async def pool_definitions(self, environment_id: UUID | None = None) -> Sequence[PoolDefinition]:
        """Of one environment or all."""
        ...

    async def put_pools(self, workspace_id: UUID, environment_id: UUID, pools: Sequence[Pool]) -> PoolDefinition:
        """Replace an environment's pools, version + 1; the first has version 1."""
        ...

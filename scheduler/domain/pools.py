"""Pools: resources that share the connections of an environment by parts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Pool:
    """Some resources, and their part of each connection's budget per minute.

    min_share: so much goes to them first while they have work. max_share: never more. Both from 0 to 1. rank: from 1;
    of what is left over, resources of rank n get half as much as those of rank n - 1.
    """

    name: str
    rank: int
    min_share: float
    max_share: float
    resource_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class PoolDefinition:
    """All pools of an environment. Without pools it stands for one that was deleted: its version lives on."""

    workspace_id: UUID
    environment_id: UUID
    pools: tuple[Pool, ...]
    version: int
    created_at: datetime
    updated_at: datetime

    def pool_of(self, resource_id: UUID) -> Pool | None:
        """The pool that a resource belongs to."""
        return next((pool for pool in self.pools if resource_id in pool.resource_ids), None)

"""Flows as the store keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class StoredFlow:
    """One batch's part on one resource: the durable side of a flow.

    first / last: lowest and highest seq of it. generation: of its window in Redis, raised by repair.
    """

    batch_id: UUID
    resource_id: UUID
    workspace_id: UUID
    environment_id: UUID
    shard: int
    generation: int
    items: int
    first: int
    last: int

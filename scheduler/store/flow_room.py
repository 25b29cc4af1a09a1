"""From a row of what binds a flow to the room that its limits leave for answers."""

from __future__ import annotations

from uuid import UUID

import msgspec

from scheduler.domain.output_room import OutputRoom, output_room
from scheduler.domain.pools import Pool
from scheduler.domain.work import Limit
from scheduler.store.rows import Row, capacities_of

_limits = msgspec.json.Decoder(tuple[Limit, ...])
_pools = msgspec.json.Decoder(tuple[Pool, ...])


def room_of(row: Row, resource_id: UUID) -> OutputRoom:
    """The room under the limits of a row of `flow_limits`."""
    pools = () if row["pools"] is None else _pools.decode(row["pools"])
    return output_room(
        own=[capacities_of(text) for text in row["own"]],
        connections=[capacities_of(text) for text in row["connections"]],
        learned=[_limits.decode(text) for text in row["models"]],
        pool_share=next((pool.max_share for pool in pools if resource_id in pool.resource_ids), None),
    )

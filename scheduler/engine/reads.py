"""Plain reads of the engine's state: for overlays, the reconciler and status. They decide nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from scheduler.domain.work import FlowRef, FlowState, ShardDepths
from scheduler.engine import keys
from scheduler.engine.codec import read_queue

MOST_QUEUES = 1000
SUB_BUCKET_MS = 250
"""LEASE_SUB_MS of lua/include/lease.lua."""
_BUCKET = 8
"""Where a lease's record has its sub-bucket: BUCKET there, counted from 0."""
_record = msgspec.msgpack.Decoder(list[Any])


async def leased(client: Redis, shard: int, flow: FlowRef, positions: Sequence[int]) -> dict[int, int]:
    """Which of these positions have a lease, and since when, as Unix ms: to the sub-bucket in which it is counted."""
    if not positions:
        return {}
    found: list[Any] = await client.hmget(keys.leases(shard), [keys.lease_id(flow, each) for each in positions])
    return {
        position: int(_record.decode(record)[_BUCKET]) * SUB_BUCKET_MS
        for position, record in zip(positions, found, strict=True)
        if record is not None
    }


async def leased_counts(client: Redis, shard: int, flows: Sequence[FlowRef]) -> dict[FlowRef, int]:
    """Live leases per flow, in one round trip."""
    pipeline = client.pipeline(transaction=False)
    for flow in flows:
        pipeline.hget(keys.flow_state(shard, flow), "leased")
    counts = await pipeline.execute() if flows else []
    return {flow: int(count or 0) for flow, count in zip(flows, counts, strict=True)}


async def flows(client: Redis, shard: int, refs: Sequence[FlowRef]) -> dict[FlowRef, FlowState]:
    """The windows of flows, in one round trip; unknown flows are left out."""
    pipeline = client.pipeline(transaction=False)
    for ref in refs:
        pipeline.hmget(keys.flow_state(shard, ref), ["gen", "cursor", "end_", "version", "leased", "dead", "paused"])
        pipeline.llen(keys.flow(shard, ref))
        pipeline.zcard(keys.flow_deferred(shard, ref))
    replies = await pipeline.execute() if refs else []
    known: dict[FlowRef, FlowState] = {}
    for ref, (state, waiting, deferred) in zip(refs, zip(*[iter(replies)] * 3, strict=True), strict=True):
        if state[0] is None:
            continue
        generation, cursor, end, version, leases = (int(float(value)) for value in state[:5])
        known[ref] = FlowState(
            generation, cursor, end, version, waiting, deferred, leases, dead=state[5] == b"1", paused=state[6] == b"1"
        )
    return known


async def queue_depths(client: Redis, shard: int) -> ShardDepths:
    """How much waits and runs on a shard."""
    pipeline = client.pipeline(transaction=False)
    pipeline.zrange(keys.active(shard), 0, MOST_QUEUES - 1)
    pipeline.zrange(keys.standby(shard), 0, MOST_QUEUES - 1)
    pipeline.zcard(keys.active(shard))
    pipeline.zcard(keys.standby(shard))
    pipeline.zcard(keys.deadlines(shard))
    pipeline.time()
    active, standby, active_count, standby_count, leases, (seconds, _) = await pipeline.execute()
    queues = [read_queue(name) for name in {*active, *standby}]
    pipeline = client.pipeline(transaction=False)
    pipeline.zcount(keys.deadlines(shard), "-inf", seconds * 1000 - 1000)
    for queue in queues:
        pipeline.zcard(keys.queue(shard, queue))
    overdue, *counts = await pipeline.execute()
    return ShardDepths(active_count, standby_count, leases, overdue, dict(zip(queues, counts, strict=True)))

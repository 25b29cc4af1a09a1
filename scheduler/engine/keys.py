"""Every Redis key that Python names; lua/include/shard.lua is its counterpart inside the scripts."""

from __future__ import annotations

from scheduler.domain.work import FlowRef, QueueRef


def prefix(shard: int) -> str:
    """All keys of a shard carry its hash tag, so that each script touches one slot of a cluster."""
    return f"brim:{{{shard}}}:"


def epoch(shard: int) -> str:
    """string: the epoch that rules the shard."""
    return f"{prefix(shard)}epoch"


def fence(shard: int) -> str:
    """string: the number of the newest lease; an epoch that was raised begins far above all before it."""
    return f"{prefix(shard)}fence"


def recovery(shard: int) -> str:
    """string: there while what a loss of Redis took is brought back; nothing is claimed meanwhile. "gone": all was
    lost; "kept": what is there may be an older copy."""
    return f"{prefix(shard)}recovery"


def wake(shard: int) -> str:
    """list: at most one token; whoever pops it claims."""
    return f"{prefix(shard)}wake"


def active(shard: int) -> str:
    """zset: queues that may be claimed from."""
    return f"{prefix(shard)}active-resources"


def standby(shard: int) -> str:
    """zset: queues that wait on budgets."""
    return f"{prefix(shard)}standby-resources"


def deadlines(shard: int) -> str:
    """zset: every lease of the shard by its deadline."""
    return f"{prefix(shard)}global-processing-queue"


def leases(shard: int) -> str:
    """hash: lease id → record."""
    return f"{prefix(shard)}leases"


def grants(shard: int, holder: str) -> str:
    """list: tickets of a holder's direct calls that were admitted while they waited."""
    return f"{prefix(shard)}grants:{holder}"


def queue_name(queue: QueueRef) -> str:
    """How a queue is named inside keys and scripts."""
    return f"{queue.workspace_id}:{queue.environment_id}:{queue.resource_id}"


def queue(shard: int, ref: QueueRef) -> str:
    """zset: flows of a queue by virtual time."""
    return f"{prefix(shard)}{queue_name(ref)}:queue"


def flow(shard: int, ref: FlowRef) -> str:
    """list: the hot window of a flow."""
    return f"{prefix(shard)}flow:{ref.queue.resource_id}:{ref.batch_id}"


def flow_deferred(shard: int, ref: FlowRef) -> str:
    """zset: entries of a flow that wait for a retry time."""
    return f"{flow(shard, ref)}:deferred"


def flow_state(shard: int, ref: FlowRef) -> str:
    """hash: generation, cursor, virtual time, flags of a flow."""
    return f"{flow(shard, ref)}:state"


def feed(shard: int, workspace_id: str, environment_id: str, batch_id: str) -> str:
    """stream: the live feed of a batch."""
    return f"{prefix(shard)}{workspace_id}:{environment_id}:{batch_id}:batch-queue-stream"


def lease_id(ref: FlowRef, position: int) -> str:
    """Identity of a lease: an entry is never leased twice."""
    return f"{ref.queue.resource_id}:{ref.batch_id}:{position}"

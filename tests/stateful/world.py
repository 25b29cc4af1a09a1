"""The fixed universe of the stateful tests: few names, so that operations meet."""

from __future__ import annotations

from uuid import UUID

from scheduler.domain.work import FlowRef, QueueRef
from scheduler.engine import keys

SHARD = 3
START_MS = 1_800_000_000_123
WINDOW = 8
"""Entries that a flow's list holds at most: small, so that refills happen."""
SUB_MS = 250
START_BY_MS = 150

WORKSPACE, ENVIRONMENT = str(UUID(int=1)), str(UUID(int=2))
QUEUES = tuple(QueueRef(WORKSPACE, ENVIRONMENT, str(UUID(int=1000 + i))) for i in range(3))
QUEUE_NAMES = tuple(keys.queue_name(queue) for queue in QUEUES)
_BATCH = [str(UUID(int=100_000 + i)) for i in range(4)]
# The last flow is the first one's batch on another resource: both share that batch's budget.
FLOWS = (
    FlowRef(QUEUES[0], _BATCH[0]),
    FlowRef(QUEUES[0], _BATCH[1]),
    FlowRef(QUEUES[1], _BATCH[2]),
    FlowRef(QUEUES[2], _BATCH[3]),
    FlowRef(QUEUES[1], _BATCH[0]),
)
CONNECTIONS = ("connection-0", "connection-1", "connection-2")
RESOURCES = ("resource-0", "resource-1")
FLOW_BUDGETS: tuple[tuple[str, ...], ...] = (
    ("batch-0",),
    (),
    ("batch-2", "key-0"),
    ("key-0",),
    ("batch-0", "key-0"),
)
BUDGETS = (*CONNECTIONS, *RESOURCES, "batch-0", "batch-2", "key-0")
UNDEFINED_AT_FIRST = "key-0"
HOLDERS = ("w1", "w2", "w3")
FLOW_INDEX = {flow: i for i, flow in enumerate(FLOWS)}

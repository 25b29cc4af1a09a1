"""Arguments of the scripts and their replies, as values. No raw list leaves the engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from scheduler.domain.errors import InvariantBroken
from scheduler.domain.work import (
    BudgetDefinition,
    BudgetHeadroom,
    Claimed,
    Doorbell,
    Entry,
    Fence,
    FlowDefinition,
    FlowRef,
    Lease,
    LeaseRef,
    Limit,
    LimitHeadroom,
    Meter,
    QueueDefinition,
    QueueRef,
    RefillOrder,
    Refund,
    Release,
    Settlement,
)
from scheduler.engine import keys

PERIODS = {
    "SECOND": ("S", 1_000),
    "MINUTE": ("M", 60_000),
    "HOUR": ("H", 0),
    "DAY": ("D", 0),
    "WEEK": ("W", 0),
    "MONTH": ("MO", 0),
    "LIFETIME": ("L", 0),
}
"""Period → (its code in Lua, the length of its sliding window in ms; 0: an aligned quota)."""
PERIOD_OF = {code: period for period, (code, _) in PERIODS.items()}
METERS = {Meter.TOTAL: ("", "tokens"), Meter.INPUT: ("<", "in_tokens"), Meter.OUTPUT: (">", "out_tokens")}
"""Meter → (what it adds to the code of its period, its field of a cost)."""
METER_OF = {field: meter for meter, (_, field) in METERS.items()}


class UnexpectedReply(InvariantBroken):
    """A script answered something that its header does not promise."""

    def __init__(self, script: str, reply: object) -> None:
        super().__init__(f"script {script} answered {reply!r}")


def limit_argument(limit: Limit) -> list[Any]:
    """One limit as set_limits and observe take it."""
    return [
        PERIODS[limit.period][0] + METERS[limit.meter][0],
        PERIODS[limit.period][1],
        -1 if limit.requests is None else limit.requests,
        -1 if limit.tokens is None else limit.tokens,
        -1 if limit.pace is None else limit.pace,
        limit.burst_ms,
        METERS[limit.meter][1],
        limit.direct_share,
        limit.zone,
    ]


def budget_argument(definition: BudgetDefinition) -> str:
    """A budget as set_limits takes it."""
    in_flight = -1 if definition.max_in_flight is None else definition.max_in_flight
    limits = [limit_argument(limit) for limit in definition.limits]
    return json.dumps([definition.budget_id, definition.version, in_flight, limits])


def queue_argument(definition: QueueDefinition) -> str:
    """A queue as set_queues takes it."""
    return json.dumps(
        [
            keys.queue_name(definition.queue),
            definition.version,
            definition.weight,
            int(definition.spill),
            definition.kind,
            definition.targets,
            definition.budgets,
            definition.models,
            definition.pools,
            definition.min_share,
        ]
    )


def flow_address(flow: FlowRef) -> tuple[str, str]:
    """(queue, batch) as every flow script takes it."""
    return keys.queue_name(flow.queue), flow.batch_id


def entry_argument(entry: Entry) -> str:
    """An entry as it lies in a flow's list."""
    position, run, tokens_in, tokens_out, attempts, crashes, target = entry
    return f"{position}:{run}:{tokens_in}:{tokens_out}:{attempts}:{crashes}:{target}"


def push_arguments(
    flow: FlowDefinition, generation: int, cursor: int, next_cursor: int, entries: Sequence[Entry]
) -> list[Any]:
    """ARGV[2…] of push."""
    return [
        *flow_address(flow.flow),
        flow.version,
        flow.weight,
        json.dumps(flow.budgets),
        flow.end,
        int(flow.sealed),
        int(flow.paused),
        generation,
        cursor,
        next_cursor,
        *map(entry_argument, entries),
    ]


def repair_arguments(flow: FlowDefinition, generation: int, cursor: int) -> list[Any]:
    """ARGV[2…] of repair."""
    return [
        *flow_address(flow.flow),
        generation,
        cursor,
        flow.version,
        flow.weight,
        json.dumps(flow.budgets),
        flow.end,
        int(flow.sealed),
        int(flow.paused),
    ]


def set_flow_arguments(flow: FlowDefinition) -> list[Any]:
    """ARGV[2…] of set_flow."""
    return [*flow_address(flow.flow), flow.version, flow.weight, json.dumps(flow.budgets), int(flow.paused)]


def age(sent_ago_ms: int | None) -> int:
    """-1 says that a call was never sent."""
    return -1 if sent_ago_ms is None else max(0, sent_ago_ms)


def lease_argument(ref: LeaseRef) -> tuple[str, int]:
    """(lease id, fence number)."""
    return keys.lease_id(ref.flow, ref.position), ref.fence.number


def announce_arguments(leases: Sequence[Lease]) -> list[Any]:
    """Quintuples of announce."""
    args: list[Any] = []
    for lease in leases:
        args += (*flow_address(lease.ref.flow), entry_argument(lease.entry), lease.ref.fence.number, lease.target)
    return args


def read_announced(reply: Any, epoch: int, refs: Sequence[LeaseRef]) -> dict[LeaseRef, LeaseRef | None]:
    """RETURNS of announce."""
    match reply:
        case [b"announced", *fences] if len(fences) == len(refs):
            return {
                ref: ref._replace(fence=Fence(epoch, fence)) if fence else None
                for ref, fence in zip(refs, fences, strict=True)
                if fence >= 0
            }
        case _:
            raise UnexpectedReply("announce", reply)


def renew_arguments(leases: Sequence[tuple[LeaseRef, int | None]]) -> list[Any]:
    """Triples of renew."""
    args: list[Any] = []
    for ref, sent_ago_ms in leases:
        args += (*lease_argument(ref), age(sent_ago_ms))
    return args


def amend_arguments(leases: Sequence[tuple[LeaseRef, int]]) -> list[Any]:
    """Triples of amend."""
    args: list[Any] = []
    for ref, out_tokens in leases:
        args += (*lease_argument(ref), out_tokens)
    return args


def settle_arguments(settlements: Sequence[Settlement], doorbells: Sequence[Doorbell]) -> list[Any]:
    """ARGV[2…] of settle."""
    args: list[Any] = [len(settlements)]
    for s in settlements:
        args += (*lease_argument(s.ref), s.charged_in_tokens, s.charged_out_tokens, age(s.sent_ago_ms))
    return args + doorbell_arguments(doorbells)


def doorbell_arguments(doorbells: Sequence[Doorbell]) -> list[Any]:
    """Triples of ring and settle."""
    args: list[Any] = []
    for bell in doorbells:
        args += (keys.queue_name(bell.queue), bell.batch_id, bell.last_event)
    return args


def release_arguments(releases: Sequence[Release]) -> list[Any]:
    """Octuples of release."""
    args: list[Any] = []
    for r in releases:
        args += (
            *lease_argument(r.ref),
            max(0, r.delay_ms),
            int(r.spend_attempt),
            int(r.refund is Refund.ALL),
            age(r.sent_ago_ms),
            r.next_target,
            -1 if r.out_tokens is None else r.out_tokens,
        )
    return args


def read_queue(name: bytes) -> QueueRef:
    """A queue's name as its parts."""
    workspace_id, environment_id, resource_id = name.decode().split(":", 2)
    return QueueRef(workspace_id, environment_id, resource_id)


def read_entry(text: bytes) -> Entry:
    """An entry as a value."""
    return Entry(*map(int, text.split(b":")))


def read_claim(reply: Any, epoch: int, lease_ms: int) -> Claimed:
    """RETURNS of claim."""
    match reply:
        case [b"claimed", now_ms, next_due_ms, holds_timer, first_fence, flows, rows, refill]:
            pass
        case _:
            raise UnexpectedReply("claim", reply)
    refs = [FlowRef(read_queue(flows[i]), flows[i + 1].decode()) for i in range(0, len(flows), 2)]
    leases: list[Lease] = []
    for i in range(0, len(rows), 4):
        entry = Entry(*map(int, rows[i + 1].split(b":")))
        ref = LeaseRef(refs[rows[i]], entry.position, Fence(epoch, first_fence + i // 4))
        leases.append(Lease(ref, entry, rows[i + 2], rows[i + 3].decode()))
    order = None
    if refill:
        queue, batch = refill[:2]
        generation, cursor, end, room = (int(float(value)) for value in refill[2:])
        order = RefillOrder(FlowRef(read_queue(queue), batch.decode()), generation, cursor, end, room)
    return Claimed(tuple(leases), now_ms, lease_ms, None if next_due_ms < 0 else next_due_ms, bool(holds_timer), order)


def read_reclaim(reply: Any, epoch: int) -> tuple[int, tuple[Lease, ...]]:
    """RETURNS of reclaim."""
    match reply:
        case [b"reclaimed", count, _, first_fence, rows]:
            pass
        case _:
            raise UnexpectedReply("reclaim", reply)
    dead: list[Lease] = []
    for i in range(0, len(rows), 3):
        entry = read_entry(rows[i + 2])
        flow = FlowRef(read_queue(rows[i]), rows[i + 1].decode())
        ref = LeaseRef(flow, entry.position, Fence(epoch, first_fence + i // 3))
        dead.append(Lease(ref, entry, entry.target, dead=True))
    return count, tuple(dead)


def read_lost(verb: bytes, reply: Any, refs: Sequence[LeaseRef]) -> frozenset[LeaseRef]:
    """RETURNS of renew, amend, settle and release: indices of the leases that are lost."""
    match reply:
        case [answer, *lost] if answer == verb:
            return frozenset(refs[index] for index in lost)
        case _:
            raise UnexpectedReply(verb.decode(), reply)


def read_headroom(reply: Any) -> dict[str, BudgetHeadroom]:
    """RETURNS of headroom."""
    found: dict[str, BudgetHeadroom] = {}
    for budget, in_flight, max_in_flight, paused_ms, why, waiting, rows in reply[1:]:
        limits = tuple(
            LimitHeadroom(
                PERIOD_OF[rows[i].decode().rstrip("<>")],
                None if rows[i + 2] < 0 else rows[i + 2],
                max(0, rows[i + 3]),
                None if rows[i + 4] < 0 else rows[i + 4],
                max(0, rows[i + 5]),
                METER_OF[rows[i + 1].decode()],
            )
            for i in range(0, len(rows), 6)
        )
        name = budget.decode()
        found[name] = BudgetHeadroom(
            name,
            limits,
            in_flight,
            None if max_in_flight < 0 else max_in_flight,
            paused_ms,
            why.decode(),
            waiting,
        )
    return found

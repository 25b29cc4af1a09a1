"""Nothing may stall: one worker that claims only when it was told to finishes everything, from wherever a shard is."""

from __future__ import annotations

from scheduler.domain.work import Claimed
from tests.stateful import operations as op
from tests.stateful.machine import Machine
from tests.stateful.stalls import admissible
from tests.stateful.world import UNDEFINED_AT_FIRST, WINDOW

MOST_CLAIMS = 1500
MOST_STALL_MS = 60
"""What could run is looked at again within so long: a promotion that left headroom is repeated after 50 ms."""


def drain(machine: Machine, *, eager: bool) -> None:
    """Let all flows run and finish. eager: settle at once; otherwise only when the engine says that nothing else helps,
    so that waits must end by themselves."""
    model = machine.model
    for flow in model.flows:
        if flow.known and not flow.dead:
            # Everything stored is announced, and nothing more will come.
            machine.push(flow, flow.generation, flow.cursor, 0, flow.version + 1, paused=False)
    if UNDEFINED_AT_FIRST not in model.budgets:
        machine.apply(op.SetLimits(UNDEFINED_AT_FIRST, (), None, stale=False))
    for _ in range(MOST_CLAIMS):
        if not any(flow.known and not flow.dead and not flow.finished for flow in model.flows):
            break
        claimed = machine.claim("w1", 64, 64, (), 10_000_000)
        _check_stalls(machine, claimed)
        orders, machine.orders = machine.orders, []
        for order in orders:
            machine.refill(order, WINDOW)
        live = model.leases()
        nothing_due = claimed.next_due_ms is None or (claimed.next_due_ms > 2000 and not claimed.leases)
        stuck = nothing_due and not orders
        if live and (eager or stuck):
            machine.settle(live[:128])
            continue
        if orders or claimed.next_due_ms == 0:
            continue
        waiting = [f.number for f in model.flows if not f.dead and (f.waiting or f.cursor < f.end)]
        assert claimed.next_due_ms is not None or not waiting, f"flows {waiting} wait, and nothing is ever due"
        machine.clock_ms = machine.now_ms + (claimed.next_due_ms or 1)
    else:
        left = {flow.number: sorted(flow.waiting) for flow in model.flows if flow.waiting}
        raise AssertionError(f"{left} still wait after {MOST_CLAIMS} claims")
    _check_keys(machine)


def _check_stalls(machine: Machine, claimed: Claimed) -> None:
    """Nothing that could run now is told to wait for long."""
    due_ms = claimed.next_due_ms
    if machine.seen is None or len(claimed.leases) == 64 or (due_ms is not None and due_ms <= MOST_STALL_MS):
        return
    stalled = admissible(machine.model, machine.seen, machine.now_ms)
    assert not stalled, f"{stalled} (flow: entry) could run, but is looked at only in {due_ms} ms"


def _check_keys(machine: Machine) -> None:
    """Of flows that are done nothing is left but tombstones."""
    names, model = machine.shard.names(), machine.model
    states = {name for name in names if name.startswith("flow:") and name.endswith(":state")}
    known = [flow for flow in model.flows if flow.known]
    assert len(states) == len(known), f"{len(known)} flows are known, {states} are left"
    left = {name for name in names - states if name.startswith("flow:") or name.endswith((":queue", ":waiting"))}
    assert not left, f"left behind: {left}"
    if not model.leases():
        left = {name for name in names if name.endswith("processing-queue")}
        assert not left, f"left behind: {left}"

"""What must be true of a shard after every step."""

from __future__ import annotations

from functools import cache

from tests.stateful.ledger import Ledger
from tests.stateful.model import Flow, Model
from tests.stateful.shard import BudgetSeen, FlowSeen, QueueSeen, Seen
from tests.stateful.world import FLOWS, QUEUE_NAMES, QUEUES, SUB_MS, WINDOW

HEAD, WIDTH = 11, 13
_CUR, _CUR_R, _CUR_T, _OLDEST, _SUM_R, _SUM_T = range(6)


def lease_id(number: int, position: int) -> str:
    """How the engine names a lease."""
    return f"{FLOWS[number].queue.resource_id}:{FLOWS[number].batch_id}:{position}"


@cache
def member(number: int) -> str:
    """A flow as a member of a waiting set (after 'f|') and of flows-due."""
    return f"{QUEUE_NAMES[queue_of(number)]}|{FLOWS[number].batch_id}"


@cache
def queue_of(number: int) -> int:
    """The queue of a flow."""
    return QUEUES.index(FLOWS[number].queue)


def check_all(model: Model, seen: Seen, before: Seen | None) -> None:
    """Raise AssertionError that says what is not as it must be."""
    for flow, found in zip(model.flows, seen.flows, strict=True):
        _check_entries(flow, found, seen)
        _check_runnable(flow, found, seen)
    _check_leases(model, seen)
    _check_parking(model, seen)
    for name, budget in seen.budgets.items():
        _check_account(model, name, budget, seen.now_ms)
    if before is not None:
        _check_virtual(model, seen, before)


def _check_entries(flow: Flow, found: FlowSeen, seen: Seen) -> None:
    """Every entry is in one place, and the engine knows as many as the model."""
    number = flow.number
    assert bool(found.state) == flow.known, f"flow {number}: known {bool(found.state)}, should be {flow.known}"
    here = [*found.entries, *found.deferred]
    positions = [int(text.partition(":")[0]) for text in here]
    expected = {":".join(map(str, entry)) for entry, _ in flow.waiting.values()}
    assert len(set(positions)) == len(positions), f"flow {number} holds an entry twice: {sorted(positions)}"
    assert set(here) == expected, f"flow {number} holds {sorted(here)}, should hold {sorted(expected)}"
    leased = set(positions) & set(flow.leased)
    assert not leased, f"flow {number}: {leased} wait and are leased"
    if not flow.known:
        return
    state = found.state
    assert int(float(state["leased"])) == len(flow.leased), f"flow {number}: leased {state['leased']!r}"
    numbers = {name: int(float(state[name])) for name in ("gen", "cursor", "end_", "version")}
    should = {"gen": flow.generation, "cursor": flow.cursor, "end_": flow.end, "version": flow.version}
    assert flow.dead or numbers == should, f"flow {number}: {numbers}, should be {should}"
    assert (state["dead"] == b"1") == flow.dead, f"flow {number}: dead {state['dead']!r}"
    assert flow.dead or (state["paused"] == b"1") == flow.paused, f"flow {number}: paused {state['paused']!r}"
    if flow.dead:
        assert not here, f"dead flow {number} still holds {here}"
        assert flow.leased or found.ttl_s > 0, f"the tombstone of flow {number} never expires"
    for text, due_ms in found.deferred.items():
        position = int(text.partition(":")[0])
        assert due_ms >= flow.waiting[position][1] or due_ms > seen.now_ms, f"flow {number}: {text} is due early"


def _check_runnable(flow: Flow, found: FlowSeen, seen: Seen) -> None:
    """No flow that could run, or must be refilled, is out of sight."""
    if not flow.known or flow.dead:
        return
    number, due_ms = flow.number, seen.flows_due.get(member(flow.number))
    if found.deferred:
        first = min(found.deferred.values())
        assert due_ms is not None, f"flow {number} has deferred entries, but nobody looks at it again"
        assert due_ms <= first, f"flow {number} is looked at {due_ms - first} ms after its first deferred entry is due"
    if flow.paused or "parked" in found.state:
        return
    listed = FLOWS[number].batch_id in seen.queues[queue_of(number)].flows
    if found.entries:
        assert listed, f"flow {number} has entries but is not in its queue"
    elif flow.cursor < flow.end and len(flow.leased) + len(found.deferred) < 2 * WINDOW:
        assert listed or due_ms is not None, f"flow {number} ran dry, but nobody looks at it again"


def _check_leases(model: Model, seen: Seen) -> None:
    """The four places of a lease agree with the model, and in-flight counters with the leases."""
    expected = {lease_id(h.flow, h.ref.position): h for h in model.leases()}
    assert set(seen.leases) == set(expected), f"leases {set(seen.leases) ^ set(expected)}"
    deadlines = {name: held.deadline_ms for name, held in expected.items()}
    assert seen.deadlines == deadlines, f"deadlines {seen.deadlines}, should be {deadlines}"
    for name, record in seen.leases.items():
        held = expected[name]
        assert int(record[0]) == held.ref.fence.number, f"fence of {name}"
        assert set(record[5]) == set(held.bookings), f"budgets of {name}: {record[5]}"
        assert not held.bookings or int(record[8]) == next(iter(held.bookings.values())).bucket, f"bucket of {name}"
    for i, queue in enumerate(seen.queues):
        members = {lease_id(h.flow, h.ref.position) for h in expected.values() if queue_of(h.flow) == i}
        assert queue.processing == members, f"processing-queue {i}: {queue.processing ^ members}"
    for name, budget in seen.budgets.items():
        if budget.account:
            assert budget.account[0] == model.in_flight(name), (
                f"{name}: {budget.account[0]} in flight, {model.in_flight(name)} leases"
            )


def _check_parking(model: Model, seen: Seen) -> None:
    """What waits is in the waiting sets it names and nowhere else; what does not wait is in none."""
    for flow, found in zip(model.flows, seen.flows, strict=True):
        parked = found.state.get("parked", b"").decode()
        waits = {name for name, budget in seen.budgets.items() if f"f|{member(flow.number)}" in budget.waiting}
        assert waits == ({parked} if parked else set()), f"flow {flow.number} is parked on {parked!r}, waits in {waits}"
        if parked:
            listed = seen.queues[queue_of(flow.number)].flows
            assert FLOWS[flow.number].batch_id not in listed, f"flow {flow.number} is parked and in its queue"
    for i, queue in enumerate(seen.queues):
        _check_queue(model, i, queue, seen)
    for name, budget in seen.budgets.items():
        assert not budget.waiting or name in seen.budgets_due, f"{name} has waiters but is never due"


def _check_queue(model: Model, number: int, queue: QueueSeen, seen: Seen) -> None:
    name, definition = QUEUE_NAMES[number], model.queues[number]
    parked = "parked" in queue.state
    waits = {budget for budget, found in seen.budgets.items() if f"q|{name}" in found.waiting}
    allowed = {*definition.targets, *definition.budgets}
    assert bool(waits) == parked, f"queue {number}: parked {parked}, waits in {waits}"
    assert waits <= allowed, f"queue {number} waits in {waits - allowed}, which are not its own"
    assert (name in seen.standby) == parked, f"queue {number}: parked {parked}, in standby {name in seen.standby}"
    active = name in seen.active
    assert not (active and parked), f"queue {number} is active and parked"
    assert active or parked or not queue.flows, f"queue {number} has flows, is not parked, and not active"


def _check_account(model: Model, name: str, budget: BudgetSeen, now_ms: float) -> None:
    """Sub-buckets add up to the sums, and the sums are what the model booked."""
    if name not in model.budgets:
        assert not budget.account, f"{name} is defined in the engine only"
        return
    known = model.budgets[name]
    named: set[str] = set()
    for i, (code, period_ms, *_) in enumerate(budget.limits):
        state = budget.account[HEAD + i * WIDTH : HEAD + (i + 1) * WIDTH]
        ledger = known.ledgers[code]
        if period_ms:
            named |= _check_buckets(name, code, period_ms, state, budget.buckets)
        # As of the last load: later than that the sums have not slid yet.
        at_ms = int(state[_CUR]) * (SUB_MS if period_ms else 3_600_000)
        _check_sums(name, ledger, (state[_SUM_R], state[_SUM_T]), at_ms, current=_is_current(ledger, at_ms, now_ms))
    assert set(budget.buckets) == named, f"{name} keeps {set(budget.buckets) ^ named}"


def _is_current(ledger: Ledger, at_ms: int, now_ms: float) -> bool:
    span_ms = SUB_MS if ledger.period_ms else 3_600_000
    return at_ms // span_ms == now_ms // span_ms


def _check_buckets(name: str, code: str, period_ms: int, state: list[float], buckets: dict[str, bytes]) -> set[str]:
    cur, oldest = int(state[_CUR]), int(state[_OLDEST])
    inside: set[str] = set()
    requests = tokens = 0.0
    for field, value in buckets.items():
        if field.partition(":")[0] != code:
            continue
        bucket = int(field.partition(":")[2])
        r, t = map(float, value.split(b" "))
        assert r >= 0, f"{name} {field} holds {r} requests"
        assert t >= 0, f"{name} {field} holds {t} tokens"
        if oldest <= bucket <= cur:
            inside.add(field)
            requests, tokens = requests + r, tokens + t
    assert cur - oldest < period_ms / SUB_MS + 2, f"{name} {code}: the window is {cur - oldest + 1} sub-buckets wide"
    sums = (state[_SUM_R], state[_SUM_T])
    assert sums == (requests, tokens), f"{name} {code}: sums {sums}, sub-buckets add up to {(requests, tokens)}"
    return inside


def _check_sums(name: str, ledger: Ledger, sums: tuple[float, float], at_ms: int, *, current: bool) -> None:
    if not current:
        return
    used = ledger.used(at_ms)
    assert sums >= used if ledger.inexact else sums == used, f"{name} {ledger.code}: sums {sums}, booked {used}"
    assert sums[1] >= used[1], f"{name} {ledger.code}: {sums[1]} tokens, booked {used[1]}"


def _check_virtual(model: Model, seen: Seen, before: Seen) -> None:
    """Virtual time never goes back."""
    assert seen.virtual >= before.virtual, f"the shard's virtual time went from {before.virtual} to {seen.virtual}"
    assert seen.now_ms >= before.now_ms, f"the clock went from {before.now_ms} to {seen.now_ms}"
    for i, (queue, earlier) in enumerate(zip(seen.queues, before.queues, strict=True)):
        for field in ("v", "vt"):
            was, now = float(earlier.state.get(field, b"0")), float(queue.state.get(field, b"0"))
            assert now >= was, f"queue {i}: {field} went from {was} to {now}"
    for flow, found, gone in zip(model.flows, seen.flows, before.flows, strict=True):
        if flow.known and gone.state and gone.state["gen"] == found.state["gen"]:
            was, now = float(gone.state["vt"]), float(found.state["vt"])
            assert now >= was, f"flow {flow.number}: virtual time went from {was} to {now}"


def check_wake_ups(seen: Seen, *, claims_again: bool) -> None:
    """What can be claimed now has a token, or somebody who claims again; what can be later has a timer."""
    if seen.tokens or claims_again:
        return
    assert not seen.active, "queues are active, but nobody is woken"
    due = [*seen.budgets_due.values(), *seen.flows_due.values()]
    if not due:
        return
    soonest = max(min(due), seen.now_ms + 1)
    assert seen.timer_ms is not None, f"something is due in {soonest - seen.now_ms} ms, but nobody holds the timer"
    late = seen.timer_ms - soonest
    assert late <= 1 or seen.timer_ms <= seen.now_ms, f"the timer rings {late} ms after the first thing is due"

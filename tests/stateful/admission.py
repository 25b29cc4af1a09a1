"""Was a grant allowed? And afterwards: was any window exceeded by calls as they were sent?"""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.domain.work import Lease
from tests.stateful.ledger import Booking, Budget, Ledger
from tests.stateful.model import Held, Model
from tests.stateful.world import FLOW_INDEX, QUEUES, START_BY_MS

PROBE_MS = 30_000
_LATE_MS = START_BY_MS + 250


def grant(model: Model, lease: Lease, holder: str, now_ms: int, lease_ms: int) -> tuple[Held, str]:
    """Move an entry from waiting to leased, if that is allowed. Answers the lease and the connection's budget or ""."""
    flow = model.flows[FLOW_INDEX[lease.ref.flow]]
    what = f"entry {lease.ref.position} of flow {flow.number}"
    assert lease.ref.position in flow.waiting, f"{what} was granted, but does not wait"
    entry, due_ms = flow.waiting.pop(lease.ref.position)
    assert not flow.paused, f"{what} was granted, but the flow is paused"
    assert not flow.dead, f"{what} was granted, but the flow is dead"
    assert entry == lease.entry, f"{what} was granted as {lease.entry}, should be {entry}"
    assert due_ms <= now_ms, f"{what} was granted {due_ms - now_ms} ms early"
    number = lease.ref.fence.number
    assert number > model.newest_fence, f"{what}: fence {number} after {model.newest_fence}"
    model.newest_fence = number
    # A holder sends within its start-by, or never: some of each, always the same for the same fence.
    sent_ms = None if number % 7 == 3 else now_ms + number * 61 % (START_BY_MS + 1)
    held = Held(lease.ref, flow.number, entry, holder, now_ms + lease_ms, now_ms, sent_ms)
    flow.leased[entry.position] = held
    if lease.exceeds:
        limits = model.budgets[lease.exceeds].definition.limits
        cost = entry.in_tokens + entry.out_tokens
        assert any(limit.tokens is not None and limit.tokens < cost for limit in limits), f"{what} fits {lease.exceeds}"
        held.sent_ms = None
        return held, ""
    queue = model.queues[QUEUES.index(lease.ref.flow.queue)]
    first = min(entry.target, len(queue.targets) - 1)
    passed = queue.targets[first : lease.target]
    serves = queue.spill or all(model.is_shut(name, now_ms) for name in passed)
    assert lease.target >= first, f"{what} was granted on {lease.target}"
    assert serves, f"{what} was granted on {lease.target}"
    connection = queue.targets[lease.target]
    for name in (*flow.budgets, *queue.budgets, connection):
        held.bookings[name] = _reserve(model, name, entry.in_tokens + entry.out_tokens, now_ms, what)
    return held, connection


def _reserve(model: Model, name: str, tokens: int, now_ms: int, what: str) -> Booking:
    budget = model.budgets.get(name)
    assert budget is not None, f"{what} was granted, but {name} is not defined"
    most = budget.definition.max_in_flight
    # The lease under way is in its flow already, but names this budget only after this check.
    assert most is None or model.in_flight(name) < most, f"{what}: more than {most} in flight on {name}"
    assert budget.paused_until_ms <= now_ms, f"{what} was granted while {name} is paused"
    if budget.recovering:
        assert budget.probe_until_ms <= now_ms, f"{what} was granted, but {name} has a probe out already"
        budget.probe_until_ms = now_ms + PROBE_MS
    booking = budget.book(now_ms, tokens, probed=budget.pauses if budget.recovering else 0)
    _check_limits(budget, name, now_ms, what)
    return booking


def _check_limits(budget: Budget, name: str, now_ms: int, what: str) -> None:
    for ledger in budget.ledgers.values():
        requests, tokens = ledger.used(now_ms)
        limit = ledger.limit
        assert limit.requests is None or requests <= limit.requests, (
            f"{what}: {requests} requests of {name} per {limit.period}, the limit is {limit.requests}"
        )
        assert limit.tokens is None or tokens <= limit.tokens, (
            f"{what}: {tokens} tokens of {name} per {limit.period}, the limit is {limit.tokens}"
        )


@dataclass(slots=True)
class Door:
    """The provider's door: every call that was sent, with the ledgers that had to admit it."""

    calls: dict[Ledger, list[tuple[int, int]]] = field(default_factory=dict)

    def sent(self, held: Held, charged: int | None = None) -> None:
        """A call was sent. Charges above the reserve were not known when it was admitted, so they do not count."""
        if held.sent_ms is None:
            return
        cost = held.entry.in_tokens + held.entry.out_tokens
        tokens = cost if charged is None else min(cost, charged)
        for booking in held.bookings.values():
            for ledger in booking.ledgers:
                self.calls.setdefault(ledger, []).append((held.sent_ms, tokens))

    def check(self) -> None:
        """No window of any period ever held more than the highest limit that was in force within it."""
        for ledger, calls in self.calls.items():
            if not ledger.period_ms:
                continue
            calls.sort()
            start = tokens = 0
            for end, (at_ms, cost) in enumerate(calls):
                tokens += cost
                while calls[start][0] <= at_ms - ledger.period_ms:
                    tokens -= calls[start][1]
                    start += 1
                most_requests, most_tokens = _in_force(ledger, at_ms - ledger.period_ms - _LATE_MS, at_ms)
                n = end - start + 1
                assert n <= most_requests, f"{n} requests were sent within {ledger.period_ms} ms, {most_requests} may"
                assert tokens <= most_tokens, f"{tokens} tokens sent within {ledger.period_ms} ms, {most_tokens} may"


def _in_force(ledger: Ledger, from_ms: int, to_ms: int) -> tuple[float, float]:
    """The highest limits in force at any time between two moments."""
    requests = tokens = 0.0
    for i, (since_ms, limit) in enumerate(ledger.history):
        until_ms = ledger.history[i + 1][0] if i + 1 < len(ledger.history) else to_ms
        if since_ms <= to_ms and until_ms >= from_ms:
            requests = max(requests, float("inf") if limit.requests is None else limit.requests)
            tokens = max(tokens, float("inf") if limit.tokens is None else limit.tokens)
    return requests, tokens

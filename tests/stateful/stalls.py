"""What could run now: the model's own answer to the question that the waiting sets answer without looking."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.domain.work import Entry
from tests.stateful.checks import HEAD, WIDTH, member, queue_of
from tests.stateful.ledger import Budget
from tests.stateful.model import Flow, Model
from tests.stateful.shard import BudgetSeen, Seen
from tests.stateful.world import FLOWS, QUEUE_NAMES

RAMP_MS = 2000
LEAST_BURST = 1 / 32
"""Of its burst, with what debt a budget lets a request go after many refusals: what is paced at all then, is paced for
sure. (A sixteenth of the burst is left then, and a burst of two requests lets the second go after the first.)"""


def admissible(model: Model, seen: Seen, now_ms: int) -> dict[int, int]:
    """Flows whose first entry every budget admits now, with its position, as far as it is their turn.

    What waits behind another that holds its place (in a queue, on a budget, in a flow) may wait although it would fit:
    that is meant.
    """
    found: dict[int, int] = {}
    for flow in model.flows:
        there = seen.flows[flow.number]
        if not flow.known or flow.dead or flow.paused or not there.entries:
            continue
        position = int(there.entries[0].partition(":")[0])
        entry = flow.waiting[position][0]
        if _has_its_turn(flow.number, entry, seen) and _is_admitted(model, seen, flow, entry, now_ms):
            found[flow.number] = position
    return found


def _has_its_turn(number: int, entry: Entry, seen: Seen) -> bool:
    there, queue = seen.flows[number], seen.queues[queue_of(number)]
    name, cost = QUEUE_NAMES[queue_of(number)], entry.in_tokens + entry.out_tokens
    if "parked" in there.state:
        first = _first(seen.budgets[there.state["parked"].decode()])
        return name not in seen.standby and _waits_with(there.state, cost) and first == f"f|{member(number)}"
    if FLOWS[number].batch_id != min(queue.flows, key=lambda batch: (queue.flows[batch], batch)):
        return False
    if name not in seen.standby:
        return True
    waits_on = [budget for budget in seen.budgets.values() if f"q|{name}" in budget.waiting]
    return _waits_with(queue.state, cost) and all(_first(b) == f"q|{name}" for b in waits_on)


def _is_admitted(model: Model, seen: Seen, flow: Flow, entry: Entry, now_ms: int) -> bool:
    """What can never fit is handed out to be failed; a target that can never take an entry leaves the others."""
    queue, cost = model.queues[queue_of(flow.number)], entry.in_tokens + entry.out_tokens
    start = min(entry.target, len(queue.targets) - 1)
    targets = _serving(model, queue.targets[start:], now_ms, spill=queue.spill)
    binding = [*flow.budgets, *queue.budgets]
    if not all(_never(model, name, cost) or _admits(model, seen, name, cost, now_ms) for name in binding):
        return False
    fits = any(_admits(model, seen, name, cost, now_ms) for name in targets)
    return fits or all(_never(model, name, cost) for name in targets)


def _serving(model: Model, targets: Sequence[str], now_ms: int, *, spill: bool) -> Sequence[str]:
    """Without spill, the targets up to the first that is not shut."""
    open_ones = [place for place, name in enumerate(targets) if not model.is_shut(name, now_ms)]
    return targets if spill or not open_ones else targets[: open_ones[0] + 1]


def _waits_with(state: dict[str, bytes], cost: int) -> bool:
    return sum(map(int, state.get("need", b"0 0").split()[:2])) == cost


def _first(budget: BudgetSeen) -> str:
    return min(budget.waiting, key=lambda name: (budget.waiting[name], name))


def _never(model: Model, name: str, tokens: int) -> bool:
    budget = model.budgets.get(name)
    limits = budget.definition.limits if budget else ()
    return any(limit.tokens is not None and tokens > limit.tokens for limit in limits)


def _admits(model: Model, seen: Seen, name: str, tokens: int, now_ms: int) -> bool:
    budget, account = model.budgets.get(name), seen.budgets[name]
    if budget is None or _never(model, name, tokens):
        return False
    if budget.paused_until_ms > now_ms or (budget.recovering and budget.probe_until_ms > now_ms):
        return False
    if now_ms - budget.ramp_since_ms < RAMP_MS:
        return False
    most = budget.definition.max_in_flight
    if most is not None and model.in_flight(name) >= most:
        return False
    return _fits(budget, tokens, now_ms) and _is_paced(account, now_ms)


def _fits(budget: Budget, tokens: int, now_ms: int) -> bool:
    for ledger in budget.ledgers.values():
        used_requests, used_tokens = ledger.used(now_ms)
        limit = ledger.limit
        if ledger.inexact:
            return False
        if limit.requests is not None and used_requests + 1 > limit.requests:
            return False
        if limit.tokens is not None and used_tokens + tokens > limit.tokens:
            return False
    return True


def _is_paced(account: BudgetSeen, now_ms: int) -> bool:
    for i, (_, _, most_requests, most_tokens, pace, burst_ms, *_) in enumerate(account.limits):
        if pace <= 0:
            continue
        tat_requests, tat_tokens = account.account[HEAD + WIDTH * i + 6 : HEAD + WIDTH * i + 8]
        for most, tat in ((most_requests, tat_requests), (most_tokens, tat_tokens)):
            if most > 0 and tat - now_ms > burst_ms * LEAST_BURST:
                return False
    return True

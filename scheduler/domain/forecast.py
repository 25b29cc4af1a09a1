"""Which limit binds a waiting entry, what goes before it, and when it can start: pure.

Fair queueing tells the order: at the moment an entry with start tag V is served, every rival was served (V - its own
tag) times its weight, as far as it had that much. So what passes each budget before the entry is known, and the supply
of each budget (domain.supply) tells when that much is through; the slowest of them binds. A rival that limits of its
own slow down gets no more than they let it have meanwhile, so how much passes first depends on when that is: the moment
is looked for at which both agree. It holds if nothing new arrives; rivals that wait on limits of their own right now
stand in no line that we see, so they are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from scheduler.domain.standing import Account, Load, Place, Rival, Standing
from scheduler.domain.supply import NEVER, Admission, Binding, admission, admission_by_many

ROUNDS = 6
"""Steps in which the moment is looked for; the curves are nearly straight."""
CLOSE = 0.01
"""Share of the moment by which it may be missed."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit, and when it lets the entry through. account None: it is no limit of a budget (a paused batch, a retry).

    at_ms: NEVER when that cannot be told or does not happen by itself.
    """

    at_ms: float
    binding: Binding
    account: Account | None = None
    admission: Admission | None = None

    @property
    def is_retry(self) -> bool:
        """The entry's own time holds it, no limit."""
        return self.binding is Binding.RETRY


@dataclass(frozen=True, slots=True)
class Forecast:
    """start_ms: None when it cannot be told (or never, by itself). binding None: nothing holds it back but free slots.

    first: what goes before it through its connection, of this flow and of rivals. limits: every budget on its way.
    """

    start_ms: float | None
    binding: Bound | None
    ahead: Load
    first: Load
    limits: tuple[Bound, ...]


def forecast(standing: Standing, run_ms: float | None) -> Forecast:
    """The forecast for the asked entry (of a reading that asked for none: of its first one).

    run_ms: how long a call takes, None: not known. An entry that runs already starts in 0 ms; one that the engine does
    not hold has no forecast.
    """
    limits, first = _limits(standing, run_ms)
    if standing.place is Place.RUNNING:
        return Forecast(0.0, None, Load(), Load(), limits)
    if standing.place is Place.ABSENT or standing.dead:
        return Forecast(None, None, standing.ahead, first, limits)
    binding = _binding(standing, limits)
    start_ms = binding.at_ms if binding else 0.0
    for bound in limits:
        start_ms = max(start_ms, bound.at_ms)
    return Forecast(None if start_ms == NEVER else start_ms, binding, standing.ahead, first, limits)


def at_end(standing: Standing) -> Standing:
    """The same reading, as the last waiting entry of the flow would have it (one of the mean size); while some wait for
    their retry, the last does so too. When nothing waits: it runs, or all of it has ended."""
    left = standing.own.left
    if left.requests < 1:
        return replace(standing, place=Place.RUNNING if standing.leased else Place.ABSENT)
    mean = left.times(1 / left.requests)
    ahead = left.times(1 - 1 / left.requests)
    place = Place.DEFERRED if standing.deferred else Place.WAITING
    return replace(standing, place=place, ahead=ahead, cost=mean, due_ms=standing.last_due_ms)


def _in_queue(standing: Standing, within_ms: float) -> Load:
    """What passes the queue's budgets before the entry, if that takes so long."""
    own = standing.own
    virtual = own.tag + standing.ahead.service / own.weight
    return sum((rival.got(virtual, within_ms) for rival in standing.flows), standing.ahead)


def _on_connection(standing: Standing, within_ms: float, part: str = "") -> Load:
    """What passes the connections' budgets before the entry, if that takes so long; or that of a part: of a model, or
    of a pool."""
    queue, in_queue = standing.queue, _in_queue(standing, within_ms)
    virtual = queue.tag + in_queue.service / queue.weight
    rivals = [rival for rival in standing.queues if not part or part in rival.parts]
    return sum((rival.got(virtual, within_ms) for rival in rivals), in_queue)


def _through(standing: Standing, group: Sequence[str], within_ms: float) -> tuple[tuple[Account, Load], ...]:
    """The budgets of a target, the connection's first, each with what passes it before the entry and the entry."""
    return tuple(
        (_account(standing, budget), _on_connection(standing, within_ms, budget if at else "") + standing.cost)
        for at, budget in enumerate(group)
    )


def _limits(standing: Standing, run_ms: float | None) -> tuple[tuple[Bound, ...], Load]:
    """Every budget on the entry's way; and what goes before it through its connection."""
    cost, bounds = standing.cost, []
    for budget in standing.flow_budgets:
        account = _account(standing, budget)
        own = standing.ahead + cost
        load = own + _beside(account.rivals, own.service / standing.own.weight)
        found = admission(account, load, cost, run_ms)
        bounds.append(Bound(found.at_ms, found.binding, account, found))

    settled = all(rival.supply is None for rival in (*standing.flows, *standing.queues))

    def through_queue(account: Account) -> Callable[[float], tuple[Admission, Account]]:
        return lambda ms: (admission(account, _in_queue(standing, ms) + cost, cost, run_ms), account)

    for budget in standing.queue_budgets:
        found, account = _agreed(through_queue(_account(standing, budget)), settled)
        bounds.append(Bound(found.at_ms, found.binding, account, found))
    at_ms = NEVER
    groups = _targets(standing)
    if groups:
        found, account = _agreed(
            lambda ms: admission_by_many([_through(standing, group, ms) for group in groups], cost, run_ms), settled
        )
        bounds.append(Bound(found.at_ms, found.binding, account, found))
        at_ms = found.at_ms
    return tuple(bounds), _on_connection(standing, at_ms)


def _agreed(through: Callable[[float], tuple[Admission, Account]], settled: bool) -> tuple[Admission, Account]:
    """The moment at which what passes first within it is through. through: when that is, if it takes so long; it rises
    with that (settled: it does not). By false position, from the moment at which rivals are held back by nothing."""
    latest = through(NEVER)
    high = latest[0].at_ms
    if settled or high in (0.0, NEVER):
        return latest
    low, short = 0.0, through(0.0)[0].at_ms
    for _ in range(ROUNDS):
        latest = through(high)
        over = high - latest[0].at_ms
        if over <= CLOSE * high or short <= 0:
            break
        middle = low + (high - low) * short / (short + over)
        gap = through(middle)[0].at_ms - middle
        if gap > 0:
            low, short = middle, gap
        else:
            high = middle
    return latest


def _beside(rivals: Iterable[Rival], service_per_weight: float) -> Load:
    """What rivals on a budget get while the entry's flow gets its own: they take turns by weight."""
    total = Load()
    for rival in rivals:
        service = rival.left.service
        if service > 0:
            total += rival.left.times(min(service_per_weight * rival.weight, service) / service)
    return total


def _targets(standing: Standing) -> Sequence[tuple[str, ...]]:
    """The targets that may take the entry: with spill all from its own on, else the next only where one is shut."""
    found: list[tuple[str, ...]] = []
    for group in standing.targets[min(standing.target, len(standing.targets) - 1) :]:
        found.append(group)
        if not standing.spill and not any(_account(standing, budget).shut for budget in group):
            break
    return found


def _account(standing: Standing, budget: str) -> Account:
    return standing.accounts.get(budget) or Account(budget, known=False)


def _binding(standing: Standing, limits: Sequence[Bound]) -> Bound | None:
    """What holds it back now: what only a person or a provider ends goes first, else the slowest."""
    if standing.paused:
        return Bound(NEVER, Binding.BATCH_PAUSED)
    for bound in limits:
        if bound.account is not None and (bound.account.paused_ms > 0 or bound.binding is Binding.UNDEFINED):
            pause = bound.binding if bound.binding is Binding.UNDEFINED else Binding.PAUSE
            at_ms = NEVER if pause is Binding.UNDEFINED else bound.account.paused_ms
            return Bound(at_ms, pause, bound.account, bound.admission)
    slowest = max(limits, key=lambda bound: bound.at_ms, default=None)
    if standing.place is Place.DEFERRED and standing.due_ms > (slowest.at_ms if slowest else 0.0):
        return Bound(standing.due_ms, Binding.RETRY)
    return slowest if slowest is not None and slowest.at_ms > 0 else None

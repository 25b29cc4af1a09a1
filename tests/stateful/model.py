"""What a shard should hold, in plain Python: flows, leases and budgets without any index, sum or waiting set."""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.domain.work import Entry, FlowDefinition, LeaseRef, QueueDefinition
from tests.stateful.ledger import Booking, Budget
from tests.stateful.world import FLOW_BUDGETS, FLOWS


@dataclass(slots=True, eq=False)
class Held:
    """A live lease. sent_ms: when its call leaves; None when it never will."""

    ref: LeaseRef
    flow: int
    entry: Entry
    holder: str
    deadline_ms: int
    claimed_ms: int
    sent_ms: int | None
    bookings: dict[str, Booking] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Flow:
    """The waiting entries of a batch on a resource: what Postgres knows (tokens, done) and what the engine should."""

    number: int
    known: bool = False
    generation: int = 0
    cursor: int = 0
    end: int = 0
    sealed: bool = False
    version: int = 0
    paused: bool = False
    dead: bool = False
    budgets: tuple[str, ...] = ()
    tokens: dict[int, int] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    waiting: dict[int, tuple[Entry, int]] = field(default_factory=dict)
    leased: dict[int, Held] = field(default_factory=dict)

    @property
    def stored(self) -> int:
        """The last position that is stored."""
        return len(self.tokens)

    def store(self, up_to: int, tokens: int) -> None:
        """Store entries of that cost up to a position."""
        for position in range(self.stored + 1, up_to + 1):
            self.tokens[position] = tokens

    def window(self, cursor: int, following: int) -> list[Entry]:
        """What Postgres would answer a refill: entries without outcome above the cursor."""
        positions = range(cursor + 1, min(following, self.stored) + 1)
        return [Entry(p, 1, self.tokens[p], 0) for p in positions if p not in self.done]

    def lowest_unfinished(self) -> int | None:
        """The first position without outcome."""
        return next((p for p in self.tokens if p not in self.done), None)

    def definition(self, version: int, *, sealed: bool, paused: bool) -> FlowDefinition:
        """As push and repair take it."""
        return FlowDefinition(
            FLOWS[self.number], version, 4.0, FLOW_BUDGETS[self.number], self.stored, sealed=sealed, paused=paused
        )

    @property
    def finished(self) -> bool:
        """Nothing waits, runs or is still to come."""
        return self.sealed and not self.waiting and not self.leased and self.cursor >= self.end

    def forget(self) -> None:
        """The engine knows it no more; the next push is another incarnation, of new entries."""
        generation = self.generation + 1
        self.__init__(self.number)  # type: ignore[misc]
        self.generation = generation


@dataclass(slots=True, eq=False)
class Model:
    """All of a shard."""

    now_ms: int
    flows: list[Flow] = field(default_factory=lambda: [Flow(i) for i in range(len(FLOWS))])
    budgets: dict[str, Budget] = field(default_factory=dict)
    queues: dict[int, QueueDefinition] = field(default_factory=dict)
    ended: list[LeaseRef] = field(default_factory=list)
    newest_fence: int = 0

    def leases(self) -> list[Held]:
        """Live leases, oldest fence first."""
        held = [lease for flow in self.flows for lease in flow.leased.values()]
        return sorted(held, key=lambda lease: lease.ref.fence)

    def end(self, held: Held, *, answered: bool) -> None:
        """A lease is over."""
        del self.flows[held.flow].leased[held.ref.position]
        self.ended.append(held.ref)
        self.land(held, answered=answered)

    def land(self, held: Held, *, answered: bool) -> None:
        """Its call is no longer in flight."""
        for name, booking in held.bookings.items():
            budget = self.budgets[name]
            if booking.probed and booking.probed == budget.pauses:
                budget.probe_until_ms = 0
                if answered and budget.recovering:
                    budget.recovering, budget.ramp_since_ms = False, self.now_ms

    def give_back(self, held: Held, entry: Entry, due_ms: int) -> None:
        """An entry waits again; a dead flow drops it, and so does one whose refill will bring it."""
        flow = self.flows[held.flow]
        if not flow.dead and entry.position <= flow.cursor:
            flow.waiting[entry.position] = (entry, due_ms)

    def is_shut(self, name: str, now_ms: int) -> bool:
        """It is paused or recovering, and not for a limit."""
        budget = self.budgets.get(name)
        return budget is not None and budget.shut and (budget.paused_until_ms > now_ms or budget.recovering)

    def in_flight(self, name: str) -> int:
        """Calls that count against a budget's max_in_flight."""
        return sum(name in held.bookings for flow in self.flows for held in flow.leased.values())

"""The model's books of one budget: what was booked when, kept as plain events rather than running sums."""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.domain.work import BudgetDefinition, Limit
from scheduler.engine.codec import PERIODS
from tests.stateful.world import SUB_MS

HOUR_MS = 3_600_000


@dataclass(slots=True, eq=False)
class Booking:
    """One call's share of a budget: the sub-bucket that it is counted in, and what it costs. probed: the pause that it
    probes, or 0."""

    bucket: int
    requests: int
    tokens: int
    probed: int = 0
    ledgers: tuple[Ledger, ...] = ()


@dataclass(slots=True, eq=False)
class Ledger:
    """All bookings of one period of a budget, since that period became a limit of it.

    born: the sub-bucket in which a budget that was in use got this limit; 0 when it always had it. inexact: something
    booked until then was moved or given back since, which the engine may count too high, never too low.
    """

    code: str
    period_ms: int
    limit: Limit
    born: int
    bookings: set[Booking] = field(default_factory=set)
    history: list[tuple[int, Limit]] = field(default_factory=list)
    spent: tuple[int, int, int] | None = None
    inexact: bool = False

    def counts(self, bucket: int, now_ms: int) -> bool:
        """Whether a booking of that sub-bucket counts at now_ms."""
        if self.period_ms == 0:
            return bucket * SUB_MS // HOUR_MS == now_ms // HOUR_MS
        return bucket > now_ms // SUB_MS - (self.period_ms // SUB_MS + 2)

    def used(self, now_ms: int) -> tuple[int, int]:
        """Requests and tokens that count at now_ms."""
        requests = tokens = 0
        gone = []
        for booking in self.bookings:
            if self.counts(booking.bucket, now_ms):
                requests, tokens = requests + booking.requests, tokens + booking.tokens
            else:
                gone.append(booking)
        # What has slid out never counts again, unless its call turns out to have left later: then it is booked anew.
        self.bookings.difference_update(gone)
        if self.spent and self.counts(self.spent[0], now_ms):
            requests, tokens = requests + self.spent[1], tokens + self.spent[2]
        return requests, tokens


@dataclass(slots=True, eq=False)
class Budget:
    """A budget as the model knows it."""

    definition: BudgetDefinition
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    in_use: bool = False
    paused_until_ms: int = 0
    shut: bool = False
    recovering: bool = False
    probe_until_ms: int = 0
    pauses: int = 0
    ramp_since_ms: int = 0

    def define(self, definition: BudgetDefinition, now_ms: int) -> None:
        """Limits of the same period keep their books; new ones start empty."""
        kept, born = self.ledgers, now_ms // SUB_MS if self.in_use else 0
        self.in_use = True
        self.definition, self.ledgers = definition, {}
        for limit in definition.limits:
            code, period_ms = PERIODS[limit.period]
            ledger = kept.get(code) or Ledger(code, period_ms, limit, born)
            ledger.limit = limit
            ledger.history.append((now_ms, limit))
            self.ledgers[code] = ledger

    def book(self, now_ms: int, tokens: int, *, requests: int = 1, probed: int = 0) -> Booking:
        """Count a call in the present."""
        booking = Booking(now_ms // SUB_MS, requests, tokens, probed, tuple(self.ledgers.values()))
        for ledger in booking.ledgers:
            ledger.bookings.add(booking)
        return booking

    def give_back(self, booking: Booking) -> None:
        """The call was never sent."""
        self._doubt(booking)
        for ledger in booking.ledgers:
            ledger.bookings.discard(booking)

    def move(self, booking: Booking, bucket: int) -> None:
        """The call left in a later sub-bucket than it was booked in."""
        self._doubt(booking)
        booking.bucket = bucket
        for ledger in booking.ledgers:
            ledger.bookings.add(booking)

    def charge(self, booking: Booking, now_ms: int, tokens: int) -> None:
        """The provider charged that many tokens: less is given back where it was booked, more is booked now."""
        if tokens > booking.tokens:
            self.book(now_ms, tokens - booking.tokens, requests=0)
        else:
            booking.tokens = tokens
            self._doubt(booking)

    def _doubt(self, booking: Booking) -> None:
        for ledger in self.ledgers.values():
            if ledger not in booking.ledgers or booking.bucket <= ledger.born:
                ledger.inexact = True

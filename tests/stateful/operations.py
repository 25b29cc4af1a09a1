"""What may happen to a shard, as values that a machine carries out and a person can read.

An operation is decoded from one integer: Hypothesis makes and shrinks lists of integers much faster than trees of
values. Small integers are simple operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from scheduler.domain.work import Limit
from tests.stateful.world import BUDGETS, CONNECTIONS, FLOWS, HOLDERS, QUEUES, RESOURCES

T = TypeVar("T")
MOST = 2**24 - 1


@dataclass(frozen=True, slots=True)
class SetLimits:
    """stale: with a version that is not above the known one."""

    budget: str
    limits: tuple[Limit, ...]
    max_in_flight: int | None
    stale: bool


@dataclass(frozen=True, slots=True)
class SetQueue:
    queue: int
    targets: tuple[str, ...]
    budgets: tuple[str, ...]
    spill: bool
    weight: float
    stale: bool


@dataclass(frozen=True, slots=True)
class Push:
    """beyond: so many entries more are stored than pushed. fault: "", "cursor" or "generation" of another time."""

    flow: int
    count: int
    tokens: int
    beyond: int
    fault: str
    version: int
    paused: bool
    sealed: bool


@dataclass(frozen=True, slots=True)
class Refill:
    """Carry out a refill that a claim ordered, in time or late."""

    order: int
    count: int


@dataclass(frozen=True, slots=True)
class Claim:
    holder: str
    slots: int
    open_slots: int
    crowded: tuple[str, ...]
    lease_ms: int
    may_suspect: bool


@dataclass(frozen=True, slots=True)
class Settle:
    """first, count: which leases (modulo those that live). change: charged minus reserved tokens. fault: "", "fence",
    "twice" (in one call) or "late" (leases that ended)."""

    first: int
    count: int
    change: int
    fault: str


@dataclass(frozen=True, slots=True)
class Release:
    first: int
    count: int
    delay_ms: int
    spend: bool
    refund: bool
    next_target: int
    fault: str


@dataclass(frozen=True, slots=True)
class Renew:
    first: int
    count: int
    lease_ms: int
    fault: str


@dataclass(frozen=True, slots=True)
class Reclaim:
    holder: str
    lease_ms: int


@dataclass(frozen=True, slots=True)
class Cancel:
    flow: int


@dataclass(frozen=True, slots=True)
class Bury:
    """The tombstone of a dead flow expires."""

    flow: int


@dataclass(frozen=True, slots=True)
class Repair:
    flow: int
    stale: bool
    version: int
    paused: bool


@dataclass(frozen=True, slots=True)
class SetFlow:
    """bound: by its usual budgets; otherwise by none."""

    flow: int
    weight: float
    bound: bool
    paused: bool
    stale: bool


@dataclass(frozen=True, slots=True)
class PauseBudget:
    budget: str
    pause_ms: int
    refused: bool


@dataclass(frozen=True, slots=True)
class Tick:
    ms: int


Operation = (
    SetLimits
    | SetQueue
    | Push
    | Refill
    | Claim
    | Settle
    | Release
    | Renew
    | Reclaim
    | Cancel
    | Bury
    | Repair
    | SetFlow
    | PauseBudget
    | Tick
)


class _Digits:
    """Takes choices off an integer, the least first."""

    def __init__(self, value: int) -> None:
        self.value = value

    def below(self, n: int) -> int:
        self.value, digit = divmod(self.value, n)
        return digit

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def rarely(self, one_in: int) -> bool:
        return self.below(one_in) == one_in - 1


_PERIODS = (("MINUTE",), ("SECOND",), ("SECOND", "MINUTE"), ("HOUR",), ("MINUTE", "HOUR"), ())
_REQUESTS = (20, 5, 3, 60, 1, None)
_TOKENS = (None, 100, 400, 60, 5000)
_LEASE_MS = (10_000, 1_000, 2_000)
_TICKS = (25, 1, 50, 250, 100, 1000, 400, 2500, 7, 150, 5000, 15_000, 31_000, 61_000, 70_000, -500)


def _set_limits(d: _Digits) -> SetLimits:
    budget = d.one_of(BUDGETS)
    requests, tokens = d.one_of(_REQUESTS), d.one_of(_TOKENS)
    in_flight = d.one_of((None, None, 2, 1, 5))
    pace = (None, 0.992, 0.5)[d.below(3)] if budget in CONNECTIONS else None
    limits = tuple(Limit(period, requests, tokens, None if period == "HOUR" else pace) for period in d.one_of(_PERIODS))
    return SetLimits(budget, limits, in_flight, d.rarely(8))


def _set_queue(d: _Digits) -> SetQueue:
    queue = d.below(len(QUEUES))
    first, count = d.below(3), 1 + d.below(3)
    targets = tuple(CONNECTIONS[(first + i) % 3] for i in range(count))
    budgets = RESOURCES[: d.below(3)]
    return SetQueue(queue, targets, budgets, d.rarely(2), (4.0, 1.0, 16.0)[d.below(3)], d.rarely(8))


def _push(d: _Digits) -> Push:
    flow, count = d.below(len(FLOWS)), d.one_of((4, 1, 8, 0))
    tokens, beyond = d.one_of((10, 1, 55, 90, 150)), d.one_of((0, 5, 20))
    fault = d.one_of(("", "", "", "", "", "", "cursor", "generation"))
    return Push(flow, count, tokens, beyond, fault, d.below(3), d.rarely(5), not d.rarely(6))


def _repair(d: _Digits) -> Repair:
    return Repair(d.below(len(FLOWS)), d.rarely(5), d.below(3), d.rarely(6))


def _set_flow(d: _Digits) -> SetFlow:
    return SetFlow(d.below(len(FLOWS)), d.one_of((4.0, 1.0, 16.0)), not d.rarely(3), d.rarely(6), d.rarely(6))


def _pause(d: _Digits, *, paused: bool) -> SetFlow:
    return SetFlow(d.below(len(FLOWS)), 4.0, bound=True, paused=paused, stale=d.rarely(4))


def _claim(d: _Digits) -> Claim:
    holder, slots = d.one_of(HOLDERS), d.one_of((8, 1, 3, 16, 64))
    crowded = tuple(budget for i, budget in enumerate(CONNECTIONS) if (d.value >> i) & 1) if d.rarely(4) else ()
    return Claim(holder, slots, min(slots, d.one_of((64, 0, 2))), crowded, d.one_of(_LEASE_MS), not d.rarely(3))


def _settle(d: _Digits) -> Settle:
    change = d.one_of((0, -5, 0, -1000, 20))
    return Settle(
        d.below(64), d.one_of((1, 4, 16, 2)), change, d.one_of(("", "", "", "", "", "fence", "twice", "late"))
    )


def _release(d: _Digits) -> Release:
    first, count, delay_ms = d.below(64), d.one_of((1, 4, 2)), d.one_of((0, 100, 2000, 0, 20_000))
    fault = d.one_of(("", "", "", "", "", "fence", "twice", "late"))
    return Release(first, count, delay_ms, d.rarely(2), d.rarely(3), d.one_of((0, 0, 1, 2)), fault)


def _renew(d: _Digits) -> Renew:
    return Renew(
        d.below(64), d.one_of((4, 1, 64)), d.one_of(_LEASE_MS), d.one_of(("", "", "", "fence", "twice", "late"))
    )


_KINDS: tuple[tuple[int, Callable[[_Digits], Operation]], ...] = (
    (14, _claim),
    (9, lambda d: Tick(d.one_of(_TICKS))),
    (8, _push),
    (7, _settle),
    (1, _set_flow),
    (5, _release),
    (3, _renew),
    (4, _set_limits),
    (2, _set_queue),
    (3, lambda d: Refill(d.below(8), d.one_of((8, 3, 1, 0)))),
    (2, lambda d: Reclaim(d.one_of(HOLDERS), d.one_of(_LEASE_MS))),
    (1, lambda d: _pause(d, paused=True)),
    (1, lambda d: _pause(d, paused=False)),
    (1, lambda d: Cancel(d.below(len(FLOWS)))),
    (1, lambda d: Bury(d.below(len(FLOWS)))),
    (1, _repair),
    (1, lambda d: PauseBudget(d.one_of(CONNECTIONS), d.one_of((0, 1000, 5000, 20_000)), d.rarely(2))),
)
_TABLE = [make for weight, make in _KINDS for _ in range(weight)]


def decode(number: int) -> Operation:
    """The operation that an integer in 0 … MOST stands for."""
    digits = _Digits(number)
    return digits.one_of(_TABLE)(digits)

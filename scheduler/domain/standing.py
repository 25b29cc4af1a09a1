"""How things stand for one flow: all that a forecast needs to know of the engine, as values.

Amounts are requests and tokens, spans are ms from the moment of the reading.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from scheduler.domain.rates import Dimension


@dataclass(frozen=True, slots=True)
class Load:
    """An amount of work. Fractions come from means."""

    requests: float = 0.0
    in_tokens: float = 0.0
    out_tokens: float = 0.0

    @property
    def tokens(self) -> float:
        """Input and output together."""
        return self.in_tokens + self.out_tokens

    @property
    def service(self) -> float:
        """What fair queueing counts: estimated tokens, at least 1 a request."""
        return max(self.tokens, self.requests)

    def of(self, dimension: Dimension) -> float:
        """The part of it that a limit of this dimension counts."""
        match dimension:
            case Dimension.REQUESTS:
                return self.requests
            case Dimension.TOKENS:
                return self.tokens
            case Dimension.INPUT_TOKENS:
                return self.in_tokens
            case Dimension.OUTPUT_TOKENS:
                return self.out_tokens

    def times(self, factor: float) -> Load:
        """So many times as much."""
        return Load(self.requests * factor, self.in_tokens * factor, self.out_tokens * factor)

    def __add__(self, other: Load) -> Load:
        return Load(
            self.requests + other.requests, self.in_tokens + other.in_tokens, self.out_tokens + other.out_tokens
        )


@dataclass(frozen=True, slots=True)
class Gauge:
    """One limit of a budget: so much of one dimension in a period.

    window_ms: length of a sliding period, 0 for an aligned quota. pace: share of the limit at which it is paced, None:
    by its window only. behind_ms: how far its pace is booked ahead of now (≤ 0: rested). slides: when what is used
    becomes free again, as (in ms, amount), in order. ends_ms: when a quota starts again; None: it slides, or never.
    """

    period: str
    dimension: Dimension
    limit: int
    used: float
    window_ms: int = 0
    pace: float | None = None
    burst_ms: int = 0
    behind_ms: float = 0.0
    slides: tuple[tuple[float, float], ...] = ()
    ends_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """A budget as it stands. known: False: it is not defined (yet), so it admits nothing. paused_ms: 0: not paused.
    recovering: it was paused, and lets one call at a time through until one is answered. shut: paused or recovering,
    and not for a limit: fallbacks serve then. waiting: flows or queues that
    are parked on it; rivals: those flows of them that are not the asked one (a few of them)."""

    budget_id: str
    known: bool = True
    gauges: tuple[Gauge, ...] = ()
    in_flight: int = 0
    max_in_flight: int | None = None
    paused_ms: float = 0.0
    pause_reason: str = ""
    recovering: bool = False
    shut: bool = False
    waiting: int = 0
    rivals: tuple[Rival, ...] = ()


@dataclass(frozen=True, slots=True)
class Rival:
    """Someone who shares what we wait for, or some of them told of as one. tag: its virtual start time, weight: its
    share. left: all that it has. supply: what limits of its own let it have, as (requests now, requests a ms); None: it
    has none. parts: of a queue: the budgets of models and pools that it passes beside those of its connections."""

    name: str
    weight: float
    tag: float
    left: Load
    supply: tuple[float, float] | None = None
    parts: frozenset[str] = frozenset()

    def got(self, virtual: float, within_ms: float) -> Load:
        """What it gets until its queue or connection reaches a virtual time, which takes so long (endless: whatever it
        takes)."""
        if self.left.service <= 0:
            return Load()
        share = min(max((virtual - self.tag) * self.weight, 0.0) / self.left.service, 1.0)
        if self.supply is not None and within_ms < math.inf:
            at_once, per_ms = self.supply
            share = min(share, (at_once + per_ms * within_ms) / max(self.left.requests, 1.0))
        return self.left.times(share)


class Place(StrEnum):
    """Where an entry is."""

    WAITING = "waiting"
    """In the window of its flow, or still to be brought there."""
    DEFERRED = "deferred"
    """It waits for the time of its retry."""
    RUNNING = "running"
    """It is leased."""
    ABSENT = "absent"
    """The engine does not hold it: it has ended, or its flow is not open (yet)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One flow, what it shares, and one of its entries if one was asked for.

    own: the flow as its queue sees it, left: all that waits. ahead: what goes before
    the asked entry within the flow; cost: what it costs. due_ms: when a deferred one may go; last_due_ms: when the last
    deferred one of the flow may. target: index of the target that it is bound for. flow_budgets bind the flow,
    queue_budgets its queue; targets are the connections' budgets in order, lists of ids for each target: all of them
    must admit (the connection's, and the model's). flows: the others in its queue; queues: the other queues that want
    the same connections. parked_on: the budget that the flow, or its queue, waits on now.
    """

    place: Place
    paused: bool
    dead: bool
    own: Rival
    leased: int
    deferred: int
    ahead: Load
    cost: Load
    due_ms: float
    last_due_ms: float
    target: int
    queue: Rival
    spill: bool
    flow_budgets: tuple[str, ...]
    queue_budgets: tuple[str, ...]
    targets: tuple[tuple[str, ...], ...]
    accounts: Mapping[str, Account]
    flows: tuple[Rival, ...] = ()
    queues: tuple[Rival, ...] = ()
    parked_on: str = ""

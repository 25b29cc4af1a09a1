"""What workers saw of one model on one connection, and what the engine made of it."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.domain.work import Limit, Meter


@dataclass(frozen=True, slots=True)
class LimitUse:
    """How much of one limit of a provider is used, whoever used it.

    meter: the tokens that it counts; None: it counts requests. reset_ms: as reported; None: not said. rounded_to:
    figures are multiples of this.
    """

    period: str
    meter: Meter | None
    limit: int
    used: int
    reset_ms: int | None
    rounded_to: int = 1


@dataclass(frozen=True, slots=True)
class CallsEnded:
    """Calls that ended since the last word of them: answered ones, with the ms that they took together and the tokens
    that they made, and failed ones (429, 5xx, no answer). most_places: never more of them at once."""

    answered: int
    failed: int
    total_ms: int
    units: int
    most_places: int


@dataclass(frozen=True, slots=True)
class Observation:
    """One word on a model of a connection. limits: as the provider told them, paced as its profile says.

    age_ms: since the moment that `uses` speak of. refilled: the provider refills its limits continuously, as far as its
    profile knows. calls: only where calls in flight are what to hold (a provider without limits).
    """

    budget_id: str
    connection_budget_id: str
    limits: tuple[Limit, ...]
    uses: tuple[LimitUse, ...]
    age_ms: int
    refilled: bool
    calls: CallsEnded | None = None


@dataclass(frozen=True, slots=True)
class LearnedLimits:
    """What is known now of a model on a connection. places: calls at once that are worth it; None: not learned."""

    budget_id: str
    limits: tuple[Limit, ...]
    places: int | None

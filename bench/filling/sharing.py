"""A key that others use too: what the headers of answers make of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from bench.filling.backlog import ENDLESS, Backlog, flow_of, queue_of
from bench.filling.cases import MINUTE_US, sizes
from bench.filling.clock import SHARD
from bench.filling.door import Door
from bench.filling.fairness import Finding
from bench.filling.laboratory import Laboratory
from bench.filling.world import START_US, World
from scheduler.domain.capacity import Period
from scheduler.domain.rates import Dimension, RateReport, ReportedLimit
from scheduler.domain.work import BudgetDefinition, BudgetKind, Lease, Limit, QueueDefinition, budget_id
from scheduler.providers.profile import Profile
from scheduler.providers.profiles.generic import GENERIC
from scheduler.providers.profiles.openai import OPENAI
from scheduler.services.budgets.limits import model_budget_id
from scheduler.services.budgets.observations import observation_of

CONNECTION_ID = UUID(int=7)
CONNECTION = budget_id(BudgetKind.CONNECTION, CONNECTION_ID)
MODEL = "model"
OBSERVE_US = 100_000
FOREIGN_ITEM_TOKENS = 1_000
SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Sharing:
    """One run. others: the share of the limit that they use at that µs of the run. answers: the shape at the door."""

    name: str
    answers: str
    requests: int | None
    tokens: int | None
    others: Callable[[int], float]
    profile: Profile = GENERIC
    minutes: int = 8


def steadily(_: int) -> float:
    """All the time the same."""
    return SHARE


def by_halves(since_us: int) -> float:
    """Twice as much for half a minute, then nothing for as long."""
    return 2 * SHARE if since_us // (MINUTE_US // 2) % 2 else 0.0


def nobody(_: int) -> float:
    """Only we use it: nothing may be found that is not there."""
    return 0.0


class Observing:
    """What the observers of the workers do: the report of the call that left last, ten times a second."""

    def __init__(self, world: World, door: Door, sharing: Sharing) -> None:
        self._world = world
        self._door = door
        self._sharing = sharing
        self._latest: tuple[int, RateReport] | None = None
        world.on_arrived = self._arrived
        self._again()

    def _arrived(self, _: Lease, departed_us: int) -> None:
        limits = tuple(
            ReportedLimit(Dimension(name), Period.MINUTE, limit, remaining, reset_ms)
            for name, limit, remaining, reset_ms in self._door.rates(self._sharing.answers, self._world.now_us)
        )
        answered_us = self._world.now_us + random.Random(self._world.now_us).randrange(50_000, 300_000)

        async def answered() -> None:
            if self._latest is None or departed_us > self._latest[0]:
                self._latest = departed_us, RateReport(limits)

        self._world.at(answered_us, answered)

    def _again(self) -> None:
        async def observe() -> None:
            if self._latest is not None:
                (departed_us, report), self._latest = self._latest, None
                age_ms = max(0, (self._world.now_us - departed_us) // 1000 - 100)
                told = observation_of(CONNECTION_ID, MODEL, self._sharing.profile, report, age_ms)
                await self._world.engine.observe(SHARD, [told])
            self._again()

        self._world.at(self._world.now_us + OBSERVE_US, observe)


class Others:
    """Callers of the same key that we know nothing of: Poisson arrivals."""

    def __init__(self, world: World, door: Door, sharing: Sharing) -> None:
        self._world = world
        self._door = door
        self._sharing = sharing
        self._random = random.Random(5)
        self.calls = self.refused = 0
        self._next()

    def _next(self) -> None:
        sharing, now_us = self._sharing, self._world.now_us
        share = sharing.others(now_us - START_US)
        per_minute = share * (sharing.requests or (sharing.tokens or 0) / FOREIGN_ITEM_TOKENS)
        if not per_minute:
            self._world.at(now_us + 100_000, self._idle)
            return
        self._world.at(now_us + round(self._random.expovariate(per_minute / MINUTE_US)), self._call)

    async def _idle(self) -> None:
        self._next()

    async def _call(self) -> None:
        self.calls += 1
        if self._door.arrive(self._world.now_us, FOREIGN_ITEM_TOKENS if self._sharing.tokens else 10) is not None:
            self.refused += 1
        self._next()


async def shared(lab: Laboratory, sharing: Sharing) -> list[Finding]:
    """Run it."""
    world = await lab.world()
    limit = Limit("MINUTE", sharing.requests, sharing.tokens, sharing.profile.pace, sharing.profile.burst_ms)
    await world.limit(BudgetDefinition(CONNECTION, 1, (limit,)))
    door = world.doors[CONNECTION] = Door(
        START_US, sharing.requests, sharing.tokens, (sharing.answers,), sharing.answers
    )
    models = (model_budget_id(CONNECTION_ID, MODEL),)
    for number in range(2):
        await world.queue(QueueDefinition(queue_of(number), 1, (CONNECTION,), (), 4.0, models=models))
        spread = (50, 2_000) if sharing.tokens else (10, 10)
        await world.open(Backlog(flow_of(number, number), ENDLESS, sizes(spread, number)))
    others = Others(world, door, sharing)
    Observing(world, door, sharing)
    end_us = START_US + sharing.minutes * MINUTE_US
    await world.run(end_us)
    ours = door.arrivals - others.calls
    refused = world.counts.refused / ours
    used = door.share_used(sharing.answers, end_us)
    run = f"others use the key {sharing.name}, {sharing.answers}"
    # Others that come in gusts are not promised anything: a full window has no room for what nobody foresees.
    promised = sharing.others is not by_halves
    least = 0.98 if sharing.others is nobody else 0.95
    return [
        Finding(
            run,
            f"refused {refused:.2%} of {ours:,} calls",
            "< 0.5 %" if promised else "",
            refused < 0.005 if promised else None,
        ),
        Finding(run, f"used together {used:.1%}", f"≥ {least:.0%}", used >= least),
    ]


SHAPES = (("bucket 60 s", OPENAI), ("bucket 60 s", GENERIC), ("sliding", GENERIC), ("minute", GENERIC))
RUNS = (
    *(
        Sharing(f"30 % all the time, {limit}, {profile.name}", shape, requests, tokens, steadily, profile)
        for limit, requests, tokens in (("600 RPM", 600, None), ("600,000 TPM", None, 600_000))
        for shape, profile in SHAPES
    ),
    *(
        Sharing(f"not at all, {limit}, {profile.name}", shape, requests, tokens, nobody, profile)
        for limit, requests, tokens in (("600 RPM", 600, None), ("600,000 TPM", None, 600_000))
        for shape, profile in SHAPES
    ),
    *(
        Sharing(f"60 % half of the time, 600 RPM, {profile.name}", shape, 600, None, by_halves, profile)
        for shape, profile in SHAPES[1:]
    ),
)


async def shared_key(lab: Laboratory) -> list[Finding]:
    """All runs."""
    return [finding for sharing in RUNS for finding in await shared(lab, sharing)]

"""What the table varies: limits, item sizes, workers, queues and profiles."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from bench.filling.backlog import ENDLESS, Backlog, flow_of, queue_of
from bench.filling.door import SHAPES, Door
from bench.filling.laboratory import Laboratory
from bench.filling.world import START_US, Delays, World
from scheduler.domain.work import BudgetDefinition, Limit, QueueDefinition
from scheduler.providers.profile import Profile
from scheduler.providers.profiles.generic import GENERIC

CONNECTION = "connection-bench"
MINUTE_US = 60_000_000
SIZES = 4_093
"""Item sizes repeat after so many items; a prime, so that flows do not run in step."""


USUAL = Delays()


@dataclass(frozen=True, slots=True)
class Case:
    """One run. item_tokens: smallest and largest; only counted where tokens are limited. answers: the shape that
    sends its 429s to the callers."""

    name: str
    requests: int | None = None
    tokens: int | None = None
    item_tokens: tuple[int, int] = (10, 10)
    workers: int = 2
    queues: int = 2
    minutes: int = 6
    profile: Profile = GENERIC
    answers: str | None = None
    delays: Delays = USUAL


@dataclass(frozen=True, slots=True)
class Row:
    """What a case came to. used and refused: shares by shape; refused_early / refused_late: calls refused in the
    first two minutes and after them, by shape."""

    case: Case
    used: dict[str, float]
    refused: dict[str, float]
    refused_early: dict[str, int]
    refused_late: dict[str, int]
    worst: int
    limit: int
    arrivals: int
    released_unsent: int
    claims: int
    empty_claims: int
    script_us: float
    slowest: str
    per_second: tuple[int, ...]


def sizes(spread: tuple[int, int], seed: int) -> Callable[[int], int]:
    """Token counts of a flow's items, uniform over the spread, the same in every run."""
    if spread[0] == spread[1]:
        return lambda _: spread[0]
    draw = random.Random(seed)
    drawn = [draw.randint(*spread) for _ in range(SIZES)]
    return lambda position: drawn[position % SIZES]


async def backlogged(world: World, case: Case) -> None:
    """One connection with the case's limit, and queues of one endless flow each."""
    limit = Limit("MINUTE", case.requests, case.tokens, case.profile.pace, case.profile.burst_ms)
    await world.limit(BudgetDefinition(CONNECTION, 1, (limit,)))
    for number in range(case.queues):
        await world.queue(QueueDefinition(queue_of(number), 1, (CONNECTION,), (), 4.0))
        await world.open(Backlog(flow_of(number, number), ENDLESS, sizes(case.item_tokens, number)))


async def run(lab: Laboratory, case: Case) -> Row:
    """Run a case from an empty Redis."""
    world = await lab.world(workers=case.workers, delays=case.delays)
    shapes = (case.answers,) if case.answers else SHAPES
    door = Door(START_US, case.requests, case.tokens, shapes, case.answers)
    world.doors[CONNECTION] = door
    await backlogged(world, case)
    end_us = START_US + case.minutes * MINUTE_US
    await world.run(end_us)
    column = 1 if case.tokens else 0
    return Row(
        case=case,
        used={shape: door.share_used(shape, end_us) for shape in shapes},
        refused={shape: door.share_refused(shape) for shape in shapes},
        refused_early={shape: _refused(door, shape, 0, 2) for shape in shapes},
        refused_late={shape: _refused(door, shape, 2, case.minutes) for shape in shapes},
        worst=door.worst(),
        limit=door.limit(),
        arrivals=door.arrivals,
        released_unsent=world.counts.released_unsent,
        claims=world.counts.claims,
        empty_claims=world.counts.empty_claims,
        script_us=lab.script_us() / max(1, world.counts.admitted),
        slowest=str(lab.slowest()),
        per_second=tuple(door.per_second.get(second, [0, 0])[column] for second in range(case.minutes * 60)),
    )


def _refused(door: Door, shape: str, first_minute: int, last_minute: int) -> int:
    by_minute = door.watched[shape].refused_in_minute
    return sum(count for minute, count in by_minute.items() if first_minute <= minute < last_minute)


LIMITS = (
    Case("600 RPM", requests=600),
    Case("6,000 RPM", requests=6_000),
    Case("600,000 TPM", tokens=600_000, item_tokens=(50, 4_000)),
    Case("60,000 TPM", tokens=60_000, item_tokens=(50, 4_000)),
)

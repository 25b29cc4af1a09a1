"""Who gets how much: shares of flows, priorities and queues while all of them have work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from bench.filling.backlog import ENDLESS, Backlog, flow_of, queue_of
from bench.filling.cases import CONNECTION, MINUTE_US, sizes
from bench.filling.door import Door
from bench.filling.laboratory import Laboratory
from bench.filling.world import START_US, World
from scheduler.domain.priority import Priority, weight_of
from scheduler.domain.work import BudgetDefinition, Lease, Limit, QueueDefinition
from scheduler.providers.profiles.generic import GENERIC


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure of a run. promise: what is asked of it; met None: reported only."""

    run: str
    figure: str
    promise: str = ""
    met: bool | None = None


def jain(shares: Iterable[float]) -> float:
    """(Σx)² / (n·Σx²): 1 when all are equal (Jain, Chiu and Hawe, 1984)."""
    values = list(shares)
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 0.0


async def connected(world: World, requests: int | None, tokens: int | None, name: str = CONNECTION) -> Door:
    """A paced connection and its door."""
    limit = Limit("MINUTE", requests, tokens, GENERIC.pace, GENERIC.burst_ms)
    await world.limit(BudgetDefinition(name, 1, (limit,)))
    door = world.doors[name] = Door(START_US, requests, tokens, ("sliding",))
    return door


async def queued(world: World, number: int, connection: str = CONNECTION, weight: float = 4.0) -> None:
    """A queue on that connection."""
    await world.queue(QueueDefinition(queue_of(number), 1, (connection,), (), weight))


async def one_large_many_small(lab: Laboratory) -> list[Finding]:
    """One batch of 100,000 and 50 of 20 on one resource."""
    world = await lab.world()
    await connected(world, 6_000, None)
    await queued(world, 0)
    served: Counter[str] = Counter()
    snapshot: dict[str, int] = {}

    def admitted(_: int, lease: Lease) -> None:
        batch = lease.ref.flow.batch_id
        served[batch] += 1
        if served[batch] == 20 and batch != large.flow.batch_id and not snapshot:
            snapshot.update(served)

    large = Backlog(flow_of(0, 0), 100_000, sizes((10, 10), 0), first=10_000)
    await world.open(large)
    await world.run(START_US + 10_000_000)
    for number in range(1, 51):
        await world.open(Backlog(flow_of(number, 0), 20, sizes((10, 10), 0)))
    served.clear()
    world.on_admitted = admitted
    await world.run(START_US + MINUTE_US)
    index = jain([*snapshot.values(), *([0] * (51 - len(snapshot)))])
    return [Finding("a batch of 100,000 and 50 of 20", f"Jain index {index:.4f}", "≥ 0.98", index >= 0.98)]


async def priorities(lab: Laboratory) -> list[Finding]:
    """Five priorities: as batches of one resource, then as resources of one connection."""
    findings = []
    for what, apart in (("batches of one resource", False), ("resources of one connection", True)):
        world = await lab.world()
        await connected(world, 6_000, None)
        served: Counter[str] = Counter()
        weights = {}
        for number, priority in enumerate(Priority):
            weight = weight_of(priority)
            if apart or number == 0:
                await queued(world, number, weight=weight if apart else 4.0)
            flow = flow_of(number, number if apart else 0)
            await world.open(Backlog(flow, ENDLESS, sizes((10, 10), 0), weight=4.0 if apart else weight))
            weights[flow.batch_id] = weight
        await world.run(START_US + 10_000_000)

        def admitted(_: int, lease: Lease, served: Counter[str] = served) -> None:
            served[lease.ref.flow.batch_id] += 1

        world.on_admitted = admitted
        await world.run(START_US + 2 * MINUTE_US)
        total, all_weights = sum(served.values()), sum(weights.values())
        off = max(abs(served[b] / total / (weight / all_weights) - 1) for b, weight in weights.items())
        findings.append(
            Finding(f"priorities, {what}", f"largest deviation from the weights {off:.1%}", "≤ 5 %", off <= 0.05)
        )
    return findings


async def large_and_small_items(lab: Laboratory) -> list[Finding]:
    """A resource with 4,000-token items and one with 50-token items on one token limit."""
    findings = []
    for tokens, minutes in ((600_000, 6), (60_000, 20)):
        world = await lab.world()
        door = await connected(world, None, tokens)
        served: Counter[str] = Counter()
        for number, size in enumerate((4_000, 50)):
            await queued(world, number)
            await world.open(Backlog(flow_of(number, number), ENDLESS, sizes((size, size), 0), first=2_000))
        await world.run(START_US + MINUTE_US)

        def admitted(_: int, lease: Lease, served: Counter[str] = served) -> None:
            served[lease.ref.flow.queue.resource_id] += lease.entry.in_tokens

        world.on_admitted = admitted
        end_us = START_US + minutes * MINUTE_US
        await world.run(end_us)
        share = served[queue_of(0).resource_id] / sum(served.values())
        run = f"4,000-token and 50-token items, {tokens:,} TPM"
        findings += [
            Finding(run, f"tokens of the large items {share:.1%}", "47.5–52.5 %", 0.475 <= share <= 0.525),
            Finding(run, f"used {door.share_used('sliding', end_us):.1%}"),
        ]
    return findings

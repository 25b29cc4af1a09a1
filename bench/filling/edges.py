"""Where schedulers break: crowds of blocked queues and flows, limits that change, items that hardly fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

from bench.filling.backlog import ENDLESS, Backlog, flow_of, queue_of
from bench.filling.cases import CONNECTION, MINUTE_US, sizes
from bench.filling.door import Door
from bench.filling.fairness import Finding, connected, jain, queued
from bench.filling.laboratory import Laboratory
from bench.filling.world import START_US, World
from scheduler.domain.work import BudgetDefinition, Lease, Limit
from scheduler.providers.profiles.generic import GENERIC

HEALTHY = "connection-healthy"
BLOCKED = "connection-blocked"
KEY = "key-crowded"
SECOND_US = 1_000_000
EXHAUSTED_PER_MINUTE = 3_000
SMALL_WINDOW = 200
"""Entries of a flow kept in Redis where there are thousands of flows."""


async def _healthy(world: World, queue: int) -> Door:
    door = await connected(world, 6_000, None, HEALTHY)
    await queued(world, queue, HEALTHY)
    await world.open(Backlog(flow_of(queue, queue), ENDLESS, sizes((10, 10), 0), first=100))
    return door


async def _alone(lab: Laboratory, minutes: int) -> float:
    world = await lab.world(window_entries=SMALL_WINDOW)
    door = await _healthy(world, 0)
    end_us = START_US + minutes * MINUTE_US
    await world.run(end_us)
    return door.share_used("sliding", end_us)


async def _with_scripts(run: str, lab: Laboratory, crowd: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """What a crowd came to, and what its scripts took: it runs twice."""
    await crowd()
    first = lab.redis.took
    findings = await crowd()
    slowest = lab.slowest_of_both(first, lab.redis.took)
    figure = f"slowest script {slowest}, {slowest.over_10_ms} of {slowest.calls:,} over 10 ms (the quicker of two runs)"
    return [*findings, Finding(run, figure, "≤ 10 ms", slowest.over_10_ms == 0)]


async def crowded_connection(lab: Laboratory) -> list[Finding]:
    """1,000 queues on one exhausted connection beside a healthy queue."""
    minutes, queues = 3, 1_000
    run = "1,000 queues on an exhausted connection"
    alone = await _alone(lab, minutes)

    async def crowd() -> list[Finding]:
        world = await lab.world(window_entries=SMALL_WINDOW)
        await connected(world, EXHAUSTED_PER_MINUTE, None, BLOCKED)
        served: Counter[str] = Counter()

        def admitted(_: int, lease: Lease) -> None:
            served[lease.ref.flow.queue.resource_id] += 1

        for number in range(1, queues + 1):
            await queued(world, number, BLOCKED)
            await world.open(Backlog(flow_of(number, number), 60, sizes((10, 10), 0), first=60))
        door = await _healthy(world, 0)
        world.on_admitted = admitted
        end_us = START_US + minutes * MINUTE_US
        await world.run(end_us)
        lost = 1 - door.share_used("sliding", end_us) / alone
        blocked = world.doors[BLOCKED].share_used("sliding", end_us)
        each = [served[queue_of(number).resource_id] for number in range(1, queues + 1)]
        index = jain(each)
        return [
            Finding(run, f"the healthy queue loses {lost:.1%}", "< 5 %", lost < 0.05),
            Finding(
                run, f"Jain index of the 1,000 {index:.4f}, {min(each)}–{max(each)} items each", "≥ 0.98", index >= 0.98
            ),
            Finding(run, f"the exhausted connection is used at {blocked:.1%}", "≥ 98 %", blocked >= 0.98),
        ]

    return await _with_scripts(run, lab, crowd)


async def crowded_key(lab: Laboratory) -> list[Finding]:
    """10,000 batches under one key of 60 RPM, a batch of another key on their resource, and a healthy resource."""
    minutes, flows = 3, 10_000
    run = "10,000 batches under one key of 60 RPM"
    alone = await _alone(lab, minutes)

    async def crowd() -> list[Finding]:
        world = await lab.world(window_entries=SMALL_WINDOW)
        shared = await connected(world, 6_000, None, BLOCKED)
        await world.limit(BudgetDefinition(KEY, 1, (Limit("MINUTE", 60, None),)))
        await queued(world, 1, BLOCKED)
        served: Counter[str] = Counter()

        def admitted(_: int, lease: Lease) -> None:
            served[lease.ref.flow.batch_id] += 1

        world.on_admitted = admitted
        for number in range(1, flows + 1):
            await world.open(Backlog(flow_of(number, 1), 5, sizes((10, 10), 0), budgets=(KEY,)))
        await world.open(Backlog(flow_of(flows + 1, 1), ENDLESS, sizes((10, 10), 0), first=100))
        door = await _healthy(world, 0)
        end_us = START_US + minutes * MINUTE_US
        await world.run(end_us)
        lost = 1 - door.share_used("sliding", end_us) / alone
        neighbour = shared.share_used("sliding", end_us)
        of_key = sum(served[flow_of(number, 1).batch_id] for number in range(1, flows + 1))
        return [
            Finding(run, f"the healthy resource loses {lost:.1%}", "< 5 %", lost < 0.05),
            Finding(
                run, f"their own resource is used at {neighbour:.1%} (another key's batch)", "≥ 95 %", neighbour >= 0.95
            ),
            Finding(
                run,
                f"admitted for the key in {minutes} min: {of_key}",
                f"≈ {60 * minutes}",
                of_key >= 60 * (minutes - 1),
            ),
        ]

    return await _with_scripts(run, lab, crowd)


async def changed_limit(lab: Laboratory) -> list[Finding]:
    """6,000 RPM, cut to 2,000 after two minutes, raised again after two more; the provider changes with it."""
    findings = []
    for shape in ("sliding", "bucket 60 s"):
        world = await lab.world()
        door = await connected(world, 6_000, None)
        door = world.doors[CONNECTION] = Door(START_US, 6_000, None, (shape,), shape)
        for number in range(2):
            await queued(world, number)
            await world.open(Backlog(flow_of(number, number), ENDLESS, sizes((10, 10), number)))
        watched = door.watched[shape]
        await world.run(START_US + 2 * MINUTE_US)
        for requests in (2_000, 6_000):
            changed_us = world.now_us
            door.change(requests, changed_us)
            limit = Limit("MINUTE", requests, None, GENERIC.pace, GENERIC.burst_ms)
            await world.limit(BudgetDefinition(CONNECTION, 1, (limit,)))
            await world.run(changed_us + SECOND_US)
            first_second = watched.refused
            await world.run(changed_us + 2 * MINUTE_US)
            full_s = _full_after_s(door, (changed_us - START_US) // SECOND_US, requests / 60)
            run = f"limit {'cut to 2,000' if requests == 2_000 else 'raised to 6,000'}, {shape}"
            refused = watched.refused - first_second
            findings.append(Finding(run, f"refused after the first second {refused}", "0", refused == 0))
            promised = requests == 6_000
            findings.append(
                Finding(
                    run, f"full rate after {full_s} s", "≤ 5 s" if promised else "", full_s <= 5 if promised else None
                )
            )
    return findings


def _full_after_s(door: Door, changed_s: int, per_s: float) -> int:
    """Seconds after the change until three seconds in a row bring 95 % of the new rate."""
    for second in range(changed_s, changed_s + 118):
        if sum(door.per_second.get(second + i, [0, 0])[0] for i in range(3)) >= 3 * per_s * 0.95:
            return second - changed_s
    return 118


async def one_huge_item(lab: Laboratory) -> list[Finding]:
    """A 30,000-token item under 60,000 TPM among thousands of items of 50–1,000 tokens: where it may stand."""
    findings = []
    for where in ("in their batch", "in a batch beside", "in a resource beside"):
        world = await lab.world()
        door = await connected(world, None, 60_000)
        await queued(world, 0)
        usual = sizes((50, 1_000), 7)
        began: dict[str, int] = {}

        def admitted(now_us: int, lease: Lease, began: dict[str, int] = began) -> None:
            began["huge" if lease.entry.in_tokens == 30_000 else "usual"] = now_us
            if lease.ref.position == 299 and lease.entry.in_tokens != 30_000:
                began["head"] = now_us

        world.on_admitted = admitted
        inside = where == "in their batch"
        tokens_of = (lambda n, usual=usual: 30_000 if n == 300 else usual(n)) if inside else usual
        await world.open(Backlog(flow_of(0, 0), ENDLESS, tokens_of, first=1_000))
        await world.run(START_US + 2 * MINUTE_US)
        asked_us = world.now_us
        if not inside:
            queue = 0 if where == "in a batch beside" else 1
            if queue:
                await queued(world, 1)
            await world.open(Backlog(flow_of(1, queue), 1, lambda _: 30_000))
        end_us = START_US + 8 * MINUTE_US
        await world.run(end_us)
        since_us = began.get("head", asked_us) if inside else asked_us
        waited_s = (began["huge"] - since_us) / 1e6 if "huge" in began else None
        run = f"a 30,000-token item, {where}"
        waited = "did not start within 6 min" if waited_s is None else f"started after {waited_s:.0f} s"
        findings.append(Finding(run, waited, "≤ 120 s", waited_s is not None and waited_s <= 120))
        used = door.share_used("sliding", end_us)
        findings.append(Finding(run, f"used {used:.1%}", "≥ 90 %", used >= 0.90))
        findings.append(Finding(run, f"longest silence at the door {_silence_s(door, 60, 480)} s"))
    return findings


def _silence_s(door: Door, first_s: int, last_s: int) -> int:
    longest = current = 0
    for second in range(first_s, last_s):
        current = 0 if second in door.per_second else current + 1
        longest = max(longest, current)
    return longest

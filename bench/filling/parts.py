"""Pools: what they are promised, what they lend, and how soon they have it back."""

from __future__ import annotations

from collections import Counter

from bench.filling.backlog import ENDLESS, Backlog, flow_of, queue_of
from bench.filling.cases import CONNECTION, MINUTE_US, sizes
from bench.filling.fairness import Finding, connected
from bench.filling.laboratory import Laboratory
from bench.filling.world import START_US
from scheduler.domain.work import BudgetDefinition, Lease, Limit, QueueDefinition

POOL = "pool-bench"
RPM = 6_000
MIN_SHARE, MAX_SHARE = 0.4, 0.5
PAUSE_MINUTES = 2


async def pools(lab: Laboratory) -> list[Finding]:
    """One resource in a pool of 40 to 50 % beside three others; its work comes after two minutes."""
    world = await lab.world()
    door = await connected(world, RPM, None)
    await world.limit(BudgetDefinition(POOL, 1, (Limit("MINUTE", round(RPM * MAX_SHARE), None),)))
    pooled = QueueDefinition(queue_of(0), 1, (CONNECTION,), (), 4.0, pools=(POOL,), min_share=MIN_SHARE)
    await world.queue(pooled)
    for number in (1, 2, 3):
        await world.queue(QueueDefinition(queue_of(number), 1, (CONNECTION,), (), 4.0))
        await world.open(Backlog(flow_of(number, number), ENDLESS, sizes((10, 10), number)))
    await world.run(START_US + PAUSE_MINUTES * MINUTE_US)
    lent = door.share_used("sliding", world.now_us)
    served: Counter[str] = Counter()
    own_until_us: list[int] = []

    def admitted(now_us: int, lease: Lease) -> None:
        served[lease.ref.flow.queue.resource_id] += 1
        if served[queue_of(0).resource_id] == round(RPM * MIN_SHARE):
            own_until_us.append(now_us)

    world.on_admitted = admitted
    asked_us = world.now_us
    await world.open(Backlog(flow_of(0, 0), ENDLESS, sizes((10, 10), 0)))
    await world.run(asked_us + MINUTE_US)
    took_s = (own_until_us[0] - asked_us) / 1e6 if own_until_us else 60.0
    served.clear()
    end_us = world.now_us + 2 * MINUTE_US
    await world.run(end_us)
    share = served[queue_of(0).resource_id] / served.total()
    used = door.share_used("sliding", end_us)
    run = f"a pool of {MIN_SHARE:.0%} to {MAX_SHARE:.0%} of 6,000 RPM beside three resources"
    return [
        Finding(run, f"without its work the others use {lent:.1%}", "≥ 98 %", lent >= 0.98),
        Finding(run, f"has its smallest share back after {took_s:.0f} s", "≤ 26 s", took_s <= 26),
        Finding(run, f"then gets {share:.1%}", "40–50 %", 0.395 <= share <= 0.505),
        Finding(run, f"used {used:.1%}", "≥ 98 %", used >= 0.98),
    ]

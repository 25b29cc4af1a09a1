"""Two targets behind one resource: together they are one capacity."""

from __future__ import annotations

from collections import Counter

from bench.filling.backlog import ENDLESS, Backlog, flow_of, queue_of
from bench.filling.cases import MINUTE_US, sizes
from bench.filling.fairness import Finding, connected
from bench.filling.laboratory import Laboratory
from bench.filling.world import START_US
from scheduler.domain.work import Lease, QueueDefinition

FIRST, SECOND = "connection-first", "connection-second"
RPM = 300
MINUTES = 6
DOWN_MS = 2 * 3_600_000


async def two_targets(lab: Laboratory) -> list[Finding]:
    """Two of 300 RPM each behind a spilling resource; then with one of them shut."""
    findings = []
    for shut, promised_rpm in ((None, 2 * RPM), (FIRST, RPM), (SECOND, RPM)):
        world = await lab.world()
        doors = {name: await connected(world, RPM, None, name) for name in (FIRST, SECOND)}
        await world.queue(QueueDefinition(queue_of(0), 1, (FIRST, SECOND), (), 4.0, spill=True))
        await world.open(Backlog(flow_of(0, 0), ENDLESS, sizes((10, 10), 0)))
        if shut is not None:
            await world.shut(shut, DOWN_MS)
        served: Counter[int] = Counter()

        def admitted(_: int, lease: Lease, served: Counter[int] = served) -> None:
            served[lease.target] += 1

        world.on_admitted = admitted
        end_us = START_US + MINUTES * MINUTE_US
        await world.run(end_us)
        used = sum(door.share_used("sliding", end_us) for door in doors.values()) * RPM / promised_rpm
        refused = sum(door.watched["sliding"].refused for door in doors.values())
        run = f"two targets of {RPM} RPM" + (f", the {'first' if shut == FIRST else 'second'} shut" if shut else "")
        figure = f"{promised_rpm} RPM used at {used:.1%}, {served[0]} and {served[1]} calls, {refused} refused"
        findings.append(Finding(run, figure, "≥ 97 %, none refused", used >= 0.97 and refused == 0))
    return findings

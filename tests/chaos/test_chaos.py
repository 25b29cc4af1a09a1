"""A short chaos run: nearly every kind of fault once against a running stack. `make chaos` is the long form."""

from __future__ import annotations

import pytest

from tests.chaos.run import Shape, run
from tests.chaos.schedule import Fault

KINDS = tuple(fault for fault in Fault if fault not in (Fault.RECEIVER, Fault.REDIS_RESTART))
SHORT = Shape(
    seconds=6.0,
    faults=len(KINDS),
    kinds=KINDS,
    batches=8,
    largest=80,
    metered_items=0,
    latency_ms=150,
    lease_ms=1_000,
    quiet_s=40.0,
    scale=0.3,
)


@pytest.mark.slow(18)
@pytest.mark.timeout(150)
async def test_every_promise_is_kept_under_faults_of_all_parts() -> None:
    verdict = await run(20261122, SHORT)
    assert verdict.violations == [], verdict.faults
    assert verdict.items > 100
    assert len(verdict.faults) == len(KINDS)

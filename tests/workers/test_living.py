"""Who lives, from signs of life: what was too long ago says nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scheduler.bootstrap import open_core
from scheduler.domain.errors import Unavailable
from scheduler.domain.work import Claimed
from scheduler.engine.redis_engine import RedisEngine
from scheduler.settings import Settings
from tests.workers.provider import FakeProvider
from tests.workers.world import World
from workers.living import Living


def test_a_sign_of_life_counts_for_half_a_lease_and_at_most_five_seconds() -> None:
    now_s = 100.0
    living = Living(lease_ms=10_000, clock=lambda: now_s)
    assert living.now() == []
    living.observe({"a": 0.0, "b": 4.0, "c": 5.5}, 100.0)
    assert living.now() == ["a", "b"]
    now_s = 102.0
    assert living.now() == ["a"]
    now_s = 105.1
    assert living.now() == []
    short = Living(lease_ms=1_000, clock=lambda: now_s)
    short.observe({"a": 0.4, "b": 0.6}, now_s)
    assert short.now() == ["a"]
    short.observe({"b": 0.1}, now_s)
    assert short.now() == ["b"], "what is not told of any more is gone"


@pytest.mark.slow(6)
async def test_a_claim_whose_answer_is_lost_makes_nobody_a_suspect(
    world: World, provider: FakeProvider, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.beat.INTERVAL_S", 0.1)
    resource = await world.resource(await world.connection(provider.base_url))
    claim = RedisEngine.claim
    crashes: list[int] = []
    lost = 0

    async def unanswered(engine: RedisEngine, shard: int, **how: Any) -> Claimed:
        nonlocal lost
        claimed = await claim(engine, shard, **how)
        crashes.extend(lease.entry.crashes for lease in claimed.leases)
        if claimed.leases and lost < 2:
            lost += 1
            raise Unavailable("The queue store cannot be reached now.")
        return claimed

    monkeypatch.setattr(RedisEngine, "claim", unanswered)
    async with open_core(make_settings(lease_ms=2_000)) as core, world.worker(core):
        batch = await world.submit(resource, ["a", "b"])
        ended = await world.ended(batch)
    assert (ended.completed, lost) == (2, 2)
    assert set(crashes) == {0}
    assert set(provider.calls_per_text().values()) == {1}

"""The engine's scripts against a plain model: random operations at a set clock, compared after each.

`make test` runs 100,000 steps of fixed seeds. More: BRIM_STATEFUL_SECONDS=600 BRIM_STATEFUL_SEED=7.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from redis import Redis

from tests.conftest import EngineUrls
from tests.stateful.episodes import episode, failure, shortest, story
from tests.stateful.shard import Shard
from tests.stateful.world import SHARD

SECONDS = float(os.environ.get("BRIM_STATEFUL_SECONDS", "0"))
FIRST_SEED = int(os.environ.get("BRIM_STATEFUL_SEED", "1"))
LENGTH = int(os.environ.get("BRIM_STATEFUL_LENGTH", "200"))
PARTS = 3
SHORT_EPISODES = 354 // PARTS
CLUSTER_EPISODES = 10 // PARTS
LEAST_STEPS = 100_000 // PARTS
"""Of a part on one server: the parts may run side by side."""
SLOW_US = 1000


@pytest.fixture(scope="module")
def shard(engine_urls: EngineUrls) -> Iterator[Shard]:
    with Redis.from_url(engine_urls.holder_of(SHARD)) as client:
        before = client.config_get("slowlog-log-slower-than")["slowlog-log-slower-than"]
        client.config_set("slowlog-log-slower-than", SLOW_US)
        client.slowlog_reset()
        yield Shard(client)
        client.config_set("slowlog-log-slower-than", before)
        client.flushall()


@pytest.mark.slow(30)
@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.parametrize("part", range(PARTS))
def test_the_scripts_do_what_a_plain_model_does(shard: Shard, engine_urls: EngineUrls, part: int) -> None:
    # A node of a cluster differs in what it refuses only (keys of other slots), so a part of the episodes shows it.
    episodes = SHORT_EPISODES if engine_urls.kind == "server" else CLUSTER_EPISODES
    began, steps, ran = time.monotonic(), 0, 0
    while time.monotonic() - began < SECONDS / PARTS or ran < episodes:
        seed = FIRST_SEED + part + ran * PARTS
        found = episode(seed, LENGTH)
        counted: list[int] = []
        if failure(lambda found=found, counted=counted: counted.append(found.run(shard))):  # type: ignore[misc]
            pytest.fail(story(shortest(found, shard), shard, seed), pytrace=False)
        steps += sum(counted)
        ran += 1
    took_s = time.monotonic() - began
    rate = f"{steps} steps of {ran} episodes in {took_s:.1f} s, {steps / took_s:.0f} a second"
    assert LENGTH < 200 or episodes < SHORT_EPISODES or steps >= LEAST_STEPS, f"too little was looked at: {rate}"
    print(f"\n{rate}; runs of scripts above {SLOW_US} us: {shard.slowest()}")  # noqa: T201

"""The engine's scripts against a plain model: random operations at a set clock, compared after each.

`make test` runs a short profile with a fixed seed. More: BRIM_STATEFUL_SECONDS=600 BRIM_STATEFUL_SEED=7.
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
SHORT_EPISODES = 345
CLUSTER_EPISODES = 10
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


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 600)
def test_the_scripts_do_what_a_plain_model_does(shard: Shard, engine_urls: EngineUrls) -> None:
    began, steps, seed = time.monotonic(), 0, FIRST_SEED
    # A node of a cluster differs in what it refuses only (keys of other slots), so a part of the episodes shows it.
    episodes = SHORT_EPISODES if engine_urls.kind == "server" else CLUSTER_EPISODES
    while time.monotonic() - began < SECONDS or seed < FIRST_SEED + episodes:
        found = episode(seed, LENGTH)
        counted: list[int] = []
        if failure(lambda found=found, counted=counted: counted.append(found.run(shard))):  # type: ignore[misc]
            pytest.fail(story(shortest(found, shard), shard, seed), pytrace=False)
        steps += sum(counted)
        seed += 1
    took_s = time.monotonic() - began
    rate = f"{steps} steps of {seed - FIRST_SEED} episodes in {took_s:.1f} s, {steps / took_s:.0f} a second"
    print(f"\n{rate}; runs of scripts above {SLOW_US} us: {shard.slowest()}")  # noqa: T201

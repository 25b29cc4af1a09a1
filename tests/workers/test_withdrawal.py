"""The end of a worker's signs of life: who stopped in good order counts no longer, who could not falls silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from scheduler.bootstrap import open_core
from scheduler.domain.errors import Unavailable
from scheduler.engine.redis_engine import RedisEngine
from scheduler.ports.shards import STOPPED, WORKER
from scheduler.settings import Settings
from scheduler.store.shard_store import PostgresShardStore
from tests.line import line_to
from tests.polling import eventually
from tests.workers.provider import FakeProvider
from tests.workers.world import World


async def kinds(world: World) -> Mapping[str, str]:
    """The kind of each process's last sign of life, by holder."""
    return {each["holder"]: each["kind"] for each in await world.core.store.shards.alive(60)}


async def lives(world: World, holder: str) -> None:
    """Wait until a worker counts as alive."""

    async def listed() -> bool:
        return (await kinds(world)).get(holder) == WORKER

    await eventually(listed, f"{holder} counts as alive")


async def test_a_stopped_worker_counts_no_longer_and_its_last_figures_stay(
    world: World, provider: FakeProvider, make_settings: Callable[..., Settings]
) -> None:
    provider.hold = asyncio.Event()
    resource = await world.resource(await world.connection(provider.base_url))
    async with open_core(make_settings(drain_s=0.1)) as core:
        async with world.worker(core) as first:
            batch = await world.submit(resource, ["a", "b"])
            await eventually(lambda: len(provider.seen) == 2, "two calls")
        (told,) = await world.core.store.shards.alive(60)
        assert (told["holder"], told["kind"], told["info"]["leases"]) == (first.holder, STOPPED, 0)
        assert told["info"]["metrics"]
        provider.hold.set()
        provider.hold = None
        async with world.worker(core) as second:
            await lives(world, second.holder)
            assert (await world.ended(batch)).completed == 2
    assert await kinds(world) == {first.holder: STOPPED, second.holder: STOPPED}


async def test_a_worker_that_could_not_give_its_leases_back_falls_silent(
    world: World, provider: FakeProvider, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("The queue store cannot be reached now.")

    monkeypatch.setattr("workers.worker.COMMIT_GRACE_S", 0.1)
    provider.hold = asyncio.Event()
    resource = await world.resource(await world.connection(provider.base_url))
    async with open_core(make_settings(drain_s=0.1)) as core:
        async with world.worker(core) as worker:
            await lives(world, worker.holder)
            await world.submit(resource, ["a"])
            await eventually(lambda: len(provider.seen) == 1, "a call")
            monkeypatch.setattr(RedisEngine, "release", away)
        assert await kinds(world) == {worker.holder: WORKER}
    provider.hold.set()


@pytest.mark.parametrize("fault", ["hangs", "is cut"])
async def test_a_postgres_that_is_away_does_not_hold_up_the_end(
    world: World, make_settings: Callable[..., Settings], database: str, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr("workers.worker.WITHDRAW_GRACE_S", 0.05)
    beat = PostgresShardStore.beat
    withdrawn_s: list[float] = []
    async with line_to(database) as line:

        async def beat_over_the_line(store: PostgresShardStore, holder: str, kind: str, info: Any) -> Any:
            if kind == STOPPED:
                withdrawn_s.append(time.monotonic())
                if fault == "hangs":
                    line.hang()
                else:
                    await line.cut()
            return await beat(store, holder, kind, info)

        monkeypatch.setattr(PostgresShardStore, "beat", beat_over_the_line)
        async with open_core(make_settings(database_url=line.database_url)) as core:
            async with world.worker(core) as worker:
                await lives(world, worker.holder)
            (since_s,) = withdrawn_s
            # A connection that hangs is given back after five seconds only.
            assert time.monotonic() - since_s < 3
            assert await kinds(world) == {worker.holder: WORKER}
            line.flow()

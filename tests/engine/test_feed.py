"""Wake-ups and the live feed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from scheduler.domain.errors import Unavailable
from scheduler.domain.work import Doorbell
from scheduler.engine.redis_engine import RedisEngine
from scheduler.settings import Settings
from tests.conftest import EngineUrls
from tests.lua.conftest import ENVIRONMENT, SHARD, WORKSPACE, queue_of


@pytest.fixture
async def engine(empty_engine: EngineUrls) -> AsyncIterator[RedisEngine]:
    engine = await RedisEngine.open(empty_engine.url, Settings())
    await engine.open_shard(SHARD, 1)
    yield engine
    await engine.close()


def bell(batch: str, number: int) -> Doorbell:
    return Doorbell(queue_of(1), batch, number)


async def test_a_reader_hears_of_new_events_of_its_batch_only(engine: RedisEngine) -> None:
    async with engine.feed.watch(SHARD, WORKSPACE, ENVIRONMENT, "a") as watch:
        await engine.ring(SHARD, [bell("b", 9), bell("a", 2), bell("a", 3)])
        news = await watch.next(5)
        assert news is not None
        while news.last_event < 3:
            following = await watch.next(5)
            assert following is not None
            news = following
        assert await watch.next(0.05) is None


async def test_many_readers_share_one_connection_and_one_that_comes_later_is_heard_at_once(
    engine: RedisEngine,
) -> None:
    async with AsyncExitStack() as stack:
        watches = []
        for number in range(20):
            batch = f"batch-{number}"
            watches.append(await stack.enter_async_context(engine.feed.watch(SHARD, WORKSPACE, ENVIRONMENT, batch)))
            await engine.ring(SHARD, [bell(batch, 5)])
        heard = await asyncio.gather(*(watch.next(5) for watch in watches))
        assert [news.last_event for news in heard if news] == [5] * 20


async def test_one_token_wakes_one_waiter(engine: RedisEngine) -> None:
    await engine.bell.hand_on(SHARD)
    assert await engine.bell.wait(1) == SHARD
    assert await engine.bell.wait(0.01) is None


async def test_trouble_with_redis_is_unavailable() -> None:
    engine = await RedisEngine.open("redis://127.0.0.1:1/0", Settings())
    with pytest.raises(Unavailable):
        await engine.ping()
    with pytest.raises(Unavailable):
        await engine.bell.wait(0.01)
    await engine.close()

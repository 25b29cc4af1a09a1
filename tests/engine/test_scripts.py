"""Scripts as texts: their headers say what they take and answer, and every binding has one."""

import re

import pytest
from redis.asyncio import Redis

from scheduler.engine import scripts
from scheduler.engine.redis_engine import RedisEngine
from scheduler.settings import Settings
from tests.conftest import EngineUrls


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_says_what_it_takes_and_answers(name: str) -> None:
    text = scripts.expand(name)
    lines = text.splitlines()
    assert lines[0].startswith("#!lua")
    assert re.match(rf"-- {name}: .+", lines[1])
    header = [line for line in lines if line.startswith("-- ")]
    assert any(re.match(r"-- KEYS\[1\] +epoch +string", line) for line in header)
    assert any(re.match(r"-- ARGV\[1\] +epoch +str", line) for line in header)
    assert any(line.startswith("-- RETURNS") for line in header)
    assert "--          {'epoch', ruling}" in text


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_refuses_another_epoch_before_it_writes(name: str) -> None:
    body = scripts.expand(name).split("local refused = shard.refuses(epoch)", 1)
    assert len(body) == 2
    own = body[0].rsplit("-- lease:", 1)[-1]
    assert "redis.call('HSET'" not in own.split("local epoch", 1)[-1]


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_reads_time_in_one_place(name: str) -> None:
    assert scripts.expand(name).count("redis.call('TIME')") <= 1


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_is_a_method_of_the_engine(name: str) -> None:
    assert callable(getattr(RedisEngine, name))


async def test_scripts_survive_a_script_flush(empty_engine: EngineUrls) -> None:
    engine = await RedisEngine.open(empty_engine.url, Settings())
    client = Redis.from_url(empty_engine.holder_of(0))
    await engine.open_shard(0, 1)
    await engine.ring(0, [])
    assert (await engine.headroom(0, ["x"])) == {}
    await client.script_flush()
    assert (await engine.headroom(0, ["x"])) == {}
    await client.aclose()
    await engine.close()

"""explain where a budget counts a part of a connection only: a pool, a model, one direction of tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from scheduler.domain.supply import Binding
from scheduler.domain.work import Entry, FlowDefinition, Limit, Meter, QueueDefinition
from tests.lua.conftest import SHARD, Bench, flow_of, minute, queue_of
from tests.lua.test_explain import assert_close, forecast_of, start_of

PACE = 0.992


@dataclass(frozen=True)
class Part:
    """One kind of part. budget: the one that binds; position: of the entry of flow 1 on queue 1 that is asked for."""

    name: str
    set_up: Callable[[Bench], Awaitable[None]]
    position: int
    binding: Binding
    budget: str


async def queue(bench: Bench, number: int, *, pool: str = "", model: str = "") -> None:
    definition = QueueDefinition(queue_of(number), 1, ("c",), (), 4.0, models=(model,), pools=(pool,))
    await bench.engine.set_queues(SHARD, [definition])


async def push(bench: Bench, count: int, in_tokens: int, out_tokens: int) -> None:
    entries = [Entry(i, 1, in_tokens, out_tokens) for i in range(1, count + 1)]
    definition = FlowDefinition(flow_of(1, 1), 1, 4.0, (), count)
    assert await bench.engine.push(SHARD, definition, 1, 0, count, entries)


async def _pool(bench: Bench) -> None:
    await bench.limit("c", minute(600, pace=PACE))
    await bench.limit("pool-a", minute(60))
    await queue(bench, 1, pool="pool-a")
    await bench.push(1, 200)


async def _pool_beside_others(bench: Bench) -> None:
    await _pool(bench)
    await queue(bench, 2)
    await bench.push(1, 5_000, queue=2)


async def _pool_of_two(bench: Bench) -> None:
    await _pool(bench)
    await queue(bench, 2, pool="pool-a")
    await bench.push(1, 5_000, queue=2)


async def _model(bench: Bench) -> None:
    await bench.limit("c", minute(600, pace=PACE))
    await bench.limit("model-1", minute(60, pace=PACE))
    await queue(bench, 1, model="model-1")
    await bench.push(1, 200)


async def _model_beside_others(bench: Bench) -> None:
    await _model(bench)
    await queue(bench, 2, model="model-2")
    await bench.push(1, 5_000, queue=2)


async def _input(bench: Bench) -> None:
    await bench.limit("c", minute(60_000, pace=PACE))
    await bench.limit("model-1", Limit("MINUTE", None, 6_000, PACE, meter=Meter.INPUT))
    await queue(bench, 1, model="model-1")
    await push(bench, 100, 200, 5_000)


async def _output(bench: Bench) -> None:
    await bench.limit("c", minute(60_000, pace=PACE))
    await bench.limit("model-1", Limit("MINUTE", None, 6_000, PACE, meter=Meter.OUTPUT))
    await queue(bench, 1, model="model-1")
    await push(bench, 100, 5_000, 200)


PARTS = [
    Part("a pool", _pool, 100, Binding.REQUESTS, "pool-a"),
    Part("a pool beside others", _pool_beside_others, 100, Binding.REQUESTS, "pool-a"),
    Part("a pool of two", _pool_of_two, 100, Binding.REQUESTS, "pool-a"),
    Part("a model", _model, 100, Binding.REQUESTS, "model-1"),
    Part("a model beside others", _model_beside_others, 100, Binding.REQUESTS, "model-1"),
    Part("input tokens", _input, 50, Binding.INPUT_TOKENS, "model-1"),
    Part("output tokens", _output, 50, Binding.OUTPUT_TOKENS, "model-1"),
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
async def test_the_part_that_binds_is_named_and_its_start_comes_true(bench: Bench, part: Part) -> None:
    await part.set_up(bench)
    found = await forecast_of(bench, part.position)
    actual_ms = await start_of(bench, part.position)
    assert found.binding is not None
    assert found.binding.account is not None
    assert (found.binding.binding, found.binding.account.budget_id) == (part.binding, part.budget)
    assert_close(found, actual_ms)


@pytest.mark.parametrize("part", [{"pool": "pool-a"}, {"model": "pool-a"}])
async def test_a_rival_takes_no_more_than_its_part_allows(bench: Bench, part: dict[str, str]) -> None:
    await bench.limit("c", minute(600, pace=PACE))
    await bench.limit("pool-a", minute(60))
    await queue(bench, 1)
    await queue(bench, 2, **part)
    await bench.push(1, 800)
    await bench.push(1, 3_000, queue=2)
    found = await forecast_of(bench, 600)
    assert_close(found, await start_of(bench, 600))

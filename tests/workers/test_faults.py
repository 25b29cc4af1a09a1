"""What goes wrong at providers, in Redis and in workers, and what becomes of the items."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis.asyncio

from scheduler.bootstrap import open_core
from scheduler.domain.retry import spread_ms
from scheduler.domain.status import BatchStatus, ItemStatus
from scheduler.domain.work import BudgetKind, budget_id
from scheduler.services.budgets.limits import flow_ref
from scheduler.settings import Settings
from tests.polling import eventually
from tests.workers.provider import FakeProvider, Seen, answer, refuse, running_provider
from tests.workers.world import World


async def test_a_429_pauses_the_connection_and_spends_no_attempt(world: World, provider: FakeProvider) -> None:
    limited_until = time.monotonic() + 1.0

    def reply(seen: Seen) -> tuple[int, dict[str, str], object]:
        if len(provider.seen) == 1:
            return refuse(429, "rate_limit_exceeded", "slow down", retry_after_ms="1500")(seen)
        return answer(seen)

    provider.reply = reply
    resource = await world.resource(await world.connection(provider.base_url), max_retries=0)
    async with world.worker():
        batch = await world.submit(resource, ["one"])
        ended = await world.ended(batch)
    assert (ended.status, ended.completed) == (BatchStatus.COMPLETED, 1)
    assert (await world.items(batch))[0].retry_count == 0
    first, second = (seen.at_s for seen in provider.seen)
    assert second - first >= 1.45
    assert second > limited_until


async def test_a_pause_is_spread_by_wall_time(
    world: World, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Monotonic clocks begin at the start of each host: by them no two hosts would agree on the moment."""
    refusal = refuse(429, "rate_limit_exceeded", "slow down", retry_after_ms="700")
    provider.reply = lambda seen: (refusal if len(provider.seen) == 1 else answer)(seen)
    connection = await world.connection(provider.base_url)
    pause_budget, asked_ms = world.core.engine.pause_budget, []

    async def noting(shard: int, budget: str, pause_ms: int, *why: Any) -> None:
        asked_ms.append(pause_ms)
        await pause_budget(shard, budget, pause_ms, *why)

    monkeypatch.setattr(world.core.engine, "pause_budget", noting)
    began_s = time.time()
    async with world.worker():
        await world.ended(await world.submit(await world.resource(connection), ["one"]))
    budget = f"connection-{connection.connection_id}"
    assert [ms in {spread_ms(700, budget, at_s) for at_s in (began_s, time.time())} for ms in asked_ms] == [True]


async def test_a_server_error_is_tried_again_after_a_delay(world: World, provider: FakeProvider) -> None:
    provider.reply = lambda seen: (refuse(500) if len(provider.seen) == 1 else answer)(seen)
    resource = await world.resource(await world.connection(provider.base_url))
    async with world.worker():
        batch = await world.submit(resource, ["one"])
        ended = await world.ended(batch)
    assert ended.status is BatchStatus.COMPLETED
    assert (await world.items(batch))[0].retry_count == 1
    assert provider.seen[1].at_s - provider.seen[0].at_s >= 0.45


async def test_retries_end_and_the_item_fails(world: World, provider: FakeProvider) -> None:
    provider.reply = refuse(503, message="overloaded")
    resource = await world.resource(await world.connection(provider.base_url), max_retries=1)
    async with world.worker():
        batch = await world.submit(resource, ["one"])
        ended = await world.ended(batch)
    item = (await world.items(batch))[0]
    assert (ended.status, item.error_code, item.retry_count) == (BatchStatus.FAILED, "PROVIDER_503", 1)
    assert len(provider.seen) == 2


async def test_what_one_target_refuses_the_next_one_serves(world: World, provider: FakeProvider) -> None:
    async with running_provider() as second:
        provider.reply = refuse(404, "model_not_found", "no such model")
        resource = await world.resource(
            await world.connection(provider.base_url), await world.connection(second.base_url)
        )
        async with world.worker():
            batch = await world.submit(resource, [str(i) for i in range(20)])
            ended = await world.ended(batch)
        assert (ended.status, ended.completed) == (BatchStatus.COMPLETED, 20)
        assert len(second.seen) == 20
        assert {item.served_model for item in await world.items(batch)} == {"model-1"}


async def test_a_connection_without_credit_rests_with_its_reason_and_its_items_wait(
    world: World, provider: FakeProvider
) -> None:
    provider.reply = refuse(429, "insufficient_quota", "You exceeded your current quota.")
    connection = await world.connection(provider.base_url)
    resource = await world.resource(connection, max_retries=0)
    budget = budget_id(BudgetKind.CONNECTION, connection.connection_id)
    shard = await world.shard()
    async with world.worker():
        batch = await world.submit(resource, ["one", "two"])

        async def is_paused() -> bool:
            found = await world.core.engine.headroom(shard, [budget])
            return budget in found and found[budget].paused_ms > 50_000

        await eventually(is_paused, "a pause of a minute")
        found = await world.core.engine.headroom(shard, [budget])
        assert found[budget].pause_reason == "You exceeded your current quota."
    now = await world.batch(batch)
    assert (now.finished, now.status) == (0, BatchStatus.RUNNING)


async def test_a_dead_connection_slows_nobody_else(world: World, provider: FakeProvider) -> None:
    async with running_provider() as gone:
        refusing_url = gone.base_url
    async with running_provider() as hanging:
        hanging.hold = asyncio.Event()
        refused = await world.resource(await world.connection(refusing_url))
        hung = await world.resource(await world.connection(hanging.base_url))
        good = await world.resource(await world.connection(provider.base_url))
        async with world.worker():
            for _ in range(3):
                await world.submit(refused, [str(i) for i in range(50)])
            await world.submit(hung, [str(i) for i in range(600)])
            await eventually(lambda: len(hanging.seen) >= 100, "many hanging calls")
            started = time.monotonic()
            ended = await world.ended(await world.submit(good, [str(i) for i in range(100)]))
            took_s = time.monotonic() - started
            hanging.hold.set()
        assert ended.completed == 100
        assert took_s < 8.0, "it waited for a hanging call to be given up, which takes 10 s"


async def test_a_cancelled_batch_ends_and_no_new_call_starts(world: World, provider: FakeProvider) -> None:
    provider.hold = asyncio.Event()
    resource = await world.resource(await world.connection(provider.base_url, max_in_flight=10))
    async with world.worker():
        batch = await world.submit(resource, [str(i) for i in range(3_000)])
        await eventually(lambda: len(provider.seen) == 10, "ten calls")
        await world.core.store.batches.cancel(world.environment_id, batch.batch_id)

        async def others_are_cancelled() -> bool:
            return (await world.batch(batch)).cancelled == 2_990

        await eventually(others_are_cancelled, "waiting items are cancelled")
        provider.hold.set()
        ended = await world.ended(batch)
    assert (ended.status, ended.completed, ended.cancelled) == (BatchStatus.CANCELLED, 10, 2_990)
    assert len(provider.seen) == 10
    assert ended.last_event == 3_002


async def test_a_drained_worker_gives_back_what_it_cannot_finish(
    world: World, make_settings: Callable[..., Settings], provider: FakeProvider
) -> None:
    provider.hold = asyncio.Event()
    resource = await world.resource(await world.connection(provider.base_url))
    async with open_core(make_settings(drain_s=0.2)) as core:
        async with world.worker(core):
            batch = await world.submit(resource, ["one", "two"])
            await eventually(lambda: len(provider.seen) == 2, "both calls")
        assert (await core.engine.queue_depths(await world.shard())).leases == 0
    provider.hold.set()
    provider.hold = None
    async with world.worker():
        ended = await world.ended(batch)
    assert ended.completed == 2
    assert {item.retry_count for item in await world.items(batch)} == {0}
    assert set(provider.calls_per_text().values()) == {2}


async def test_entries_of_a_silent_holder_are_run_by_another(
    world: World, make_settings: Callable[..., Settings], provider: FakeProvider
) -> None:
    resource = await world.resource(await world.connection(provider.base_url))
    batch = await world.submit(resource, [str(i) for i in range(30)])
    claimed = await world.core.engine.claim(
        await world.shard(), slots=20, open_slots=20, holder="dead", lease_ms=300, crowded=frozenset()
    )
    assert len(claimed.leases) == 20
    async with open_core(make_settings(lease_ms=1_000)) as core, world.worker(core):
        ended = await world.ended(batch)
    assert ended.completed == 30
    assert set(provider.calls_per_text().values()) == {1}


@pytest.mark.slow(9)
async def test_an_entry_that_kills_its_holders_becomes_a_dead_letter(world: World, provider: FakeProvider) -> None:
    resource = await world.resource(await world.connection(provider.base_url))
    shard, engine = await world.shard(), world.core.engine
    batch = await world.submit(resource, ["poison"])

    async def die_once_more() -> bool:
        claimed = await engine.claim(shard, slots=1, open_slots=1, holder="dying", lease_ms=1, crowded=frozenset())
        if any(lease.entry.crashes == 4 for lease in claimed.leases):
            return True
        await engine.reclaim(shard, "other", 5_000)
        return False

    await eventually(die_once_more, "five crashes", within_s=30)
    async with world.worker():
        ended = await world.ended(batch)
    item = (await world.items(batch))[0]
    assert (ended.status, item.status, item.error_code) == (
        BatchStatus.FAILED,
        ItemStatus.FAILED,
        "DEAD_LETTER",
    )
    assert provider.seen == []


async def test_after_the_loss_of_redis_everything_still_ends_once(
    world: World, provider: FakeProvider, empty_redis: str
) -> None:
    resource = await world.resource(await world.connection(provider.base_url, max_in_flight=5))
    async with world.worker():
        batch = await world.submit(resource, [f"{i}" for i in range(800)])
        await eventually(lambda: len(provider.seen) >= 100, "a start")
        client = redis.asyncio.Redis.from_url(empty_redis)
        await client.flushall()
        await client.aclose()
        ended = await world.ended(batch)
    assert (ended.completed, ended.last_event) == (800, 802)
    assert set(provider.calls_per_text()) == {f"{i}" for i in range(800)}


async def test_a_batch_that_the_engine_never_heard_of_is_opened(world: World, provider: FakeProvider) -> None:
    resource = await world.resource(await world.connection(provider.base_url))
    batch = await world.store_batch(resource, [str(i) for i in range(50)])
    async with world.worker():
        ended = await world.ended(batch)
    assert ended.completed == 50
    assert set(provider.calls_per_text().values()) == {1}


async def test_a_running_item_of_a_cancelled_batch_that_would_retry_is_cancelled(
    world: World, provider: FakeProvider
) -> None:
    provider.hold = asyncio.Event()
    provider.reply = refuse(500)
    resource = await world.resource(await world.connection(provider.base_url))
    async with world.worker():
        batch = await world.submit(resource, ["one"])
        await eventually(lambda: len(provider.seen) == 1, "the call")
        await world.core.store.batches.cancel(world.environment_id, batch.batch_id)
        for flow in await world.core.store.batches.flows(batch.batch_id):
            await world.core.engine.cancel(await world.shard(), flow_ref(flow), 1_000)
        provider.hold.set()
        ended = await world.ended(batch)
    assert (ended.status, ended.cancelled, len(provider.seen)) == (BatchStatus.CANCELLED, 1, 1)


async def test_a_provider_that_is_out_of_service_for_a_while_costs_few_items_their_attempts(
    world: World, provider: FakeProvider
) -> None:
    back_at_s = time.monotonic() + 4.5
    provider.reply = lambda seen: (refuse(503) if time.monotonic() < back_at_s else answer)(seen)
    resource = await world.resource(await world.connection(provider.base_url), max_retries=2)
    async with world.worker():
        ended = await world.ended(await world.submit(resource, [str(i) for i in range(200)]))
    assert ended.failed <= 2
    assert len(provider.seen) < 2 * 200 + 20

"""Cancel and limits of a batch, and neighbours that must not notice."""

from __future__ import annotations

import pytest

from bench.stack import connection, resource, simulator, single, stack
from tests.acceptance.conftest import WITHIN_S, adds_up, all_items, follow, items, stats
from tests.polling import eventually


@pytest.mark.slow(6)
@pytest.mark.timeout(120)
async def test_no_call_reaches_the_provider_after_the_answer_to_cancel() -> None:
    async with (
        simulator("--latency-ms", "300") as origin,
        stack(single("openai-compatible", f"{origin}/v1", 'capacity = [{period = "MINUTE", requests = 6000}]')) as brim,
    ):
        batch_id = await brim.post(items(3000))

        async def ready() -> bool:
            return bool((await stats(brim, origin))["requests"] >= 100)

        await eventually(ready, "the batch is under way", WITHIN_S)
        async with brim.session.post(f"{brim.base}/{batch_id}/cancel") as answer:
            assert answer.status == 201
            batch = await answer.json()
        sent = (await stats(brim, origin))["requests"]
        assert batch["status"] == "CANCELLED"
        assert adds_up(batch)
        seen = await follow(brim, batch_id)
        after = await stats(brim, origin)
        assert after["requests"] == sent
        assert seen[-2].action == "batch-cancelled"
        final = await brim.batch(batch_id)
        assert adds_up(final)
        assert (final["pending"], final["running"]) == (0, 0)
        assert final["completed"] == after["statuses"].get("200", 0) == sent
        statuses = [each["status"] for each in await all_items(brim, batch_id)]
        assert statuses.count("COMPLETED") == final["completed"]
        assert statuses.count("CANCELLED") == final["cancelled"]
        async with brim.session.post(f"{brim.base}/{batch_id}/cancel") as answer:
            assert answer.status == 201
            assert (await answer.json())["updatedAt"] == final["updatedAt"]


@pytest.mark.slow(7)
@pytest.mark.timeout(120)
async def test_a_limited_batch_is_held_while_its_neighbour_runs_at_full_speed() -> None:
    async with (
        simulator("--latency-ms", "5") as origin,
        stack(single("openai-compatible", f"{origin}/v1")) as brim,
    ):
        held = await brim.post(items(100), capacity=[{"period": "minute", "requests": 60}])
        free = await brim.post(items(2000, offset=1000))
        assert (await brim.finished(free, WITHIN_S))["completed"] == 2000
        batch = await brim.batch(held)
        assert batch["capacity"][0]["period"] == "MINUTE"
        assert batch["completed"] + batch["running"] == 60
        assert adds_up(batch)


@pytest.mark.slow(8)
@pytest.mark.timeout(120)
async def test_five_items_behind_fifty_thousand_start_at_once() -> None:
    async with (
        simulator("--latency-ms", "20") as origin,
        stack(single("openai-compatible", f"{origin}/v1", 'capacity = [{period = "MINUTE", requests = 6000}]')) as brim,
    ):
        await brim.post(items(50_000))
        small = await brim.post(items(5, offset=100_000))
        batch = await brim.finished(small, WITHIN_S)
        assert batch["completed"] == 5
        # Not after the others: those need minutes. The bench gives the time.
        assert (await stats(brim, origin))["requests"] < 2000


@pytest.mark.slow(19)
@pytest.mark.timeout(120)
async def test_connections_that_refuse_or_hang_slow_nobody() -> None:
    async with (
        simulator("--latency-ms", "5") as good,
        simulator("--hang-rate", "1") as hanging,
    ):
        setup = (
            connection("good", "openai-compatible", f"{good}/v1")
            + resource("model", "good")
            + connection("hangs", "openai-compatible", f"{hanging}/v1")
            + resource("hangs", "hangs")
            + connection("refuses", "openai-compatible", "http://127.0.0.1:9/v1")
            + resource("refuses", "refuses")
        )
        async with stack(setup) as brim:
            await brim.post(items(3000, "hangs"))
            for number in range(10):
                await brim.post(items(100, "refuses", offset=10_000 + 1000 * number))

            async def ready() -> bool:
                return bool((await stats(brim, hanging))["in_flight"] >= 400)

            await eventually(ready, "the batch is under way", WITHIN_S)
            batch = await brim.finished(await brim.post(items(2000, offset=100_000)), WITHIN_S)
            assert batch["completed"] == 2000
            held = (await stats(brim, hanging))["max_in_flight"]
            assert held <= 800

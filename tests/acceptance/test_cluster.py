"""A Redis Cluster that loses a master under load: nothing lost, the limit held, going on soon."""

from __future__ import annotations

import signal

import pytest

from bench.cluster import LoopbackCluster
from bench.failover import shard_of_tenant
from bench.stack import simulator, single, stack
from scheduler.engine.servers import slot_of
from tests.acceptance.conftest import WITHIN_S, all_items, items, stats
from tests.polling import eventually

RPM = 2400


@pytest.mark.slow(16)
@pytest.mark.timeout(150)
async def test_a_killed_master_is_replaced_and_nothing_is_lost() -> None:
    limit = f'capacity = [{{period = "MINUTE", requests = {RPM}}}]'
    with LoopbackCluster(replicas=True) as cluster:
        async with (
            simulator("--rpm", str(RPM), "--shape", "sliding", "--latency-ms", "50") as origin,
            stack(
                single("openai-compatible", f"{origin}/v1", limit),
                workers=2,
                settings={"BRIM_REDIS_URL": cluster.url, "BRIM_LEASE_MS": "3000"},
                cluster=False,
            ) as brim,
        ):
            count = 160
            batch_id = await brim.post(items(count))

            async def calls_above(number: int) -> bool:
                return bool((await stats(brim, origin))["requests"] > number)

            await eventually(lambda: calls_above(40), "the batch is under way", WITHIN_S)
            master = cluster.master_of(slot_of(await shard_of_tenant(brim)))
            master.send(signal.SIGKILL)
            # What was claimed before the kill leaves within its start-by; whatever comes later was claimed after.
            before = (await stats(brim, origin))["requests"] + 20
            await eventually(lambda: calls_above(before), "calls go on", WITHIN_S)
            batch = await brim.finished(batch_id, WITHIN_S)
            assert (batch["status"], batch["completed"]) == ("COMPLETED", count)
            assert [each["status"] for each in await all_items(brim, batch_id)] == ["COMPLETED"] * count
            seen = await stats(brim, origin)
            assert seen["refused_429"] == 0
            assert seen["worst_minute"]["requests"] <= RPM

"""The shard's clock where the server's is set back: it goes on, a little slower, until both agree."""

from tests.lua.conftest import SHARD, START_MS, Bench, minute

HOUR_MS = 3_600_000


async def test_limits_and_leases_go_on_when_the_servers_clock_is_set_back(bench: Bench) -> None:
    await bench.limit("c", minute(requests=5))
    await bench.queue()
    await bench.push(1, 50)
    assert len((await bench.claim(lease_ms=10_000)).leases) == 5
    await bench.at(START_MS - HOUR_MS)
    assert (await bench.claim()).leases == ()
    await bench.after(61_000)
    assert (await bench.claim()).leases == (), "the shard's minute is not over: its clock is a little slower"
    assert (await bench.engine.reclaim(SHARD, "w2", 1_000))[0] == 5
    await bench.after(5_000)
    assert len((await bench.claim()).leases) == 5


async def test_the_shards_clock_never_goes_back_and_falls_back_to_the_servers(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(1, 1)
    await bench.claim()
    await bench.at(START_MS - 10_000)
    await bench.claim()
    times = []
    for _ in range(300):
        await bench.after(1_000)
        times.append((await bench.claim()).now_ms)
    assert times == sorted(times)
    assert times[0] - START_MS in (949, 950)
    assert times[-1] == bench.now_ms


async def test_a_clock_that_is_set_forward_is_followed_at_once(bench: Bench) -> None:
    await bench.limit("c")
    await bench.claim()
    await bench.after(HOUR_MS)
    assert (await bench.claim()).now_ms == START_MS + HOUR_MS

"""Entries that may be what killed their holders: first again at once, then later and alone, at last dead letters."""

from scheduler.domain.work import Lease
from tests.lua.conftest import Bench, flow_of

LEASE_MS = 1000


async def crash(bench: Bench, times: int, count: int) -> None:
    """Claim `count` entries and let their holder die, so often; after it all of them are due."""
    for crashes in range(times):
        leases: list[Lease] = []
        while len(leases) < count:
            leases += (await bench.claim(lease_ms=LEASE_MS)).leases
        assert {lease.entry.crashes for lease in leases} == {crashes}
        await bench.after(LEASE_MS + 1)
        assert await bench.engine.reclaim(3, "reclaimer", LEASE_MS) == (count, ())
    if times >= 2:
        await bench.after(times * 1000)


async def positions(bench: Bench, *, may_suspect: bool = True) -> list[int]:
    return [lease.ref.position for lease in (await bench.claim(may_suspect=may_suspect)).leases]


async def test_after_a_first_crash_entries_are_first_again_in_their_order(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(count=5)
    claimed = await bench.claim(slots=3, lease_ms=LEASE_MS)
    assert len(claimed.leases) == 3
    await bench.after(LEASE_MS + 1)
    await bench.engine.reclaim(3, "reclaimer", LEASE_MS)
    again = (await bench.claim(may_suspect=False)).leases
    assert [(lease.ref.position, lease.entry.crashes, lease.entry.attempts) for lease in again] == [
        (1, 1, 0),
        (2, 1, 0),
        (3, 1, 0),
        (4, 0, 0),
        (5, 0, 0),
    ]


async def test_nobody_is_given_two_suspects(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(count=3)
    await crash(bench, 2, 3)
    first = (await bench.claim(holder="w1")).leases
    assert [lease.ref.position for lease in first] == [1]
    none = await bench.claim(holder="w1", may_suspect=False)
    assert (none.leases, none.next_due_ms) == ((), 50)
    await bench.after(50)
    assert await positions(bench) == [2]
    await bench.after(50)
    await bench.settle(first)
    assert await positions(bench) == [3]


async def test_suspects_hold_up_nobody_else(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(count=3)
    await crash(bench, 2, 3)
    await bench.push(count=4, cursor=3)
    await bench.push(2, count=2)
    assert sorted(await positions(bench, may_suspect=False)) == [1, 2, 4, 5, 6, 7]
    await bench.after(50)
    assert await positions(bench) == [1]


async def test_many_suspects_are_looked_at_a_few_at_a_time(bench: Bench) -> None:
    await bench.limit("c")
    await bench.queue()
    await bench.push(count=60)
    await crash(bench, 2, 60)
    seen: list[int] = []
    for _ in range(60):
        claimed = await bench.claim(may_suspect=True)
        seen += [lease.ref.position for lease in claimed.leases]
        state = (await bench.engine.flows(3, [flow_of(1)]))[flow_of(1)]
        assert state.waiting <= 4
        await bench.settle(claimed.leases)
        assert claimed.next_due_ms is None or claimed.next_due_ms <= 50
        await bench.after(50)
    assert sorted(seen) == list(range(1, 61))


async def test_what_a_living_holder_lost_is_no_crash(bench: Bench) -> None:
    """Its claim was answered too late, so that it never knew of it; or nothing came through to Redis for a lease."""
    await bench.limit("c")
    await bench.queue()
    await bench.push(count=3)
    for _ in range(6):
        assert len((await bench.claim(holder="w1", lease_ms=LEASE_MS)).leases) == 3
        await bench.after(LEASE_MS + 1)
        assert await bench.engine.reclaim(3, "w2", LEASE_MS, ["w3", "w1", "w2"]) == (3, ())
    again = (await bench.claim(holder="w1", lease_ms=LEASE_MS)).leases
    assert [(lease.ref.position, lease.entry.crashes) for lease in again] == [(1, 0), (2, 0), (3, 0)]
    await bench.after(LEASE_MS + 1)
    assert await bench.engine.reclaim(3, "w2", LEASE_MS, ["w2"]) == (3, ())
    assert [lease.entry.crashes for lease in (await bench.claim()).leases] == [1, 1, 1]

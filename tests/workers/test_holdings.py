"""Slots, and the bulkhead between connections."""

from __future__ import annotations

from scheduler.domain.work import Entry, Fence, FlowRef, Lease, LeaseRef, QueueRef
from workers.holdings import Held, Holdings

FLOW = FlowRef(QueueRef("w", "e", "r"), "b")


def held(position: int, budget: str = "a", deadline_s: float = 10.0, shard: int = 0) -> Held:
    lease = Lease(LeaseRef(FLOW, position, Fence(1, position)), Entry(position, 1, 1, 1), 0)
    return Held(shard, lease, 0.0, deadline_s, 0.15, budget)


def filled(slots: int, count: int, budget: str = "a") -> tuple[Holdings, list[Held]]:
    holdings = Holdings(slots)
    helds = [held(i, budget) for i in range(count)]
    for each in helds:
        holdings.take(each)
    return holdings, helds


def test_the_last_fifth_of_the_slots_is_not_open_to_all() -> None:
    holdings, _ = filled(100, 70)
    assert (holdings.free, holdings.open) == (30, 10)
    holdings, _ = filled(100, 90)
    assert (holdings.free, holdings.open) == (10, 0)


def test_one_connection_alone_is_crowded_at_half_because_another_may_come() -> None:
    assert filled(100, 49)[0].crowded() == frozenset()
    assert filled(100, 50)[0].crowded() == {"a"}


def test_a_connection_below_its_equal_share_is_not_crowded() -> None:
    holdings, _ = filled(100, 80)
    for i in range(10):
        holdings.take(held(100 + i, "b"))
    assert holdings.crowded() == {"a"}


def test_room_is_told_when_the_first_slot_frees() -> None:
    holdings, helds = filled(2, 2)
    assert not holdings.room.is_set()
    holdings.free_slot(helds[0])
    assert holdings.room.is_set()
    holdings.free_slot(helds[0])
    assert holdings.in_flight == 1


def test_a_freed_slot_keeps_its_lease_until_it_is_dropped() -> None:
    holdings, helds = filled(2, 1)
    holdings.free_slot(helds[0])
    assert len(holdings) == 1
    holdings.drop(helds[0])
    assert (len(holdings), holdings.in_flight) == (0, 0)


def test_only_leases_with_little_time_left_are_renewed_and_lost_ones_never() -> None:
    holdings = Holdings(10)
    near, far, lost = held(1, deadline_s=1), held(2, deadline_s=9), held(3, deadline_s=1)
    for each in (near, far, lost):
        holdings.take(each)
    assert holdings.lose([near, lost], frozenset({lost.lease.ref})) == 1
    assert holdings.due_for_renewal(0.0, 8.0) == [near]


def test_the_lease_that_ends_first_is_renewed_first() -> None:
    holdings = Holdings(100)
    helds = [held(number) for number in range(50)]
    for number, each in enumerate(helds):
        each.deadline_s = float(number * 37 % 50)
        holdings.take(each)
    due = [each.deadline_s for each in holdings.due_for_renewal(0.0, 40.0)]
    assert due == sorted(due)
    assert len(due) == 40


def test_a_call_that_never_left_has_no_age() -> None:
    call = held(1)
    assert call.sent_ago_ms(5.0) is None
    call.sent_s = 4.25
    assert call.sent_ago_ms(5.0) == 750


def test_suspects_are_counted_until_their_leases_end() -> None:
    holdings = Holdings(10)
    once, twice, dead = held(1), held(2), held(3)
    once.lease = once.lease._replace(entry=once.lease.entry._replace(crashes=1))
    twice.lease = twice.lease._replace(entry=twice.lease.entry._replace(crashes=2))
    dead.lease = dead.lease._replace(entry=dead.lease.entry._replace(crashes=5), dead=True)
    holdings.take(once)
    holdings.take(twice)
    holdings.hold(dead)
    assert holdings.suspects == 1
    holdings.free_slot(twice)
    assert holdings.suspects == 1
    for each in (once, twice, twice, dead):
        holdings.drop(each)
    assert (holdings.suspects, len(holdings)) == (0, 0)

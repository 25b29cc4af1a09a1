"""Outcomes on their way to Postgres, with a store that fails as it is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from scheduler.domain.errors import Unavailable
from scheduler.domain.outcome import ItemOutcome, Recorded
from scheduler.domain.status import ItemStatus
from scheduler.domain.work import Entry, Fence, FlowRef, Lease, LeaseRef, QueueRef
from scheduler.ports.outcomes import Flushed, FlushedBatch
from workers import committer as committer_module
from workers.clocks import DatabaseClock, WallClock
from workers.committer import Committer, Finished
from workers.decision import Record
from workers.holdings import Held, Holdings
from workers.renewer import Renewed

BATCH = UUID(int=1)
FLOW = FlowRef(QueueRef("w", "e", "r"), str(BATCH))
Verdict = Callable[[ItemOutcome], Recorded]


class FakeStore:
    """Answers each outcome as `verdict` says, after raising what is in `troubles`."""

    def __init__(self) -> None:
        self.flushes: list[tuple[list[ItemOutcome], bool]] = []
        self.verdict: Verdict = lambda _: Recorded.RECORDED
        self.troubles: list[Exception] = []

    async def flush(self, outcomes: Sequence[ItemOutcome], *, wait_for_locks: bool = False) -> Flushed:
        if self.troubles:
            raise self.troubles.pop(0)
        self.flushes.append((list(outcomes), wait_for_locks))
        recorded = tuple(self.verdict(outcome) for outcome in outcomes)
        return Flushed(recorded, (FlushedBatch(BATCH, BATCH, BATCH, 9, False),), 1)


class FakeReturns:
    """Remembers what is settled."""

    def __init__(self) -> None:
        self.settled: list[int] = []
        self.bells: list[int] = []

    def settle(self, shard: int, settlings: Any, doorbells: Any = ()) -> None:
        self.settled += [settling.held.lease.entry.position for settling in settlings]
        self.bells += [bell.last_event for bell in doorbells]


class FakeRenewer:
    """Loses what it is told to lose, and prolongs all but what its shard, recovering, does not know."""

    def __init__(self) -> None:
        self.losing: set[int] = set()
        self.unknown: set[int] = set()

    async def renew(self, helds: Sequence[Held]) -> Renewed:
        for held in helds:
            held.lost = held.lease.entry.position in self.losing
            if not held.lost and held.lease.entry.position not in self.unknown:
                held.deadline_s = time.monotonic() + 10.0
        return Renewed(len(helds), 0)


class Rig:
    def __init__(self) -> None:
        self.store, self.returns, self.renewer = FakeStore(), FakeReturns(), FakeRenewer()
        self.holdings = Holdings(100)
        self.database_clock = DatabaseClock()
        self.deliveries = 0
        self.committer = Committer(
            self.store,  # type: ignore[arg-type]  # only flush is needed
            self.holdings,
            self.returns,  # type: ignore[arg-type]
            self.renewer,  # type: ignore[arg-type]
            self.database_clock,
            time.monotonic,
            WallClock(0.0, 0.0),
            self._on_deliveries,
        )

    def _on_deliveries(self) -> None:
        self.deliveries += 1

    def put(self, position: int, deadline_in_s: float = 10.0) -> Finished:
        now_s = time.monotonic()
        lease = Lease(LeaseRef(FLOW, position, Fence(1, position)), Entry(position, 1, 1, 1), 0)
        held = Held(0, lease, now_s, now_s + deadline_in_s, now_s, "a")
        self.holdings.take(held)
        record = Record(ItemStatus.FAILED, error_code="X", error_message="x")
        finished = Finished(held, BATCH, record, None, None, None, now_s)
        self.committer.put(finished)
        return finished


@pytest.fixture(autouse=True)
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "backoff_s", lambda _: 0.0)


async def test_many_outcomes_are_one_flush_and_then_settled_and_rung() -> None:
    rig = Rig()
    for position in range(1, 51):
        rig.put(position)
    assert rig.holdings.in_flight == 0
    done = await rig.committer.run_once()
    assert (done.recorded, len(rig.store.flushes)) == (50, 1)
    assert rig.returns.settled == list(range(1, 51))
    assert (rig.returns.bells, rig.deliveries) == ([9], 1)
    await rig.committer.drained()


async def test_outcomes_wait_while_postgres_is_away() -> None:
    rig = Rig()
    rig.store.troubles = [Unavailable("away"), Unavailable("away")]
    rig.put(1)
    for _ in range(2):
        assert (await rig.committer.run_once()).recorded == 0
    assert rig.returns.settled == []
    assert (await rig.committer.run_once()).recorded == 1
    assert rig.returns.settled == [1]


async def test_a_duplicate_is_settled_and_a_stale_one_is_left_to_its_new_holder() -> None:
    rig = Rig()
    rig.store.verdict = lambda o: {1: Recorded.DUPLICATE, 2: Recorded.STALE}[o.seq]
    rig.put(1)
    rig.put(2)
    done = await rig.committer.run_once()
    assert (done.duplicate, done.stale) == (1, 1)
    assert rig.returns.settled == [1]


async def test_an_outcome_that_came_too_late_for_its_lease_is_flushed_again_while_the_lease_can_be_renewed() -> None:
    rig = Rig()
    rig.database_clock.observe(datetime(2026, 1, 1, tzinfo=UTC), time.monotonic())
    rig.store.verdict = lambda _: Recorded.STALE if len(rig.store.flushes) == 1 else Recorded.RECORDED
    rig.put(1)
    assert (await rig.committer.run_once()).stale == 1
    assert (await rig.committer.run_once()).recorded == 1
    first, second = (flushed[0].valid_until for flushed, _ in rig.store.flushes)
    assert first is not None
    assert second is not None
    assert second > first
    assert rig.returns.settled == [1]


async def test_an_outcome_that_stays_stale_is_let_go() -> None:
    rig = Rig()
    rig.store.verdict = lambda _: Recorded.STALE
    rig.put(1)
    for _ in range(committer_module.STALE_TRIES + 1):
        await rig.committer.run_once()
    assert len(rig.committer) == 0
    assert len(rig.holdings) == 0
    assert rig.returns.settled == []


async def test_what_a_recovering_shard_neither_prolongs_nor_loses_waits_beside_the_others() -> None:
    rig = Rig()
    rig.renewer.unknown = {1}
    rig.put(1, deadline_in_s=-1)
    rig.put(2)
    assert (await rig.committer.run_once()).recorded == 1
    assert [outcome.seq for outcome in rig.store.flushes[0][0]] == [2]
    rig.renewer.unknown = set()
    assert (await rig.committer.run_once()).recorded == 1


async def test_a_locked_batch_is_flushed_again_and_waited_for_after_three_skips() -> None:
    rig = Rig()
    rig.store.verdict = lambda _: Recorded.RECORDED if len(rig.store.flushes) > 3 else Recorded.DEFERRED
    rig.put(1)
    for _ in range(4):
        await rig.committer.run_once()
    assert [patient for _, patient in rig.store.flushes] == [False, False, False, True]
    assert rig.returns.settled == [1]


async def test_a_lease_past_its_deadline_is_renewed_first_and_a_lost_one_discarded() -> None:
    rig = Rig()
    rig.renewer.losing = {2}
    rig.put(1, deadline_in_s=-1)
    rig.put(2, deadline_in_s=-1)
    done = await rig.committer.run_once()
    assert (done.recorded, done.lost) == (1, 1)
    assert [outcome.seq for outcome in rig.store.flushes[0][0]] == [1]


async def test_what_fails_for_no_known_reason_is_let_go_in_the_end() -> None:
    rig = Rig()
    rig.store.troubles = [RuntimeError("bug") for _ in range(5)]
    finished = rig.put(1)
    for _ in range(5):
        await rig.committer.run_once()
    assert len(rig.committer) == 0
    assert rig.holdings.due_for_renewal(finished.held.deadline_s, 1.0) == []


async def test_the_lease_deadline_is_told_on_postgres_clock_and_never_late() -> None:
    rig = Rig()
    database_now = datetime(2030, 1, 1, tzinfo=UTC)
    finished = rig.put(1)
    rig.database_clock.observe(database_now, finished.held.deadline_s - 4.0)
    await rig.committer.run_once()
    valid_until = rig.store.flushes[0][0][0].valid_until
    assert valid_until is not None
    assert (valid_until - database_now).total_seconds() == pytest.approx(4.0)


async def test_it_asks_for_no_more_when_too_much_waits() -> None:
    rig = Rig()
    assert not rig.committer.full
    for position in range(committer_module.BACKLOG):
        rig.put(position)
    assert rig.committer.full

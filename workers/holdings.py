"""What this process holds: leases, and slots taken by attempts in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from scheduler import metrics
from scheduler.domain.work import Lease, LeaseRef
from scheduler.providers.call import Departure

SUSPECT_AFTER = 2
"""So many holders died with an entry that may be the reason (as the engine counts): a process holds one at most."""


class Held(Departure):
    """One lease and what happened to it here. Times are monotonic seconds.

    issued_s: when the claim was issued (start-by counts from there). deadline_s: the lease holds at least
    until then. budget: the connection's budget, as far as the resource is known; counts against the
    bulkhead while `in_flight`. lost: another holds it now, whatever comes of our attempt is discarded.
    """

    __slots__ = ("budget", "deadline_s", "in_flight", "issued_s", "lease", "lost", "shard")

    def __init__(
        self, shard: int, lease: Lease, issued_s: float, deadline_s: float, send_by_s: float, budget: str
    ) -> None:
        super().__init__(send_by_s)
        self.shard = shard
        self.lease = lease
        self.issued_s = issued_s
        self.deadline_s = deadline_s
        self.budget = budget
        self.lost = False
        self.in_flight = False

    def sent_ago_ms(self, now_s: float) -> int | None:
        """How long ago the call left, in whole ms; None when it never did."""
        return None if self.sent_s is None else max(0, round((now_s - self.sent_s) * 1000))


class Holdings:
    """The leases of this process and its slots. `room` is set while a slot is free.

    suspects: leases of entries that may kill their holder.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._held: set[Held] = set()
        self._calls: dict[str, int] = {}
        self._claimed: dict[int, float] = {}
        self.in_flight = 0
        self.suspects = 0
        self.room = asyncio.Event()
        self.room.set()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def free(self) -> int:
        """Slots without an attempt."""
        return self._slots - self.in_flight

    @property
    def open(self) -> int:
        """Free slots among the first four fifths: they may go to any connection."""
        return max(0, self._slots * 4 // 5 - self.in_flight)

    def crowded(self) -> frozenset[str]:
        """Connection budgets with an equal share of the slots or more.

        One share is kept for a connection that has nothing in flight yet, so that a single one, hanging,
        cannot take the last fifth as well.
        """
        share = self._slots / (len(self._calls) + 1)
        return frozenset(budget for budget, calls in self._calls.items() if calls >= share)

    def take(self, held: Held) -> None:
        """A lease was granted, and occupies a slot."""
        self._held.add(held)
        self.suspects += is_suspect(held)
        self._claimed[held.shard] = held.issued_s
        held.in_flight = True
        self.in_flight += 1
        self._calls[held.budget] = self._calls.get(held.budget, 0) + 1
        if self.in_flight >= self._slots:
            self.room.clear()

    def hold(self, held: Held) -> None:
        """A lease was granted that needs no slot (a dead letter to record)."""
        self._held.add(held)

    def free_slot(self, held: Held) -> None:
        """The attempt is over, its lease is not. Harmless when done twice."""
        if not held.in_flight:
            return
        held.in_flight = False
        self.in_flight -= 1
        left = self._calls[held.budget] - 1
        if left:
            self._calls[held.budget] = left
        else:
            del self._calls[held.budget]
        self.room.set()

    def drop(self, held: Held) -> None:
        """The lease is settled, released or lost."""
        self.free_slot(held)
        if held in self._held:
            self._held.remove(held)
            self.suspects -= is_suspect(held)

    def due_for_renewal(self, now_s: float, within_s: float) -> list[Held]:
        """Leases of which less than `within_s` is left, and that are not lost; those that end first come first: with
        thousands of outcomes waiting for Postgres a turn takes long."""
        limit = now_s + within_s
        due = [held for held in self._held if held.deadline_s < limit and not held.lost]
        return sorted(due, key=_deadline_s)

    def shards(self) -> list[int]:
        """Shards of which something is held."""
        return sorted({held.shard for held in self._held})

    def underway(self) -> list[Held]:
        """Leases whose calls left, or whose outcome waits for its record, and that are not lost: what a loss of Redis
        must not repeat. (One that has not left by then is dropped unsent.)"""
        return [held for held in self._held if not held.lost and (held.sent_s is not None or not held.in_flight)]

    def lose(self, helds: Iterable[Held], lost: frozenset[LeaseRef]) -> int:
        """Mark those of `helds` that are lost; answers how many."""
        count = 0
        for held in helds:
            if held.lease.ref in lost and not held.lost:
                held.lost = True
                count += 1
        metrics.LEASES_LOST.inc(count)
        return count

    def claimed_since(self, moment_s: float) -> list[int]:
        """Shards that brought something to claim at or after that moment."""
        return [shard for shard, claimed_s in self._claimed.items() if claimed_s >= moment_s]

    def observe(self) -> None:
        """Put the present figure into the metrics."""
        metrics.IN_FLIGHT.set(self.in_flight)


def is_suspect(held: Held) -> bool:
    """A dead letter is not run, so it kills nobody."""
    return held.lease.entry.crashes >= SUSPECT_AFTER and not held.lease.dead


def _deadline_s(held: Held) -> float:
    return held.deadline_s

"""How leases end: in time and late, once and twice, by their holder and by others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scheduler.domain.work import Entry, Fence, LeaseRef, Refund, Settlement
from scheduler.domain.work import Release as ReleaseOf
from scheduler.engine import codec
from tests.stateful import operations as op
from tests.stateful.comparison import Comparison
from tests.stateful.model import Held
from tests.stateful.shard import EPOCH
from tests.stateful.world import FLOW_INDEX, SUB_MS

_STRANGE = ("late", "fence")
_DEAD_AFTER, _SUSPECT_MS = 5, 1000
SUSPECT_AFTER = 2


class Endings(Comparison):
    """settle, release, renew and reclaim, on engine and model."""

    def pick(self, first: int, count: int) -> list[Held]:
        """Some live leases, by fence."""
        leases = self.model.leases()
        return [leases[(first + i) % len(leases)] for i in range(min(count, len(leases)))]

    def end(self, operation: op.Settle | op.Release | op.Renew | op.Reclaim) -> None:
        match operation:
            case op.Settle(first, count, change, fault):
                self.settle(self.pick(first, count), change, fault)
            case op.Release(first, count):
                self._release(self.pick(first, count), operation)
            case op.Renew(first, count, lease_ms, fault):
                self._renew(self.pick(first, count), lease_ms, fault)
            case op.Reclaim(holder, lease_ms):
                self._reclaim(holder, lease_ms)

    def _named(self, held: list[Held], fault: str) -> tuple[list[LeaseRef], set[int]]:
        """References as a caller gives them, and which of them must be lost."""
        refs = [h.ref for h in held]
        if fault == "late":
            refs = self.model.ended[-4:]
        elif fault == "fence":
            refs = [ref._replace(fence=Fence(EPOCH, ref.fence.number + 1_000_000)) for ref in refs]
        if fault in _STRANGE:
            return refs, set(range(len(refs)))
        if fault == "twice":
            return refs + refs, set(range(len(refs), 2 * len(refs)))
        return refs, set()

    def _age(self, ref: LeaseRef) -> int | None:
        """How long ago the call of a lease left; None when it did not."""
        held = self.model.flows[FLOW_INDEX[ref.flow]].leased.get(ref.position)
        if held is None or held.sent_ms is None or held.sent_ms > self.now_ms:
            return None
        return self.now_ms - held.sent_ms

    def _lost(self, reply: Any, expected: set[int], held: list[Held], then: Callable[[Held], None]) -> None:
        assert set(reply[1:]) == expected, f"lost {reply[1:]}, should be {expected}"
        for lease in held:
            then(lease)
        self._forget({lease.flow for lease in held})

    def _forget(self, flows: set[int]) -> None:
        for number in flows:
            flow = self.model.flows[number]
            if flow.finished and not flow.dead:
                flow.forget()

    def _left(self, held: Held) -> None:
        """The call of a lease left: count it where it did."""
        if held.sent_ms is not None and held.sent_ms <= self.now_ms:
            for name, booking in held.bookings.items():
                if held.sent_ms // SUB_MS > booking.bucket:
                    self.model.budgets[name].move(booking, held.sent_ms // SUB_MS)

    def settle(self, held: list[Held], change: int = 0, fault: str = "") -> None:
        """Settle leases; their entries are done."""
        if not held and fault != "late":
            return
        now_ms = self.now_ms
        refs, lost = self._named(held, fault)
        held = [] if fault in _STRANGE else held
        for lease in held:
            if lease.sent_ms is not None:
                lease.sent_ms = min(lease.sent_ms, now_ms)
        costs = {lease.ref: lease.entry.in_tokens + lease.entry.out_tokens for lease in held}
        settlements = [Settlement(ref, max(0, costs.get(ref, 0) + change), 0, self._age(ref)) for ref in refs]

        def settled(lease: Held) -> None:
            charged = max(0, costs[lease.ref] + change)
            for name, booking in lease.bookings.items():
                budget = self.model.budgets[name]
                if lease.sent_ms is None:
                    budget.give_back(booking)
                    continue
                if lease.sent_ms // SUB_MS > booking.bucket:
                    budget.move(booking, lease.sent_ms // SUB_MS)
                budget.charge(booking, now_ms, charged)
            self.door.sent(lease, charged)
            self.model.end(lease, answered=lease.sent_ms is not None)
            self.model.flows[lease.flow].done.add(lease.ref.position)

        args = codec.settle_arguments(settlements, [])
        self.run("settle", *args, then=lambda reply: self._lost(reply, lost, held, settled))

    def _release(self, held: list[Held], r: op.Release) -> None:
        if not held and r.fault != "late":
            return
        now_ms = self.now_ms
        refs, lost = self._named(held, r.fault)
        held = [] if r.fault in _STRANGE else held
        # Only a call that was never sent may be refunded; one that is not sent now never will be.
        releases = []
        for ref in refs:
            age = self._age(ref)
            refund = Refund.ALL if age is None and r.refund else Refund.NOTHING
            releases.append(ReleaseOf(ref, r.delay_ms, r.spend, refund, age, r.next_target))

        def released(lease: Held) -> None:
            unsent = self._age(lease.ref) is None
            if unsent:
                lease.sent_ms = None
            if unsent and r.refund:
                for name, booking in lease.bookings.items():
                    self.model.budgets[name].give_back(booking)
            else:
                self._left(lease)
            self.door.sent(lease)
            self.model.end(lease, answered=False)
            entry = lease.entry._replace(attempts=lease.entry.attempts + r.spend, target=r.next_target)
            self.model.give_back(lease, entry, now_ms + r.delay_ms if r.delay_ms else 0)

        args = codec.release_arguments(releases)
        self.run("release", *args, then=lambda reply: self._lost(reply, lost, held, released))

    def _renew(self, held: list[Held], lease_ms: int, fault: str) -> None:
        if not held and fault != "late":
            return
        refs, lost = self._named(held, fault)
        if fault == "twice":
            refs, lost = refs[: len(held)], set()
        held = [] if fault in _STRANGE else held
        args = codec.renew_arguments([(ref, self._age(ref)) for ref in refs])

        def renewed(reply: Any) -> None:
            assert set(reply[1:]) == lost, f"lost {reply[1:]}, should be {lost}"
            for lease in held:
                lease.deadline_ms = self.now_ms + lease_ms
                self._left(lease)

        self.run("renew", lease_ms, *args, then=renewed)

    def _reclaim(self, holder: str, lease_ms: int) -> None:
        now_ms = self.now_ms

        def reclaimed(reply: Any) -> None:
            count, dead = codec.read_reclaim(reply, EPOCH)
            expired = [lease for lease in self.model.leases() if lease.deadline_ms <= now_ms]
            assert count == len(expired), f"{count} leases were reclaimed, {len(expired)} have expired"
            again = {(FLOW_INDEX[lease.ref.flow], lease.ref.position): lease for lease in dead}
            for lease in expired:
                crashes = lease.entry.crashes + bool(lease.bookings)
                entry = lease.entry._replace(crashes=crashes)
                self.door.sent(lease)
                if crashes >= _DEAD_AFTER:
                    self._dead_letter(
                        lease, entry, holder, now_ms + lease_ms, again.pop((lease.flow, entry.position)).ref
                    )
                    continue
                self.model.end(lease, answered=False)
                self.model.give_back(lease, entry, now_ms + crashes * _SUSPECT_MS if crashes >= SUSPECT_AFTER else 0)
            assert not again, f"{list(again)} are called dead"
            self._forget({lease.flow for lease in expired})

        self.run("reclaim", holder, lease_ms, 128, then=reclaimed)

    def _dead_letter(self, lease: Held, entry: Entry, holder: str, deadline_ms: int, ref: LeaseRef) -> None:
        assert ref.fence.number > self.model.newest_fence, f"dead letter {ref}: its fence is old"
        self.model.newest_fence = ref.fence.number
        self.model.ended.append(lease.ref)
        self.model.land(lease, answered=False)
        lease.ref, lease.entry, lease.holder, lease.deadline_ms = ref, entry, holder, deadline_ms
        lease.bookings, lease.sent_ms = {}, None

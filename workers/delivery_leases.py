"""The deliveries that this process holds: its leases on them are short, and prolonged as long as it lives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from scheduler.ports.deliveries import Delivery, DeliveryStore

RENEW_SHARE = 0.8
"""A lease with more than this share of its time left is not prolonged yet: quick tries never cost a renewal."""


@dataclass(slots=True)
class _Lease:
    batch_id: UUID
    until_s: float


@dataclass(frozen=True, slots=True)
class DeliveriesRenewed:
    """How many leases were asked for, and how many of them were prolonged."""

    asked: int
    renewed: int


class DeliveryLeases:
    """From a claim until its record. lease_s: what a claim asks for. clock: monotonic seconds."""

    def __init__(self, store: DeliveryStore, holder: str, lease_s: float, clock: Callable[[], float]) -> None:
        self._store = store
        self._holder = holder
        self.lease_s = lease_s
        self._clock = clock
        self._held: dict[UUID, _Lease] = {}

    def take(self, deliveries: Sequence[Delivery], issued_s: float) -> list[Delivery]:
        """Those of a claim, issued then, that are to be sent.

        Not those that this process is sending, or has sent and not recorded: Postgres was away for longer than their
        leases, and the claim has prolonged them.
        """
        fresh = [each for each in deliveries if each.delivery_id not in self._held]
        for each in deliveries:
            self._held[each.delivery_id] = _Lease(each.batch_id, issued_s + self.lease_s)
        return fresh

    def live(self, delivery_id: UUID) -> bool:
        """Whether nobody else can hold it by now."""
        lease = self._held.get(delivery_id)
        return lease is not None and self._clock() < lease.until_s

    def drop(self, delivery_ids: Iterable[UUID]) -> None:
        """They are recorded, or given up."""
        for each in delivery_ids:
            self._held.pop(each, None)

    async def run_once(self) -> DeliveriesRenewed:
        """Prolong what needs it, in one statement. One that another holds by now is sent to its end all the same: its
        record comes to nothing."""
        issued_s = self._clock()
        limit_s = issued_s + RENEW_SHARE * self.lease_s
        due = [(lease.batch_id, each) for each, lease in self._held.items() if lease.until_s < limit_s]
        if not due:
            return DeliveriesRenewed(0, 0)
        renewed = await self._store.renew(self._holder, due, self.lease_s)
        for delivery_id in renewed:
            lease = self._held.get(delivery_id)
            if lease is not None:
                lease.until_s = issued_s + self.lease_s
        return DeliveriesRenewed(len(due), len(renewed))

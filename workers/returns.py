"""Give entries back to their flows, and end leases whose outcome is recorded: the two ways a lease ends
here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from scheduler.domain.work import Doorbell, Refund, Release, Settlement
from scheduler.ports.engine import Engine
from scheduler.services.shards.recovery import Recovery
from workers.holdings import Held, Holdings
from workers.outbox import Outbox

SETTLE_CHUNK = 256
RELEASE_CHUNK = 128


@dataclass(frozen=True, slots=True)
class Settling:
    """A lease to end. charged_*: tokens that the provider charges; nothing when the call never left."""

    held: Held
    charged_in_tokens: int
    charged_out_tokens: int


@dataclass(frozen=True, slots=True)
class Returning:
    """An entry to give back. free: the provider does not charge the call although it was sent. out_tokens: the reserve
    for its answer from now on; None: as before."""

    held: Held
    delay_ms: int
    spend_attempt: bool
    next_target: int
    free: bool = False
    out_tokens: int | None = None


class Returns:
    """Settles and releases, batched per shard; the ages of calls are taken when the message leaves."""

    def __init__(self, engine: Engine, holdings: Holdings, recovery: Recovery, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._holdings = holdings
        self._recovery = recovery
        self._clock = clock
        self._doorbells: dict[int, dict[str, Doorbell]] = {}
        self._settles: Outbox[Settling | None] = Outbox(
            "settle", SETTLE_CHUNK, self._settle, self._forget, self._recover
        )
        self._releases: Outbox[Returning] = Outbox("release", RELEASE_CHUNK, self._release, self._forget, self._recover)

    def settle(self, shard: int, settlings: Iterable[Settling], doorbells: Iterable[Doorbell] = ()) -> None:
        """End leases and tell readers; the newest doorbell of a batch is enough."""
        bells = self._doorbells.setdefault(shard, {})
        for bell in doorbells:
            known = bells.get(bell.batch_id)
            if known is None or known.last_event < bell.last_event:
                bells[bell.batch_id] = bell
        messages: list[Settling | None] = list(settlings)
        if messages or bells:
            self._settles.put(shard, messages or [None])

    def give_back(self, returning: Returning) -> None:
        """Release one lease: unsent calls get everything back, sent ones stay charged. Frees its slot."""
        self._holdings.free_slot(returning.held)
        self._releases.put(returning.held.shard, [returning])

    def hand_back(self, helds: Iterable[Held], delay_ms: int = 0) -> None:
        """Release leases whose calls were not made or broken off by us: same target, nothing spent."""
        for held in helds:
            self.give_back(Returning(held, delay_ms, False, held.lease.entry.target))

    async def empty(self) -> None:
        """Wait until everything is sent."""
        await asyncio.gather(self._settles.empty(), self._releases.empty())

    async def _settle(self, shard: int, messages: list[Settling | None]) -> None:
        now_s = self._clock()
        settlings = [m for m in messages if m is not None]
        bells = self._doorbells.pop(shard, {})
        try:
            await self._engine.settle(
                shard,
                [
                    Settlement(m.held.lease.ref, m.charged_in_tokens, m.charged_out_tokens, m.held.sent_ago_ms(now_s))
                    for m in settlings
                ],
                list(bells.values()),
            )
        except BaseException:
            self._doorbells[shard] = _newest(bells, self._doorbells.get(shard, {}))
            raise
        for message in settlings:
            self._holdings.drop(message.held)

    async def _release(self, shard: int, messages: list[Returning]) -> None:
        now_s = self._clock()
        await self._engine.release(
            shard,
            [
                Release(
                    ref=m.held.lease.ref,
                    delay_ms=m.delay_ms,
                    spend_attempt=m.spend_attempt,
                    refund=Refund.ALL if m.held.sent_s is None or m.free else Refund.NOTHING,
                    sent_ago_ms=m.held.sent_ago_ms(now_s),
                    next_target=m.next_target,
                    out_tokens=m.out_tokens,
                )
                for m in messages
            ],
        )
        for message in messages:
            self._holdings.drop(message.held)

    def _forget(self, messages: Sequence[Settling | Returning | None]) -> None:
        for message in messages:
            if message is not None:
                self._holdings.drop(message.held)

    async def _recover(self, shard: int) -> None:
        """What Redis lost of these leases it says when it is asked again; the repair brings back their entries."""
        await self._recovery.ensure(shard)


def _newest(one: Mapping[str, Doorbell], other: Mapping[str, Doorbell]) -> dict[str, Doorbell]:
    merged = dict(one)
    for batch_id, bell in other.items():
        if batch_id not in merged or merged[batch_id].last_event < bell.last_event:
            merged[batch_id] = bell
    return merged

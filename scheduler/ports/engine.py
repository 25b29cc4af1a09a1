"""The engine as its callers see it. One method a script; all are atomic, bounded and safe to repeat.

Every method takes the shard and raises `EpochLost` when the shard's epoch in Redis is not the caller's: the shard
must be recovered (services.shards.recovery) before it is used again. Connection trouble raises errors.Unavailable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from scheduler.domain.direct import Admission, DirectAsk
from scheduler.domain.errors import Unavailable
from scheduler.domain.observation import LearnedLimits, Observation
from scheduler.domain.quota import QuotaHandout, QuotaUse
from scheduler.domain.standing import Standing
from scheduler.domain.work import (
    BudgetDefinition,
    BudgetHeadroom,
    Claimed,
    Doorbell,
    Entry,
    FlowDefinition,
    FlowRef,
    FlowState,
    Lease,
    LeaseRef,
    PauseCause,
    QueueDefinition,
    Release,
    Settlement,
    ShardDepths,
)


class EpochLost(Unavailable):
    """Redis lost its memory or another epoch rules the shard; `shard` must be recovered."""

    def __init__(self, shard: int) -> None:
        super().__init__("The scheduler is recovering; try again shortly.", retry_after_s=1.0)
        self.shard = shard


class Engine(Protocol):
    """Queues, budgets and leases of all shards."""

    async def open_shard(
        self, shard: int, epoch: int, identity: str | None = None, *, recovering: bool = False
    ) -> None:
        """Make `epoch` the shard's epoch in Redis, and this process's, as long as the shard's server is `identity`
        (None: whoever it is now). When another answers, every method raises EpochLost. recovering: claims raise it too,
        in every process, until `recovered`."""
        ...

    async def join_shard(self, shard: int, epoch: int, identity: str) -> bool:
        """Take the shard's epoch as this process's without a write; answers whether it is being recovered."""
        ...

    def agreed_epoch(self, shard: int) -> int | None:
        """The epoch that this process works under; None: it has to recover or join the shard first."""
        ...

    async def confirm(self, shard: int) -> None:
        """Raise EpochLost unless the shard is as it was agreed on: so a process notices a loss that it did not meet."""
        ...

    async def recovered(self, shard: int) -> None:
        """What was lost is there again: let claims begin."""
        ...

    async def announce(
        self, shard: int, holder: str, lease_ms: int, leases: Sequence[Lease]
    ) -> Mapping[LeaseRef, LeaseRef | None]:
        """After a loss, take up leases of an earlier epoch whose calls are under way (at most 128), for lease_ms.

        Answers each with its name from now on, or None: it is lost. Those that are left out are of flows that are not
        repaired yet: announce them again. They are booked as of the time before the loss, which is presumed used.
        """
        ...

    async def epoch_of(self, shard: int) -> int | None:
        """The epoch that Redis holds for the shard; None after a loss."""
        ...

    async def ping(self) -> bool:
        """True when every server of the engine answers; raises Unavailable otherwise."""
        ...

    async def identity(self, shard: int) -> str:
        """Run id and replication id of the shard's server: others after a restart or a failover."""
        ...

    async def set_limits(self, shard: int, definitions: Sequence[BudgetDefinition], *, spent: bool = False) -> None:
        """Create or change budgets (older versions are ignored). spent: after a loss of Redis what was sent in the last
        minute is not known: a budget that is gone starts with its full window used, one that is there has what the
        last seconds may have brought booked on it (all that is left of it, if it has no pace)."""
        ...

    async def set_queues(self, shard: int, definitions: Sequence[QueueDefinition]) -> None:
        """Create or change queues (older versions are ignored)."""
        ...

    async def push(
        self,
        shard: int,
        flow: FlowDefinition,
        generation: int,
        cursor: int,
        next_cursor: int,
        entries: Sequence[Entry],
    ) -> bool:
        """Append entries to a flow if its generation and cursor are still these, and move the cursor on.

        True when applied. A flow that does not exist is created when cursor is 0. Entries that are leased now are
        skipped. At most 2,000 entries a call.
        """
        ...

    async def repair(self, shard: int, flow: FlowDefinition, generation: int, cursor: int) -> bool:
        """Raise a flow's generation, empty its window, and set its cursor; leases stay. False if not newer."""
        ...

    async def claim(
        self,
        shard: int,
        *,
        slots: int,
        open_slots: int,
        holder: str,
        lease_ms: int,
        crowded: frozenset[str],
        may_suspect: bool = True,
    ) -> Claimed:
        """Choose, check, reserve and lease up to `slots` (≤ 128) entries. `open_slots` of them may go to any
        connection, the rest not to connections in `crowded` (budget ids). may_suspect: one of them may be an entry that
        two holders died with."""
        ...

    async def admit(self, shard: int, ask: DirectAsk, *, holder: str, lease_ms: int, wait_ms: int) -> Admission:
        """Let one direct call start (its lease is then held by `holder`), put it into the line of what binds it for up
        to wait_ms, or say for how long it would have to wait. wait_ms 0: now or not at all; -1: it is given up.

        To be asked again with the same ticket when it waits; a lease that was made meanwhile is answered. Its lease is
        renewed, settled and released like any other; it is in no flow, so a release only ends it.
        """
        ...

    async def renew(
        self, shard: int, lease_ms: int, leases: Sequence[tuple[LeaseRef, int | None]]
    ) -> frozenset[LeaseRef]:
        """Prolong leases by lease_ms from now; each with sent_ago_ms (None: unsent). Answers those that are lost."""
        ...

    async def amend(self, shard: int, leases: Sequence[tuple[LeaseRef, int]]) -> frozenset[LeaseRef]:
        """Reserve so many tokens for the answers of calls under way, in place of what their entries said; at most 128.
        Less is given back where it was booked, more is booked now. Answers those that are lost."""
        ...

    async def settle(
        self, shard: int, settlements: Sequence[Settlement], doorbells: Sequence[Doorbell] = ()
    ) -> frozenset[LeaseRef]:
        """End leases; ring doorbells. Answers those that were lost (their new holder settles them)."""
        ...

    async def release(self, shard: int, releases: Sequence[Release]) -> frozenset[LeaseRef]:
        """Give entries back to their flows (dropped when the flow is dead). Answers those that were lost."""
        ...

    async def reclaim(
        self, shard: int, holder: str, lease_ms: int, living: Sequence[str] = ()
    ) -> tuple[int, tuple[Lease, ...]]:
        """Take back up to 128 expired leases. Answers how many, and the dead ones, leased to `holder` so that it
        records a dead letter for each. living: holders that are known to live: theirs is no crash of the entry."""
        ...

    async def pause_budget(
        self,
        shard: int,
        budget: str,
        pause_ms: int,
        reason: str,
        cause: PauseCause = PauseCause.TROUBLE,
        learned: str = "",
    ) -> None:
        """Let nothing through a budget for pause_ms, then one probe at a time until one is settled, then a ramp.
        cause: what the provider said, which changes how the budget goes on, and with it that of the model that was
        called (learned: its id), if limits were learned there."""
        ...

    async def observe(self, shard: int, observations: Sequence[Observation]) -> Sequence[LearnedLimits]:
        """Take over what answers said of limits: those of a (connection, model), use of the same key by others, calls
        at once that are worth it. At most 64, of different models. Answers what is known now where that changed."""
        ...

    async def resume_budget(self, shard: int, budget: str) -> None:
        """End a pause now: probes go one at a time until one is settled. Nothing for a budget that is not paused."""
        ...

    async def checkpoint(self, shard: int, most: int, stored: int | None = None) -> QuotaHandout:
        """What is used of the quotas of up to `most` (≤ 500) budgets that changed since somebody asked. stored: receipt
        of an earlier answer that is stored now. What is not receipted within 15 s is handed out again."""
        ...

    async def restore_quotas(self, shard: int, uses: Sequence[QuotaUse]) -> None:
        """After a loss: so much at least is used of these (at most 200), in the periods that have not ended, or that
        overlap the present one in another zone."""
        ...

    async def set_flow(self, shard: int, flow: FlowDefinition) -> None:
        """Tell weight, budgets and pause of a live flow (older versions are ignored; an unknown flow too): all of its
        control state, so that the newest version is complete whatever was lost or overtaken."""
        ...

    async def urge(self, shard: int, flows: Sequence[tuple[FlowRef, int, float]]) -> int:
        """Change the weights of flows, each with the row version of its batch that was read: those whose control state
        is of another version by now are left alone. At most 128 flows a call; answers how many have the weight."""
        ...

    async def cancel(self, shard: int, flow: FlowRef, version: int) -> None:
        """Make a flow dead: nothing of it is claimed any more; entries given back are dropped. O(1)."""
        ...

    async def ring(self, shard: int, doorbells: Sequence[Doorbell]) -> None:
        """Tell feed readers of new events without settling anything."""
        ...

    async def headroom(self, shard: int, budgets: Sequence[str]) -> Mapping[str, BudgetHeadroom]:
        """What budgets hold now; unknown ones are left out."""
        ...

    async def explain(self, shard: int, flow: FlowRef, position: int = 0, share: float = 1.0) -> Standing | None:
        """How things stand for a flow and its entry at `position` (0: its first); None: it is not open. share: part of
        the positions not pushed yet that are this flow's own (a batch may have several)."""
        ...

    async def leased(self, shard: int, flow: FlowRef, positions: Sequence[int]) -> Mapping[int, int]:
        """Those positions of a flow that are leased now, and since when: Unix ms, up to 250 ms early."""
        ...

    async def leased_counts(self, shard: int, flows: Sequence[FlowRef]) -> Mapping[FlowRef, int]:
        """Live leases per flow (absent flows: 0)."""
        ...

    async def flows(self, shard: int, flows: Sequence[FlowRef]) -> Mapping[FlowRef, FlowState]:
        """What the engine holds of these flows; those that it does not know are left out."""
        ...

    async def queue_depths(self, shard: int) -> ShardDepths:
        """For status and doctor."""
        ...

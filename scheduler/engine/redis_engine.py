"""`RedisEngine`: the engine port on Redis. One method a script; arguments and replies live in codec.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from redis.asyncio import Redis

from scheduler.domain.direct import Admission, DirectAsk
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
from scheduler.engine import codec, observing, reads, standings
from scheduler.engine.address import read_url
from scheduler.engine.admission import Grants, admit_arguments, read_admission
from scheduler.engine.bell import Bell
from scheduler.engine.cluster_bell import ClusterBell
from scheduler.engine.connect import call, translated
from scheduler.engine.epochs import Epochs
from scheduler.engine.feed import Feed
from scheduler.engine.servers import Servers, open_servers
from scheduler.settings import Settings

MOST_RECLAIMED = 128
PAGE = 64
"""Definitions of one call: each may hand capacity on to those that wait for it, and no script may take long."""


class RedisEngine(Epochs):
    """Queues, budgets and leases in Redis. `bell` waits for wake-ups, `feed` for news of a batch, `grants` for direct
    calls that were admitted while they waited."""

    def __init__(
        self,
        servers: Servers,
        bell: Bell | ClusterBell,
        feed: Feed,
        window_entries: int,
        includes: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(servers, includes)
        self.bell = bell
        self.feed = feed
        self.grants = Grants(servers)
        self._window = window_entries

    @classmethod
    async def open(cls, url: str, settings: Settings, *, includes: Mapping[str, str] | None = None) -> Self:
        """Connect lazily: Redis need not be up yet. url: of one server or of a cluster (address.read_url). includes:
        other texts for Lua includes (tests set the clock)."""
        servers = open_servers(url)
        bell = Bell(url, settings.shards) if read_url(url) is None else ClusterBell(servers, settings.shards)
        return cls(servers, bell, Feed(servers), settings.window_entries, includes)

    async def close(self) -> None:
        """Close all connections."""
        await self.bell.close()
        await self.feed.close()
        await self.grants.close()
        await self._servers.close()

    async def ping(self) -> bool:
        """True; raises Unavailable when Redis, or a node of the cluster, does not answer."""

        async def ask(client: Redis) -> None:
            await call(client, "PING")

        with translated():
            await self._servers.everywhere(ask)
        return True

    async def announce(
        self, shard: int, holder: str, lease_ms: int, leases: Sequence[Lease]
    ) -> Mapping[LeaseRef, LeaseRef | None]:
        """Take up leases of an earlier epoch; each with its name from now on, or None: lost. Absent: ask again."""
        held = self._agreed(shard)
        reply = await self._run_in(held, "announce", shard, holder, lease_ms, *codec.announce_arguments(leases))
        return codec.read_announced(reply, held.epoch, [lease.ref for lease in leases])

    async def set_limits(self, shard: int, definitions: Sequence[BudgetDefinition], *, spent: bool = False) -> None:
        """Create or change budgets."""
        for start in range(0, len(definitions), PAGE):
            page = definitions[start : start + PAGE]
            await self._run("set_limits", shard, int(spent), *map(codec.budget_argument, page))

    async def set_queues(self, shard: int, definitions: Sequence[QueueDefinition]) -> None:
        """Create or change queues."""
        for start in range(0, len(definitions), PAGE):
            await self._run("set_queues", shard, *map(codec.queue_argument, definitions[start : start + PAGE]))

    async def push(
        self,
        shard: int,
        flow: FlowDefinition,
        generation: int,
        cursor: int,
        next_cursor: int,
        entries: Sequence[Entry],
    ) -> bool:
        """Append entries to a flow's window."""
        args = codec.push_arguments(flow, generation, cursor, next_cursor, entries)
        reply = await self._run("push", shard, *args)
        return bool(reply[0] == b"pushed")

    async def repair(self, shard: int, flow: FlowDefinition, generation: int, cursor: int) -> bool:
        """Raise a flow's generation and empty its window."""
        reply = await self._run("repair", shard, *codec.repair_arguments(flow, generation, cursor))
        return bool(reply[0] == b"repaired")

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
        """Choose, check, reserve and lease entries."""
        held = await self._past_recovery(shard)
        reply = await self._run_in(
            held, "claim", shard, slots, open_slots, holder, lease_ms, self._window, int(may_suspect), *crowded
        )
        return codec.read_claim(reply, held.epoch, lease_ms)

    async def admit(self, shard: int, ask: DirectAsk, *, holder: str, lease_ms: int, wait_ms: int) -> Admission:
        """Let one direct call start, wait in line, or hear for how long it would."""
        held = self._agreed(shard)
        reply = await self._run_in(held, "admit", shard, *admit_arguments(ask, holder, lease_ms, wait_ms))
        return read_admission(reply, ask, held.epoch)

    async def renew(
        self, shard: int, lease_ms: int, leases: Sequence[tuple[LeaseRef, int | None]]
    ) -> frozenset[LeaseRef]:
        """Prolong leases; answers the lost ones."""
        reply = await self._run("renew", shard, lease_ms, *codec.renew_arguments(leases))
        return codec.read_lost(b"renewed", reply, [ref for ref, _ in leases])

    async def amend(self, shard: int, leases: Sequence[tuple[LeaseRef, int]]) -> frozenset[LeaseRef]:
        """Reserve for their answers what is likely now; answers the lost ones."""
        reply = await self._run("amend", shard, *codec.amend_arguments(leases))
        return codec.read_lost(b"amended", reply, [ref for ref, _ in leases])

    async def settle(
        self, shard: int, settlements: Sequence[Settlement], doorbells: Sequence[Doorbell] = ()
    ) -> frozenset[LeaseRef]:
        """End leases whose outcome is recorded; answers the lost ones."""
        reply = await self._run("settle", shard, *codec.settle_arguments(settlements, doorbells))
        return codec.read_lost(b"settled", reply, [s.ref for s in settlements])

    async def release(self, shard: int, releases: Sequence[Release]) -> frozenset[LeaseRef]:
        """Give entries back; answers the lost ones."""
        reply = await self._run("release", shard, *codec.release_arguments(releases))
        return codec.read_lost(b"released", reply, [r.ref for r in releases])

    async def reclaim(
        self, shard: int, holder: str, lease_ms: int, living: Sequence[str] = ()
    ) -> tuple[int, tuple[Lease, ...]]:
        """Take back expired leases."""
        held = self._agreed(shard)
        reply = await self._run_in(held, "reclaim", shard, holder, lease_ms, MOST_RECLAIMED, *living)
        return codec.read_reclaim(reply, held.epoch)

    async def pause_budget(
        self,
        shard: int,
        budget: str,
        pause_ms: int,
        reason: str,
        cause: PauseCause = PauseCause.TROUBLE,
        learned: str = "",
    ) -> None:
        """Let nothing through a budget for a while, then one probe at a time."""
        await self._run("pause_budget", shard, budget, pause_ms, reason, cause.value, learned)

    async def observe(self, shard: int, observations: Sequence[Observation]) -> Sequence[LearnedLimits]:
        """Take over what answers said of limits; answers what is known now of those whose definition changed."""
        return observing.read_observed(
            await self._run("observe", shard, *map(observing.observe_argument, observations))
        )

    async def resume_budget(self, shard: int, budget: str) -> None:
        """End a pause now."""
        await self._run("resume_budget", shard, budget)

    async def checkpoint(self, shard: int, most: int, stored: int | None = None) -> QuotaHandout:
        """What is used of quotas that changed; the receipt of what was stored of an earlier answer."""
        return observing.read_quotas(await self._run("checkpoint", shard, most, stored or 0))

    async def restore_quotas(self, shard: int, uses: Sequence[QuotaUse]) -> None:
        """After a loss: so much at least is used of these."""
        if uses:
            await self._run("restore_quotas", shard, *(value for use in uses for value in use))

    async def set_flow(self, shard: int, flow: FlowDefinition) -> None:
        """Tell weight, budgets and pause of a live flow."""
        await self._run("set_flow", shard, *codec.set_flow_arguments(flow))

    async def urge(self, shard: int, flows: Sequence[tuple[FlowRef, int, float]]) -> int:
        """Change the weights of flows."""
        args = [arg for flow, version, weight in flows for arg in (*codec.flow_address(flow), version, weight)]
        reply = await self._run("urge", shard, *args)
        return int(reply[1])

    async def cancel(self, shard: int, flow: FlowRef, version: int) -> None:
        """Make a flow dead."""
        await self._run("cancel", shard, *codec.flow_address(flow), version)

    async def ring(self, shard: int, doorbells: Sequence[Doorbell]) -> None:
        """Tell feed readers of new events."""
        if doorbells:
            await self._run("ring", shard, *codec.doorbell_arguments(doorbells))

    async def headroom(self, shard: int, budgets: Sequence[str]) -> Mapping[str, BudgetHeadroom]:
        """What budgets hold now."""
        return codec.read_headroom(await self._run("headroom", shard, *budgets))

    async def explain(self, shard: int, flow: FlowRef, position: int = 0, share: float = 1.0) -> Standing | None:
        """How things stand for a flow and one of its entries."""
        reply = await self._run("explain", shard, *codec.flow_address(flow), position)
        return standings.read_explained(reply, position, share)

    async def leased(self, shard: int, flow: FlowRef, positions: Sequence[int]) -> Mapping[int, int]:
        """Those positions of a flow that are leased now, and since when: Unix ms, up to 250 ms early."""
        return await self._on(shard, lambda client: reads.leased(client, shard, flow, positions))

    async def leased_counts(self, shard: int, flows: Sequence[FlowRef]) -> Mapping[FlowRef, int]:
        """Live leases per flow."""
        return await self._on(shard, lambda client: reads.leased_counts(client, shard, flows))

    async def flows(self, shard: int, flows: Sequence[FlowRef]) -> Mapping[FlowRef, FlowState]:
        """What the engine holds of these flows."""
        return await self._on(shard, lambda client: reads.flows(client, shard, flows))

    async def queue_depths(self, shard: int) -> ShardDepths:
        """Counts of one shard."""
        return await self._on(shard, lambda client: reads.queue_depths(client, shard))

"""`RedisEngine`: the engine port on Redis. One method a script; arguments and replies live in codec.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from redis.asyncio import Redis

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
    QueueDefinition,
    Release,
    Settlement,
    ShardDepths,
)
from scheduler.engine import codec, keys, reads, scripts
from scheduler.engine.bell import Bell
from scheduler.engine.connect import call, connect, translated
from scheduler.engine.feed import Feed
from scheduler.ports.engine import EpochLost
from scheduler.settings import Settings

MOST_RECLAIMED = 128


class RedisEngine:
    """Queues, budgets and leases in Redis. `bell` waits for wake-ups, `feed` for news of a batch."""

    def __init__(
        self,
        client: Redis,
        bell: Bell,
        feed: Feed,
        window_entries: int,
        includes: Mapping[str, str] | None = None,
    ) -> None:
        self.bell = bell
        self.feed = feed
        self._client = client
        self._window = window_entries
        self._epochs: dict[int, int] = {}
        self._scripts = {name: scripts.script(name, includes) for name in scripts.names()}

    @classmethod
    async def open(cls, url: str, settings: Settings, *, includes: Mapping[str, str] | None = None) -> Self:
        """Connect lazily: Redis need not be up yet. includes: other texts for Lua includes (tests set the clock)."""
        return cls(connect(url), Bell(url, settings.shards), Feed(url), settings.window_entries, includes)

    async def close(self) -> None:
        """Close all connections."""
        await self.bell.close()
        await self.feed.close()
        await self._client.aclose()

    async def ping(self) -> None:
        """Raise Unavailable when Redis does not answer."""
        with translated():
            await call(self._client, "PING")

    async def identity(self) -> str:
        """Which Redis this is: run id and replication id change with a restart and with a failover."""
        with translated():
            server = await self._client.info("server")
            replication = await self._client.info("replication")
        return f"{server['run_id']}/{replication['master_replid']}"

    async def eviction_policy(self) -> tuple[str, int]:
        """(maxmemory-policy, maxmemory in bytes; 0: unlimited), read by INFO, which needs no right to CONFIG."""
        with translated():
            memory = await self._client.info("memory")
        return str(memory["maxmemory_policy"]), int(memory["maxmemory"])

    async def _run(self, name: str, shard: int, *args: Any) -> Any:
        epoch = self._epochs.get(shard)
        if epoch is None:
            raise EpochLost(shard)
        with translated():
            reply = await self._scripts[name].run(self._client, keys.epoch(shard), epoch, *args)
        if reply[0] == b"epoch":
            self._epochs.pop(shard, None)
            raise EpochLost(shard)
        return reply

    async def open_shard(self, shard: int, epoch: int) -> None:
        """Make `epoch` the shard's epoch in Redis, and this process's."""
        with translated():
            await self._client.set(keys.epoch(shard), epoch)
        self._epochs[shard] = epoch

    async def epoch_of(self, shard: int) -> int | None:
        """The epoch that Redis holds for the shard; None after a loss."""
        with translated():
            value = await self._client.get(keys.epoch(shard))
        return None if value is None else int(value)

    async def set_limits(self, shard: int, definitions: Sequence[BudgetDefinition], *, spent: bool = False) -> None:
        """Create or change budgets."""
        if definitions:
            await self._run("set_limits", shard, int(spent), *map(codec.budget_argument, definitions))

    async def set_queues(self, shard: int, definitions: Sequence[QueueDefinition]) -> None:
        """Create or change queues."""
        if definitions:
            await self._run("set_queues", shard, *map(codec.queue_argument, definitions))

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
        kind: str = "llm",
    ) -> Claimed:
        """Choose, check, reserve and lease entries."""
        if kind != "llm":
            raise ValueError(f"claims of kind {kind!r} name their queue")
        reply = await self._run("claim", shard, slots, open_slots, holder, lease_ms, self._window, *crowded)
        return codec.read_claim(reply, self._epochs[shard], lease_ms)

    async def renew(
        self, shard: int, lease_ms: int, leases: Sequence[tuple[LeaseRef, int | None]]
    ) -> frozenset[LeaseRef]:
        """Prolong leases; answers the lost ones."""
        reply = await self._run("renew", shard, lease_ms, *codec.renew_arguments(leases))
        return codec.read_lost(b"renewed", reply, [ref for ref, _ in leases])

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

    async def reclaim(self, shard: int, holder: str, lease_ms: int) -> tuple[int, tuple[Lease, ...]]:
        """Take back expired leases."""
        reply = await self._run("reclaim", shard, holder, lease_ms, MOST_RECLAIMED)
        return codec.read_reclaim(reply, self._epochs[shard])

    async def pause_budget(self, shard: int, budget: str, pause_ms: int, reason: str) -> None:
        """Let nothing through a budget for a while, then one probe at a time."""
        await self._run("pause_budget", shard, budget, pause_ms, reason)

    async def set_flow(self, shard: int, flow: FlowDefinition) -> None:
        """Change weight, budgets and pause of a live flow."""
        await self._run("set_flow", shard, *codec.set_flow_arguments(flow))

    async def pause(self, shard: int, flow: FlowRef, version: int) -> None:
        """Hold a flow's waiting entries."""
        await self._run("pause", shard, *codec.flow_address(flow), version)

    async def resume(self, shard: int, flow: FlowRef, version: int) -> None:
        """Let a paused flow go on."""
        await self._run("resume", shard, *codec.flow_address(flow), version)

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

    async def leased(self, shard: int, flow: FlowRef, positions: Sequence[int]) -> frozenset[int]:
        """Those positions of a flow that are leased now."""
        with translated():
            return await reads.leased(self._client, shard, flow, positions)

    async def leased_counts(self, shard: int, flows: Sequence[FlowRef]) -> Mapping[FlowRef, int]:
        """Live leases per flow."""
        with translated():
            return await reads.leased_counts(self._client, shard, flows)

    async def flows(self, shard: int, flows: Sequence[FlowRef]) -> Mapping[FlowRef, FlowState]:
        """What the engine holds of these flows."""
        with translated():
            return await reads.flows(self._client, shard, flows)

    async def queue_depths(self, shard: int) -> ShardDepths:
        """Counts of one shard."""
        with translated():
            return await reads.queue_depths(self._client, shard)

"""The epoch of each shard, as this process agreed on it with the server that answers there; scripts run under it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeVar

from redis.asyncio import Redis

from scheduler.engine import keys, scripts
from scheduler.engine.connect import translated
from scheduler.engine.servers import Servers
from scheduler.ports.engine import EpochLost

FENCE_BITS = 32
"""Leases of one epoch that are numbered apart from those of all others: 2^32; 2^21 epochs fit exactly into Lua's
numbers."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Agreed:
    """The epoch of a shard and the server that it was agreed on with. recovering: nothing may be claimed yet, as far
    as we know."""

    epoch: int
    identity: str
    recovering: bool = False


class Epochs:
    """The part of ports.engine.Engine that deals with epochs; its other methods run their scripts by `_run`."""

    def __init__(self, servers: Servers, includes: Mapping[str, str] | None = None) -> None:
        """includes: other texts for Lua includes (tests set the clock)."""
        self._servers = servers
        self._epochs: dict[int, Agreed] = {}
        self._scripts = {name: scripts.script(name, includes) for name in scripts.names()}

    async def identity(self, shard: int) -> str:
        """Who holds the shard: run id and replication id of its server change with a restart and with a failover."""
        with translated():
            return await self._servers.identity(shard)

    async def epoch_of(self, shard: int) -> int | None:
        """The epoch that Redis holds for the shard; None after a loss."""
        value = await self._on(shard, lambda client: client.get(keys.epoch(shard)))
        return None if value is None else int(value)

    async def open_shard(
        self, shard: int, epoch: int, identity: str | None = None, *, recovering: bool = False
    ) -> None:
        """Make `epoch` the shard's epoch in Redis, and this process's, as long as the server is `identity` (None:
        whoever it is now). recovering: nothing is claimed before `recovered`."""
        values: dict[str, int | str] = {keys.epoch(shard): epoch}
        if recovering:
            before, under_way = await self._on(
                shard, lambda client: client.mget(keys.epoch(shard), keys.recovery(shard))
            )
            kept = before is not None and under_way != b"gone"
            # No fence of an earlier epoch may come again, also not from an older copy of the counter.
            values |= {keys.fence(shard): epoch << FENCE_BITS, keys.recovery(shard): "kept" if kept else "gone"}
        await self._on(shard, lambda client: client.mset(values))
        self._epochs[shard] = Agreed(epoch, self._servers.seen(shard) if identity is None else identity, recovering)

    async def join_shard(self, shard: int, epoch: int, identity: str) -> bool:
        """Take the shard's epoch as this process's without a write; answers whether it is being recovered."""
        recovering = await self._is_recovering(shard)
        self._epochs[shard] = Agreed(epoch, identity, recovering)
        return recovering

    def agreed_epoch(self, shard: int) -> int | None:
        """The epoch that this process works under; None: it has to ask."""
        held = self._epochs.get(shard)
        return None if held is None else held.epoch

    async def confirm(self, shard: int) -> None:
        """Raise EpochLost unless the shard is as it was agreed on."""
        held = self._agreed(shard)
        if await self.epoch_of(shard) != held.epoch or self._servers.seen(shard) != held.identity:
            self._drop(shard, held)

    async def recovered(self, shard: int) -> None:
        """Let claims begin."""
        held = self._agreed(shard)
        await self._run_in(held, "recovered", shard)
        self._epochs[shard] = replace(held, recovering=False)

    def _agreed(self, shard: int) -> Agreed:
        held = self._epochs.get(shard)
        if held is None:
            raise EpochLost(shard)
        return held

    async def _past_recovery(self, shard: int) -> Agreed:
        """What was agreed on, once claims may begin; asks Redis as long as they could not yet."""
        held = self._agreed(shard)
        if held.recovering:
            if await self._is_recovering(shard):
                raise EpochLost(shard)
            held = self._epochs[shard] = replace(held, recovering=False)
        return held

    async def _run(self, name: str, shard: int, *args: Any) -> Any:
        return await self._run_in(self._agreed(shard), name, shard, *args)

    async def _run_in(self, held: Agreed, name: str, shard: int, *args: Any) -> Any:
        script = self._scripts[name]
        reply = await self._on(shard, lambda client: script.run(client, keys.epoch(shard), held.epoch, *args))
        # Whoever answered may have begun anew, or from an older copy, since the epoch was agreed on: what it says then
        # is not believed (its leases are let expire), and recovery decides.
        if reply[0] == b"epoch" or self._servers.seen(shard) != held.identity:
            self._drop(shard, held)
        return reply

    async def _on(self, shard: int, work: Callable[[Redis], Awaitable[T]]) -> T:
        with translated():
            return await self._servers.on(shard, work)

    def _drop(self, shard: int, held: Agreed) -> NoReturn:
        if self._epochs.get(shard) is held:
            del self._epochs[shard]
        raise EpochLost(shard)

    async def _is_recovering(self, shard: int) -> bool:
        return bool(await self._on(shard, lambda client: client.exists(keys.recovery(shard))))

"""Arguments and replies of `admit`, and the list in which a process learns of calls that were admitted later."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from scheduler.domain.direct import Admission, Admitted, DirectAsk, Exceeds, Refused, Undefined, Waits
from scheduler.domain.work import Entry, Fence, FlowRef, Lease, LeaseRef
from scheduler.engine import keys
from scheduler.engine.codec import UnexpectedReply
from scheduler.engine.connect import call, translated
from scheduler.engine.servers import Servers

POSITION = 1
"""A ticket is a flow of one entry."""


def admit_arguments(ask: DirectAsk, holder: str, lease_ms: int, wait_ms: int) -> list[Any]:
    """ARGV[2…] of admit."""
    return [
        keys.queue_name(ask.queue),
        ask.ticket,
        holder,
        lease_ms,
        wait_ms,
        ask.first_target,
        ask.in_tokens,
        ask.out_tokens,
        *ask.budgets,
    ]


def read_admission(reply: Any, ask: DirectAsk, epoch: int) -> Admission:
    """RETURNS of admit."""
    match reply:
        case [b"admitted", age_ms, fence, target, _]:
            entry = Entry(POSITION, 1, ask.in_tokens, ask.out_tokens, target=target)
            ref = LeaseRef(FlowRef(ask.queue, ask.ticket), POSITION, Fence(epoch, fence))
            return Admitted(Lease(ref, entry, target), age_ms)
        case [b"waiting", ask_ms, budget]:
            return Waits(ask_ms, budget.decode())
        case [b"refused", wait_ms, budget, shut]:
            return Refused(wait_ms, budget.decode(), shut == 1)
        case [b"exceeds", budget]:
            return Exceeds(budget.decode())
        case [b"unknown", name]:
            return Undefined(name.decode())
        case _:
            raise UnexpectedReply("admit", reply)


class Grants:
    """Waits for tickets that were admitted while nobody asked. One reader per shard, on a connection of its own."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._clients: dict[int, Redis] = {}

    async def wait(self, shard: int, holder: str, timeout_s: float) -> str | None:
        """The next ticket of this holder; None after timeout_s (at least 1 ms, less than 10 s). Raises Unavailable."""
        with translated():
            client = self._clients.get(shard)
            if client is None:
                client = self._clients[shard] = await self._servers.blocking(shard)
            try:
                popped = await call(client, "BLPOP", keys.grants(shard, holder), f"{max(0.001, timeout_s):.3f}")
            except BaseException:
                # Its slot may have moved, or its reply may still be on the way: the next wait begins anew.
                del self._clients[shard]
                await client.aclose()
                raise
        return None if popped is None else popped[1].decode()

    async def close(self) -> None:
        """Close the connections; nobody may wait any more."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

"""Where the shards live: all on one server, or each on the node of a cluster that serves its slot."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import redis.exceptions
from redis.asyncio import Redis
from redis.crc import key_slot

from scheduler.engine import keys
from scheduler.engine.address import Address, ClusterUrl, read_url
from scheduler.engine.connect import TROUBLE, call, connect

T = TypeVar("T")

MOST_MOVES = 3
"""Redirections that one call follows; a cluster that sends us round and round is in trouble."""
LEARN_PAUSE_S = 0.2
"""Between two looks at a cluster's map while it does not help."""
LEARN_S = 2.0
"""One node's time to tell the map."""


class Servers(Protocol):
    """The servers behind one URL. Methods that ask raise redis-py's errors; callers use `connect.translated`."""

    async def on(self, shard: int, work: Callable[[Redis], Awaitable[T]]) -> T:
        """Do `work` with the client of the server that holds the shard; it may be done again elsewhere when the shard
        has moved."""
        ...

    async def blocking(self, shard: int) -> Redis:
        """A client of that server for one blocking reader, who closes it."""
        ...

    def seen(self, shard: int) -> str:
        """Identity of the server that the shard was last talked to on; without asking."""
        ...

    async def identity(self, shard: int) -> str:
        """Run id and replication id of the shard's server, asked for now."""
        ...

    async def everywhere(self, ask: Callable[[Redis], Awaitable[T]]) -> Sequence[T]:
        """`ask` each server that can hold shards."""
        ...

    async def close(self) -> None:
        """Close all connections but those of `blocking`."""
        ...


def open_servers(url: str) -> Servers:
    """Nothing is connected to yet. Raises ValueError for a URL that cannot be read."""
    cluster = read_url(url)
    return SingleServer(url) if cluster is None else ClusterServers(cluster)


class Node:
    """One server. Each new connection notes who answered: a restart or another server under the same address is seen
    before anything that was sent there is believed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.identity = ""
        self.client = connect(url, on_connect=self._connected)

    async def _connected(self, connection: Any) -> None:
        await connection.on_connect()
        await connection.send_command("INFO", "server", "replication")
        self.identity = read_identity(_fields(await connection.read_response(disable_decoding=True)))


class SingleServer:
    """Implements Servers: every shard on one server."""

    def __init__(self, url: str) -> None:
        self._node = Node(url)

    async def on(self, shard: int, work: Callable[[Redis], Awaitable[T]]) -> T:  # noqa: ARG002 - all shards are here
        """Do it there."""
        return await work(self._node.client)

    async def blocking(self, shard: int) -> Redis:  # noqa: ARG002
        """A client with one connection."""
        return connect(self._node.url, blocking=True)

    def seen(self, shard: int) -> str:  # noqa: ARG002
        """Whoever answered the newest connection."""
        return self._node.identity

    async def identity(self, shard: int) -> str:  # noqa: ARG002
        """Ask it."""
        return read_identity(await call(self._node.client, "INFO", "server", "replication"))

    async def everywhere(self, ask: Callable[[Redis], Awaitable[T]]) -> Sequence[T]:
        """Ask the one."""
        return [await ask(self._node.client)]

    async def close(self) -> None:
        """Close its connections."""
        await self._node.client.aclose()


class ClusterServers:
    """Implements Servers: a cluster's map of slots, learned at the first call and again whenever it proves wrong.

    A shard is one slot (all its keys carry its tag), so no call needs more than one node. What a node in trouble was
    asked is not repeated here: callers come again, and find the node that took over once the cluster has chosen it.
    """

    def __init__(self, url: ClusterUrl) -> None:
        self._url = url
        self._nodes: dict[Address, Node] = {}
        self._owners: list[tuple[int, int, Address]] = []
        self._moved: dict[int, Address] = {}
        self._stale = True
        self._learned_s = 0.0
        self._suspected: Node | None = None
        self._learning: asyncio.Task[None] | None = None

    async def on(self, shard: int, work: Callable[[Redis], Awaitable[T]]) -> T:
        """Do it on the node that serves the shard's slot."""
        for _ in range(MOST_MOVES):
            node = await self._node_of(shard)
            try:
                return await work(node.client)
            except redis.exceptions.MovedError as moved:
                self._follow(moved, node)
            except TROUBLE:
                self._suspect(node)
                raise
        self._stale = True
        raise redis.exceptions.ClusterDownError(f"shard {shard} is sent from node to node")

    async def blocking(self, shard: int) -> Redis:
        """A client of that node; ask for another when it fails or says that the slot has moved."""
        await self.on(shard, lambda client: client.exists(keys.epoch(shard)))
        return connect((await self._node_of(shard)).url, blocking=True)

    def seen(self, shard: int) -> str:
        """Identity of its node, as far as the map is known."""
        address = self._owner(slot_of(shard))
        return "" if address is None or address not in self._nodes else self._nodes[address].identity

    async def identity(self, shard: int) -> str:
        """Ask its node."""

        async def ask(client: Redis) -> str:
            # A node answers INFO whatever it serves: only a look at a key proves that the shard is there.
            await client.exists(keys.epoch(shard))
            return read_identity(await call(client, "INFO", "server", "replication"))

        return await self.on(shard, ask)

    async def everywhere(self, ask: Callable[[Redis], Awaitable[T]]) -> Sequence[T]:
        """Ask every node that serves slots."""
        await self._learn()
        return [await ask(self._node(address).client) for address in dict.fromkeys(a for *_, a in self._owners)]

    async def close(self) -> None:
        """Close the connections to all nodes."""
        for node in self._nodes.values():
            await node.client.aclose()

    async def _node_of(self, shard: int) -> Node:
        slot = slot_of(shard)
        if self._stale or self._owner(slot) is None:
            await self._learn()
        address = self._owner(slot)
        if address is None:
            self._stale = True
            raise redis.exceptions.ClusterDownError(f"no node serves slot {slot} of shard {shard}")
        return self._node(address)

    def _owner(self, slot: int) -> Address | None:
        moved = self._moved.get(slot)
        if moved is not None:
            return moved
        return next((address for first, last, address in self._owners if first <= slot <= last), None)

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(self._url.node_url(address))
        return node

    def _follow(self, moved: redis.exceptions.MovedError, teller: Node) -> None:
        """Believe a redirection until the map is looked at again."""
        host = moved.host or next(address[0] for address, node in self._nodes.items() if node is teller)
        self._moved[moved.slot_id] = (host, moved.port)

    def _suspect(self, node: Node) -> None:
        """A node is in trouble: look at the map before the next call, and ask others for it first."""
        self._stale, self._suspected = True, node

    async def _learn(self) -> None:
        """Ask for the map; callers at the same time share what comes of it."""
        if self._owners and time.monotonic() - self._learned_s < LEARN_PAUSE_S:
            return
        if self._learning is None:
            self._learning = asyncio.create_task(self._take_map(), name="redis-cluster-map")
            self._learning.add_done_callback(self._map_taken)
        await asyncio.shield(self._learning)

    def _map_taken(self, task: asyncio.Task[None]) -> None:
        self._learning = None
        if not task.cancelled():
            task.exception()  # looked at, also when nobody waits any more

    async def _take_map(self) -> None:
        self._owners = await self._ask_map()
        self._moved.clear()
        self._stale, self._learned_s = False, time.monotonic()
        for address in set(self._nodes) - set(self._url.seeds) - {owner for *_, owner in self._owners}:
            await self._nodes.pop(address).client.aclose()

    async def _ask_map(self) -> list[tuple[int, int, Address]]:
        candidates = list({*self._url.seeds, *self._nodes})
        random.shuffle(candidates)
        candidates.sort(key=lambda address: self._nodes.get(address) is self._suspected)
        problem: Exception = redis.exceptions.ClusterDownError("no node of the cluster answers")
        for address in candidates:
            try:
                async with asyncio.timeout(LEARN_S):
                    reply = await call(self._node(address).client, "CLUSTER", "SLOTS")
            except TimeoutError:
                problem = redis.exceptions.TimeoutError(f"{address[0]}:{address[1]} does not answer")
            except TROUBLE as error:
                problem = error
            else:
                if reply:
                    return read_slots(reply, asked=address[0])
        raise problem


def slot_of(shard: int) -> int:
    """The slot of all keys of a shard."""
    return int(key_slot(keys.epoch(shard).encode()))


def read_slots(reply: Sequence[Sequence[Any]], *, asked: str) -> list[tuple[int, int, Address]]:
    """CLUSTER SLOTS as (first slot, last slot, master). asked: the host for nodes that do not know their own."""
    return [(first, last, (_host(master[0]) or asked, int(master[1]))) for first, last, master, *_ in reply]


def _host(name: bytes | str | None) -> str:
    text = name.decode() if isinstance(name, bytes) else name or ""
    return "" if text == "?" else text


def read_identity(info: Mapping[str, Any]) -> str:
    """Run id and replication id of an INFO reply: others after a restart or a failover."""
    return f"{info['run_id']}/{info['master_replid']}"


def _fields(info: bytes) -> dict[str, str]:
    return dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)

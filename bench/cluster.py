"""A Redis Cluster on loopback out of the embedded server's program, for tests and benches; gone with the process."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis.exceptions
from redis import Redis

from brim_server.embedded.lifeline import die_with_parent
from brim_server.embedded.redis_server import executable

SLOTS = 16_384
NODE_TIMEOUT_MS = 2_000
"""A master that is silent for so long is failed over; chosen so that others do not see it in a busy test."""
READY_S = 30.0
_POLL_S = 0.01

_CONFIG = """\
port {port}
cluster-port {bus_port}
bind 127.0.0.1
cluster-enabled yes
cluster-config-file nodes.conf
cluster-node-timeout {node_timeout_ms}
cluster-require-full-coverage no
repl-diskless-sync-delay 0
dir .
daemonize no
proc-title-template "brim-cluster"
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
slowlog-log-slower-than 10000
"""


class Node:
    """One server of a cluster. The first nodes are masters, in order of their slots; their replicas follow."""

    def __init__(self, home: Path, port: int, bus_port: int) -> None:
        self.port = port
        self.bus_port = bus_port
        self.client = Redis(host="127.0.0.1", port=port, socket_timeout=5)
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        home.mkdir()
        (home / "redis.conf").write_text(_CONFIG.format(port=port, bus_port=bus_port, node_timeout_ms=NODE_TIMEOUT_MS))

    def start(self) -> None:
        """Start it, or start it again with what its disk holds."""
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ("brim-cluster", "redis.conf"),
                executable=executable(),
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),
            )

    def send(self, what: signal.Signals) -> None:
        """Stop it, wake it, kill it."""
        assert self._process is not None
        self._process.send_signal(what)
        if what == signal.SIGKILL:
            self._process.wait()

    def end(self) -> None:
        """Kill it if it still runs."""
        self.client.close()
        if self._process is not None and self._process.poll() is None:
            self.send(signal.SIGKILL)

    def ask(self, *command: object) -> Any:
        """A command as it goes over the wire."""
        client: Any = self.client
        return client.execute_command(*command)

    def cluster_info(self) -> dict[str, str]:
        """CLUSTER INFO."""
        reply = self.ask("CLUSTER", "INFO")
        text = reply.decode() if isinstance(reply, bytes) else reply
        return text if isinstance(text, dict) else dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def follows(self) -> bool:
        """Whether it is a replica that has its master's data."""
        return self.client.info("replication").get("master_link_status") == "up"

    def answers(self) -> bool:
        """Whether it is up and has loaded its data."""
        try:
            return bool(self.client.ping())
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            return False


class LoopbackCluster:
    """`with LoopbackCluster() as cluster:` masters (and a replica each) on free ports of 127.0.0.1."""

    def __init__(self, *, masters: int = 3, replicas: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="brim-cluster-"))
        count = masters * 2 if replicas else masters
        ports = _free_ports(2 * count)
        self.nodes = [Node(self._folder / str(i), ports[2 * i], ports[2 * i + 1]) for i in range(count)]
        self._masters = masters

    @property
    def masters(self) -> list[Node]:
        """Those that were made masters."""
        return self.nodes[: self._masters]

    @property
    def url(self) -> str:
        """For BRIM_REDIS_URL."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.masters)

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                node.start()
            for node in self.nodes:
                _until(node.answers, "a node answers")
            self._join()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def master_of(self, slot: int) -> Node:
        """The node that got the slot when the cluster was made."""
        return self.masters[next(i for i, (first, end) in enumerate(self._ranges()) if first <= slot < end)]

    def owner_of(self, slot: int) -> Node:
        """The node that serves the slot now, as a node that answers knows it."""
        teller = next(node for node in self.nodes if node.answers())
        port = next(int(row[2][1]) for row in teller.ask("CLUSTER", "SLOTS") if row[0] <= slot <= row[1])
        return next(node for node in self.nodes if node.port == port)

    def clear(self) -> None:
        """Empty all masters, also of scripts."""
        for node in self.masters:
            node.client.flushall()
            node.client.script_flush()

    def _ranges(self) -> list[tuple[int, int]]:
        cuts = [SLOTS * i // self._masters for i in range(self._masters + 1)]
        return list(pairwise(cuts))

    def _join(self) -> None:
        first = self.nodes[0]
        for number, (node, (start, end)) in enumerate(zip(self.masters, self._ranges(), strict=True), start=1):
            node.ask("CLUSTER", "ADDSLOTSRANGE", start, end - 1)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number)
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", first.port, first.bus_port)
        for node in self.nodes:
            _until(lambda node=node: self._knows_all(node), "the nodes know each other")  # type: ignore[misc]
        for master, replica in zip(self.masters, self.nodes[self._masters :], strict=False):
            master_id = master.ask("CLUSTER", "MYID").decode()
            _until(lambda r=replica, m=master_id: _becomes_replica(r, m), "a replica knows its master")  # type: ignore[misc]
        for replica in self.nodes[self._masters :]:
            _until(replica.follows, "a replica has its master's data")

    def _knows_all(self, node: Node) -> bool:
        info = node.cluster_info()
        return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == len(self.nodes)

    def _end(self) -> None:
        for node in self.nodes:
            node.end()
        shutil.rmtree(self._folder, ignore_errors=True)


def _becomes_replica(node: Node, master_id: str) -> bool:
    with contextlib.suppress(redis.exceptions.ResponseError):
        node.ask("CLUSTER", "REPLICATE", master_id)
        return True
    return False


def _until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_S
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the cluster was not ready within {READY_S:.0f} s: not seen that {what}")
        time.sleep(_POLL_S)


def _free_ports(count: int) -> list[int]:
    # All are held until all are found, so that none comes twice.
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]

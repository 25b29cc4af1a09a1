"""A listening simulator, in whatever process wants one."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from brim_server.simulator.console import Console
from brim_server.simulator.options import Options
from brim_server.simulator.provider import Outcome, Provider, Request
from brim_server.simulator.wire import Connection, Connections


@dataclass(frozen=True, slots=True)
class Running:
    """Where it listens: `origin` without a path, `base_url` with the `/v1` that clients want."""

    origin: str
    provider: Provider

    @property
    def base_url(self) -> str:
        """What clients are given."""
        return f"{self.origin}/v1"


@asynccontextmanager
async def running(options: Options, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Running]:
    """Listen while the block runs; port 0 picks a free one. At the end every connection is cut at once.

    Raises OSError when the address cannot be bound.
    """
    loop = asyncio.get_running_loop()
    clock_us = _steady_clock_us()
    connections = Connections()
    provider = Provider(options, clock_us())
    console = Console(provider, connections.counts)

    def handle(request: Request) -> Outcome:
        return console.handle(request, clock_us())

    server = await loop.create_server(
        lambda: Connection(handle, connections, loop, lambda: provider.options.max_body_bytes),
        host,
        port,
        backlog=4096,
    )
    bound_host, bound_port = server.sockets[0].getsockname()[:2]
    shown_host = f"[{bound_host}]" if ":" in bound_host else bound_host
    try:
        yield Running(f"http://{shown_host}:{bound_port}", provider)
    finally:
        server.close()
        connections.abort_all()
        await server.wait_closed()


def _steady_clock_us() -> Callable[[], int]:
    """Microseconds since 1970 by the clock of the start, then at the pace of the monotonic clock."""
    offset_ns = time.time_ns() - time.monotonic_ns()
    monotonic_ns = time.monotonic_ns

    def now_us() -> int:
        return (monotonic_ns() + offset_ns) // 1000

    return now_us

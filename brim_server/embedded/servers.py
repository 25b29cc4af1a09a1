"""Both servers as one thing with a beginning and an end."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from brim_server.embedded.child import Child
from brim_server.embedded.folder import DataFolder
from brim_server.embedded.postgres_server import PostgresServer
from brim_server.embedded.redis_server import RedisServer
from brim_server.embedded.refusal import EmbeddedRefused

_log = structlog.get_logger(__name__)
_WATCH_S = 0.25
_FIRST_BACK_OFF_S = 0.25
_LONGEST_BACK_OFF_S = 5.0

Server = RedisServer | PostgresServer


class EmbeddedServers:
    """A private Redis and a private Postgres in `data_dir`, as long as the `with` block lasts.

    `async with` also starts a server again when it dies; plain `with` does not (tests). Enter it from the
    main thread: the servers end with the thread that started them. Entering raises EmbeddedRefused with a
    reason for the person. Leaving takes at most about 6 s and leaves no process, socket or lock.

    `durable=False` is for tests: much faster, and safe only against a killed process, not a lost machine.
    """

    def __init__(self, data_dir: Path, *, redis: bool = True, postgres: bool = True, durable: bool = True) -> None:
        """Name the folder and which of the two to run; nothing is made before the block is entered."""
        self._folder = DataFolder(data_dir)
        self._redis = RedisServer(self._folder, durable=durable)
        self._postgres = PostgresServer(self._folder, durable=durable)
        self._servers: list[Server] = [
            *([self._redis] if redis else []),
            *([self._postgres] if postgres else []),
        ]
        self._children: dict[Server, Child] = {}
        self._watch: asyncio.Task[None] | None = None

    @property
    def redis_url(self) -> str:
        """A URL for redis-py (`unix:///…?db=0`)."""
        return self._redis.url

    @property
    def database_url(self) -> str:
        """A DSN for asyncpg (`postgresql://brim@/brim?host=…`)."""
        return self._postgres.dsn

    @property
    def redis_pid(self) -> int:
        """The process id of Redis."""
        return self._children[self._redis].pid

    @property
    def postgres_pid(self) -> int:
        """The process id of the postmaster."""
        return self._children[self._postgres].pid

    def __enter__(self) -> Self:
        """Start both and wait until both answer."""
        with self._stopped_on_error():
            self._prepare()
            self._spawn()
            for server, child in self._children.items():
                server.wait_ready(child)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop both and unlock the folder."""
        self._stop()

    async def __aenter__(self) -> Self:
        """Start both, wait until both answer, watch them from then on."""
        with self._stopped_on_error():
            await _in_thread(self._prepare)
            # Spawned here, in the loop's thread: the kernel ties a child to the thread that forked it.
            self._spawn()
            for server, child in self._children.items():
                await asyncio.to_thread(server.wait_ready, child)
        self._watch = asyncio.create_task(self._keep_alive(), name="embedded-servers")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop both and unlock the folder."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        await asyncio.to_thread(self._stop)

    def _prepare(self) -> None:
        self._folder.acquire()
        for server in self._servers:
            server.prepare()

    def _spawn(self) -> None:
        for server in self._servers:
            self._children[server] = server.spawn()

    async def _keep_alive(self) -> None:
        """Start a dead server again, with a growing pause while it does not come up."""
        back_off_s = _FIRST_BACK_OFF_S
        while True:
            await asyncio.sleep(_WATCH_S)
            for server, child in list(self._children.items()):
                code = child.exit_code()
                if code is None:
                    continue
                name = type(server).__name__
                _log.warning("embedded_server.ended", server=name, exit_code=code)
                await asyncio.sleep(back_off_s)
                try:
                    child = self._children[server] = server.spawn()
                    await asyncio.to_thread(server.wait_ready, child)
                except EmbeddedRefused as refusal:
                    # Right after a kill of Postgres its last backends may still hold the shared memory.
                    back_off_s = min(back_off_s * 2, _LONGEST_BACK_OFF_S)
                    _log.warning("embedded_server.not_restarted", server=name, reason=str(refusal))
                else:
                    back_off_s = _FIRST_BACK_OFF_S
                    _log.info("embedded_server.restarted", server=name)

    def _stop(self) -> None:
        for child in self._children.values():
            child.ask_to_stop()
        for child in self._children.values():
            child.wait_stopped()
        self._children.clear()
        self._folder.release()

    @contextlib.contextmanager
    def _stopped_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._stop()
            raise


async def _in_thread(call: Callable[[], None]) -> None:
    """Run `call` in a thread and, when cancelled, wait for it: nothing may appear after the clean-up."""
    running = asyncio.create_task(asyncio.to_thread(call))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        running.exception()  # seen: nobody is told of it any more
        raise

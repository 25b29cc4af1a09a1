"""A way to Postgres that can be cut."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

SOCKET = ".s.PGSQL.5432"


class Line:
    """A way to Postgres that can be cut: a unix socket that is passed on to the real one."""

    def __init__(self, database_url: str, folder: Path) -> None:
        parts = urlsplit(database_url)
        self._parts = parts
        self._near = folder / SOCKET
        account = f"{parts.username or ''}:{parts.password}@" if parts.password else f"{parts.username or ''}@"
        near = parts._replace(netloc=account, query=urlencode({"host": str(folder)}))
        self.database_url = urlunsplit(near)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    def hang(self) -> None:
        """Take everything and carry nothing, as a server that was stopped (SIGSTOP) does."""
        self._flowing.clear()

    def flow(self) -> None:
        """Carry again, also what came meanwhile."""
        self._flowing.set()

    async def connect(self) -> None:
        """Take connections; harmless when it does already."""
        if self._server is not None:
            return
        self._server = await asyncio.start_unix_server(self._carry, self._near)

    async def cut(self) -> None:
        """End all connections, and take none."""
        if self._server is not None:
            self._server.close()
        self._server = None
        self._near.unlink(missing_ok=True)
        while self._tasks:
            for writer in list(self._open):
                writer.transport.abort()
            await asyncio.wait(list(self._tasks), timeout=0.05)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            far_reader, far_writer = await self._far()
            self._open.add(far_writer)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
            self._open.discard(far_writer)
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)

    async def _far(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folders = parse_qs(self._parts.query).get("host")
        if folders:
            return await asyncio.open_unix_connection(str(Path(folders[0]) / SOCKET))
        return await asyncio.open_connection(self._parts.hostname, self._parts.port or 5432)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
        sink.close()
        with suppress(OSError):
            await sink.wait_closed()


@asynccontextmanager
async def line_to(database_url: str) -> AsyncIterator[Line]:
    """A line that is open, for the length of the block."""
    folder = Path(tempfile.mkdtemp(prefix="brim-line-"))  # the paths of sockets must be short
    line = Line(database_url, folder)
    await line.connect()
    try:
        yield line
    finally:
        await line.cut()
        shutil.rmtree(folder)

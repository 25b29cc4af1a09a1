"""Redis behind TLS, by its URL alone."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest

from scheduler.domain.errors import Unavailable
from scheduler.engine.redis_engine import RedisEngine
from scheduler.settings import Settings
from tests.tls_door import make_certificate, tls_door


def _server(url: str) -> Path | tuple[str, int]:
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "unix" else (parts.hostname or "127.0.0.1", parts.port or 6379)


def _url(port: int, ca: Path) -> str:
    return f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={quote(str(ca))}"


async def test_the_engine_and_its_bell_work_through_tls(empty_redis: str, tmp_path: Path) -> None:
    async with tls_door(_server(empty_redis), tmp_path) as door:
        engine = await RedisEngine.open(_url(door.port, door.ca), Settings())
        try:
            await engine.open_shard(3, 1)
            assert await engine.headroom(3, ["x"]) == {}
            await engine.bell.hand_on(3)
            assert await engine.bell.wait(5) == 3
        finally:
            await engine.close()
        assert set(door.entered) == {"TLSv1.3"}


async def test_a_redis_whose_certificate_is_not_trusted_is_not_spoken_to(empty_redis: str, tmp_path: Path) -> None:
    stranger, _ = make_certificate(tmp_path, "stranger")
    async with tls_door(_server(empty_redis), tmp_path) as door:
        engine = await RedisEngine.open(_url(door.port, stranger), Settings())
        try:
            with pytest.raises(Unavailable, match="certificate"):
                await engine.identity(3)
        finally:
            await engine.close()
        assert door.entered == []

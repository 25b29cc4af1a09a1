"""Postgres behind TLS, by its DSN alone."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from scheduler.domain.errors import Unavailable
from scheduler.store import PostgresStore
from scheduler.store.migrations import migrate
from tests.tls_door import make_certificate, tls_door


def _server(dsn: str) -> Path | tuple[str, int]:
    parts = urlsplit(dsn)
    folder = parse_qs(parts.query).get("host")
    return Path(folder[0]) / ".s.PGSQL.5432" if folder else (parts.hostname or "127.0.0.1", parts.port or 5432)


def _dsn(dsn: str, port: int, ca: Path) -> str:
    plain = urlsplit(dsn)
    query = f"sslmode=verify-full&sslrootcert={quote(str(ca))}"
    return f"postgresql://{plain.netloc.rpartition('@')[0]}@127.0.0.1:{port}{plain.path}?{query}"


async def test_store_and_migrations_work_through_tls(bare_database: str, tmp_path: Path) -> None:
    async with tls_door(_server(bare_database), tmp_path, postgres=True) as door:
        dsn = _dsn(bare_database, door.port, door.ca)
        await migrate(dsn)
        store = await PostgresStore.open(dsn, max_size=2)
        try:
            assert await store.ready()
        finally:
            await store.close()
        assert set(door.entered) == {"TLSv1.3"}


async def test_a_postgres_whose_certificate_is_not_trusted_is_not_spoken_to(database: str, tmp_path: Path) -> None:
    stranger, _ = make_certificate(tmp_path, "stranger")
    async with tls_door(_server(database), tmp_path, postgres=True) as door:
        with pytest.raises(Unavailable, match="certificate"):
            await PostgresStore.open(_dsn(database, door.port, stranger))
        assert door.entered == []

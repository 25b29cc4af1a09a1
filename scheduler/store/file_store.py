"""The rows of files and of their contents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from uuid import UUID

import asyncpg

from scheduler.domain.errors import Invalid, InvariantBroken, NotFound
from scheduler.domain.file import Blob, File, NewFile, Purpose
from scheduler.ports.pages import Page
from scheduler.store.database import Database
from scheduler.store.rows import Row
from scheduler.store.statements import load_statements

_SQL = load_statements("file")
_PAGES = {
    (False, True): _SQL["files_newest_first"],
    (False, False): _SQL["files_oldest_first"],
    (True, True): _SQL["files_of_purpose_newest_first"],
    (True, False): _SQL["files_of_purpose_oldest_first"],
}


class PostgresFileStore:
    """Implements ports.files.FileStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def announce(self, file: NewFile, blob: Blob) -> bool:
        """Refer to a content that is about to be placed; see the port."""
        async with self._database.connection() as connection:
            try:
                announced = await connection.fetchval(
                    _SQL["announce_file"],
                    blob.digest,
                    blob.size_bytes,
                    file.file_id,
                    file.workspace_id,
                    file.environment_id,
                    file.created_at,
                    file.expires_at,
                    file.purpose.value,
                    file.filename,
                )
            except asyncpg.ForeignKeyViolationError as error:
                raise NotFound("The environment does not exist.", code="ENVIRONMENT_NOT_FOUND") from error
            except (asyncpg.CharacterNotInRepertoireError, UnicodeError) as error:
                raise Invalid("The name of the file holds a character that cannot be stored.") from error
        return announced is not None

    async def ready(self, file_id: UUID) -> File:
        """The file is there; see the port."""
        row = await self._database.fetchrow(_SQL["make_file_ready"], file_id)
        if row is None:
            raise InvariantBroken(f"file {file_id} was forgotten while its content was placed")
        return _file_of(row)

    async def get(self, environment_id: UUID, file_id: UUID) -> File | None:
        """One file, unless it expired."""
        row = await self._database.fetchrow(_SQL["get_file"], environment_id, file_id)
        return None if row is None else _file_of(row)

    async def newest(self) -> File | None:
        """The newest file of all; see the port."""
        row = await self._database.fetchrow(_SQL["newest_file"])
        return None if row is None else _file_of(row)

    async def page(
        self, environment_id: UUID, *, purpose: Purpose | None, newest_first: bool, after: UUID | None, limit: int
    ) -> Page[File]:
        """A page of files by id; see the port."""
        statement = _PAGES[purpose is not None, newest_first]
        narrowed = () if purpose is None else (purpose.value,)
        rows = await self._database.fetch(statement, environment_id, after, limit + 1, *narrowed)
        data = tuple(map(_file_of, rows[:limit]))
        return Page(data, str(data[-1].file_id) if len(rows) > limit else None)

    async def delete(self, environment_id: UUID, file_id: UUID) -> Blob | None:
        """Forget a file; see the port."""
        row = await self._database.fetchrow(_SQL["delete_file"], environment_id, file_id)
        return None if row is None else Blob(row["digest"], row["size_bytes"])

    async def forget(self, now: datetime, abandoned_before: datetime, limit: int) -> Sequence[Blob]:
        """Forget what expired or was never finished; see the port."""
        rows = await self._database.fetch(_SQL["forget_files"], now, abandoned_before, limit)
        return tuple(Blob(row["digest"], row["size_bytes"]) for row in rows)

    async def unused(self, limit: int) -> Sequence[bytes]:
        """Digests without a file."""
        return tuple(row["digest"] for row in await self._database.fetch(_SQL["unused_blobs"], limit))

    def removing(self, digest: bytes) -> AbstractAsyncContextManager[bool]:
        """A short transaction in which the content may be removed; see the port."""
        return self._removing(digest)

    @asynccontextmanager
    async def _removing(self, digest: bytes) -> AsyncIterator[bool]:
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["lock_blob"], digest)
            yield await connection.fetchval(_SQL["forget_blob"], digest) is not None


def _file_of(row: Row) -> File:
    return File(
        workspace_id=row["workspace_id"],
        environment_id=row["environment_id"],
        file_id=row["file_id"],
        purpose=Purpose(row["purpose"]),
        filename=row["filename"],
        blob=Blob(row["digest"], row["size_bytes"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )

"""Files and their contents through crashes and races: rows here, contents on a real disk."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.blobs.disk import DiskBlobs
from scheduler.domain.errors import Invalid, InvariantBroken, NotFound, Unavailable
from scheduler.domain.file import Blob, File, NewFile, Purpose
from scheduler.ports.files import Draft
from scheduler.services.files.files import ABANDONED_AFTER, Files
from scheduler.store import PostgresStore
from tests.store.factories import Tenant, new_id


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the contents lie."""
    return tmp_path / "files"


@pytest.fixture
def files(store: PostgresStore, folder: Path) -> Files:
    """The service over both."""
    return Files(store.files, DiskBlobs(folder))


def new_file(tenant: Tenant, **changes: Any) -> NewFile:
    """A file about to be kept."""
    now = datetime.now(UTC)
    file = NewFile(tenant.workspace_id, tenant.environment_id, new_id(), Purpose.BATCH, "in.jsonl", now, None)
    return replace(file, **changes)


async def keep(files: Files, new: NewFile, content: bytes = b"content") -> File:
    """Write and keep."""
    async with files.drafting() as draft:
        draft.write(content)
        return await files.keep(draft, new)


def contents(folder: Path) -> int:
    """How many contents and drafts there are."""
    return sum(path.is_file() for path in folder.rglob("*"))


async def test_keeping_the_same_file_again_changes_nothing(files: Files, tenant: Tenant, folder: Path) -> None:
    new = new_file(tenant)
    first = await keep(files, new)
    assert await keep(files, new, b"something else") == first
    assert contents(folder) == 1


async def test_a_publisher_that_died_before_the_end_is_followed_by_another(
    files: Files, store: PostgresStore, tenant: Tenant
) -> None:
    new = new_file(tenant)
    assert await store.files.announce(new, Blob(b"\1" * 32, 5))  # and then it died
    assert await files.get(tenant.environment_id, new.file_id) is None
    kept = await keep(files, new)
    assert await files.get(tenant.environment_id, new.file_id) == kept
    assert (await files.sweep(datetime.now(UTC))).contents == 1, "the row of the content that never came"


async def test_what_was_never_finished_is_forgotten_after_a_while(
    files: Files, store: PostgresStore, tenant: Tenant
) -> None:
    await store.files.announce(new_file(tenant), Blob(b"\1" * 32, 5))
    now = datetime.now(UTC)
    assert (await files.sweep(now)).files == 0
    assert (await files.sweep(now + ABANDONED_AFTER + timedelta(seconds=5))).files == 1


async def test_a_content_is_not_removed_beneath_a_file_that_is_coming(
    files: Files, store: PostgresStore, tenant: Tenant, folder: Path
) -> None:
    """The last file of a content goes while the same content is uploaded again: whoever is first, it is there."""
    for _ in range(20):
        old = await keep(files, new_file(tenant))
        deleted, kept = await asyncio.gather(
            files.delete(tenant.environment_id, old.file_id), keep(files, new_file(tenant))
        )
        assert deleted
        reading = await files.open(kept)
        assert reading is not None
        assert [piece async for piece in reading.pieces()] == [b"content"]
        reading.close()
        assert await files.delete(tenant.environment_id, kept.file_id)
    assert contents(folder) == 0


async def test_a_remover_waits_for_one_that_announces(store: PostgresStore, files: Files, tenant: Tenant) -> None:
    old = await keep(files, new_file(tenant))
    assert await store.files.delete(tenant.environment_id, old.file_id) == old.blob
    await store.files.announce(new_file(tenant), old.blob)
    async with store.files.removing(old.blob.digest) as unused:
        assert not unused


async def test_a_removal_that_is_cut_short_is_made_good_by_the_sweep(
    files: Files, store: PostgresStore, tenant: Tenant, folder: Path
) -> None:
    old = await keep(files, new_file(tenant))
    await store.files.delete(tenant.environment_id, old.file_id)  # and then the process died
    assert contents(folder) == 1
    assert await store.files.unused(10) == (old.blob.digest,)
    assert (await files.sweep(datetime.now(UTC))).contents == 1
    assert contents(folder) == 0
    assert await store.files.unused(10) == ()


async def test_a_removal_that_fails_leaves_row_and_content(store: PostgresStore, files: Files, tenant: Tenant) -> None:
    old = await keep(files, new_file(tenant))
    await store.files.delete(tenant.environment_id, old.file_id)

    async def remove() -> None:
        async with store.files.removing(old.blob.digest) as unused:
            assert unused
            raise Unavailable("The disk is full.")

    with pytest.raises(Unavailable, match="disk"):
        await remove()
    assert await store.files.unused(10) == (old.blob.digest,)


async def test_a_content_that_vanished_is_our_fault_not_the_callers(files: Files, tenant: Tenant, folder: Path) -> None:
    kept = await keep(files, new_file(tenant))
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(InvariantBroken, match="missing"):
        await files.open(kept)
    await files.delete(tenant.environment_id, kept.file_id)
    assert await files.open(kept) is None


async def test_a_file_needs_a_tenant_and_a_name_that_can_be_stored(files: Files, tenant: Tenant) -> None:
    with pytest.raises(NotFound) as caught:
        await keep(files, new_file(tenant, environment_id=new_id()))
    assert caught.value.code == "ENVIRONMENT_NOT_FOUND"
    with pytest.raises(Invalid, match="name"):
        await keep(files, new_file(tenant, filename="a\0.jsonl"))


async def test_an_expired_file_is_not_found(files: Files, tenant: Tenant) -> None:
    now = datetime.now(UTC)
    gone = await keep(files, new_file(tenant, expires_at=now - timedelta(seconds=1)))
    kept = await keep(files, new_file(tenant, expires_at=now + timedelta(hours=1)), b"other")
    assert await files.get(tenant.environment_id, gone.file_id) is None
    assert not await files.delete(tenant.environment_id, gone.file_id)
    page = await files.page(tenant.environment_id, purpose=None, newest_first=True, after=None, limit=10)
    assert page.data == (kept,)
    assert (await files.sweep(now)).files == 1


async def test_a_draft_is_thrown_away_when_it_is_not_kept(files: Files, folder: Path) -> None:
    async def give_up(draft: Draft) -> None:
        draft.write(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        async with files.drafting() as draft:
            await give_up(draft)
    assert contents(folder) == 0

"""What both kinds of stores promise."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from scheduler.blobs.choice import open_blobs
from scheduler.blobs.disk import DiskBlobs
from scheduler.blobs.remote import ObjectBlobs
from scheduler.domain.errors import InvariantBroken
from scheduler.domain.file import Blob
from scheduler.ports.files import BlobStore, Reading

Make = Callable[[Path], BlobStore]
KINDS: tuple[Make, ...] = (DiskBlobs, lambda folder: ObjectBlobs(MemoryStore(), folder))


@pytest.fixture(params=KINDS, ids=["disk", "object store"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """A store of contents."""
    make: Make = request.param
    return make(tmp_path / "files")


async def put(blobs: BlobStore, content: bytes) -> Blob:
    """Keep a content, written in two pieces."""
    draft = await blobs.begin()
    draft.write(content[:3])
    draft.write(memoryview(content)[3:])
    assert draft.size_bytes == len(content)
    return await blobs.place(draft)


async def read(reading: Reading | None, start: int = 0, end: int | None = None) -> bytes:
    """All the pieces together."""
    assert reading is not None
    try:
        return b"".join([piece async for piece in reading.pieces(start, end)])
    finally:
        reading.close()


async def test_a_content_is_found_by_its_digest(blobs: BlobStore) -> None:
    content = bytes(range(256)) * 4_000
    blob = await put(blobs, content)
    assert blob == Blob(hashlib.sha256(content).digest(), len(content))
    assert await read(await blobs.open(blob)) == content
    assert await read(await blobs.open(blob), 255, 600_001) == content[255:600_001]
    assert await read(await blobs.open(blob), 7, 7) == b""


async def test_looking_whether_it_can_be_used_changes_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    await blobs.reach()
    assert list(tmp_path.iterdir()) == []


async def test_an_empty_content_is_one_too(blobs: BlobStore) -> None:
    blob = await put(blobs, b"")
    assert await read(await blobs.open(blob)) == b""


async def test_placing_the_same_twice_keeps_one(blobs: BlobStore) -> None:
    first = await put(blobs, b"same")
    assert await put(blobs, b"same") == first
    await blobs.remove(first.digest)
    assert await blobs.open(first) is None
    await blobs.remove(first.digest)


async def test_what_was_never_placed_is_not_there(blobs: BlobStore) -> None:
    draft = await blobs.begin()
    draft.write(b"half")
    blob = draft.seal()
    assert await blobs.open(blob) is None
    draft.discard()
    draft.discard()
    assert await blobs.sweep() == 0


async def test_a_draft_of_another_kind_is_refused(blobs: BlobStore) -> None:
    class Strange:
        size_bytes = 0

        def write(self, piece: bytes | memoryview) -> None: ...
        def seal(self) -> Blob:
            return Blob(b"", 0)

        def discard(self) -> None: ...

    with pytest.raises(InvariantBroken):
        await blobs.place(Strange())


def test_a_url_chooses_an_object_store(tmp_path: Path) -> None:
    assert isinstance(open_blobs(tmp_path, None), DiskBlobs)
    assert isinstance(open_blobs(tmp_path, "memory:///"), ObjectBlobs)
    with pytest.raises(InvariantBroken, match="BRIM_FILES_URL names no object store"):
        open_blobs(tmp_path, "nope://bucket")

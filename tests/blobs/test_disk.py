"""Contents on disk: whole or not there, whatever ends their writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.blobs import drafts
from scheduler.blobs.disk import DiskBlobs
from scheduler.domain.errors import InvariantBroken, Unavailable
from scheduler.domain.file import Blob

_WRITER = """
import sys
from pathlib import Path
from scheduler.blobs import drafts
draft = drafts.begin(Path(sys.argv[1]))
draft.write(b"x" * 100_000)
draft.seal()
print("written", flush=True)
sys.stdin.read()
"""


def files_in(folder: Path) -> list[Path]:
    """All files below."""
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_killed_writer_leaves_nothing(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path / "incoming")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        assert len(files_in(tmp_path)) == 1
        assert await blobs.sweep() == 0, "its writer lives"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert await blobs.sweep() == 1
    assert files_in(tmp_path) == []


async def test_a_sweep_spares_the_drafts_of_its_own_process(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    draft = await blobs.begin()
    draft.write(b"on its way")
    assert await blobs.sweep() == 0
    blob = await blobs.place(draft)
    assert await blobs.sweep() == 0
    assert [path.name for path in files_in(tmp_path)] == [blob.digest.hex()]


async def test_a_sweep_before_the_first_draft_finds_nothing(tmp_path: Path) -> None:
    assert await DiskBlobs(tmp_path / "not yet").sweep() == 0


async def test_a_torn_content_is_replaced(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    draft = await blobs.begin()
    draft.write(b"whole")
    blob = await blobs.place(draft)
    (path,) = files_in(tmp_path)
    path.write_bytes(b"wh")  # as after a disk that lied about its fsync
    again = await blobs.begin()
    again.write(b"whole")
    assert await blobs.place(again) == blob
    assert path.read_bytes() == b"whole"


async def test_a_content_stays_readable_while_it_is_open(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    draft = await blobs.begin()
    draft.write(b"read me")
    blob = await blobs.place(draft)
    reading = await blobs.open(blob)
    assert reading is not None
    await blobs.remove(blob.digest)
    assert [piece async for piece in reading.pieces()] == [b"read me"]
    reading.close()
    reading.close()


async def test_a_content_that_lost_bytes_is_no_answer(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    draft = await blobs.begin()
    draft.write(b"0123456789")
    blob = await blobs.place(draft)
    reading = await blobs.open(blob)
    assert reading is not None
    os.truncate(files_in(tmp_path)[0], 4)
    with pytest.raises(InvariantBroken):
        [piece async for piece in reading.pieces()]
    reading.close()


async def test_a_digest_is_all_that_becomes_a_path(tmp_path: Path) -> None:
    with pytest.raises(InvariantBroken):
        await DiskBlobs(tmp_path).open(Blob(b"../../etc/passwd", 1))


async def test_a_folder_that_cannot_be_written_to_is_told_as_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="full or cannot be reached"):
        await DiskBlobs(tmp_path / "file").begin()


def test_a_full_disk_is_told_as_unavailable(tmp_path: Path) -> None:
    draft = drafts.begin(tmp_path)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, draft._descriptor)
    os.close(full)
    with pytest.raises(Unavailable):
        draft.write(b"x")
    draft.discard()

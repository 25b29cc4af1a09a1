"""A batch as a folder: whole at every moment, each line once, whatever ended its writer."""

from __future__ import annotations

import json
import multiprocessing
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scheduler.blobs.disk import DiskBlobs
from scheduler.domain.batch import Batch
from scheduler.domain.errors import Conflict
from scheduler.domain.status import ItemStatus
from scheduler.domain.submission import Ending, Written
from scheduler.services.files.files import Files
from scheduler.services.submissions.spool_folder import SpoolFolder, read_status, unfinished
from scheduler.services.submissions.spooling import Spooled, Spooling, find, open_spool, status_of
from scheduler.store import PostgresStore
from tests.store.factories import Tenant, make_batch, outcome

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Spool:
    """A spool over a real store."""

    def __init__(self, store: PostgresStore, root: Path) -> None:
        self.store = store
        self.root = root / "spool"
        self.files = Files(store.files, DiskBlobs(root / "files"))

    def folder(self, batch: Batch) -> Path:
        """Where a batch lies."""
        return self.root / str(batch.batch_id)

    async def open(self, batch: Batch) -> Spooling:
        """Its writer."""
        submission = await find(self.store, batch.batch_id)
        assert submission is not None
        opened = await open_spool(self.store, self.files, self.root, submission)
        assert opened is not None
        return opened

    async def steps(self, spooling: Spooling, batch: Batch) -> Spooled:
        """Write all there is."""
        while True:
            submission = await find(self.store, batch.batch_id)
            assert submission is not None
            step = await spooling.step(submission, NOW)
            if not step.more:
                return step

    async def write(self, batch: Batch) -> Spooled:
        """Open, write all there is, let go."""
        spooling = await self.open(batch)
        try:
            return await self.steps(spooling, batch)
        finally:
            spooling.close()

    def lines(self, batch: Batch, name: str) -> list[Any]:
        """The lines of a file."""
        return [json.loads(line) for line in (self.folder(batch) / f"{name}.jsonl").read_bytes().splitlines()]

    def status(self, batch: Batch) -> dict[str, Any]:
        """What status.json says."""
        said: dict[str, Any] = json.loads((self.folder(batch) / "status.json").read_bytes())
        return said

    async def end(self, batch: Batch, *seqs: int, status: ItemStatus = ItemStatus.COMPLETED) -> None:
        """Record outcomes."""
        await self.store.outcomes.flush([outcome(batch, seq, status) for seq in seqs])


@pytest.fixture
def spool(store: PostgresStore, tmp_path: Path) -> Spool:
    """A spool."""
    return Spool(store, tmp_path)


async def test_the_folder_follows_the_batch_to_its_end(spool: Spool, tenant: Tenant) -> None:
    batch = await make_batch(spool.store, tenant, 4)
    spooling = await spool.open(batch)
    await spool.steps(spooling, batch)
    assert [line["custom_id"] for line in spool.lines(batch, "input")] == ["1", "2", "3", "4"]
    assert spool.lines(batch, "input")[0] == {
        "custom_id": "1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"messages": []},
    }
    told = spool.status(batch)
    assert told == {
        "id": str(batch.batch_id),
        "endpoint": "/v1/chat/completions",
        "status": "in_progress",
        "total_lines": 4,
        "completed_lines": 0,
        "failed_lines": 0,
        "created_at": int(batch.created_at.timestamp()),
        "updated_at": int(NOW.timestamp()),
        "cancel_requested": False,
    }
    await spool.end(batch, 3, 1)
    await spool.end(batch, 2, status=ItemStatus.FAILED)
    await spool.steps(spooling, batch)
    assert [line["custom_id"] for line in spool.lines(batch, "output")] == ["3", "1"]
    assert (spool.lines(batch, "errors")[0]["custom_id"], spool.status(batch)["completed_lines"]) == ("2", 3)
    await spool.end(batch, 4)
    step = await spool.steps(spooling, batch)
    spooling.close()
    assert step.status.is_final
    final = spool.status(batch)
    assert (final["status"], final["completed_lines"], final["failed_lines"]) == ("failed", 4, 1)
    assert {path.name for path in spool.folder(batch).iterdir() if not path.name.startswith(".")} == {
        "input.jsonl",
        "output.jsonl",
        "errors.jsonl",
        "status.json",
    }


async def test_a_batch_without_failures_is_completed_and_a_cancelled_one_cancelled(
    spool: Spool, tenant: Tenant
) -> None:
    good = await make_batch(spool.store, tenant, 1)
    await spool.end(good, 1)
    await spool.write(good)
    assert spool.status(good)["status"] == "completed"
    stopped = await make_batch(spool.store, tenant, 2)
    await spool.store.batches.cancel(tenant.environment_id, stopped.batch_id)
    await spool.write(stopped)
    assert (spool.status(stopped)["status"], spool.status(stopped)["cancel_requested"]) == ("in_progress", True)
    await spool.end(stopped, 1, 2, status=ItemStatus.CANCELLED)
    await spool.write(stopped)
    assert spool.status(stopped)["status"] == "cancelled"
    assert [line["error"]["code"] for line in spool.lines(stopped, "errors")] == ["batch_cancelled"] * 2


async def test_the_end_of_the_window_is_not_told_as_a_request_to_cancel(spool: Spool, tenant: Tenant) -> None:
    batch = await make_batch(spool.store, tenant, 2)
    await spool.store.batches.cancel(tenant.environment_id, batch.batch_id)
    await spool.end(batch, 1, 2, status=ItemStatus.CANCELLED)
    cancelled = await find(spool.store, batch.batch_id)
    assert cancelled is not None
    assert cancelled.progress is not None
    assert cancelled.progress.cancelled
    expired = replace(cancelled, cancelling_at=None, expiring_at=NOW, ending=Ending.EXPIRED)
    told = [status_of(each, Written(), NOW, all_written=True) for each in (cancelled, expired)]
    assert [(each.status, each.cancel_requested) for each in told] == [("cancelled", True), ("failed", False)]


@pytest.mark.parametrize("torn", ["output.jsonl", "errors.jsonl"])
async def test_a_torn_line_is_cut_off_and_no_line_comes_twice(spool: Spool, tenant: Tenant, torn: str) -> None:
    batch = await make_batch(spool.store, tenant, 4)
    await spool.end(batch, 1)
    await spool.end(batch, 2, status=ItemStatus.FAILED)
    await spool.write(batch)
    whole = (spool.folder(batch) / torn).read_bytes()
    with (spool.folder(batch) / torn).open("ab") as file:
        file.write(whole + whole[: len(whole) // 2])  # a kill after the append, before it was noted
    await spool.end(batch, 3)
    await spool.end(batch, 4, status=ItemStatus.FAILED)
    await spool.write(batch)
    assert [line["custom_id"] for line in spool.lines(batch, "output")] == ["1", "3"]
    assert [line["custom_id"] for line in spool.lines(batch, "errors")] == ["2", "4"]


@pytest.mark.parametrize("lost", [".written.json", "output.jsonl", "status.json", "input.jsonl"])
async def test_what_was_lost_is_written_anew(spool: Spool, tenant: Tenant, lost: str) -> None:
    batch = await make_batch(spool.store, tenant, 3)
    await spool.end(batch, 1, 2, 3)
    await spool.write(batch)
    before = {path.name: path.read_bytes() for path in spool.folder(batch).iterdir()}
    (spool.folder(batch) / lost).unlink()
    await spool.write(batch)
    assert {path.name: path.read_bytes() for path in spool.folder(batch).iterdir()} == before


async def test_what_somebody_changed_is_written_anew(spool: Spool, tenant: Tenant) -> None:
    batch = await make_batch(spool.store, tenant, 3)
    await spool.end(batch, 1, 2, 3)
    await spool.write(batch)
    output = spool.folder(batch) / "output.jsonl"
    before = output.read_bytes()
    output.write_bytes(b"x" * len(before))
    await spool.write(batch)
    assert output.read_bytes() == before


async def test_an_existing_name_is_an_error_and_stays_untouched(spool: Spool, tenant: Tenant) -> None:
    batch = await make_batch(spool.store, tenant, 1)
    path = spool.folder(batch)
    path.mkdir(parents=True)
    (path / "mine").write_bytes(b"keep")
    with pytest.raises(Conflict) as caught:
        SpoolFolder.create(path)
    assert caught.value.code == "ALREADY_EXISTS"
    assert [each.name for each in path.iterdir()] == ["mine"]


def _hold(path: Path, held: Any, go: Any) -> None:
    folder = SpoolFolder.reopen(path)
    assert folder is not None
    held.set()
    go.wait(20)
    os._exit(9)


async def test_there_is_one_writer_until_its_process_ends(spool: Spool, tenant: Tenant) -> None:
    batch = await make_batch(spool.store, tenant, 1)
    await spool.write(batch)
    context = multiprocessing.get_context("spawn")
    held, go = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(spool.folder(batch), held, go))
    other.start()
    assert held.wait(20)
    submission = await find(spool.store, batch.batch_id)
    assert submission is not None
    assert await open_spool(spool.store, spool.files, spool.root, submission) is None
    go.set()
    other.join(20)
    assert other.exitcode == 9
    await spool.end(batch, 1)
    assert (await spool.write(batch)).status.is_final


async def test_status_is_replaced_only_when_it_changed(spool: Spool, tenant: Tenant) -> None:
    batch = await make_batch(spool.store, tenant, 1)
    await spool.write(batch)
    number = (spool.folder(batch) / "status.json").stat().st_ino
    await spool.write(batch)
    assert (spool.folder(batch) / "status.json").stat().st_ino == number


async def test_unfinished_folders_are_found(spool: Spool, tenant: Tenant) -> None:
    assert list(unfinished(spool.root)) == []
    running, done = await make_batch(spool.store, tenant, 1), await make_batch(spool.store, tenant, 1)
    await spool.end(done, 1)
    for batch in (running, done):
        await spool.write(batch)
    (spool.root / "somebody's").mkdir()
    (spool.root / "notes.txt").write_bytes(b"")
    assert list(unfinished(spool.root)) == [spool.folder(running).name]
    (spool.folder(running) / "status.json").write_bytes(b"{")
    assert read_status(spool.folder(running)) is None
    assert list(unfinished(spool.root)) == [spool.folder(running).name]


def test_what_was_noted_counts_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "batch_x"
    folder = SpoolFolder.create(path)
    folder.append(Written(told_event=5), [b"a\n", b"b\n"], [])
    folder.close()
    again = SpoolFolder.reopen(path)
    assert again is not None
    assert (again.written.told_event, again.written.output.lines, again.written.errors.lines) == (5, 2, 0)
    again.close()

"""Batches that come as files, spooled by a worker while they run, and exported by the command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from brim_server.commands import export
from scheduler.bootstrap import open_core
from scheduler.domain.errors import Conflict, NotFound
from scheduler.domain.file import NewFile, Purpose
from scheduler.domain.public_ids import BATCH, MESSAGE_BATCH, shown_id
from scheduler.domain.submission import ExecutionMode, NewSubmission, SourceFormat
from scheduler.settings import Settings
from tests.polling import eventually
from tests.workers.provider import FakeProvider, refuse
from tests.workers.world import World, new_id
from workers.spooler import Spooler


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where batches are spooled to."""
    return tmp_path / "spool"


@pytest.fixture
async def spooled(make_settings: Callable[..., Settings], tmp_path: Path, root: Path) -> AsyncIterator[World]:
    """A tenant whose workers spool."""
    async with open_core(make_settings(files_dir=tmp_path / "files", spool_dir=root)) as core:
        world = World(core)
        await world.set_up()
        yield world


async def submit(world: World, text: bytes) -> UUID:
    """A batch of a file with this content."""
    now = datetime.now(UTC)
    new = NewFile(world.workspace_id, world.environment_id, new_id(), Purpose.BATCH, "in.jsonl", now, None)
    async with world.core.files.drafting() as draft:
        draft.write(text)
        file = await world.core.files.keep(draft, new)
    batch_id = new_id()
    await world.core.store.submissions.create(
        NewSubmission(
            workspace_id=world.workspace_id,
            environment_id=world.environment_id,
            batch_id=batch_id,
            api_key_id=None,
            source_format=SourceFormat.OPENAI,
            execution_mode=ExecutionMode.HERE,
            input_file_id=file.file_id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            fine_priority=0,
            max_retries=1,
            metadata=None,
            output_expires_after_s=None,
            created_at=now,
            expires_at=now + timedelta(hours=24),
        )
    )
    return batch_id


def lines(model: str, count: int) -> bytes:
    """Requests 1 to `count`, with a blank line and odd spaces that only a true copy keeps."""
    some = [
        json.dumps(
            {
                "custom_id": f"c{n}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": model, "messages": [{"role": "user", "content": f"say {n}"}]},
            }
        )
        for n in range(1, count + 1)
    ]
    return ("\n\n".join(some) + "  \n").encode()


def status(folder: Path) -> dict[str, Any]:
    """What status.json says; empty before it is there."""
    path = folder / "status.json"
    return json.loads(path.read_bytes()) if path.exists() else {}


async def test_a_batch_is_spooled_while_it_runs_and_exported_the_same(
    spooled: World, provider: FakeProvider, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = await spooled.resource(await spooled.connection(provider.base_url))
    good = provider.reply
    provider.reply = lambda seen: refuse(400)(seen) if seen.text == "say 7" else good(seen)
    provider.hold = asyncio.Event()
    text = lines(resource.name, 20)
    async with spooled.worker():
        batch_id = await submit(spooled, text)
        folder = root / shown_id(BATCH, batch_id)
        await eventually(lambda: status(folder).get("status") == "in_progress", "it is spooled while it runs")
        assert (folder / "input.jsonl").read_bytes() == text
        provider.hold.set()
        await eventually(lambda: status(folder).get("status") == "failed", "its end is spooled")
    told = status(folder)
    assert (told["total_lines"], told["completed_lines"], told["failed_lines"]) == (20, 20, 1)
    output = [json.loads(line)["custom_id"] for line in (folder / "output.jsonl").read_bytes().splitlines()]
    (error,) = [json.loads(line) for line in (folder / "errors.jsonl").read_bytes().splitlines()]
    assert sorted(output) == sorted(f"c{n}" for n in range(1, 21) if n != 7)
    assert (error["custom_id"], error["response"]["status_code"]) == ("c7", 400)

    monkeypatch.setenv("BRIM_DATABASE_URL", spooled.core.settings.database_url)
    monkeypatch.setenv("BRIM_REDIS_URL", spooled.core.settings.redis_url)
    monkeypatch.setenv("BRIM_FILES_DIR", str(spooled.core.settings.files_dir))
    other = tmp_path / "export"
    assert await export.write(shown_id(BATCH, batch_id), other, follow=True) == 0
    for name in ("input.jsonl", "output.jsonl", "errors.jsonl"):
        assert (other / folder.name / name).read_bytes() == (folder / name).read_bytes()
    for same in (str(batch_id), shown_id(MESSAGE_BATCH, batch_id)):
        with pytest.raises(Conflict):
            await export.write(same, other, follow=False)
    for unknown in (str(new_id()), "batch_nonsense"):
        with pytest.raises(NotFound):
            await export.write(unknown, other, follow=False)


async def test_another_process_goes_on_where_one_stopped(spooled: World, provider: FakeProvider, root: Path) -> None:
    resource = await spooled.resource(await spooled.connection(provider.base_url))
    store, files = spooled.core.store, spooled.core.files
    first, second = (Spooler(store, files, root, lambda: datetime.now(UTC)) for _ in range(2))
    batch_id = await submit(spooled, lines(resource.name, 5))
    await first.run_once()
    assert status(root / shown_id(BATCH, batch_id))["status"] == "pending"
    assert (await second.run_once()).held == 0, "the first holds it"
    first.close()
    assert (await second.run_once()).held == 1
    second.close()
    async with spooled.worker():
        await eventually(
            lambda: status(root / shown_id(BATCH, batch_id)).get("status") == "completed",
            "a third brings it to its end",
        )
    done = await second.run_once()
    assert (done.held, done.lines) == (0, 0), "what is finished is left alone"


async def test_a_refused_input_is_spooled_as_failed(spooled: World, root: Path) -> None:
    async with spooled.worker():
        batch_id = await submit(spooled, b"no json\n")
        folder = root / shown_id(BATCH, batch_id)
        await eventually(lambda: status(folder).get("status") == "failed", "the refusal is spooled")
    assert status(folder)["completed_lines"] == 0
    assert (folder / "input.jsonl").read_bytes() == b"no json\n"

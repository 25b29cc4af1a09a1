"""Submissions in Postgres: who holds one may change it, nobody else; what was cut short leaves nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from scheduler.blobs.disk import DiskBlobs
from scheduler.domain.errors import Conflict, NotFound
from scheduler.domain.status import ItemStatus
from scheduler.domain.submission import (
    Ending,
    ExecutionMode,
    LineFault,
    NewSubmission,
    PartFile,
    SourceFormat,
    Submission,
    SubmissionStatus,
    UsageSums,
    WebhookFormat,
    WebhookTarget,
    Written,
)
from scheduler.ports.submissions import WebhookEvent
from scheduler.services.files.files import Files
from scheduler.services.submissions.publishing import Publishing, part_path
from scheduler.store import PostgresStore
from scheduler.store.submission_grip import PostgresGrip
from tests.store.factories import NOW, Tenant, new_id, new_items, outcome

LEASE_S = 60.0
TOLD = WebhookEvent("batch.queued", {"batch_id": "batch_x"})
ENDED = WebhookEvent("batch.failed", {"batch_id": "batch_x"})


async def make(store: PostgresStore, tenant: Tenant, **changes: Any) -> Submission:
    """A submission that nobody has looked at."""
    new = NewSubmission(
        workspace_id=tenant.workspace_id,
        environment_id=tenant.environment_id,
        batch_id=new_id(),
        api_key_id=tenant.api_key_id,
        source_format=SourceFormat.OPENAI,
        execution_mode=ExecutionMode.HERE,
        input_file_id=new_id(),
        endpoint="/v1/chat/completions",
        completion_window="24h",
        fine_priority=200,
        max_retries=3,
        metadata={"a": "\\ü"},
        output_expires_after_s=None,
        created_at=NOW,
        expires_at=NOW + timedelta(days=1),
        targets=(WebhookTarget(WebhookFormat.BRIM, "https://receiver.example/hook", (b"sealed",)),),
    )
    return await store.submissions.create(replace(new, **changes))


async def grip_of(store: PostgresStore, holder: str = "one", lease_s: float = LEASE_S) -> PostgresGrip:
    """The oldest submission that is free."""
    grip = await store.submissions.grip(holder, lease_s)
    assert grip is not None
    return grip


async def running(store: PostgresStore, tenant: Tenant, items: int = 3) -> Submission:
    """A submission that became a batch."""
    await make(store, tenant)
    grip = await grip_of(store)
    await grip.append(new_items(tenant, items))
    batch, _ = await grip.become("small", TOLD)
    found = await store.submissions.get(tenant.environment_id, batch.batch_id)
    assert found is not None
    return found


async def test_a_submission_comes_back_as_it_was_made(store: PostgresStore, tenant: Tenant) -> None:
    made = await make(store, tenant)
    assert made.status is SubmissionStatus.VALIDATING
    assert made.wants_items
    assert await store.submissions.get(tenant.environment_id, made.batch_id) == made
    assert await store.submissions.get(new_id(), made.batch_id) is None
    with pytest.raises(NotFound):
        await make(store, tenant, environment_id=new_id())


async def test_checked_items_become_a_batch_in_one_step(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    found = await running(store, tenant, items=5)
    assert found.status is SubmissionStatus.IN_PROGRESS
    assert found.model == "small"
    assert found.progress is not None
    assert (found.progress.total, found.progress.begun) == (5, False)
    batch = await store.batches.get(tenant.environment_id, found.batch_id)
    assert batch is not None
    assert (batch.fine_priority, batch.sealed, batch.total_items) == (200, True, 5)
    assert batch.weight == pytest.approx(4 * 2 ** (200 / 128))
    posted = await postgres.fetch("SELECT kind, event, target FROM deliveries")
    assert [tuple(row) for row in posted] == [("webhook", "batch.queued", 0)]


async def test_one_submission_is_checked_by_one_holder_until_its_lease_ends(
    store: PostgresStore, tenant: Tenant
) -> None:
    made = await make(store, tenant)
    first = await grip_of(store, "first", lease_s=0.0)
    second = await grip_of(store, "second")
    assert second.submission.batch_id == made.batch_id
    assert await store.submissions.grip("third", LEASE_S) is None
    for late in (
        first.append(new_items(tenant, 1)),
        first.touch(),
        first.clear(),
        first.become(None, TOLD),
        first.refuse([], ENDED),
    ):
        with pytest.raises(Conflict):
            await late
    await second.append(new_items(tenant, 2))
    await second.let_go()
    assert (await grip_of(store, "third")).submission.stored == 2


async def test_what_a_dead_check_stored_is_cleared_before_the_next(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    await make(store, tenant)
    dead = await grip_of(store, "dead", lease_s=0.0)
    await dead.append(new_items(tenant, 7))
    heir = await grip_of(store, "heir")
    await heir.clear()
    assert await postgres.fetchval("SELECT count(*) FROM items") == 0
    await heir.append(new_items(tenant, 2))
    batch, flows = await heir.become(None, TOLD)
    assert (batch.total_items, [flow.items for flow in flows]) == (2, [2])


async def test_a_paused_holder_and_its_heir_leave_the_heirs_items_only(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    await make(store, tenant)
    paused = await grip_of(store, "paused", lease_s=0.0)
    heir = await grip_of(store, "heir")
    late, ours = await asyncio.gather(
        paused.append(new_items(tenant, 3)), heir.append(new_items(tenant, 3)), return_exceptions=True
    )
    assert isinstance(late, Conflict)
    assert ours is None
    assert await postgres.fetchval("SELECT count(*) FROM items") == 3


async def test_a_refused_submission_keeps_what_is_wrong_with_it(store: PostgresStore, tenant: Tenant) -> None:
    made = await make(store, tenant)
    faults = (LineFault("invalid_json_line", "no \ud83d".encode("utf-8", "replace").decode(), None, 2),)
    await (await grip_of(store)).refuse(faults, ENDED)
    found = await store.submissions.get(tenant.environment_id, made.batch_id)
    assert found is not None
    assert (found.status, found.faults) == (SubmissionStatus.FAILED, faults)
    assert await store.submissions.grip("next", LEASE_S) is None


async def test_a_deleted_resource_stops_a_submission_from_becoming_a_batch(
    store: PostgresStore, tenant: Tenant
) -> None:
    await make(store, tenant)
    grip = await grip_of(store)
    await grip.append(new_items(tenant, 1, resource_id=tenant.other_resource_id))
    await store.setup.delete_resource(tenant.environment_id, tenant.other_resource_id)
    with pytest.raises(NotFound):
        await grip.become(None, TOLD)
    await grip.clear()
    await grip.refuse([LineFault("model_not_found", "gone", None, None)], ENDED)


async def test_cancel_before_the_batch_exists_wins_over_the_check(store: PostgresStore, tenant: Tenant) -> None:
    made = await make(store, tenant)
    grip = await grip_of(store)
    assert await store.submissions.stop(tenant.environment_id, made.batch_id, expired=False)
    assert not await store.submissions.stop(tenant.environment_id, made.batch_id, expired=False)
    with pytest.raises(Conflict):
        await grip.become(None, TOLD)
    await grip.clear()
    await grip.give_up(ENDED)
    found = await store.submissions.get(tenant.environment_id, made.batch_id)
    assert found is not None
    assert found.status is SubmissionStatus.CANCELLED


@pytest.mark.parametrize("expired", [True, False])
async def test_stopping_stops_the_batch_and_only_the_first_reason_counts(
    store: PostgresStore, tenant: Tenant, expired: bool
) -> None:
    live = await running(store, tenant)
    assert not await store.submissions.stop(new_id(), live.batch_id, expired=expired)
    assert await store.submissions.stop(tenant.environment_id, live.batch_id, expired=expired)
    assert not await store.submissions.stop(tenant.environment_id, live.batch_id, expired=not expired)
    found = await store.submissions.get(tenant.environment_id, live.batch_id)
    assert found is not None
    assert found.due_ending is (Ending.EXPIRED if expired else Ending.CANCELLED)
    assert found.progress is not None
    assert found.progress.cancelled


async def test_what_is_finished_cannot_be_stopped(store: PostgresStore, tenant: Tenant) -> None:
    live = await running(store, tenant, items=1)
    await store.outcomes.flush([outcome(live.batch_id, 1)])
    assert not await store.submissions.stop(tenant.environment_id, live.batch_id, expired=True)
    found = await store.submissions.get(tenant.environment_id, live.batch_id)
    assert found is not None
    assert found.status is SubmissionStatus.FINALIZING


async def test_results_come_in_order_of_their_events_within_bounds(store: PostgresStore, tenant: Tenant) -> None:
    live = await running(store, tenant, items=6)
    body = b'{"x": "' + b"y" * 1_000 + b'"}'
    given = [outcome(live.batch_id, seq, response=body) for seq in (4, 2, 6, 1)]
    refused = outcome(live.batch_id, 3, ItemStatus.FAILED, response=b"no", http_status=503)
    await store.outcomes.flush([*given, refused])

    async def seqs(**bounds: int) -> list[int]:
        asked: dict[str, Any] = {"after": 0, "up_to": 100, "limit": 10, "most_bytes": 1 << 20} | bounds
        return [result.seq for result in await store.submissions.results(live.batch_id, **asked)]

    assert await seqs() == [4, 2, 6, 1, 3]
    assert await seqs(limit=2) == [4, 2]
    assert await seqs(after=3, up_to=4) == [6]
    assert await seqs(most_bytes=1) == [4]
    assert await seqs(most_bytes=2_500) == [4, 2]
    last = (await store.submissions.results(live.batch_id, after=5, up_to=9, limit=9, most_bytes=9))[0]
    assert (last.status, last.http_status, last.response) == (ItemStatus.FAILED, 503, b"no")
    item = await store.items.item(tenant.environment_id, live.batch_id, 3)
    assert item is not None
    assert item.response is None


async def test_only_the_holder_records_and_only_from_where_it_was(
    store: PostgresStore, tenant: Tenant, postgres: asyncpg.Connection
) -> None:
    live = await running(store, tenant)
    first = await store.submissions.hold("one", LEASE_S, 5)
    assert (first.batch_ids, [each.batch_id for each in first.due]) == ({live.batch_id}, [live.batch_id])
    assert (await store.submissions.hold("two", LEASE_S, 5)).batch_ids == set()
    following = Written(7, PartFile(10, 2, 2**32 - 1), PartFile(3, 1, 5), UsageSums(1, 2, 3, 4))
    assert not await store.submissions.advance(live.batch_id, "two", Written(), following, [TOLD])
    assert not await store.submissions.advance(live.batch_id, "one", Written(told_event=6), following, [TOLD])
    assert await postgres.fetchval("SELECT count(*) FROM deliveries") == 1
    assert await store.submissions.advance(live.batch_id, "one", Written(), following, [TOLD, TOLD])
    assert await postgres.fetchval("SELECT count(*) FROM deliveries") == 3
    later = await store.submissions.hold("one", LEASE_S, 5)
    assert (later.batch_ids, later.due) == ({live.batch_id}, ())
    found = await store.submissions.get(tenant.environment_id, live.batch_id)
    assert found is not None
    assert found.written == following
    assert await store.submissions.start(live.batch_id, "one", TOLD)
    assert not await store.submissions.start(live.batch_id, "one", TOLD)
    await store.submissions.let_go("one")
    assert (await store.submissions.hold("two", LEASE_S, 5)).batch_ids == {live.batch_id}


async def test_a_part_that_another_machine_wrote_is_written_anew_and_the_end_is_published_once(
    store: PostgresStore, tenant: Tenant, tmp_path: Path
) -> None:
    live = await running(store, tenant, items=2)
    files = Files(store.files, DiskBlobs(tmp_path / "files"))
    await store.submissions.hold("one", 0.0, 5)
    away = Publishing(live.batch_id, store.submissions, files, tmp_path / "away", "one")
    here = Publishing(live.batch_id, store.submissions, files, tmp_path / "here", "two")

    async def now() -> Submission:
        found = await store.submissions.get(tenant.environment_id, live.batch_id)
        assert found is not None
        return found

    await store.outcomes.flush([outcome(live.batch_id, 1, response=b'{"n": 1}')])
    assert (await away.step(await now(), NOW, 0.0)).lines == 1
    await store.submissions.hold("two", LEASE_S, 5)
    assert (await away.step(await now(), NOW, 0.0)).lines == 0
    assert (await here.step(await now(), NOW, 0.0)).lines == 1
    await store.outcomes.flush([outcome(live.batch_id, 2, response=b'{"n": 2}')])
    assert (await away.step(await now(), NOW, 0.0)).lost
    assert (await here.step(await now(), NOW, 0.0)).lines == 1
    assert (await here.step(await now(), NOW, 0.0)).ended
    ended = await now()
    assert (ended.status, ended.error_file_id) == (SubmissionStatus.COMPLETED, None)
    assert ended.output_file_id is not None
    assert not part_path(tmp_path / "here", live.batch_id, "output").exists()
    file = await files.get(tenant.environment_id, ended.output_file_id)
    assert file is not None
    reading = await files.open(file)
    assert reading is not None
    content = b"".join([piece async for piece in reading.pieces()])
    reading.close()
    away.close()
    assert [line.partition(b'"n": ')[2][:1] for line in content.splitlines()] == [b"1", b"2"]

"""Batches that come line by line."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from scheduler.bootstrap import Core
from scheduler.domain.batch import NewBatch, NewItem
from scheduler.domain.errors import Conflict
from scheduler.domain.ids import uuid7
from scheduler.domain.status import ItemStatus
from tests.api.test_events import collected, frames_of
from tests.api.world import ApiWorld, item
from tests.polling import eventually
from workers.sealer import Sealed, Sealer

NDJSON = {"Content-Type": "application/x-ndjson"}
EARLY = {**NDJSON, "Prefer": "early-start"}
ASYNC = {"type": "ASYNC"}


def lines_of(*objects: Any) -> bytes:
    """One JSON text a line; bytes as they are."""
    return b"".join((each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in objects)


def upload_of(count: int) -> bytes:
    """An ASYNC batch of `count` items."""
    return lines_of(ASYNC, *(item(number) for number in range(1, count + 1)))


async def put(world: ApiWorld, body: Any, headers: Mapping[str, str] = NDJSON) -> httpx.Response:
    """Upload."""
    return await world.client.post(world.batches, content=body, headers=dict(headers))


def sealer_of(core: Core, silence_s: float = 600.0) -> Sealer:
    """The duty, by hand."""
    return Sealer(core.store, core.engine, core.recovery, core.settings.window_entries, silence_s)


async def rows_in(world: ApiWorld) -> tuple[int, ...]:
    """How many items, uploads and batches Postgres holds."""
    async with world.core.store._database.connection() as connection:
        counts = [
            await connection.fetchval(f"SELECT count(*) FROM {table}") for table in ("items", "uploads", "batches")
        ]
    return tuple(counts)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("early", [False, True])
async def test_lines_make_a_batch(world: ApiWorld, packed: bool, early: bool) -> None:
    body = upload_of(5_000)
    headers = dict(EARLY if early else NDJSON)
    if packed:
        # Two members in one stream, as `cat a.gz b.gz` gives.
        body, headers["Content-Encoding"] = gzip.compress(body[:100_000]) + gzip.compress(body[100_000:]), "gzip"
    answer = await put(world, body, headers)
    assert answer.status_code == 201, answer.text
    batch = answer.json()
    assert (batch["status"], batch["totalItems"], batch["pending"]) == ("PENDING", 5_000, 5_000)
    one = (await world.client.get(f"{world.batches}/{batch['batchId']}?itemsLimit=2")).json()["items"]
    assert [each["customId"] for each in one] == ["c1", "c2"]
    assert one[0]["request"] == item(1)["request"]
    claimed = await world.core.engine.claim(
        await world.shard(), slots=9, open_slots=9, holder="h", lease_ms=5_000, crowded=frozenset()
    )
    assert [lease.ref.position for lease in claimed.leases] == list(range(1, len(claimed.leases) + 1))
    await world.finish(batch["batchId"], range(1, 5_001))
    told = await collected(world, batch["batchId"])
    assert [frame.event_id for frame in told] == [*range(1, 5_003), None]
    assert (await rows_in(world))[1:] == (0, 1)


async def test_all_bad_lines_are_listed_and_nothing_stays(world: ApiWorld) -> None:
    body = lines_of(
        ASYNC,
        *(item(number) for number in range(1, 3_001)),
        b"",
        b"{not json",
        item(1, resourceId=""),
        item(1, endpoint="/v1/other"),
        *(item(number) for number in range(1, 3_001)),
        {"resourceId": "r"},
        b"\xff\xfe",
    )
    answer = await put(world, body)
    assert answer.status_code == 422, answer.text
    details = answer.json()["details"]
    assert details["errorCount"] == 5
    assert [each["line"] for each in details["errors"]] == [3003, 3004, 3005, 6006, 6007]
    assert (await world.client.get(world.batches)).json()["data"] == []
    assert (await rows_in(world))[1:] == (1, 0)
    assert await sealer_of(world.core).run_once() == Sealed(0, 1)
    assert await rows_in(world) == (0, 0, 0)


async def test_the_first_hundred_bad_lines_are_shown(world: ApiWorld) -> None:
    answer = await put(world, lines_of(ASYNC, *[b"{}"] * 250))
    details = answer.json()["details"]
    assert (answer.status_code, details["errorCount"], len(details["errors"])) == (422, 250, 100)


@pytest.mark.parametrize("headers", [NDJSON, EARLY])
async def test_a_sync_batch_of_lines_is_answered_with_its_events(world: ApiWorld, headers: dict[str, str]) -> None:
    body = lines_of({"type": "SYNC"}, item(1), item(2))
    async with world.client.stream("POST", world.batches, content=body, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = frames_of(answer)
        created = await anext(told)
        assert (created.event_id, created.action, created.payload["type"]) == (1, "batch-created", "SYNC")
        await world.finish(created.payload["batchId"], [1, 2])
        rest = [frame.action async for frame in told if frame.event_id or frame.data == "[DONE]"]
    assert rest == ["item-completed", "item-completed", "batch-completed", "[DONE]"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "VALIDATION_ERROR"),
        (lines_of(ASYNC), 422, "VALIDATION_ERROR"),
        (b"{\n", 400, "MALFORMED_JSON"),
        (lines_of([], item(1)), 422, "VALIDATION_ERROR"),
        (lines_of({"type": "ASYNC", "items": []}, item(1)), 422, "VALIDATION_ERROR"),
        (lines_of(ASYNC, item(1, resourceId="nobody")), 404, "AI_RESOURCE_NOT_FOUND"),
        (lines_of(ASYNC, item(1, customId="x" * 20_000_000)), 413, "TOO_LARGE"),
    ],
)
@pytest.mark.parametrize("headers", [NDJSON, EARLY])
async def test_bad_uploads_are_refused_whole(
    world: ApiWorld, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    answer = await put(world, body, headers)
    assert (answer.status_code, answer.json()["errorCode"]) == (status, code), answer.text[:500]
    assert await rows_in(world) == (0, 0, 0)


@pytest.mark.parametrize(
    ("body", "headers", "remedy"),
    [
        (gzip.compress(lines_of(ASYNC, item(1))), NDJSON, "Content-Encoding: gzip"),
        (gzip.compress(lines_of(ASYNC, item(1))), {"Content-Type": "application/json"}, "Content-Encoding: gzip"),
        (lines_of(ASYNC, item(1)), {"Content-Type": "application/json"}, "Content-Type: application/x-ndjson"),
        (lines_of(item(1)), NDJSON, 'line 1: must be the batch, such as {"type": "ASYNC"}'),
        (lines_of(ASYNC, item(1, resourceId="rr")), NDJSON, "Did you mean r?"),
    ],
)
async def test_what_is_easily_mistaken_is_told_with_its_remedy(
    world: ApiWorld, body: bytes, headers: dict[str, str], remedy: str
) -> None:
    answer = await put(world, body, headers)
    assert answer.status_code in (400, 404, 422)
    assert remedy in answer.json()["errorMessage"]


async def test_bad_gzip_is_refused(world: ApiWorld) -> None:
    packed = gzip.compress(upload_of(10))
    bomb = gzip.compress(lines_of(ASYNC) + b" " * 300_000_000, 9)
    for body, code in ((b"nonsense", "MALFORMED_JSON"), (packed[:-9], "MALFORMED_JSON"), (bomb, "TOO_LARGE")):
        answer = await put(world, body, {**NDJSON, "Content-Encoding": "gzip"})
        assert answer.json()["errorCode"] == code, answer.text
    answer = await put(world, packed, {**NDJSON, "Content-Encoding": "br"})
    assert answer.status_code == 422


async def test_early_items_run_while_the_others_come_and_bad_lines_fail(world: ApiWorld) -> None:
    go_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield lines_of(ASYNC, b"{bad", item(1), item(2, resourceId="nobody"))
        await go_on.wait()
        yield lines_of(*(item(number) for number in range(3, 13)))

    upload = asyncio.create_task(put(world, body(), EARLY))

    async def listed() -> Any:
        return (await world.client.get(world.batches)).json()["data"]

    await eventually(listed, "the batch is there before its end")
    await eventually(lambda: _claimable(world), "an item can be claimed")
    batch_id = (await listed())[0]["batchId"]
    partly = (await world.client.get(f"{world.batches}/{batch_id}")).json()
    assert [each["status"] for each in partly["items"]] == ["FAILED", "RUNNING", "FAILED"]
    assert [each["errorCode"] for each in partly["items"]] == ["MALFORMED_JSON", None, "AI_RESOURCE_NOT_FOUND"]
    assert partly["items"][0]["errorMessage"].startswith("line 2: ")
    assert partly["items"][0]["request"] == "{bad"
    await world.finish(batch_id, [2])
    # All of it is finished, but more may come: it cannot end.
    assert (await world.client.get(f"{world.batches}/{batch_id}")).json()["completedAt"] is None
    go_on.set()
    done = (await upload).json()
    assert (done["batchId"], done["totalItems"], done["failed"], done["completed"]) == (batch_id, 13, 2, 1)
    await world.finish(batch_id, range(4, 14))
    whole = await collected(world, batch_id)
    assert [frame.event_id for frame in whole] == [*range(1, 16), None]
    assert whole[-2].action == "batch-failed"


async def _claimable(world: ApiWorld) -> bool:
    claimed = await world.core.engine.claim(
        await world.shard(), slots=9, open_slots=9, holder="h", lease_ms=60_000, crowded=frozenset()
    )
    return bool(claimed.leases)


@pytest.mark.parametrize("early", [False, True])
async def test_a_sender_that_goes_away_leaves_nothing_half_done(world: ApiWorld, early: bool) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield upload_of(2_500)
        await eventually(has_stored, "something is stored")
        raise ConnectionError("gone")

    async def has_stored() -> bool:
        return (await rows_in(world))[0] >= 2_000

    with pytest.raises(ConnectionError):
        await put(world, body(), EARLY if early else NDJSON)
    sealed = Sealed()

    async def put_right() -> bool:
        nonlocal sealed
        sealed = await sealer_of(world.core).run_once()
        return sealed != Sealed()

    await eventually(put_right, "the torn upload is put right")
    assert sealed == (Sealed(1, 0) if early else Sealed(0, 1))
    data = (await world.client.get(world.batches)).json()["data"]
    if not early:
        assert data == []
        assert await rows_in(world) == (0, 0, 0)
        return
    assert data[0]["totalItems"] >= 2_000
    assert data[0]["errorMessage"] == "The upload stopped before its end."
    await world.finish(data[0]["batchId"], range(1, data[0]["totalItems"] + 1))
    ended = (await world.client.get(f"{world.batches}/{data[0]['batchId']}?includesItems=false")).json()
    assert ended["status"] == "COMPLETED"


async def test_an_upload_whose_process_died_is_put_right_after_the_silence(world: ApiWorld) -> None:
    store = world.core.store
    made = await world.create(1)
    template = await store.batches.get(UUID(world.environment), UUID(made["batchId"]))
    assert template is not None

    def new_batch() -> NewBatch:
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        return NewBatch(
            UUID(world.workspace),
            UUID(world.environment),
            uuid7(now_ms, bytes(10)),
            template.type,
            None,
            (),
            None,
            template.priority,
            None,
            None,
            None,
        )

    held = await store.uploads.open(new_batch(), early=False)
    await held.append([NewItem(UUID(world.resource), "/v1/chat/completions", b"{}", 1, 1, None, None)])
    assert await sealer_of(world.core).run_once() == Sealed()
    assert await sealer_of(world.core, silence_s=-60.0).run_once() == Sealed(0, 1)
    with pytest.raises(Conflict):
        await held.append([NewItem(UUID(world.resource), "/v1/chat/completions", b"{}", 1, 1, None, None)])
    assert await rows_in(world) == (1, 0, 1)


async def test_a_cancelled_early_upload_takes_no_more(world: ApiWorld) -> None:
    go_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield upload_of(3)
        await go_on.wait()
        for start in range(5):
            yield lines_of(*(item(number) for number in range(start * 1_000, start * 1_000 + 1_000)))

    upload = asyncio.create_task(put(world, body(), EARLY))

    async def listed() -> Any:
        data = (await world.client.get(world.batches)).json()["data"]
        return data if data and data[0]["totalItems"] == 3 else None

    await eventually(listed, "the batch is there")
    batch_id = (await listed())[0]["batchId"]
    assert (await world.client.post(f"{world.batches}/{batch_id}/cancel")).json()["status"] == "CANCELLED"
    go_on.set()
    done = (await upload).json()
    assert done["status"] == "CANCELLED"
    assert done["totalItems"] < 5_003
    assert done["pending"] == 0


async def test_one_key_one_batch(world: ApiWorld) -> None:
    keyed = {**NDJSON, "Idempotency-Key": "once"}
    first = await put(world, upload_of(10), keyed)
    again = await put(world, upload_of(10), keyed)
    packed = await put(world, gzip.compress(upload_of(10)), {**keyed, "Content-Encoding": "gzip"})
    assert first.json()["batchId"] == again.json()["batchId"] == packed.json()["batchId"]
    other = await put(world, upload_of(11), keyed)
    assert (other.status_code, other.json()["errorCode"]) == (409, "IDEMPOTENCY_CONFLICT")
    bad = {**NDJSON, "Idempotency-Key": "twice"}
    assert (await put(world, lines_of(ASYNC, b"{"), bad)).status_code == 422
    assert (await put(world, upload_of(1), bad)).status_code == 201
    assert len((await world.client.get(world.batches)).json()["data"]) == 2


async def test_a_key_in_use_by_an_upload_is_in_progress(world: ApiWorld) -> None:
    go_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield upload_of(3)
        await go_on.wait()

    keyed = {**EARLY, "Idempotency-Key": "once"}
    upload = asyncio.create_task(put(world, body(), keyed))

    async def listed() -> Any:
        return (await world.client.get(world.batches)).json()["data"]

    await eventually(listed, "the batch is there")
    busy = await put(world, upload_of(3), keyed)
    plain = await world.client.post(
        world.batches, json={"type": "ASYNC", "items": [item(1)]}, headers={"Idempotency-Key": "once"}
    )
    assert [each.json()["errorCode"] for each in (busy, plain)] == ["IN_PROGRESS", "IN_PROGRESS"]
    go_on.set()
    assert (await upload).status_code == 201
    assert (await put(world, upload_of(3), keyed)).json()["batchId"] == (await upload).json()["batchId"]


async def test_a_retry_leaves_alone_what_was_never_an_item(world: ApiWorld) -> None:
    lines = lines_of(ASYNC, b"{bad", item(1), item(2, resourceId="nobody"), item(3))
    batch_id = (await put(world, lines, EARLY)).json()["batchId"]
    await world.finish(batch_id, [2], ItemStatus.FAILED)
    await world.finish(batch_id, [4])
    path = f"{world.batches}/{batch_id}"
    before = (await world.client.get(path)).json()
    assert (before["status"], before["failed"]) == ("FAILED", 3)
    letters = (await world.client.get(f"{world.batches}/dead-letters")).json()["data"]
    assert [each["replayable"] for each in letters] == [False, True, False]
    dry = (await world.client.post(f"{world.batches}/dead-letters/replay", json={"dryRun": True})).json()
    assert dry["items"] == 1

    retried = (await world.client.post(f"{path}/retry")).json()
    assert (retried["status"], retried["failed"], retried["pending"]) == ("RUNNING", 2, 1)
    await world.finish(batch_id, [2], run=2)
    after = (await world.client.get(path)).json()
    assert (after["status"], after["failed"], after["completed"]) == ("FAILED", 2, 2)
    kept = [(each["errorCode"], each["errorMessage"], each["request"]) for each in after["items"]]
    assert [kept[0], kept[2]] == [
        (each["errorCode"], each["errorMessage"], each["request"]) for each in (before["items"][0], before["items"][2])
    ]
    assert kept[0][0] == "MALFORMED_JSON"
    # Named, they are left alone as well: there is nothing that could be run.
    named = await world.client.post(f"{path}/retry", json={"items": [after["items"][0]["itemId"]]})
    assert (named.status_code, named.json()["status"], named.json()["failed"]) == (200, "FAILED", 2)

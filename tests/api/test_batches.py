"""Batches over the official `openai` package, unchanged: their whole life."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import openai
import pytest

from scheduler.domain.public_ids import BATCH, read_id
from tests.api.batch_desk import Desk, jsonl, line, receiving
from tests.polling import eventually
from tests.workers.provider import Seen, answer

CHAT: Final = "/v1/chat/completions"


async def test_a_batch_runs_to_its_end_and_each_line_is_answered_once(desk: Desk) -> None:
    def reply(seen: Seen) -> tuple[int, dict[str, str], Any]:
        if seen.text == "Say 3":
            return 400, {}, {"error": {"message": "no threes", "code": "bad"}}
        usage = {
            "prompt_tokens": 7,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 4},
        }
        return (
            200,
            {"x-request-id": f"req-{seen.text[-1]}"},
            b'{ "n": 1.00,\n "usage": %s}' % json.dumps(usage).encode(),
        )

    desk.provider.reply = reply
    batch = await desk.submit(jsonl(*map(line, range(6))), metadata={"team": "a"}, extra_body={"priority": 128})
    assert (batch.object, batch.status, batch.endpoint) == ("batch", "validating", CHAT)
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 0, "completed": 0, "failed": 0}
    assert batch.expires_at == batch.created_at + 86_400
    async with desk.worker():
        ended = await desk.ended(batch)
    assert (ended.status, ended.errors, ended.metadata, ended.model) == ("completed", None, {"team": "a"}, "model")
    assert ended.request_counts is not None
    assert ended.request_counts.model_dump() == {"total": 6, "completed": 5, "failed": 1}
    assert ended.usage is not None
    assert ended.usage.model_dump() == {
        "input_tokens": 35,
        "input_tokens_details": {"cached_tokens": 10},
        "output_tokens": 25,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 60,
    }
    times = (ended.created_at, ended.in_progress_at, ended.finalizing_at, ended.completed_at)
    assert list(times) == sorted(time for time in times if time is not None)
    assert {ended.failed_at, ended.expired_at, ended.cancelling_at, ended.cancelled_at} == {None}
    output, errors = await desk.results(ended.output_file_id), await desk.results(ended.error_file_id)
    assert set(output) == {"c0", "c1", "c2", "c4", "c5"}
    assert output["c4"]["response"]["status_code"] == 200
    assert output["c4"]["response"]["request_id"] == "req-4"
    assert output["c4"]["response"]["body"]["n"] == 1.0
    assert output["c4"]["error"] is None
    assert set(errors) == {"c3"}
    assert errors["c3"]["error"] is None
    assert errors["c3"]["response"]["status_code"] == 400
    assert errors["c3"]["response"]["body"] == {"error": {"message": "no threes", "code": "bad"}}
    assert ended.output_file_id is not None
    file = await desk.client.files.retrieve(ended.output_file_id)
    assert (file.purpose, file.filename) == ("batch_output", f"{batch.id}_output.jsonl")
    # Nothing is left of the parts that the files were made of.
    assert list((desk.world.core.settings.files_dir / "outgoing").iterdir()) == []


async def test_when_all_fail_the_batch_completes_without_output(desk: Desk) -> None:
    desk.provider.reply = lambda _: (400, {}, {"error": {"message": "no"}})
    async with desk.worker():
        ended = await desk.ended(await desk.submit(jsonl(line(1), line(2))))
    assert (ended.status, ended.output_file_id) == ("completed", None)
    assert set(await desk.results(ended.error_file_id)) == {"c1", "c2"}
    assert ended.request_counts is not None
    assert (ended.request_counts.failed, ended.request_counts.completed) == (2, 0)


async def test_every_endpoint_runs(desk: Desk) -> None:
    endpoints = ("/v1/responses", "/v1/embeddings", "/v1/completions", "/v1/moderations")
    async with desk.worker():
        for endpoint in endpoints:
            prompt = "prompt" if endpoint == "/v1/completions" else "input"
            given = line(1, url=endpoint, body={"model": "model", prompt: "Hi"})
            ended = await desk.ended(await desk.submit(jsonl(given), endpoint=endpoint))
            assert (ended.status, set(await desk.results(ended.output_file_id))) == ("completed", {"c1"})
    assert [seen.path for seen in desk.provider.seen] == list(endpoints)
    assert all("Hi" in seen.body.values() for seen in desk.provider.seen)


async def test_all_bad_lines_are_reported_and_nothing_runs(desk: Desk) -> None:
    body = line(1)["body"]
    content = jsonl(
        line(1),
        b"{nope",
        line(1),
        b"",
        line(2, url="/v1/embeddings"),
        line(3, body={**body, "model": "gpt-9"}),
        line(4, body={"model": "model"}),
        line(5, method="GET"),
        line(6, body={**body, "stream": True}),
        line(7),
    )
    async with desk.worker():
        ended = await desk.ended(await desk.submit(content))
    assert ended.status == "failed"
    assert ended.failed_at is not None
    assert ended.errors is not None
    assert ended.errors.object == "list"
    assert [(each.line, each.code, each.param) for each in ended.errors.data or []] == [
        (2, "invalid_json_line", None),
        (3, "duplicate_custom_id", "custom_id"),
        (5, "url_mismatch", "url"),
        (6, "model_not_found", "body.model"),
        (7, "missing_required_parameter", "body.messages"),
        (8, "invalid_request", "method"),
        (9, "streaming_unsupported", "body.stream"),
    ]
    assert (ended.output_file_id, ended.error_file_id) == (None, None)
    assert ended.request_counts is not None
    assert ended.request_counts.total == 0
    assert desk.provider.seen == []
    assert await desk.count("SELECT count(*) FROM items") == 0


async def test_a_file_without_lines_or_that_is_gone_fails(desk: Desk) -> None:
    empty = await desk.submit(b"\n \n")
    gone = await desk.submit(jsonl(line(1)))
    await desk.client.files.delete(gone.input_file_id)
    async with desk.worker():
        ended = [await desk.ended(each) for each in (empty, gone)]
    codes = [[each.code for each in batch.errors.data or []] for batch in ended if batch.errors is not None]
    assert codes == [["empty_file"], ["invalid_request"]]


async def test_a_batch_whose_key_is_gone_runs_nothing(desk: Desk) -> None:
    other = (await desk.world.made(desk.world.at("api-key"), {"name": "short"}))["apiKeyId"]
    batch = await desk.submit(jsonl(line(1)))
    await desk.fetch(f"UPDATE submissions SET api_key_id = '{other}'")
    answered = await desk.world.admin.delete(f"{desk.world.at('api-key')}/{other}")
    assert answered.status_code < 300
    async with desk.worker():
        ended = await desk.ended(batch)
    assert ended.errors is not None
    assert [each.message for each in ended.errors.data or []] == ["The API key of the batch does not exist any more."]
    assert desk.provider.seen == []


async def test_cancel_keeps_what_is_finished_and_always_ends(desk: Desk) -> None:
    hold = asyncio.Event()
    desk.provider.reply = lambda seen: answer(seen)
    await limit(desk, max_in_flight=2)
    async with desk.worker(), receiving() as receiver:
        batch = await desk.submit(
            jsonl(*map(line, range(50))),
            extra_body={"webhook_url": receiver.url, "webhook_secret": "s3cret"},
        )
        await eventually(lambda: len(desk.provider.seen) >= 4, "some run")
        desk.provider.hold = hold
        cancelled = await desk.client.batches.cancel(batch.id)
        assert cancelled.status in ("cancelling", "cancelled")
        calls = len(desk.provider.seen)
        hold.set()
        ended = await desk.ended(batch)
        assert ended.status == "cancelled"
        assert len(desk.provider.seen) == calls
        again = await desk.client.batches.cancel(batch.id)
        assert again == ended
        await eventually(lambda: receiver.types() == ["batch.cancelled"], "the webhook")
    output, errors = await desk.results(ended.output_file_id), await desk.results(ended.error_file_id)
    assert set(output) | set(errors) == {f"c{number}" for number in range(50)}
    assert not set(output) & set(errors)
    assert len(output) == calls
    assert {each["error"]["code"] for each in errors.values()} == {"batch_cancelled"}
    assert ended.request_counts is not None
    assert ended.request_counts.model_dump() == {"total": 50, "completed": calls, "failed": 0}


async def test_a_batch_is_cancelled_before_it_was_looked_at(desk: Desk) -> None:
    batch = await desk.submit(jsonl(line(1)))
    cancelled = await desk.client.batches.cancel(batch.id)
    assert (cancelled.status, cancelled.cancelled_at) == ("cancelling", None)
    async with desk.worker():
        ended = await desk.ended(batch)
    assert (ended.status, ended.output_file_id, ended.error_file_id) == ("cancelled", None, None)
    assert desk.provider.seen == []


async def test_the_end_of_the_window_keeps_what_is_finished(desk: Desk) -> None:
    desk.provider.hold = asyncio.Event()
    await limit(desk, max_in_flight=3)
    async with desk.worker():
        batch = await desk.submit(jsonl(*map(line, range(20))), completion_window="1h")
        assert batch.expires_at == batch.created_at + 3_600
        await eventually(lambda: len(desk.provider.seen) == 3, "some run")
        await desk.fetch("UPDATE submissions SET expires_at = now()")
        await eventually(lambda: stopped(desk), "the deadline stops it")
        desk.provider.hold.set()
        ended = await desk.ended(batch)
    assert ended.status == "expired"
    assert ended.expired_at is not None
    assert len(desk.provider.seen) == 3
    output, errors = await desk.results(ended.output_file_id), await desk.results(ended.error_file_id)
    assert (len(output), len(errors)) == (3, 17)
    assert {each["error"]["code"] for each in errors.values()} == {"batch_expired"}
    with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'expired'"):
        await desk.client.batches.cancel(batch.id)


async def test_a_completed_batch_cannot_be_cancelled(desk: Desk) -> None:
    async with desk.worker():
        ended = await desk.ended(await desk.submit(jsonl(line(1))))
    with pytest.raises(openai.ConflictError) as raised:
        await desk.client.batches.cancel(ended.id)
    body = raised.value.body
    assert isinstance(body, dict)
    assert set(body) == {"message", "type", "param", "code"}


async def test_an_item_of_a_batch_is_retried_three_times_by_itself(desk: Desk) -> None:
    batch = await desk.submit(jsonl(line(1)))
    async with desk.worker():
        await desk.ended(batch)
    stored = await desk.fetch("SELECT max_retries, fine_priority FROM batches")
    assert [tuple(row) for row in stored] == [(3, 0)]


async def test_a_batch_whose_results_are_not_published_cannot_be_retried(desk: Desk) -> None:
    desk.provider.reply = lambda _: (400, {}, {"error": {"message": "no"}})
    async with desk.worker():
        ended = await desk.ended(await desk.submit(jsonl(line(1))))
    batch_id = read_id(BATCH, ended.id)
    path = f"{desk.world.batches}/{batch_id}/retry"
    await desk.fetch("UPDATE submissions SET ended_at = NULL, ending = NULL")
    assert (await desk.world.client.post(path)).status_code == 409
    await desk.fetch("UPDATE submissions SET ended_at = now(), ending = 'completed'")
    assert (await desk.world.client.post(path)).status_code < 300


async def limit(desk: Desk, *, max_in_flight: int) -> None:
    """Let the provider run only so many calls at once."""
    listed = (await desk.world.admin.get(desk.world.at("ai-connection"))).json()
    connection = next(each for each in listed["data"] if each["name"] == "fake")
    changed = {
        "name": "fake",
        "provider": "openai-compatible",
        "config": {"baseUrl": desk.provider.base_url, "apiKey": "k"},
        "maxInFlight": max_in_flight,
    }
    path = f"{desk.world.at('ai-connection')}/{connection['connectionId']}"
    answered = await desk.world.admin.put(path, json=changed)
    assert answered.status_code == 200, answered.text


async def stopped(desk: Desk) -> bool:
    """Whether the deadline stopped something."""
    return await desk.count("SELECT count(*) FROM submissions WHERE expiring_at IS NOT NULL") > 0

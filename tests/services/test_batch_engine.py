"""The batch engine in memory: what code that embeds us may rely on in its tests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.batch_engine import (
    BatchEngine,
    BatchStatus,
    BatchSubmission,
    InvalidSubmission,
    ItemStatus,
    RequestCounts,
    SourceFormat,
    SubmissionItem,
    UnknownBatch,
)
from scheduler.batch_engine.memory import MemoryBackend


class Clock:
    """Time that the test lets pass."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Answers:
    """Answers with the text that it was given; `fail` says how often a text fails first."""

    def __init__(self) -> None:
        self.fail: dict[str, int] = {}
        self.seen: list[str] = []

    async def __call__(self, endpoint: str, body: Mapping[str, Any]) -> Any:
        text = str(body["input"])
        self.seen.append(text)
        if self.fail.get(text, 0) > 0:
            self.fail[text] -= 1
            raise RuntimeError("not now")
        return {"endpoint": endpoint, "said": text}


def item(name: str) -> SubmissionItem:
    return SubmissionItem(name, {"model": "m", "input": name})


def submission(*names: str, **more: Any) -> BatchSubmission:
    return BatchSubmission([item(name) for name in names], "/v1/responses", **more)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def backend(answers: Answers, clock: Clock) -> MemoryBackend:
    return MemoryBackend(answers, clock)


@pytest.fixture
def engine(backend: MemoryBackend, clock: Clock) -> BatchEngine:
    return BatchEngine(backend, backend, now=clock)


async def test_a_batch_runs_and_shows_its_results(engine: BatchEngine, backend: MemoryBackend) -> None:
    job = await engine.submit(submission("a", "b", webhook_url="https://example.org/hook"))
    assert job.id.startswith("batch_")
    assert (job.status, job.counts) == (BatchStatus.QUEUED, RequestCounts(total=2, processing=2))
    assert await backend.run() == 2
    done = await engine.get(job.id)
    assert (done.status, done.counts) == (BatchStatus.COMPLETED, RequestCounts(total=2, succeeded=2))
    first = (await engine.get_items(job.id, limit=1)).data[0]
    assert first.id.startswith("item_")
    assert (first.custom_id, first.status) == ("a", ItemStatus.SUCCEEDED)
    assert first.result == {"endpoint": "/v1/responses", "said": "a"}
    events = [each.event for each in (await engine.deliveries(job.id)).data]
    assert events == ["batch.queued", "batch.started", *["batch.item_completed"] * 2, "batch.completed"]


async def test_what_fails_is_tried_again_then_a_dead_letter_and_can_be_replayed(
    engine: BatchEngine, backend: MemoryBackend, answers: Answers
) -> None:
    answers.fail = {"a": 3, "b": 4}
    job = await engine.submit(submission("a", "b"))
    assert await backend.run() == 8
    assert (await engine.get(job.id)).counts == RequestCounts(total=2, succeeded=1, failed=1)
    (letter,) = (await engine.dead_letters()).data
    assert (letter.custom_id, letter.error_code, letter.error_message) == ("b", "RuntimeError", "not now")
    assert await engine.replay(job.id) == 1
    assert (await engine.get(job.id)).status is BatchStatus.PROCESSING
    await backend.run()
    assert (await engine.get(job.id)).counts == RequestCounts(total=2, succeeded=2)
    assert (await engine.dead_letters(batch_id=job.id)).data == ()


async def test_a_queued_batch_is_cancelled_at_once_and_a_final_one_stays(
    engine: BatchEngine, backend: MemoryBackend, answers: Answers
) -> None:
    job = await engine.submit(submission("a", "b"))
    cancelled = await engine.cancel(job.id)
    assert (cancelled.status, cancelled.counts.cancelled) == (BatchStatus.CANCELLED, 2)
    await backend.run()
    assert answers.seen == []
    assert await engine.cancel(job.id) == cancelled


async def test_cancelling_lets_what_runs_end(backend: MemoryBackend, clock: Clock) -> None:
    engine: BatchEngine

    async def cancelling(_endpoint: str, _body: Mapping[str, Any]) -> Any:
        assert (await engine.cancel(job.id)).status is BatchStatus.CANCELLING
        return "done"

    backend = MemoryBackend(cancelling, clock)
    engine = BatchEngine(backend, backend, now=clock)
    job = await engine.submit(submission("a", "b"))
    await backend.run()
    done = await engine.get(job.id)
    assert done.status is BatchStatus.CANCELLED
    assert done.counts == RequestCounts(total=2, succeeded=1, cancelled=1)


async def test_what_has_not_run_in_time_expires(engine: BatchEngine, clock: Clock, answers: Answers) -> None:
    job = await engine.submit(submission("a", expires_after=timedelta(hours=1)))
    clock.now += timedelta(hours=1)
    expired = await engine.get(job.id)
    assert (expired.status, expired.counts.expired) == (BatchStatus.EXPIRED, 1)
    assert answers.seen == []


async def test_higher_priority_goes_first_and_pages_follow_each_other(
    engine: BatchEngine, backend: MemoryBackend, answers: Answers
) -> None:
    low = await engine.submit(submission("low"))
    high = await engine.submit(submission("high", priority=255))
    await backend.run()
    assert answers.seen == ["high", "low"]
    first = await engine.list(limit=1)
    rest = await engine.list(first.cursor, 1)
    assert [job.id for job in (*first.data, *rest.data)] == [high.id, low.id]
    assert rest.cursor is None
    with pytest.raises(InvalidSubmission, match="cursor"):
        await engine.list(cursor="x")


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("items", BatchSubmission([])),
        ("items", submission("a", "b", "c", "d")),
        ("items[1].custom_id", submission("a", "a")),
        ("items[0].custom_id", submission("x" * 65)),
        ("items[0].body", BatchSubmission([SubmissionItem("a", None)])),  # type: ignore[arg-type]
        ("items[0].body.model", BatchSubmission([SubmissionItem("a", {})])),
        ("items[0].body.stream", BatchSubmission([SubmissionItem("a", {"model": "m", "stream": True})])),
        ("endpoint", BatchSubmission([item("a")], "/v1/other")),  # type: ignore[arg-type]
        ("endpoint", submission("a", source_format=SourceFormat.ANTHROPIC)),
        ("priority", submission("a", priority=256)),
        ("max_retries", submission("a", max_retries=-1)),
        ("expires_after", submission("a", expires_after=timedelta(0))),
        ("metadata", submission("a", metadata={"k" * 65: "v"})),
        ("webhook_secret", submission("a", webhook_secret="s")),
        ("webhook_secret", submission("a", webhook_url="https://example.org/", webhook_secret="")),
        ("webhook_secret", submission("a", webhook_url="https://example.org/", webhook_secret="whsec_!!!")),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_kept(
    backend: MemoryBackend, field: str, bad: BatchSubmission
) -> None:
    engine = BatchEngine(backend, backend, most_items=3)
    with pytest.raises(InvalidSubmission) as caught:
        await engine.submit(bad)
    assert caught.value.field == field
    assert (await engine.list()).data == ()


async def test_an_unknown_batch_is_told_so(engine: BatchEngine) -> None:
    for ask in (
        engine.get,
        engine.cancel,
        engine.get_items,
        engine.replay,
        engine.deliveries,
        engine.replay_deliveries,
    ):
        with pytest.raises(UnknownBatch):
            await ask("batch_0")

"""The synchronous client over a real socket."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from brim import (
    ApiError,
    AuthenticationError,
    Batch,
    CallbackOptions,
    Capacity,
    Client,
    ConfigurationError,
    Conflict,
    ConnectionFailed,
    Event,
    Invalid,
    NewItem,
    NotFound,
    PermissionDenied,
    StreamError,
    TooLarge,
    Unavailable,
    UnexpectedAnswer,
    WaitTimedOut,
)

from .conftest import FAST
from .fake_brim import ENVIRONMENT, KEY, WORKSPACE, FakeBrim


def items(count: int) -> list[NewItem]:
    return [NewItem("sim", {"messages": [{"role": "user", "content": str(n)}]}) for n in range(count)]


def numbered(events: list[Event]) -> list[tuple[int | None, str]]:
    return [(event.id, event.action) for event in events if event.id is not None]


def expected(brim: FakeBrim, batch_id: str) -> list[tuple[int | None, str]]:
    return [(number, action) for number, action, _ in brim.history(batch_id) if number is not None]


def test_a_batch_is_created_with_everything_said_about_it(brim: FakeBrim, client: Client) -> None:
    batch = client.create(
        [
            NewItem("sim", {"messages": []}, endpoint="/v1/responses", custom_id="a", metadata={"k": 1}),
            {"resourceId": "other", "request": {"x": "é\u2028"}},
        ],
        type="CALLBACK",
        capacity=[Capacity("MINUTE", requests=60, burst_s=2), {"period": "day", "tokens": 5}],
        max_in_flight=3,
        priority="high",
        metadata={"who": "me"},
        deadline=datetime(2026, 11, 22, tzinfo=UTC),
        callback_options=CallbackOptions("https://example.org/hook", headers={"x": "y"}, secret="s"),
        idempotency_key="mine",
    )
    assert batch.total_items == 2
    assert batch.metadata == {"who": "me"}
    _, _, headers, body = brim.requests[-1]
    assert headers["idempotency-key"] == "mine"
    assert body == {
        "type": "CALLBACK",
        "items": [
            {
                "resourceId": "sim",
                "request": {"messages": []},
                "endpoint": "/v1/responses",
                "customId": "a",
                "metadata": {"k": 1},
            },
            {"resourceId": "other", "request": {"x": "é\u2028"}},
        ],
        "capacity": [
            {"period": "MINUTE", "requests": 60, "burstSeconds": 2},
            {"period": "day", "tokens": 5},
        ],
        "maxInFlight": 3,
        "priority": "high",
        "metadata": {"who": "me"},
        "deadline": "2026-11-22T00:00:00+00:00",
        "callbackOptions": {
            "url": "https://example.org/hook",
            "headers": {"x": "y"},
            "events": ["all"],
            "secret": "s",
        },
    }


def test_unknown_fields_are_kept_and_known_ones_are_typed(client: Client) -> None:
    batch = client.create(items(1))
    assert batch.raw["somethingNew"] == {"kept": True}
    assert batch.created_at == datetime(2026, 11, 22, 1, 2, 3, 456000, tzinfo=UTC)
    assert (batch.is_final, batch.finished, batch.items) == (True, 1, None)


def test_a_create_whose_answer_is_lost_makes_one_batch(brim: FakeBrim, client: Client) -> None:
    brim.faults.cut_creates = 2
    batch = client.create(items(2))
    assert list(brim.batches) == [batch.batch_id]
    assert len(brim.paths("POST")) == 3
    assert len({headers["idempotency-key"] for _, _, headers, _ in brim.requests}) == 1


def test_a_create_waits_while_its_first_try_is_in_progress(brim: FakeBrim, client: Client) -> None:
    answer = {"errorCode": "IN_PROGRESS", "errorMessage": "the first one is being created"}
    brim.faults.refuse = [(409, answer, {})] * 2
    assert client.create(items(1)).total_items == 1


def test_a_store_that_is_down_is_asked_again(brim: FakeBrim, client: Client) -> None:
    answer = {"errorCode": "UNAVAILABLE", "errorMessage": "a store is down"}
    brim.faults.refuse = [(503, answer, {"retry-after": "1"})] * 3
    assert client.create(items(1)).total_items == 1


def test_patience_ends(brim: FakeBrim, client: Client) -> None:
    answer = {"errorCode": "UNAVAILABLE", "errorMessage": "a store is down"}
    brim.faults.refuse = [(503, answer, {"retry-after": "7"})] * 5
    with pytest.raises(Unavailable) as raised:
        client.create(items(1))
    assert raised.value.retry_after_s == 7.0
    assert len(brim.requests) == FAST.attempts


def test_too_much_waiting_is_told_at_once(brim: FakeBrim, client: Client) -> None:
    brim.faults.refuse = [(429, {"errorCode": "TOO_MUCH_WAITING", "errorMessage": "full"}, {"retry-after": "3"})]
    with pytest.raises(Unavailable, match="TOO_MUCH_WAITING: full"):
        client.create(items(1))
    assert len(brim.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, AuthenticationError),
        (403, PermissionDenied),
        (404, NotFound),
        (409, Conflict),
        (413, TooLarge),
        (422, Invalid),
        (418, ApiError),
        (500, ApiError),
    ],
)
def test_a_refusal_is_an_error_of_its_family(brim: FakeBrim, client: Client, status: int, kind: type[ApiError]) -> None:
    brim.faults.refuse = [(status, {"errorCode": "CODE", "errorMessage": "why", "details": {"a": 1}}, {})]
    with pytest.raises(ApiError) as raised:
        client.get("b")
    error = raised.value
    assert type(error) is kind
    assert (error.status, error.code, error.message, error.details) == (status, "CODE", "why", {"a": 1})


def test_an_answer_that_is_not_brims_is_said_so(brim: FakeBrim, client: Client) -> None:
    brim.faults.refuse = [(200, {"hello": "world"}, {})]
    with pytest.raises(UnexpectedAnswer, match="no batch"):
        client.get("b")


def test_nobody_listening_is_a_failed_connection() -> None:
    with Client("http://127.0.0.1:1", KEY, WORKSPACE, ENVIRONMENT, retry=FAST) as client:
        with pytest.raises(ConnectionFailed, match=r"cannot reach http://127\.0\.0\.1:1"):
            client.get("b")
        with pytest.raises(ConnectionFailed):
            list(client.stream("b"))


def test_what_json_cannot_say_is_refused_before_sending(brim: FakeBrim, client: Client) -> None:
    with pytest.raises(ConfigurationError, match="JSON"):
        client.create([{"resourceId": "sim", "request": {"x": float("nan")}}])
    with pytest.raises(ConfigurationError, match="time zone"):
        client.create(items(1), deadline=datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test
    assert brim.requests == []


def test_every_event_is_seen_once_over_twenty_cuts(brim: FakeBrim, client: Client) -> None:
    batch_id = brim.add_batch(100)
    brim.faults.cut_streams = 20
    events = list(client.stream(batch_id))
    assert numbered(events) == expected(brim, batch_id)
    assert brim.faults.cut_streams == 0
    assert len(brim.paths("GET")) == 21


def test_events_that_the_server_repeats_are_dropped(brim: FakeBrim, client: Client) -> None:
    batch_id = brim.add_batch(30)
    brim.faults.cut_streams, brim.faults.replay = 5, True
    assert numbered(list(client.stream(batch_id))) == expected(brim, batch_id)


def test_running_events_have_no_number(brim: FakeBrim, client: Client) -> None:
    events = list(client.stream(brim.add_batch(2)))
    assert [event.id for event in events if event.action == "item-running"] == [None, None]
    first, last = events[0], events[-1]
    assert isinstance(first.payload, Batch)
    assert last.batch is not None
    assert last.batch.status == "COMPLETED"


def test_answers_keep_characters_that_end_lines_elsewhere(brim: FakeBrim, client: Client) -> None:
    batch_id = brim.add_batch(1)
    texts = [e.item.data["text"] for e in client.stream(batch_id) if e.item is not None and e.item.data]
    texts += [item.data["text"] for item in client.results(batch_id)]
    assert texts == ["answer 0 \u2028 \u0085 é"] * 2


def test_a_stream_starts_after_a_given_event(brim: FakeBrim, client: Client) -> None:
    batch_id = brim.add_batch(5)
    assert numbered(list(client.stream(batch_id, last_event_id=4))) == expected(brim, batch_id)[4:]


def test_a_failed_pipeline_is_a_stream_error(brim: FakeBrim, client: Client) -> None:
    brim.faults.pipeline_error = "the feed broke"
    with pytest.raises(StreamError, match="the feed broke") as raised:
        list(client.stream(brim.add_batch(1)))
    assert (raised.value.code, raised.value.last_event_id) == ("UNAVAILABLE", 3)


def test_an_answer_without_a_stream_is_a_stream_error(brim: FakeBrim, client: Client) -> None:
    brim.faults.refuse = [(200, {}, {})]
    with pytest.raises(StreamError, match="not an event stream"):
        list(client.stream(brim.add_batch(1)))


def test_a_stream_of_no_batch_is_not_found(brim: FakeBrim, client: Client) -> None:
    with pytest.raises(NotFound):
        list(client.stream("nothing"))
    assert len(brim.requests) == 1


def test_a_stream_that_never_brings_anything_is_given_up(brim: FakeBrim, client: Client) -> None:
    brim.faults.cut_streams, brim.faults.events_per_stream = 1_000, 0
    with pytest.raises(ConnectionFailed):
        list(client.stream(brim.add_batch(1)))
    assert len(brim.requests) == FAST.stream_attempts


def test_run_follows_its_batch_over_cuts(brim: FakeBrim, client: Client) -> None:
    brim.faults.cut_streams = 20
    events = list(client.run(items(70)))
    (batch_id,) = brim.batches
    assert numbered(events) == expected(brim, batch_id)
    assert len(brim.paths("POST")) == 1
    assert brim.paths("GET") == [f"/v1/completion-batch/{WORKSPACE}/{ENVIRONMENT}/{batch_id}/events"] * 20


def test_run_repeats_its_create_until_it_knows_the_batch(brim: FakeBrim, client: Client) -> None:
    brim.faults.cut_creates = 2
    events = list(client.run(items(3)))
    (batch_id,) = brim.batches
    assert numbered(events) == expected(brim, batch_id)


def test_lists_go_over_all_pages(brim: FakeBrim, client: Client) -> None:
    ids = [brim.add_batch(1) for _ in range(7)]
    assert [batch.batch_id for batch in client.list(page_size=3)] == ids[::-1]
    assert list(client.list(status="FAILED")) == []
    batch_id = brim.add_batch(7)
    assert [item.custom_id for item in client.items(batch_id, page_size=3)] == [f"c{n}" for n in range(7)]


def test_a_batch_and_its_items_can_be_read(brim: FakeBrim, client: Client) -> None:
    batch_id = brim.add_batch(3)
    assert client.get(batch_id).items is None
    found = client.get(batch_id, include_items=True).items
    assert found is not None
    assert len(found) == 3
    assert client.get_item(batch_id, found[1].item_id) == found[1]


def test_a_batch_is_paused_resumed_and_cancelled(brim: FakeBrim, client: Client) -> None:
    batch_id = brim.add_batch(1)
    assert client.pause(batch_id).paused
    assert not client.resume(batch_id).paused
    assert client.cancel(batch_id).status == "CANCELLED"


def test_only_what_is_named_of_a_batch_is_changed(brim: FakeBrim, client: Client) -> None:
    batch_id = brim.add_batch(1)
    brim.batches[batch_id]["status"] = "RUNNING"
    limits = (Capacity("MINUTE", requests=6), {"period": "day", "tokens": 5})
    changed = client.change(batch_id, priority="high", capacity=iter(limits), deadline=datetime(2030, 1, 1, tzinfo=UTC))
    assert (changed.priority, changed.deadline) == ("high", datetime(2030, 1, 1, tzinfo=UTC))
    assert client.change(batch_id, capacity=None).capacity == ()
    assert client.change(batch_id, deadline=None).deadline is None
    assert [body for method, _, _, body in brim.requests if method == "PATCH"] == [
        {
            "priority": "high",
            "capacity": [{"period": "MINUTE", "requests": 6}, {"period": "day", "tokens": 5}],
            "deadline": "2030-01-01T00:00:00+00:00",
        },
        {"capacity": None},
        {"deadline": None},
    ]


def test_a_change_that_says_nothing_is_refused_before_sending(brim: FakeBrim, client: Client) -> None:
    for changes, reason in (
        ({}, "nothing to change: name priority, capacity, deadline"),
        ({"priority": None}, "priority cannot be taken away"),
        ({"deadline": datetime(2030, 1, 1)}, "time zone"),  # noqa: DTZ001 - the fault in question
    ):
        with pytest.raises(ConfigurationError, match=reason):
            client.change("any", **changes)
    assert brim.requests == []


def test_a_change_is_asked_again_until_the_engine_was_told_and_of_an_ended_batch_refused(
    brim: FakeBrim, client: Client
) -> None:
    batch_id = brim.add_batch(1)
    with pytest.raises(Conflict, match="COMPLETED"):
        client.change(batch_id, priority="low")
    brim.batches[batch_id]["status"] = "RUNNING"
    brim.faults.refuse.append((503, {"errorCode": "UNAVAILABLE", "errorMessage": "later"}, {"retry-after": "0"}))
    assert client.change(batch_id, priority="low").priority == "low"


def test_odd_ids_stay_one_part_of_the_path(brim: FakeBrim, client: Client) -> None:
    for odd in ("..", "a/b", "a?b=c", "%2e%2e"):
        with pytest.raises(NotFound):
            client.get(odd)
    assert all(path.startswith("/v1/completion-batch/") for path in brim.paths("GET"))


def test_wait_asks_until_the_end(brim: FakeBrim, client: Client) -> None:
    batch_id = brim.add_batch(4)
    brim.final_after_reads = 3
    assert client.wait(batch_id, timeout=30).status == "COMPLETED"
    assert brim.reads[batch_id] == 3


def test_wait_gives_up_in_time_and_tells_how_far_it_came(brim: FakeBrim, client: Client) -> None:
    batch_id = brim.add_batch(4)
    brim.final_after_reads = 1_000_000
    with pytest.raises(WaitTimedOut, match="still RUNNING") as raised:
        client.wait(batch_id, timeout=0)
    assert raised.value.batch.finished == 2


def test_results_are_streamed_and_resumed(brim: FakeBrim, client: Client) -> None:
    batch_id = brim.add_batch(20)
    brim.faults.cut_results = 2
    assert [item.custom_id for item in client.results(batch_id)] == [f"c{n}" for n in range(20)]
    assert len(brim.requests) == 3


def test_results_come_by_pages_where_the_server_has_no_stream(brim: FakeBrim, client: Client) -> None:
    brim.has_results, brim.fail_items = False, {1}
    batch_id = brim.add_batch(4)
    assert [item.custom_id for item in client.results(batch_id)] == ["c0", "c1", "c2", "c3"]
    assert [item.custom_id for item in client.results(batch_id, status="FAILED")] == ["c1"]


def test_results_of_no_batch_are_not_found(client: Client) -> None:
    with pytest.raises(NotFound):
        list(client.results("nothing"))


def test_headroom_needs_one_thing_to_ask_about(brim: FakeBrim, client: Client) -> None:
    brim.headroom["sim"] = {"headroom": {"requests": 3}}
    assert client.headroom("sim").raw == {"headroom": {"requests": 3}}
    with pytest.raises(ValueError, match="not both"):
        client.headroom("sim", connection="x")
    with pytest.raises(ValueError, match="not both"):
        client.headroom()

"""`explain` and `connections`: what the clients read, and what the command says."""

from __future__ import annotations

import re
from typing import Any

import pytest

from brim import AsyncClient, Client, UnexpectedAnswer

from .conftest import FAST
from .fake_brim import ENVIRONMENT, KEY, WORKSPACE, FakeBrim
from .test_cli import Brim, run

__all__ = ["run"]

HOLD = {
    "scope": "connection",
    "id": "c",
    "name": "open[ai]",
    "dimension": "requests",
    "period": "MINUTE",
    "limit": 60,
    "used": 60,
    "reason": None,
    "admitsAt": "2999-01-01T00:02:00Z",
}
ITEM = {
    "message": "The limit of 60 requests per minute of connection open[ai] binds.",
    "bindingLimit": HOLD,
    "itemsAhead": 12,
    "requestsAhead": 1500,
    "earliestStart": "2999-01-01T00:02:00Z",
    "expectedEnd": None,
    "limits": [HOLD],
}
BATCH = {
    **ITEM,
    "limits": None,
    "resources": [
        {"resource": "a", "waiting": 3, "running": 1, "bindingLimit": HOLD, "expectedEnd": None},
        {"resource": "b", "waiting": 4, "running": 0, "bindingLimit": None, "expectedEnd": "2999-01-01T00:00:00Z"},
    ],
}
PARKED = {
    "connectionId": "c1",
    "name": "openai",
    "provider": "openai",
    "parked": [{"model": "", "reason": "no credit", "since": "2026-11-22T04:00:00Z", "until": "2026-11-22T05:00:00Z"}],
}
OPEN = {"connectionId": "c2", "name": "other", "provider": "vllm", "parked": []}


def client(brim: FakeBrim) -> Client:
    return Client(brim.url, KEY, WORKSPACE, ENVIRONMENT, retry=FAST)


def will_answer(brim: FakeBrim, answer: Any) -> None:
    brim.faults.refuse.append((200, answer, {}))


def test_an_item_is_explained(brim: FakeBrim) -> None:
    will_answer(brim, ITEM)
    with client(brim) as caller:
        found = caller.explain("b1", "i1")
    assert brim.paths("GET")[-1].endswith("/b1/i1/explain")
    assert (found.items_ahead, found.requests_ahead, found.expected_end) == (12, 1500, None)
    assert found.binding_limit == HOLD
    assert found.earliest_start is not None
    assert found.earliest_start.year == 2999


async def test_the_async_client_asks_the_same(brim: FakeBrim) -> None:
    will_answer(brim, BATCH)
    will_answer(brim, {"data": [PARKED, OPEN]})
    will_answer(brim, OPEN)
    async with AsyncClient(brim.url, KEY, WORKSPACE, ENVIRONMENT, retry=FAST) as caller:
        assert (await caller.explain("b1")).message == BATCH["message"]
        assert [bool(each.parked) for each in await caller.connections()] == [True, False]
        assert (await caller.resume_connection("a/b")).name == "other"
    assert brim.paths("POST") == [f"/v1/ai-connection/{WORKSPACE}/{ENVIRONMENT}/a/b/resume"]


@pytest.mark.parametrize("answer", [[], {"data": 1}])
def test_what_is_no_explanation_is_no_list_either(brim: FakeBrim, answer: Any) -> None:
    will_answer(brim, answer)
    will_answer(brim, answer)
    with client(brim) as caller:
        with pytest.raises(UnexpectedAnswer):
            caller.explain("b1")
        with pytest.raises(UnexpectedAnswer):
            caller.connections()


def test_the_command_says_why_an_item_waits(brim: FakeBrim, run: Brim) -> None:
    will_answer(brim, ITEM)
    done = run("explain", "b1", "i1")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == ITEM["message"]
    assert lines[1].startswith("starts: 2999-01-01 00:02:00 UTC (in ")
    assert "ahead: 1,500 requests" in lines
    assert any("open[ai]" in line and "60/60" in line for line in lines[3:])


def test_the_command_says_what_binds_each_resource_of_a_batch(brim: FakeBrim, run: Brim) -> None:
    will_answer(brim, BATCH)
    done = run("explain", "b1")
    assert "connection open[ai] MINUTE requests" in done.out
    assert "items: 7 waiting, 1 running" in done.out
    will_answer(brim, BATCH)
    assert run("explain", "b1", "--json").json == [BATCH]


def test_what_is_over_is_told_in_the_past(brim: FakeBrim, run: Brim) -> None:
    will_answer(brim, {"message": "It has ended.", "expectedEnd": "2020-01-01T00:00:00Z"})
    lines = run("explain", "b1").out.splitlines()
    assert lines[0] == "It has ended."
    assert re.fullmatch(r"ended: 2020-01-01 00:00:00 UTC \(\d+ d \d\d h ago\)", lines[1])


def test_the_command_shows_parked_connections_and_resumes_one(brim: FakeBrim, run: Brim) -> None:
    will_answer(brim, {"data": [PARKED, OPEN]})
    done = run("connections")
    assert "parked" in done.out
    assert "no credit" in done.out
    assert "open" in done.out
    assert "brim connections --resume NAME" in done.err
    will_answer(brim, {"data": [PARKED]})
    assert run("connections", "--json").json == [PARKED]
    will_answer(brim, OPEN)
    assert run("connections", "--resume", "other").out == "connection other is tried again\n"
    will_answer(brim, OPEN)
    assert run("connections", "--resume", "other", "--json").json == [OPEN]


def test_a_batch_that_will_be_late_is_a_warning(brim: FakeBrim, run: Brim, tmp_path: Any) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "x"}]}\n')
    late = {"warning": "The deadline cannot be met.", "meetsDeadline": False}
    will_answer(brim, {"batchId": "b1", "status": "PENDING", "totalItems": 1, "feasibility": late})
    done = run("submit", str(path), "--resource", "r")
    assert done.err == "brim: The deadline cannot be met.\n"

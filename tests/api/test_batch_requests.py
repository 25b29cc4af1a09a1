"""Batches over the official `openai` package: what may be asked, by whom, and how they are listed."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import openai
import pytest
from openai import AsyncOpenAI

from tests.api.batch_desk import Desk, jsonl, line

CHAT: Final = "/v1/chat/completions"
REFUSED: Final[list[tuple[dict[str, Any], str, str]]] = [
    ({"input_file_id": None}, "input_file_id", "missing_required_parameter"),
    ({"endpoint": None}, "endpoint", "missing_required_parameter"),
    ({"completion_window": None}, "completion_window", "missing_required_parameter"),
    ({"input_file_id": "file-abc"}, "input_file_id", "invalid_value"),
    ({"input_file_id": "file-" + "0" * 32}, "input_file_id", "invalid_value"),
    ({"input_file_id": 7}, "input_file_id", "invalid_value"),
    ({"endpoint": "/v1/images"}, "endpoint", "invalid_value"),
    ({"completion_window": "24"}, "completion_window", "invalid_value"),
    ({"completion_window": "0h"}, "completion_window", "invalid_value"),
    ({"completion_window": "400d"}, "completion_window", "invalid_value"),
    ({"metadata": {str(n): "x" for n in range(17)}}, "metadata", "invalid_value"),
    ({"metadata": {"k" * 65: "x"}}, "metadata", "invalid_value"),
    ({"metadata": {"k": "x" * 513}}, "metadata", "invalid_value"),
    ({"metadata": {"k": 1}}, "metadata", "invalid_value"),
    ({"output_expires_after": {"anchor": "x", "seconds": 3600}}, "output_expires_after", "invalid_value"),
    (
        {"output_expires_after": {"anchor": "created_at", "seconds": 1}},
        "output_expires_after.seconds",
        "invalid_value",
    ),
    ({"priority": 256}, "priority", "invalid_value"),
    ({"priority": True}, "priority", "invalid_value"),
    ({"webhook_url": "http://169.254.169.254/x"}, "webhook_url", "invalid_value"),
    ({"webhook_secret": "x"}, "webhook_secret", "invalid_value"),
    ({"webhook_url": "http://127.0.0.1/x", "webhook_secret": ["a", "b", "c"]}, "webhook_secret", "invalid_value"),
    ({"webhook_url": "http://127.0.0.1/x", "webhook_secret": "whsec_"}, "webhook_secret", "invalid_value"),
    ({"webhook_url": "http://127.0.0.1/x", "webhook_secret": "whsec_abc"}, "webhook_secret", "invalid_value"),
    ({"webhook_url": "http://127.0.0.1/x", "webhook_secret": ["a", "whsec_!!!!"]}, "webhook_secret", "invalid_value"),
    ({"webhook_url": "http://127.0.0.1/x", "webhook_format": "xml"}, "webhook_format", "invalid_value"),
    ({"execution_mode": "there"}, "execution_mode", "invalid_value"),
    ({"color": "red"}, "color", "unknown_parameter"),
]


async def test_pages_neither_skip_nor_repeat_batches_of_the_same_second(desk: Desk) -> None:
    file = await desk.client.files.create(file=("in.jsonl", jsonl(line(1))), purpose="batch")
    made: list[str] = []
    for _ in range(25):
        batches = await asyncio.gather(
            *(
                desk.client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
                for _ in range(10)
            )
        )
        made += [batch.id for batch in batches]
    listed = [batch.id async for batch in desk.client.batches.list(limit=17)]
    assert len(listed) == len(set(listed)) == 250
    assert listed == sorted(made, reverse=True)
    page = await desk.client.batches.list(limit=100, after=listed[199])
    assert [batch.id for batch in page.data] == listed[200:]
    assert page.has_more is False
    raw = (await desk.world.client.get("/v1/batches")).json()
    assert (raw["object"], len(raw["data"]), raw["has_more"]) == ("list", 20, True)
    assert (raw["first_id"], raw["last_id"]) == (listed[0], listed[19])


async def test_a_bad_request_names_its_parameter_and_makes_nothing(desk: Desk) -> None:
    file = await desk.client.files.create(file=("in.jsonl", jsonl(line(1))), purpose="batch")
    good = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}
    for changes, param, code in REFUSED:
        body = {name: value for name, value in {**good, **changes}.items() if value is not None}
        refused = await desk.world.client.post("/v1/batches", json=body)
        assert refused.status_code == 400, changes
        error = refused.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error"), changes
        if code == "missing_required_parameter":
            assert error["message"] == f"Missing required parameter: '{param}'."
    for raw in (b"{nope", b"[]", b'"x"', b'{"endpoint": "\\ud800"}'):
        refused = await desk.world.client.post("/v1/batches", content=raw)
        assert refused.status_code == 400
        assert set(refused.json()["error"]) == {"message", "type", "param", "code"}
    assert [batch async for batch in desk.client.batches.list()] == []


async def test_metadata_at_its_limits_comes_back(desk: Desk) -> None:
    metadata = {f"{number:02d}".ljust(64, "k"): "ü" * 512 for number in range(16)}
    batch = await desk.submit(jsonl(line(1)), metadata=metadata, completion_window="7d")
    assert batch.metadata == metadata
    assert batch.completion_window == "7d"
    assert (await desk.client.batches.retrieve(batch.id)).metadata == metadata


async def test_a_file_for_another_purpose_is_no_input(desk: Desk) -> None:
    file = await desk.client.files.create(file=("in.jsonl", jsonl(line(1))), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="must be 'batch', not 'user_data'"):
        await desk.client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")


async def test_two_tenants_see_nothing_of_each_other(desk: Desk) -> None:
    world = desk.world
    async with desk.worker():
        ended = await desk.ended(await desk.submit(jsonl(line(1))))
    live = await desk.submit(jsonl(line(1)))
    environment = (await world.made(f"/v1/environment/{world.workspace}", {"name": "other"}))["environmentId"]
    key = (await world.made(f"/v1/api-key/{world.workspace}/{environment}", {"name": "spy"}))["key"]
    async with AsyncOpenAI(base_url=f"{world.url}/v1", api_key=key, max_retries=0) as spy:
        assert [batch async for batch in spy.batches.list()] == []
        for guessed in (ended.id, live.id, "batch_" + "0" * 32, "nonsense"):
            with pytest.raises(openai.NotFoundError, match="No batch found"):
                await spy.batches.retrieve(guessed)
            with pytest.raises(openai.NotFoundError):
                await spy.batches.cancel(guessed)
        for file_id in (ended.input_file_id, ended.output_file_id):
            assert file_id is not None
            with pytest.raises(openai.NotFoundError):
                await spy.files.content(file_id)
        with pytest.raises(openai.BadRequestError, match="No such File object"):
            await spy.batches.create(input_file_id=ended.input_file_id, endpoint=CHAT, completion_window="24h")
    assert (await desk.client.batches.retrieve(live.id)).status == "validating"

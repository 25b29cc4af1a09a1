"""What is reserved for the answers of a batch that was made over HTTP, once its answers are known."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from scheduler.ports.learned import LearnedOutput
from tests.api.world import ApiWorld

SAID = {"messages": [{"role": "user", "content": "x"}]}
REQUESTS = (SAID, SAID | {"max_tokens": 7}, SAID | {"n": 2})


async def made(world: ApiWorld, resource: str, kind: str) -> dict[str, Any]:
    """A batch of REQUESTS, in one body or line by line."""
    items = [{"resourceId": resource, "request": request} for request in REQUESTS]
    body, content = json.dumps({"type": "ASYNC", "items": items}), "application/json"
    if kind == "lines":
        body, content = "".join(json.dumps(each) + "\n" for each in ({"type": "ASYNC"}, *items)), "application/x-ndjson"
    answer = await world.client.post(world.batches, content=body, headers={"Content-Type": content})
    assert answer.status_code == 201, answer.text
    batch: dict[str, Any] = answer.json()
    return batch


@pytest.mark.parametrize("kind", ["body", "lines"])
async def test_items_without_a_limit_of_their_own_follow_what_their_batch_needs(world: ApiWorld, kind: str) -> None:
    store = world.core.store
    batch_id = UUID((await made(world, "r", kind))["batchId"])
    [flow] = await store.batches.flows(batch_id)

    async def reserves() -> list[int]:
        _, entries = await store.items.window(batch_id, flow.resource_id, after_seq=0, limit=9)
        return [entry.out_tokens for entry in entries]

    default = world.core.settings.default_output_tokens
    assert await reserves() == [default, 7, 2 * default]
    await store.setup.learn_outputs([LearnedOutput(flow.resource_id, 160, 20, batch_id)])
    assert await reserves() == [160, 7, 320]

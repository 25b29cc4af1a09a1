"""SYNC batches and their events: everything once, in order, however often the reader is cut off."""

from __future__ import annotations

import json

import pytest

from bench.stack import simulator, single, stack
from tests.acceptance.conftest import Frame, follow, frames, items

COUNT = 1000


def numbered(seen: list[Frame]) -> list[int]:
    return [frame.event_id for frame in seen if frame.event_id is not None]


@pytest.mark.slow(7)
@pytest.mark.timeout(120)
async def test_every_event_comes_once_also_to_a_reader_that_is_cut_off_twenty_times() -> None:
    async with (
        simulator("--latency-ms", "20") as origin,
        stack(single("openai-compatible", f"{origin}/v1")) as brim,
    ):
        body = json.dumps({"type": "SYNC", "items": items(COUNT)})
        sync: list[Frame] = []
        async with brim.session.post(brim.base, data=body, headers={"Content-Type": "application/json"}) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            async for frame in frames(aiter(answer.content)):
                sync.append(frame)
                if frame.data == "[DONE]":
                    break
        assert numbered(sync) == list(range(1, COUNT + 3))
        assert sync[0].action == "batch-created"
        assert sync[-2].action == "batch-completed"
        assert sync[-2].data["payload"]["completed"] == COUNT
        completed = [f.data["payload"]["customId"] for f in sync if f.action == "item-completed"]
        assert sorted(completed) == sorted(f"item-{n}" for n in range(COUNT))
        assert all(f.data["payload"]["response"]["data"]["choices"] for f in sync if f.action == "item-completed")

        batch_id = await brim.post(items(COUNT, offset=COUNT))
        pieces: list[int] = []
        for _ in range(20):
            seen = numbered(await follow(brim, batch_id, pieces[-1] if pieces else 0, stop_after=COUNT // 25))
            pieces += seen
        pieces += numbered(await follow(brim, batch_id, pieces[-1]))
        assert pieces == list(range(1, COUNT + 3))
        # A reader that comes after the end gets the same.
        assert numbered(await follow(brim, batch_id)) == list(range(1, COUNT + 3))

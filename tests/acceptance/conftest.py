"""What acceptance tests share: items, and readers of the event stream that may be cut off."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from bench.stack import Stack

WITHIN_S = 90.0


def item(number: int, resource: str = "model", **request: Any) -> dict[str, Any]:
    """A small chat completion that no other item equals."""
    body = {"messages": [{"role": "user", "content": f"Say the number {number}."}], "max_tokens": 16, **request}
    return {"resourceId": resource, "customId": f"item-{number}", "request": body}


def items(count: int, resource: str = "model", offset: int = 0, **request: Any) -> list[dict[str, Any]]:
    """Items for one batch."""
    return [item(offset + number, resource, **request) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Frame:
    """One SSE frame. data is parsed; "[DONE]" and "[ERROR]" stay text."""

    event_id: int | None
    data: Any

    @property
    def action(self) -> str:
        return self.data["action"] if isinstance(self.data, dict) else str(self.data)


async def frames(lines: AsyncIterator[bytes]) -> AsyncIterator[Frame]:
    """Parse a stream of lines into frames."""
    event_id: int | None = None
    data: list[str] = []
    async for raw in lines:
        line = raw.decode().rstrip("\r\n")
        if not line:
            if data:
                text = "\n".join(data)
                yield Frame(event_id, text if text.startswith("[") else json.loads(text))
            event_id, data = None, []
        elif line.startswith("id:"):
            event_id = int(line[3:])
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))


async def follow(brim: Stack, batch_id: str, last: int = 0, stop_after: int | None = None) -> list[Frame]:
    """Read a batch's events from `last` to [DONE], or drop the connection after stop_after numbered ones."""
    seen: list[Frame] = []
    headers = {"Last-Event-ID": str(last)} if last else {}
    async with brim.session.get(f"{brim.base}/{batch_id}/events", headers=headers) as answer:
        assert answer.status == 200
        async for frame in frames(aiter(answer.content)):
            seen.append(frame)
            if frame.data == "[DONE]":
                break
            if stop_after is not None and sum(f.event_id is not None for f in seen) >= stop_after:
                break
    return seen


async def stats(brim: Stack, origin: str) -> dict[str, Any]:
    """What the provider saw."""
    async with brim.session.get(f"{origin}/stats") as answer:
        return dict(await answer.json())


async def all_items(brim: Stack, batch_id: str) -> list[dict[str, Any]]:
    """Every item of a batch."""
    async with brim.session.get(f"{brim.base}/{batch_id}", params={"includesItems": "true"}) as answer:
        assert answer.status == 200
        return list((await answer.json())["items"])


def adds_up(batch: dict[str, Any]) -> bool:
    """pending + running + completed + failed + cancelled = totalItems, always."""
    parts = ("pending", "running", "completed", "failed", "cancelled")
    return bool(sum(batch[part] for part in parts) == batch["totalItems"])

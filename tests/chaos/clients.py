"""Those who use Brim during a run: they post batches and follow their events, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.stack import Stack
from tests.acceptance.conftest import frames
from tests.chaos.history import FINAL, BatchHistory, Event, History

AGAIN_S = 0.2
QUIET_S = 40.0
"""A stream without a byte for so long (pings come every 15 s) is opened anew."""
TROUBLE = (aiohttp.ClientError, TimeoutError, OSError)
PATIENCE = aiohttp.ClientTimeout(total=60, sock_connect=5)


class Misbehaved(Exception):
    """An answer that no fault explains: a status other than success, 503, or a cut connection."""


@dataclass(slots=True)
class Trouble:
    """What clients met. statuses: of answers that were not a success. odd: answers that no fault explains."""

    unavailable: int = 0
    cut: int = 0
    without_retry_after: int = 0
    streams_resumed: int = 0
    odd: list[str] = field(default_factory=list)


def request_of(custom_id: str) -> dict[str, Any]:
    """A small chat completion that no other item equals."""
    return {"messages": [{"role": "user", "content": f"Say {custom_id}."}], "max_tokens": 16}


def digest_of(custom_id: str) -> str:
    """What the ledger keeps of a call of this item: the start of the SHA-256 of its body."""
    body = json.dumps({**request_of(custom_id), "model": "sim-model", "stream": False}, separators=(",", ":"))
    return hashlib.sha256(body.encode()).digest()[:16].hex()


class Clients:
    """Posts and reads on behalf of many. All that was accepted is in the history."""

    def __init__(self, brim: Stack, history: History) -> None:
        self._brim = brim
        self._history = history
        self.trouble = Trouble()

    async def post(self, name: str, resource: str, count: int, callback_url: str | None) -> BatchHistory:
        """Create a batch; tries until it knows that it was accepted. The key makes a repeat harmless."""
        custom_ids = [f"{name}-{number}" for number in range(count)]
        items = [{"resourceId": resource, "customId": each, "request": request_of(each)} for each in custom_ids]
        fields: dict[str, Any] = {"type": "ASYNC", "items": items}
        if callback_url is not None:
            fields |= {"type": "CALLBACK", "callbackOptions": {"url": callback_url, "events": ["all"]}}
        payload = json.dumps(fields, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": name}
        while True:
            with self._expecting(f"POST {name}"):
                async with self._brim.session.post(
                    self._brim.base, data=io.BytesIO(payload), headers=headers, timeout=PATIENCE
                ) as answer:
                    if await self._is_good(answer, "POST", {409}):
                        batch_id = (await answer.json())["batchId"]
                        batch = BatchHistory(batch_id, custom_ids, callback_url is not None)
                        self._history.batches[batch_id] = batch
                        self._history.bodies |= {digest_of(each): each for each in custom_ids}
                        return batch
            await asyncio.sleep(AGAIN_S)

    async def follow(self, batch: BatchHistory, into: list[Event]) -> None:
        """Read a batch's events to [DONE]; resumes with the last number that it saw."""
        while True:
            last = into[-1].number if into else 0
            headers = {"Last-Event-ID": str(last)} if last else {}
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=QUIET_S)
            with self._expecting(f"events of {batch.batch_id}"):
                async with self._brim.session.get(
                    f"{self._brim.base}/{batch.batch_id}/events", headers=headers, timeout=timeout
                ) as answer:
                    if await self._is_good(answer, "events") and await self._read(aiter(answer.content), into):
                        batch.done = True
                        return
            self.trouble.streams_resumed += 1
            await asyncio.sleep(AGAIN_S)

    async def _read(self, lines: AsyncIterator[bytes], into: list[Event]) -> bool:
        async for frame in frames(lines):
            if frame.data == "[DONE]":
                return True
            if frame.event_id is not None:
                custom_id = frame.data["payload"].get("customId", "") if frame.action.startswith("item-") else ""
                into.append(Event(frame.event_id, frame.action, custom_id or "", time.time()))
        return False

    async def until_final(self, batch: BatchHistory) -> None:
        """Wait for the end of a batch, then take down how it and its items are shown."""
        while batch.final.get("status") not in FINAL:
            await asyncio.sleep(AGAIN_S)
            batch.final = await self._get(batch.batch_id, includesItems="false") or batch.final
        shown: dict[str, Any] | None = None
        while shown is None:
            shown = await self._get(batch.batch_id, includesItems="true")
            await asyncio.sleep(0 if shown else AGAIN_S)
        batch.items = [{"customId": each["customId"], "status": each["status"]} for each in shown["items"]]

    async def look(self, batch_id: str) -> None:
        """One read that nobody waits for: routes must answer in every state of the stores."""
        await self._get(batch_id, includesItems="true", itemsLimit="20")

    async def _get(self, batch_id: str, **params: str) -> dict[str, Any] | None:
        with self._expecting(f"GET {batch_id}"):
            async with self._brim.session.get(
                f"{self._brim.base}/{batch_id}", params=params, timeout=PATIENCE
            ) as answer:
                if await self._is_good(answer, "GET"):
                    return dict(json.loads(await answer.read()))
        return None

    async def _is_good(self, answer: aiohttp.ClientResponse, what: str, also: set[int] | None = None) -> bool:
        if answer.status in (200, 201):
            return True
        if answer.status == 503:
            self.trouble.unavailable += 1
            self.trouble.without_retry_after += "Retry-After" not in answer.headers
        elif answer.status not in (also or ()):
            self.trouble.odd.append(f"{what} answered {answer.status}: {(await answer.text())[:200]}")
        return False

    @contextmanager
    def _expecting(self, what: str) -> Iterator[None]:
        try:
            yield
        except TROUBLE:
            self.trouble.cut += 1
        except ValueError as error:
            # A body that ends early is cut JSON: only a connection that broke explains it, and that raises above.
            self.trouble.odd.append(f"{what}: {type(error).__name__}: {error}"[:200])

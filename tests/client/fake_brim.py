"""A Brim that only answers: it runs nothing, its batches have a prepared history, and it fails on demand."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from aiohttp import web

KEY = "brim_test_key"
WORKSPACE = "11111111-1111-4111-8111-111111111111"
ENVIRONMENT = "22222222-2222-4222-8222-222222222222"
_START_S = 10.0


@dataclass
class Faults:
    """What goes wrong, counted down as it happens."""

    cut_streams: int = 0
    """So many event streams end after `events_per_stream` events, every other one inside a frame."""
    events_per_stream: int = 3
    cut_creates: int = 0
    """So many creates are carried out, but their answer never arrives."""
    refuse: list[tuple[int, Mapping[str, Any], Mapping[str, str]]] = field(default_factory=list)
    """Answers (status, JSON, headers) given to the next requests instead of the real ones."""
    cut_results: int = 0
    replay: bool = False
    """Resumed streams repeat events that the client has already seen."""
    pipeline_error: str | None = None


class FakeBrim:
    """Runs in a thread of its own: `with FakeBrim() as brim: … brim.url`."""

    def __init__(self) -> None:
        self.url = ""
        self.faults = Faults()
        self.has_results = True
        self.fail_items: set[int] = set()
        self.final_after_reads = 0
        """A batch read fewer times than this is still RUNNING, its items half done."""
        self.never_ends = False
        """Event streams stay open after `batch-created` and one item."""
        self.requests: list[tuple[str, str, Mapping[str, str], Any]] = []
        self.batches: dict[str, dict[str, Any]] = {}
        self.items: dict[str, list[dict[str, Any]]] = {}
        self.reads: dict[str, int] = {}
        self.headroom: dict[str, Any] = {}
        self._by_key: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> FakeBrim:
        self._thread.start()
        assert self._started.wait(_START_S), "the fake server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START_S)
        assert not self._thread.is_alive(), "the fake server did not stop"

    def paths(self, method: str) -> list[str]:
        """The paths asked for with that method, in order."""
        return [path for asked, path, _, _ in self.requests if asked == method]

    def add_batch(self, count: int, type: str = "ASYNC") -> str:
        """A batch with its history already written; its id."""
        items = [{"resourceId": "sim", "request": {"n": n}, "customId": f"c{n}"} for n in range(count)]
        return str(self._create({"type": type, "items": items})["batchId"])

    def history(self, batch_id: str) -> list[tuple[int | None, str, dict[str, Any]]]:
        """All frames of a batch's stream: (number or None, action, payload)."""
        batch, items = self.batches[batch_id], self.items[batch_id]
        created = {**batch, **_counts(pending=len(items)), "status": "PENDING"}
        frames: list[tuple[int | None, str, dict[str, Any]]] = [(1, "batch-created", created)]
        for number, item in enumerate(items, start=2):
            running = {**item, "status": "RUNNING", "response": None, "errorMessage": None}
            frames.append((None, "item-running", running))
            frames.append((number, f"item-{item['status'].lower()}", item))
        frames.append((len(items) + 2, f"batch-{batch['status'].lower()}", batch))
        return frames

    # -- the server ------------------------------------------------------------------------------------

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        app = web.Application(middlewares=[self._guard])
        root = f"/v1/completion-batch/{WORKSPACE}/{ENVIRONMENT}"
        app.add_routes(
            [
                web.post(root, self._post),
                web.get(root, self._list),
                web.get(root + "/{batch}", self._get),
                web.patch(root + "/{batch}", self._patch),
                web.post(root + "/{batch}/{verb}", self._change),
                web.get(root + "/{batch}/events", self._events),
                web.get(root + "/{batch}/results", self._results),
                web.get(root + "/{batch}/{item}", self._get_item),
                web.get(f"/v1/ai-resource/{WORKSPACE}/{ENVIRONMENT}" + "/{id}/headroom", self._headroom),
            ]
        )
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.method, request.path, headers, body))
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return _error(401, "UNAUTHENTICATED", "The API key is missing or wrong.")
        if self.faults.refuse:
            status, answer, more = self.faults.refuse.pop(0)
            return web.json_response(answer, status=status, headers=more)
        response: web.StreamResponse = await handler(request)
        return response

    async def _post(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if not body["items"]:
            return _error(422, "VALIDATION_ERROR", "items must not be empty")
        key = request.headers.get("idempotency-key")
        if key is not None and key in self._by_key:
            batch = self.batches[self._by_key[key]]
        else:
            batch = self._create(body)
            if key is not None:
                self._by_key[key] = batch["batchId"]
        if self.faults.cut_creates > 0:
            self.faults.cut_creates -= 1
            _cut(request)
        if body["type"] == "SYNC":
            return await self._stream(request, batch["batchId"], None)
        return web.json_response(batch, status=201)

    async def _list(self, request: web.Request) -> web.Response:
        limit, after = int(request.query["limit"]), request.query.get("after")
        wanted = request.query.get("status")
        found = [b for b in reversed(self.batches.values()) if wanted in (None, b["status"])]
        ids = [b["batchId"] for b in found]
        start = 0 if after is None else ids.index(after) + 1
        page = found[start : start + limit]
        more = start + limit < len(found)
        return web.json_response({"data": page, "hasMore": more, "nextAfter": page[-1]["batchId"] if more else None})

    async def _get(self, request: web.Request) -> web.Response:
        batch_id = request.match_info["batch"]
        if batch_id not in self.batches:
            return _error(404, "COMPLETION_BATCH_NOT_FOUND", "No such batch.")
        self.reads[batch_id] = self.reads.get(batch_id, 0) + 1
        batch = dict(self.batches[batch_id])
        if self.reads[batch_id] < self.final_after_reads:
            half = batch["totalItems"] // 2
            rest = batch["totalItems"] - half
            batch = {**batch, **_counts(completed=half, running=rest), "status": "RUNNING"}
        if request.query.get("includesItems", "true") == "true":
            items = self.items[batch_id]
            start = int(request.query.get("itemsAfter", "0"))
            limit = int(request.query.get("itemsLimit", str(len(items))))
            batch["items"] = items[start : start + limit]
            batch["nextItemsAfter"] = str(start + limit) if start + limit < len(items) else None
        return web.json_response(batch)

    async def _get_item(self, request: web.Request) -> web.Response:
        for item in self.items.get(request.match_info["batch"], []):
            if item["itemId"] == request.match_info["item"]:
                return web.json_response(item)
        return _error(404, "COMPLETION_BATCH_ITEM_NOT_FOUND", "No such item.")

    async def _change(self, request: web.Request) -> web.Response:
        batch = self.batches[request.match_info["batch"]]
        match request.match_info["verb"]:
            case "cancel":
                batch["status"] = "CANCELLED"
                return web.json_response(batch, status=201)
            case "pause" | "resume" as verb:
                batch["paused"] = verb == "pause"
                return web.json_response(batch)
            case _:
                return _error(404, "NOT_FOUND", "No such path.")

    async def _patch(self, request: web.Request) -> web.Response:
        batch = self.batches[request.match_info["batch"]]
        if batch["status"] not in ("PENDING", "RUNNING"):
            return _error(409, "INVALID_STATE", f"The batch is {batch['status']}.")
        changes = await request.json()
        batch |= {**changes, **({"capacity": changes["capacity"] or []} if "capacity" in changes else {})}
        return web.json_response(batch)

    async def _headroom(self, request: web.Request) -> web.Response:
        found = self.headroom.get(request.match_info["id"])
        return _error(403, "NOT_AUTHORIZED", "scope") if found is None else web.json_response(found)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        batch_id = request.match_info["batch"]
        if batch_id not in self.batches:
            return _error(404, "COMPLETION_BATCH_NOT_FOUND", "No such batch.")
        last = request.headers.get("last-event-id")
        return await self._stream(request, batch_id, None if last is None else int(last))

    async def _results(self, request: web.Request) -> web.StreamResponse:
        if not self.has_results:
            return _error(400, "INVALID_ID", "'results' is no UUID")
        if request.match_info["batch"] not in self.batches:
            return _error(404, "COMPLETION_BATCH_NOT_FOUND", "No such batch.")
        response = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
        await response.prepare(request)
        status = request.query.get("status")
        items = [i for i in self.items[request.match_info["batch"]] if status in (None, i["status"])]
        for number, item in enumerate(items):
            line = json.dumps(item, ensure_ascii=False).encode() + b"\n"
            if self.faults.cut_results > 0 and number == len(items) // 2:
                self.faults.cut_results -= 1
                await response.write(line[: len(line) // 2])
                _cut(request)
            await response.write(line)
        await response.write_eof()
        return response

    async def _stream(self, request: web.Request, batch_id: str, last: int | None) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        await response.write(b": keep-alive\r\n\r\n")
        sent = 0
        after = (last or 0) - (2 if self.faults.replay else 0)
        for number, action, payload in self.history(batch_id):
            if number is None and last is not None:
                continue  # live only
            if number is not None and number <= after:
                continue
            frame = _frame(number, action, payload)
            if self.faults.cut_streams > 0 and sent == self.faults.events_per_stream:
                self.faults.cut_streams -= 1
                if self.faults.cut_streams % 2:
                    await response.write(frame[: len(frame) // 2])
                _cut(request)
            await response.write(frame)
            sent += number is not None
            if self.never_ends and sent == 2:
                await self._stop.wait()
        if self.faults.pipeline_error is not None:
            await response.write(
                _data({"error": {"errorCode": "UNAVAILABLE", "errorMessage": self.faults.pipeline_error}})
            )
            await response.write(b"data: [ERROR]\r\n\r\n")
        else:
            await response.write(b": keep-alive\r\n\r\ndata: [DONE]\r\n\r\n")
        await response.write_eof()
        return response

    def _create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        batch_id = str(uuid.uuid4())
        items = [
            self._item(batch_id, number, given, failed=number in self.fail_items)
            for number, given in enumerate(body["items"])
        ]
        failed = sum(item["status"] == "FAILED" for item in items)
        batch = {
            "batchId": batch_id,
            "type": body["type"],
            "status": "FAILED" if failed else "COMPLETED",
            "paused": False,
            **_counts(completed=len(items) - failed, failed=failed),
            "totalItems": len(items),
            "completedPercentage": 100,
            "createdAt": "2026-11-22T01:02:03.456Z",
            "metadata": body.get("metadata"),
            "somethingNew": {"kept": True},
        }
        self.batches[batch_id] = batch
        self.items[batch_id] = items
        return batch

    @staticmethod
    def _item(batch_id: str, number: int, given: Mapping[str, Any], *, failed: bool) -> dict[str, Any]:
        # U+2028 and U+0085 end a line in Python's own splitting, though not in SSE or NDJSON.
        answer = {"data": {"text": f"answer {number} \u2028 \u0085 é"}, "headers": {}}
        return {
            "batchId": batch_id,
            "itemId": str(uuid.UUID(int=uuid.UUID(batch_id).int ^ number)),
            "customId": given.get("customId"),
            "resourceId": given["resourceId"],
            "request": given["request"],
            "status": "FAILED" if failed else "COMPLETED",
            "response": None if failed else answer,
            "errorMessage": "the provider said no" if failed else None,
            "errorCode": "UPSTREAM" if failed else None,
            "retryCount": 0,
            "promptTokens": 3,
            "outputTokens": 4,
            "totalTokens": 7,
        }


def _counts(
    *, pending: int = 0, running: int = 0, completed: int = 0, failed: int = 0, cancelled: int = 0
) -> dict[str, int]:
    return {
        "pending": pending,
        "running": running,
        "completed": completed,
        "failed": failed,
        "cancelled": cancelled,
    }


def _frame(number: int | None, action: str, payload: Mapping[str, Any]) -> bytes:
    head = b"" if number is None else f"id: {number}\r\n".encode()
    return head + _data({"action": action, "payload": payload})


def _data(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\r\n\r\n"


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"errorCode": code, "errorMessage": message}, status=status)


def _cut(request: web.Request) -> NoReturn:
    """Close the connection under the client, after what was already written."""
    assert request.transport is not None
    request.transport.close()
    raise ConnectionResetError

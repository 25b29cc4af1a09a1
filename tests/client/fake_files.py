"""A server of the OpenAI face that only answers: it keeps uploads, and its batches end after a few looks at them."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from typing import Any

from aiohttp import web

KEY = "brim_test_key"


class FakeFiles:
    """Runs in a thread of its own: `with FakeFiles() as server: … server.url`."""

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.batches: list[dict[str, Any]] = []
        self.looks = 2
        """So often a batch is read before it has ended."""
        self.ending = "completed"
        self.failing = 0
        """So many of its requests fail."""
        self.cut_creates = 0
        """So many batches are made, but their answer never arrives."""
        self.cut_downloads = 0
        """So many downloads break in the middle."""
        self.page = 2
        self.ranges: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> FakeFiles:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _serve(self) -> None:
        self._loop.run_until_complete(self._run())
        self._loop.close()

    async def _run(self) -> None:
        app = web.Application(middlewares=[_checked])
        app.router.add_post("/v1/files", self._upload)
        app.router.add_get("/v1/files", self._list_files)
        app.router.add_get("/v1/files/{id}", self._file)
        app.router.add_delete("/v1/files/{id}", self._delete)
        app.router.add_get("/v1/files/{id}/content", self._content)
        app.router.add_post("/v1/batches", self._create)
        app.router.add_get("/v1/batches", self._list_batches)
        app.router.add_get("/v1/batches/{id}", self._batch)
        app.router.add_post("/v1/batches/{id}/cancel", self._cancel)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    def keep(self, content: bytes, name: str, purpose: str) -> dict[str, Any]:
        """A new file."""
        file_id = f"file-{len(self.files) + 1}"
        self.contents[file_id] = content
        self.files[file_id] = {
            "id": file_id,
            "object": "file",
            "bytes": len(content),
            "created_at": 1,
            "expires_at": None,
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }
        return self.files[file_id]

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField)
        return web.json_response(self.keep(file.file.read(), file.filename, str(form["purpose"])))

    async def _list_files(self, request: web.Request) -> web.Response:
        wanted = [each for each in self.files.values() if request.query.get("purpose") in (None, each["purpose"])]
        return self._paged(request, wanted[::-1])

    async def _file(self, request: web.Request) -> web.Response:
        return web.json_response(self._found(self.files, request))

    async def _delete(self, request: web.Request) -> web.Response:
        file = self._found(self.files, request)
        del self.files[file["id"]]
        return web.json_response({"id": file["id"], "object": "file", "deleted": True})

    async def _content(self, request: web.Request) -> web.StreamResponse:
        content = self.contents[self._found(self.files, request)["id"]]
        wanted = request.headers.get("range", "")
        self.ranges.append(wanted)
        start = int(re.findall(r"\d+", wanted)[0]) if wanted else 0
        answer = web.StreamResponse(status=206 if wanted else 200)
        answer.content_length = len(content) - start
        await answer.prepare(request)
        if self.cut_downloads:
            self.cut_downloads -= 1
            await answer.write(content[start : start + 10])
            assert request.transport is not None
            request.transport.close()
            return answer
        await answer.write(content[start:])
        return answer

    async def _create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        lines = [json.loads(line) for line in self.contents[asked["input_file_id"]].splitlines() if line.strip()]
        batch = {
            "id": f"batch_{len(self.batches) + 1}",
            "object": "batch",
            "status": "validating",
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": None,
            "errors": None,
            "looks": 0,
            "lines": lines,
            **asked,
        }
        self.batches.append(batch)
        if self.cut_creates:
            self.cut_creates -= 1
            assert request.transport is not None
            request.transport.close()
        return web.json_response(_shown(batch))

    async def _list_batches(self, request: web.Request) -> web.Response:
        return self._paged(request, [_shown(batch) for batch in self.batches[::-1]])

    async def _batch(self, request: web.Request) -> web.Response:
        batch = self._found({each["id"]: each for each in self.batches}, request)
        batch["looks"] += 1
        if batch["looks"] < self.looks:
            batch["status"] = "in_progress"
            batch["request_counts"] = {"total": len(batch["lines"]), "completed": 0, "failed": 0}
        elif batch["status"] not in ("completed", "failed", "expired", "cancelled"):
            self._end(batch)
        return web.json_response(_shown(batch))

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self._found({each["id"]: each for each in self.batches}, request)
        batch["status"] = "cancelling"
        return web.json_response(_shown(batch))

    def _end(self, batch: dict[str, Any]) -> None:
        batch["status"] = self.ending
        if self.ending == "failed":
            fault = {"code": "model_not_found", "message": "No such model.", "param": "body.model", "line": 2}
            batch["errors"] = {"object": "list", "data": [fault]}
            return
        ids = [line["custom_id"] for line in batch["lines"]]
        good, bad = ids[self.failing :], ids[: self.failing]
        batch["request_counts"] = {"total": len(ids), "completed": len(good), "failed": len(bad)}
        batch["usage"] = {"input_tokens": 7 * len(good), "output_tokens": 3 * len(good)}
        for name, some in (("output_file_id", good), ("error_file_id", bad)):
            if some:
                text = b"".join(json.dumps({"custom_id": each}).encode() + b"\n" for each in some)
                batch[name] = self.keep(text, f"{name}.jsonl", "batch_output")["id"]

    def _paged(self, request: web.Request, found: list[dict[str, Any]]) -> web.Response:
        after = request.query.get("after")
        start = 0 if after is None else [each["id"] for each in found].index(after) + 1
        data = found[start : start + self.page]
        more = len(found) > start + self.page
        return web.json_response({"object": "list", "data": data, "has_more": more})

    def _found(self, among: dict[str, dict[str, Any]], request: web.Request) -> dict[str, Any]:
        found = among.get(request.match_info["id"])
        if found is None:
            raise web.HTTPNotFound(
                text=json.dumps({"error": {"message": "No such thing.", "type": "t", "param": "id", "code": None}}),
                content_type="application/json",
            )
        return found


def _shown(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name not in ("looks", "lines")}


@web.middleware
async def _checked(request: web.Request, handler: Any) -> web.StreamResponse:
    if request.headers.get("authorization") != f"Bearer {KEY}":
        error = {"message": "No.", "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}
        return web.json_response({"error": error}, status=401)
    answer: web.StreamResponse = await handler(request)
    return answer

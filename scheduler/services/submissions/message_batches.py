"""Anthropic's message batches over the same submissions as OpenAI's: their requests become an input file of ours."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from scheduler.domain.errors import BadParameter, Conflict, NotFound
from scheduler.domain.file import BATCH_FILES_EXPIRE, NewFile, Purpose
from scheduler.domain.ids import uuid7
from scheduler.domain.setup import ApiKey
from scheduler.domain.submission import (
    DEFAULT_MAX_RETRIES,
    Ending,
    ExecutionMode,
    NewSubmission,
    SourceFormat,
    Submission,
)
from scheduler.ports.files import Draft
from scheduler.ports.store import Store
from scheduler.providers.anthropic.blocks import Untranslatable
from scheduler.providers.anthropic.from_messages import to_chat
from scheduler.services.files.files import Files
from scheduler.services.reading.json_text import JsonText
from scheduler.services.submissions.message_lines import refused_line
from scheduler.services.submissions.submissions import Submissions
from scheduler.settings import Settings

WINDOW = timedelta(hours=24)
ENDPOINT = "/v1/chat/completions"
REQUESTS = "requests"
"""Key of the metadata that keeps how many requests there are, for as long as no batch counts them."""
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ENCODER = msgspec.json.Encoder()


class MessageBatches:
    """Creates message batches and reads their results; all else is what submissions do."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        files: Files,
        submissions: Submissions,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._store = store
        self._files = files
        self._submissions = submissions
        self._now = now

    async def create(self, key: ApiKey, raw: bytes) -> Submission:
        """A message batch. Raises Malformed, BadParameter for the first request that is wrong, NotFound
        AI_RESOURCE_NOT_FOUND for a model that does not exist or that the key may not use; then nothing is stored."""
        resources = await self._store.setup.resources(key.environment_id)
        usable = {each.name for each in resources if key.resources is None or each.resource_id in key.resources}
        now = self._now()
        async with self._files.drafting() as draft:
            count = await asyncio.to_thread(self._write, draft, raw, usable)
            file = await self._files.keep(
                draft,
                NewFile(
                    workspace_id=key.workspace_id,
                    environment_id=key.environment_id,
                    file_id=_new_id(now),
                    purpose=Purpose.BATCH,
                    filename="message_batch.jsonl",
                    created_at=now,
                    expires_at=now + BATCH_FILES_EXPIRE,
                ),
            )
        return await self._store.submissions.create(
            NewSubmission(
                workspace_id=key.workspace_id,
                environment_id=key.environment_id,
                batch_id=_new_id(now),
                api_key_id=key.api_key_id,
                source_format=SourceFormat.ANTHROPIC,
                execution_mode=ExecutionMode.HERE,
                input_file_id=file.file_id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                fine_priority=0,
                max_retries=DEFAULT_MAX_RETRIES,
                metadata={REQUESTS: str(count)},
                output_expires_after_s=None,
                created_at=now,
                expires_at=now + WINDOW,
                targets=self._submissions.targets(None),
            )
        )

    async def results(self, submission: Submission) -> AsyncIterator[bytes]:
        """The lines of an ended batch. Raises Conflict while it runs, NotFound when its results have expired."""
        if submission.ending is None:
            raise Conflict("The message batch has not ended yet: its results are not available.")
        refused = submission.ending is Ending.FAILED or submission.output_file_id is None
        file_id = submission.input_file_id if refused else submission.output_file_id
        file = None if file_id is None else await self._files.get(submission.environment_id, file_id)
        reading = None if file is None else await self._files.open(file)
        if reading is None:
            raise NotFound("The results of this message batch are not available any more.")

        async def pieces() -> AsyncIterator[bytes]:
            try:
                source = reading.pieces()
                async for piece in _refused(source, submission) if refused else source:
                    yield piece
            finally:
                reading.close()

        return pieces()

    def _write(self, draft: Draft, raw: bytes, usable: set[str]) -> int:
        """Write the input file; answers how many requests it has."""
        document = JsonText(raw)
        try:
            given = msgspec.json.decode(document.text)
        except (ValueError, RecursionError):
            given = None
        requests = given.get("requests") if isinstance(given, dict) else None
        if not isinstance(requests, list) or not requests:
            raise _wrong("requests", "Field required" if requests is None else "must be a list of at least one request")
        most = self._settings.max_file_lines
        if len(requests) > most:
            raise _wrong("requests", f"a batch may have at most {most} requests")
        seen: set[str] = set()
        lines: list[bytes] = []
        for index, request in enumerate(requests):
            custom_id, body = _request(request, f"requests.{index}", seen)
            if document.holds_surrogate(_ENCODER.encode(body).decode()):
                raise _wrong(f"requests.{index}.params", "holds a character that cannot be stored")
            if body["model"] not in usable:
                raise NotFound(f"requests.{index}.params.model: {body['model'][:200]}", code="AI_RESOURCE_NOT_FOUND")
            line = {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body}
            lines.append(_ENCODER.encode(line))
            if len(lines) >= 500:
                draft.write(b"\n".join(lines) + b"\n")
                lines.clear()
        if lines:
            draft.write(b"\n".join(lines) + b"\n")
        return len(requests)


def _request(request: Any, place: str, seen: set[str]) -> tuple[str, dict[str, Any]]:
    if not isinstance(request, dict):
        raise _wrong(place, "must be an object")
    custom_id, params = request.get("custom_id"), request.get("params")
    if not isinstance(custom_id, str) or not _CUSTOM_ID.fullmatch(custom_id):
        raise _wrong(
            f"{place}.custom_id",
            "Field required" if custom_id is None else "must be 1 to 64 letters, digits, '_' and '-'",
        )
    if custom_id in seen:
        raise _wrong(f"{place}.custom_id", f"must be unique: '{custom_id}' comes twice")
    seen.add(custom_id)
    if not isinstance(params, dict):
        raise _wrong(f"{place}.params", "Field required" if params is None else "must be an object")
    try:
        return custom_id, to_chat(params)
    except Untranslatable as problem:
        field, _, why = str(problem).partition(": ")
        raise _wrong(f"{place}.params.{field}", why) from None


def _wrong(field: str, why: str) -> BadParameter:
    return BadParameter(f"{field}: {why}", param=field)


def _new_id(now: datetime) -> UUID:
    return uuid7(int(now.timestamp() * 1000), os.urandom(10))


async def _refused(source: AsyncIterator[bytes], submission: Submission) -> AsyncIterator[bytes]:
    """Of a batch that did not run: each of its requests, with what was wrong with it or with the others."""
    faults: Mapping[int | None, str] = {fault.line: fault.message for fault in submission.faults}
    whole = faults.get(None, "Other requests of this batch were refused; none of it ran.")
    cancelled = submission.ending is Ending.CANCELLED
    number, rest = 0, b""
    async for piece in source:
        *lines, rest = (rest + piece).split(b"\n")
        told = []
        for line in lines:
            number += 1
            custom_id = msgspec.json.decode(line)["custom_id"]
            told.append(_canceled(custom_id) if cancelled else refused_line(custom_id, faults.get(number, whole)))
        if told:
            yield b"".join(told)


def _canceled(custom_id: str) -> bytes:
    return _ENCODER.encode({"custom_id": custom_id, "result": {"type": "canceled"}}) + b"\n"

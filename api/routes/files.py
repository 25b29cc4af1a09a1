"""Files in OpenAI's form: upload, list, read, content, delete."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from api import openai_errors
from api.auth import OpenAICaller
from api.documentation import gives, gives_content, takes_form
from api.exchange import answered
from api.forms import UploadForm, receive
from api.ranges import Part, part_of
from api.uploads import body_of
from api.wiring import Services, services_of
from scheduler.domain.errors import BadParameter, NotFound
from scheduler.domain.file import File, NewFile
from scheduler.domain.ids import uuid7
from scheduler.domain.public_ids import FILE, read_id
from scheduler.ports.files import Reading
from scheduler.services.callers.keys import KeyHolder
from scheduler.services.files.form import check_name, check_purpose, expiry, listed_purpose
from scheduler.services.files.views import DeletedFile, FilePage, FileView, file_page, file_view

router = APIRouter(prefix="/v1/files", tags=["files"])
_FORM: Final[dict[str, dict[str, Any]]] = {
    "file": {"type": "string", "format": "binary"},
    "purpose": {"type": "string"},
    "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
    "expires_after[seconds]": {"type": "integer"},
}


async def find_file(services: Services, principal: KeyHolder, file_id: str) -> File:
    """The file of a path. Raises NotFound, also for another environment's."""
    internal = read_id(FILE, file_id)
    found = None if internal is None else await services.files.get(principal.key.environment_id, internal)
    if found is None:
        raise no_such_file(file_id)
    return found


def no_such_file(file_id: str) -> NotFound:
    """The refusal of an id that names no file of the caller's."""
    return NotFound(f"No such File object: {file_id}")


@router.post("", openapi_extra=takes_form(_FORM, ["file", "purpose"]) | gives(FileView))
async def create_file(request: Request, principal: OpenAICaller) -> Response:
    """Upload a file. It is there, whole and durable, when this answers."""
    services = services_of(request)
    async with services.files.drafting() as draft:
        form = UploadForm(request.headers.get("content-type", ""), draft, services.settings.max_file_bytes)
        await receive(body_of(request), form, services.settings.upload_silence_s)
        now = datetime.now(UTC)
        purpose = check_purpose(form.fields.get("purpose"))
        new = NewFile(
            workspace_id=principal.key.workspace_id,
            environment_id=principal.key.environment_id,
            file_id=uuid7(int(now.timestamp() * 1000), os.urandom(10)),
            purpose=purpose,
            filename=check_name(form.filename, purpose),
            created_at=now,
            expires_at=expiry(form.fields, purpose, now),
        )
        return answered(file_view(await services.files.keep(draft, new)))


@router.get("", openapi_extra=gives(FilePage))
async def list_files(
    request: Request,
    principal: OpenAICaller,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    after: str | None = None,
) -> Response:
    """List files, by time of creation."""
    behind = None if after is None else read_id(FILE, after)
    if after is not None and behind is None:
        raise BadParameter("Invalid value: 'after' must be the id of a file.", param="after", reason="invalid_value")
    page = await services_of(request).files.page(
        principal.key.environment_id,
        purpose=listed_purpose(purpose),
        newest_first=order == "desc",
        after=behind,
        limit=limit,
    )
    return answered(file_page([file_view(each) for each in page.data], more=page.next_after is not None))


@router.get("/{file_id}", openapi_extra=gives(FileView))
async def get_file(request: Request, file_id: str, principal: OpenAICaller) -> Response:
    """Read what is known of a file."""
    return answered(file_view(await find_file(services_of(request), principal, file_id)))


@router.delete("/{file_id}", openapi_extra=gives(DeletedFile))
async def delete_file(request: Request, file_id: str, principal: OpenAICaller) -> Response:
    """Delete a file. Batches of it that were validated go on."""
    internal = read_id(FILE, file_id)
    services = services_of(request)
    if internal is None or not await services.files.delete(principal.key.environment_id, internal):
        raise no_such_file(file_id)
    return answered(DeletedFile(id=file_id))


@router.get("/{file_id}/content", openapi_extra=gives_content())
async def get_content(request: Request, file_id: str, principal: OpenAICaller) -> Response:
    """Read the bytes of a file, all or (with the header Range) a part."""
    services = services_of(request)
    file = await find_file(services, principal, file_id)
    tag = f'"{file.blob.digest.hex()}"'
    # If-Range with another tag: the caller's part is of something else, so all of it is sent.
    wanted = request.headers.get("range") if request.headers.get("if-range", tag) == tag else None
    part = part_of(wanted, file.blob.size_bytes)
    if part is not None and part.start == part.end:
        headers = {"Content-Range": part.content_range}
        return openai_errors.envelope(416, "None of these bytes are in the file.", param="Range", headers=headers)
    reading = await services.files.open(file)
    if reading is None:
        raise no_such_file(file_id)
    return _content(file, reading, part, tag)


def _content(file: File, reading: Reading, part: Part | None, tag: str) -> Response:
    whole = Part(0, file.blob.size_bytes, file.blob.size_bytes)
    sent = part or whole
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
        "Content-Length": str(sent.end - sent.start),
        "ETag": tag,
    }
    if part is not None:
        headers["Content-Range"] = part.content_range
    return StreamingResponse(
        _streamed(reading, sent), 200 if part is None else 206, headers, "application/octet-stream"
    )


async def _streamed(reading: Reading, part: Part) -> AsyncIterator[bytes]:
    try:
        async for piece in reading.pieces(part.start, part.end):
            yield piece
    finally:
        reading.close()

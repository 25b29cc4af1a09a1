"""Message batches in Anthropic's form: create, read, list, cancel, results."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from api.auth import OpenAICaller
from api.documentation import gives, takes
from api.exchange import answered, read_body
from api.schemas import CreateMessageBatch
from api.wiring import Services, services_of
from scheduler.domain.errors import BadParameter, NotFound
from scheduler.domain.public_ids import MESSAGE_BATCH, read_id
from scheduler.domain.submission import SourceFormat, Submission
from scheduler.services.callers.keys import KeyHolder
from scheduler.services.submissions.message_views import MessageBatchPage, MessageBatchView, message_batch_view

router = APIRouter(prefix="/v1/messages/batches", tags=["message batches"])
_LINES = {
    "responses": {
        "200": {
            "description": 'Lines of {"custom_id", "result"}, in any order.',
            "content": {"application/x-jsonl": {"schema": {"type": "string"}}},
        }
    }
}


async def find_message_batch(services: Services, principal: KeyHolder, batch_id: str) -> Submission:
    """The batch of a path. Raises NotFound, also for another environment's."""
    internal = read_id(MESSAGE_BATCH, batch_id)
    found = None if internal is None else await services.submissions.get(principal.key.environment_id, internal)
    if found is None or found.source_format is not SourceFormat.ANTHROPIC:
        raise NotFound(f"There is no message batch '{batch_id[:100]}'.")
    return found


def _root(request: Request) -> str:
    return str(request.base_url).rstrip("/")


@router.post("", openapi_extra=takes(CreateMessageBatch) | gives(MessageBatchView))
async def create_message_batch(request: Request, principal: OpenAICaller) -> Response:
    """Create a message batch. `model` of each request names a resource, whoever its provider is."""
    services = services_of(request)
    with services.room.share() as share:
        raw = await read_body(request, services.settings.max_body_bytes, share)
        made = await services.message_batches.create(principal.key, raw)
    return answered(message_batch_view(made, _root(request)))


@router.get("", openapi_extra=gives(MessageBatchPage))
async def list_message_batches(
    request: Request,
    principal: OpenAICaller,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    after_id: str | None = None,
    before_id: str | None = None,
) -> Response:
    """List message batches, newest first: those after (older than) an id, or the ones right before it."""
    if after_id is not None and before_id is not None:
        raise BadParameter("before_id: goes without after_id", param="before_id")
    name, given = ("after_id", after_id) if before_id is None else ("before_id", before_id)
    bound = None if given is None else read_id(MESSAGE_BATCH, given)
    if given is not None and bound is None:
        raise BadParameter(f"{name}: must be the id of a message batch", param=name)
    environment_id, submissions = principal.key.environment_id, services_of(request).submissions
    if before_id is not None and bound is not None:
        found, more = await submissions.before(environment_id, SourceFormat.ANTHROPIC, limit=limit, before=bound)
    else:
        page = await submissions.page(environment_id, SourceFormat.ANTHROPIC, limit=limit, after=bound)
        found, more = page.data, page.next_after is not None
    shown = [message_batch_view(each, _root(request)) for each in found]
    first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
    return answered(MessageBatchPage(data=shown, has_more=more, first_id=first, last_id=last))


@router.get("/{batch_id}", openapi_extra=gives(MessageBatchView))
async def get_message_batch(request: Request, batch_id: str, principal: OpenAICaller) -> Response:
    """Read a message batch."""
    found = await find_message_batch(services_of(request), principal, batch_id)
    return answered(message_batch_view(found, _root(request)))


@router.post("/{batch_id}/cancel", openapi_extra=gives(MessageBatchView))
async def cancel_message_batch(request: Request, batch_id: str, principal: OpenAICaller) -> Response:
    """Cancel a message batch: no new provider call starts after the answer; what is finished is kept."""
    services = services_of(request)
    found = await find_message_batch(services, principal, batch_id)
    # A caller that goes away while we wait must not leave a cancel half done.
    cancelled = await asyncio.shield(services.submissions.cancel(found))
    return answered(message_batch_view(cancelled, _root(request)))


@router.get("/{batch_id}/results", openapi_extra=_LINES)
async def message_batch_results(request: Request, batch_id: str, principal: OpenAICaller) -> Response:
    """Read the results of a message batch that has ended."""
    services = services_of(request)
    found = await find_message_batch(services, principal, batch_id)
    lines = await services.message_batches.results(found)
    return StreamingResponse(lines, media_type="application/x-jsonl")

"""Batches in OpenAI's form: create, read, cancel, list."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.auth import OpenAICaller
from api.documentation import gives, takes
from api.exchange import SETUP_BODY_BYTES, answered, read_body
from api.schemas import CreateOpenAIBatch
from api.wiring import Services, services_of
from scheduler.domain.errors import BadParameter, NotFound
from scheduler.domain.public_ids import BATCH, read_id
from scheduler.domain.submission import SourceFormat, Submission
from scheduler.services.callers.keys import KeyHolder
from scheduler.services.submissions.views import (
    OpenAIBatchPage,
    OpenAIBatchView,
    openai_batch_page,
    openai_batch_view,
)

router = APIRouter(prefix="/v1/batches", tags=["batches"])


async def find_submission(services: Services, principal: KeyHolder, batch_id: str) -> Submission:
    """The batch of a path. Raises NotFound, also for another environment's."""
    internal = read_id(BATCH, batch_id)
    found = None if internal is None else await services.submissions.get(principal.key.environment_id, internal)
    if found is None or found.source_format is not SourceFormat.OPENAI:
        raise NotFound(f"No batch found with id '{batch_id}'.")
    return found


@router.post("", openapi_extra=takes(CreateOpenAIBatch) | gives(OpenAIBatchView))
async def create_openai_batch(request: Request, principal: OpenAICaller) -> Response:
    """Create a batch of an uploaded file. It is validated afterwards: `status` and `errors` tell."""
    services = services_of(request)
    raw = await read_body(request, SETUP_BODY_BYTES)
    return answered(openai_batch_view(await services.submissions.create(principal.key, raw)))


@router.get("", openapi_extra=gives(OpenAIBatchPage))
async def list_openai_batches(
    request: Request,
    principal: OpenAICaller,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
) -> Response:
    """List batches, newest first."""
    behind = None if after is None else read_id(BATCH, after)
    if after is not None and behind is None:
        raise BadParameter("Invalid value: 'after' must be the id of a batch.", param="after", reason="invalid_value")
    services = services_of(request)
    page = await services.submissions.page(principal.key.environment_id, SourceFormat.OPENAI, limit=limit, after=behind)
    return answered(
        openai_batch_page([openai_batch_view(each) for each in page.data], more=page.next_after is not None)
    )


@router.get("/{batch_id}", openapi_extra=gives(OpenAIBatchView))
async def get_openai_batch(request: Request, batch_id: str, principal: OpenAICaller) -> Response:
    """Read a batch."""
    return answered(openai_batch_view(await find_submission(services_of(request), principal, batch_id)))


@router.post("/{batch_id}/cancel", openapi_extra=gives(OpenAIBatchView))
async def cancel_openai_batch(request: Request, batch_id: str, principal: OpenAICaller) -> Response:
    """Cancel a batch: no new provider call starts after the answer; what is finished is kept."""
    services = services_of(request)
    submission = await find_submission(services, principal, batch_id)
    # A caller that goes away while we wait must not leave a cancel half done.
    return answered(openai_batch_view(await asyncio.shield(services.submissions.cancel(submission))))

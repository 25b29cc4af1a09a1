"""Dead letters of an environment: items that failed for good, listed and run again."""

from __future__ import annotations

import asyncio
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.auth import GetCaller, ManageCaller
from api.documentation import gives, takes_optionally
from api.exchange import SETUP_BODY_BYTES, answered, read_body
from api.schemas import DeadLetterList
from api.wiring import Services, services_of
from scheduler.ports.dead_letters import DeadLetterFilter
from scheduler.services.batches.dead_letters import ReplayBody, ReplayView
from scheduler.services.callers.tenants import Address
from scheduler.services.reading.json_text import decoded

router = APIRouter(
    prefix="/v1/completion-batch/{workspaceId}/{environmentId}/dead-letters", tags=["completion batches"]
)


@router.get("", openapi_extra=gives(DeadLetterList))
async def list_dead_letters(
    request: Request,
    workspaceId: UUID,
    environmentId: UUID,
    principal: GetCaller,
    errorCode: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    resource: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    batchId: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
) -> Response:
    """List items that ended FAILED and were not run again since: newest batch first, then in order of items."""
    services = services_of(request)
    await services.tenants.require(principal, workspaceId, environmentId)
    which = await _filter(services, Address(workspaceId, environmentId), errorCode, resource, batchId)
    page = await services.dead_letters.page(environmentId, which, after=after, limit=limit)
    return answered({"data": page.data, "hasMore": page.next_after is not None, "nextAfter": page.next_after})


@router.post("/replay", openapi_extra=takes_optionally(ReplayBody) | gives(ReplayView))
async def replay_dead_letters(
    request: Request, workspaceId: UUID, environmentId: UUID, principal: ManageCaller
) -> Response:
    """Run dead letters of ended batches again: all, or those that the body means; dryRun only says which."""
    services = services_of(request)
    raw = await read_body(request, SETUP_BODY_BYTES)
    body = decoded(raw, ReplayBody) if raw.strip() else ReplayBody()
    await services.tenants.require(principal, workspaceId, environmentId)
    which = await _filter(services, Address(workspaceId, environmentId), body.error_code, body.resource, body.batch_id)
    replay = services.dead_letters.replay(environmentId, which, after=body.after, dry_run=body.dry_run)
    # A caller that goes away must not leave a retry half carried to the engine.
    return answered(await asyncio.shield(replay))


async def _filter(
    services: Services, address: Address, error_code: str | None, resource: str | None, batch_id: UUID | None
) -> DeadLetterFilter:
    resource_id = None if resource is None else (await services.setup.named_resource(address, resource)).resource_id
    return DeadLetterFilter(error_code, resource_id, batch_id)

"""Pools of resources: which part of a connection's budget per minute each gets first, and at most."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import SetupCaller
from api.documentation import gives, takes
from api.exchange import answered, read_setup
from api.wiring import services_of
from scheduler.services.callers.tenants import Address
from scheduler.services.setup.pools import PoolDefinitionBody, PoolDefinitionView, pool_definition_view

router = APIRouter(prefix="/v1/pool-definition/{workspaceId}/{environmentId}", tags=["set-up"])


@router.post("", status_code=201, openapi_extra=takes(PoolDefinitionBody) | gives(PoolDefinitionView, 201))
async def create_pools(request: Request, workspaceId: UUID, environmentId: UUID, _principal: SetupCaller) -> Response:
    """Define the pools of an environment."""
    body = await read_setup(request, PoolDefinitionBody)
    created = await services_of(request).pools.create(Address(workspaceId, environmentId), body)
    return answered(pool_definition_view(created), 201)


@router.get("", openapi_extra=gives(PoolDefinitionView))
async def get_pools(request: Request, workspaceId: UUID, environmentId: UUID, _principal: SetupCaller) -> Response:
    """Read the pools of an environment."""
    return answered(pool_definition_view(await services_of(request).pools.get(Address(workspaceId, environmentId))))


@router.put("", openapi_extra=takes(PoolDefinitionBody) | gives(PoolDefinitionView))
async def update_pools(request: Request, workspaceId: UUID, environmentId: UUID, _principal: SetupCaller) -> Response:
    """Replace the pools of an environment."""
    body = await read_setup(request, PoolDefinitionBody)
    changed = await services_of(request).pools.update(Address(workspaceId, environmentId), body)
    return answered(pool_definition_view(changed))


@router.delete("", status_code=204, openapi_extra=gives(None, 204))
async def delete_pools(request: Request, workspaceId: UUID, environmentId: UUID, _principal: SetupCaller) -> Response:
    """Remove all pools of an environment."""
    await services_of(request).pools.delete(Address(workspaceId, environmentId))
    return Response(status_code=204)

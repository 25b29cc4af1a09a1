"""Environments: made by the admin; a key with setup:* sees its own."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import AdminCaller, SetupCaller
from api.documentation import gives, takes
from api.exchange import answered, read_setup
from api.wiring import services_of
from scheduler.services.callers.keys import KeyHolder
from scheduler.services.callers.tenants import Address
from scheduler.services.setup.bodies import EnvironmentBody
from scheduler.services.setup.views import EnvironmentView, environment_view

router = APIRouter(prefix="/v1/environment/{workspaceId}", tags=["set-up"])


@router.post("", status_code=201, openapi_extra=takes(EnvironmentBody) | gives(EnvironmentView, 201))
async def create_environment(request: Request, workspaceId: UUID, _principal: AdminCaller) -> Response:
    """Create a stage of a tenant."""
    body = await read_setup(request, EnvironmentBody)
    created = await services_of(request).setup.create_environment(workspaceId, body)
    return answered(environment_view(created), 201)


@router.get("", openapi_extra=gives(EnvironmentView, listed=True))
async def list_environments(request: Request, workspaceId: UUID, principal: SetupCaller) -> Response:
    """List the stages of a tenant that the caller may see."""
    services = services_of(request)
    await services.tenants.require_workspace(workspaceId)
    found = await services.store.setup.environments(workspaceId)
    own = principal.key.environment_id if isinstance(principal, KeyHolder) else None
    return answered({"data": [environment_view(each) for each in found if own in (None, each.environment_id)]})


@router.get("/{environmentId}", openapi_extra=gives(EnvironmentView))
async def get_environment(
    request: Request, workspaceId: UUID, environmentId: UUID, _principal: SetupCaller
) -> Response:
    """Read a stage of a tenant."""
    found = await services_of(request).tenants.environment(workspaceId, environmentId)
    return answered(environment_view(found))


@router.put("/{environmentId}", openapi_extra=takes(EnvironmentBody) | gives(EnvironmentView))
async def update_environment(
    request: Request, workspaceId: UUID, environmentId: UUID, _principal: AdminCaller
) -> Response:
    """Rename a stage of a tenant."""
    body = await read_setup(request, EnvironmentBody)
    address = Address(workspaceId, environmentId)
    return answered(environment_view(await services_of(request).setup.update_environment(address, body)))


@router.delete("/{environmentId}", status_code=204, openapi_extra=gives(None, 204))
async def delete_environment(
    request: Request, workspaceId: UUID, environmentId: UUID, _principal: AdminCaller
) -> Response:
    """Delete an empty stage of a tenant."""
    await services_of(request).setup.delete_environment(Address(workspaceId, environmentId))
    return Response(status_code=204)

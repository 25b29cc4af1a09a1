"""Resources: what callers name in a request."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import HeadroomCaller, SetupCaller
from api.documentation import gives, takes
from api.exchange import answered, read_setup
from api.wiring import services_of
from scheduler.services.callers.keys import has_scope, require_resource
from scheduler.services.callers.tenants import Address
from scheduler.services.explain.headroom_views import ResourceHeadroom
from scheduler.services.setup.bodies import ResourceBody
from scheduler.services.setup.views import ResourceView, resource_view

router = APIRouter(prefix="/v1/ai-resource/{workspaceId}/{environmentId}", tags=["set-up"])


@router.post("", status_code=201, openapi_extra=takes(ResourceBody) | gives(ResourceView, 201))
async def create_resource(
    request: Request, workspaceId: UUID, environmentId: UUID, _principal: SetupCaller
) -> Response:
    """Create a resource."""
    body = await read_setup(request, ResourceBody)
    created = await services_of(request).setup.create_resource(Address(workspaceId, environmentId), body)
    return answered(resource_view(created), 201)


@router.get("", openapi_extra=gives(ResourceView, listed=True))
async def list_resources(request: Request, workspaceId: UUID, environmentId: UUID, _principal: SetupCaller) -> Response:
    """List them, by name."""
    services = services_of(request)
    await services.tenants.environment(workspaceId, environmentId)
    found = await services.store.setup.resources(environmentId)
    return answered({"data": [resource_view(each) for each in found]})


@router.get("/{resourceId}", openapi_extra=gives(ResourceView))
async def get_resource(
    request: Request, workspaceId: UUID, environmentId: UUID, resourceId: UUID, _principal: SetupCaller
) -> Response:
    """Read a resource."""
    found = await services_of(request).setup.resource(Address(workspaceId, environmentId), resourceId)
    return answered(resource_view(found))


@router.put("/{resourceId}", openapi_extra=takes(ResourceBody) | gives(ResourceView))
async def update_resource(
    request: Request, workspaceId: UUID, environmentId: UUID, resourceId: UUID, _principal: SetupCaller
) -> Response:
    """Change the fields that the body names."""
    body = await read_setup(request, ResourceBody)
    address = Address(workspaceId, environmentId)
    return answered(resource_view(await services_of(request).setup.update_resource(address, resourceId, body)))


@router.delete("/{resourceId}", status_code=204, openapi_extra=gives(None, 204))
async def delete_resource(
    request: Request, workspaceId: UUID, environmentId: UUID, resourceId: UUID, _principal: SetupCaller
) -> Response:
    """Delete a resource that nothing refers to."""
    await services_of(request).setup.delete_resource(Address(workspaceId, environmentId), resourceId)
    return Response(status_code=204)


@router.get("/{resourceId:path}/headroom", openapi_extra=gives(ResourceHeadroom))
async def resource_headroom(
    request: Request, workspaceId: UUID, environmentId: UUID, resourceId: str, principal: HeadroomCaller
) -> Response:
    """What its limits, and those of its targets, admit now; the resource by id or by name (which may hold slashes).

    Besides setup:*, a key that reads batches may ask about the resources that it may use: it shows progress with it.
    """
    services = services_of(request)
    resource = await services.setup.named_resource(Address(workspaceId, environmentId), resourceId)
    if not has_scope(principal, "setup:*"):
        require_resource(principal, resource)
    return answered(await services.readings.of_resource(resource))

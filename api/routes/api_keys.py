"""API keys: shown once, when they are made."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import SetupCaller
from api.documentation import gives, takes
from api.exchange import answered, read_setup
from api.wiring import services_of
from scheduler.services.callers.tenants import Address
from scheduler.services.setup.bodies import ApiKeyBody
from scheduler.services.setup.views import ApiKeyView, api_key_view

router = APIRouter(prefix="/v1/api-key/{workspaceId}/{environmentId}", tags=["set-up"])


@router.post("", status_code=201, openapi_extra=takes(ApiKeyBody) | gives(ApiKeyView, 201))
async def create_api_key(request: Request, workspaceId: UUID, environmentId: UUID, _principal: SetupCaller) -> Response:
    """Create an API key; its text is in this answer and nowhere else."""
    body = await read_setup(request, ApiKeyBody)
    created, text = await services_of(request).setup.create_api_key(Address(workspaceId, environmentId), body)
    return answered(api_key_view(created, text), 201)


@router.get("", openapi_extra=gives(ApiKeyView, listed=True))
async def list_api_keys(request: Request, workspaceId: UUID, environmentId: UUID, _principal: SetupCaller) -> Response:
    """List them, by name."""
    services = services_of(request)
    await services.tenants.environment(workspaceId, environmentId)
    found = await services.store.setup.api_keys(environmentId)
    return answered({"data": [api_key_view(each) for each in found]})


@router.get("/{apiKeyId}", openapi_extra=gives(ApiKeyView))
async def get_api_key(
    request: Request, workspaceId: UUID, environmentId: UUID, apiKeyId: UUID, _principal: SetupCaller
) -> Response:
    """Read an API key."""
    found = await services_of(request).setup.api_key(Address(workspaceId, environmentId), apiKeyId)
    return answered(api_key_view(found))


@router.put("/{apiKeyId}", openapi_extra=takes(ApiKeyBody) | gives(ApiKeyView))
async def update_api_key(
    request: Request, workspaceId: UUID, environmentId: UUID, apiKeyId: UUID, _principal: SetupCaller
) -> Response:
    """Change the fields that the body names."""
    body = await read_setup(request, ApiKeyBody)
    address = Address(workspaceId, environmentId)
    return answered(api_key_view(await services_of(request).setup.update_api_key(address, apiKeyId, body)))


@router.delete("/{apiKeyId}", status_code=204, openapi_extra=gives(None, 204))
async def delete_api_key(
    request: Request, workspaceId: UUID, environmentId: UUID, apiKeyId: UUID, _principal: SetupCaller
) -> Response:
    """Delete an API key that nothing refers to."""
    await services_of(request).setup.delete_api_key(Address(workspaceId, environmentId), apiKeyId)
    return Response(status_code=204)

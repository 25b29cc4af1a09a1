"""Connections: provider accounts with their limits."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import SetupCaller
from api.documentation import gives, takes
from api.exchange import answered, read_setup
from api.wiring import services_of
from scheduler.services.callers.tenants import Address
from scheduler.services.explain.headroom_views import ConnectionHeadroom
from scheduler.services.setup.bodies import ConnectionBody
from scheduler.services.setup.views import ConnectionView, connection_view

router = APIRouter(prefix="/v1/ai-connection/{workspaceId}/{environmentId}", tags=["set-up"])


@router.post("", status_code=201, openapi_extra=takes(ConnectionBody) | gives(ConnectionView, 201))
async def create_connection(
    request: Request, workspaceId: UUID, environmentId: UUID, _principal: SetupCaller
) -> Response:
    """Create a connection."""
    body = await read_setup(request, ConnectionBody)
    created = await services_of(request).setup.create_connection(Address(workspaceId, environmentId), body)
    return answered(connection_view(created), 201)


@router.get("", openapi_extra=gives(ConnectionView, listed=True))
async def list_connections(
    request: Request, workspaceId: UUID, environmentId: UUID, _principal: SetupCaller
) -> Response:
    """List them, by name."""
    services = services_of(request)
    await services.tenants.environment(workspaceId, environmentId)
    found = await services.store.setup.connections(environmentId)
    parkings = await services.parked.within(environmentId)
    learned = await services.store.setup.learned_limits([each.connection_id for each in found])
    return answered({"data": [connection_view(each, parkings, learned) for each in found]})


@router.get("/{connectionId}", openapi_extra=gives(ConnectionView))
async def get_connection(
    request: Request, workspaceId: UUID, environmentId: UUID, connectionId: UUID, _principal: SetupCaller
) -> Response:
    """Read a connection."""
    services = services_of(request)
    found = await services.setup.connection(Address(workspaceId, environmentId), connectionId)
    learned = await services.store.setup.learned_limits([connectionId])
    return answered(connection_view(found, await services.parked.of(found), learned))


@router.put("/{connectionId}", openapi_extra=takes(ConnectionBody) | gives(ConnectionView))
async def update_connection(
    request: Request, workspaceId: UUID, environmentId: UUID, connectionId: UUID, _principal: SetupCaller
) -> Response:
    """Change the fields that the body names. With another key or URL a parked one is tried again."""
    services = services_of(request)
    body = await read_setup(request, ConnectionBody)
    changed = await services.setup.update_connection(Address(workspaceId, environmentId), connectionId, body)
    learned = await services.store.setup.learned_limits([connectionId])
    return answered(connection_view(changed, await services.parked.of(changed), learned))


@router.delete("/{connectionId}", status_code=204, openapi_extra=gives(None, 204))
async def delete_connection(
    request: Request, workspaceId: UUID, environmentId: UUID, connectionId: UUID, _principal: SetupCaller
) -> Response:
    """Delete a connection that nothing refers to."""
    await services_of(request).setup.delete_connection(Address(workspaceId, environmentId), connectionId)
    return Response(status_code=204)


@router.get("/{connectionId:path}/headroom", openapi_extra=gives(ConnectionHeadroom))
async def connection_headroom(
    request: Request, workspaceId: UUID, environmentId: UUID, connectionId: str, _principal: SetupCaller
) -> Response:
    """What its limits admit now; the connection by id or by name (which may hold slashes)."""
    services = services_of(request)
    connection = await services.setup.named_connection(Address(workspaceId, environmentId), connectionId)
    return answered(await services.readings.of_connection(connection))


@router.post("/{connectionId:path}/resume", openapi_extra=gives(ConnectionView))
async def resume_connection(
    request: Request, workspaceId: UUID, environmentId: UUID, connectionId: str, _principal: SetupCaller
) -> Response:
    """Let a parked connection be tried at once: one call goes first. By id or by name."""
    services = services_of(request)
    connection = await services.setup.named_connection(Address(workspaceId, environmentId), connectionId)
    await services.parked.resume(connection)
    return answered(connection_view(connection, parkings=await services.parked.of(connection)))

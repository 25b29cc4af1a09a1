"""Workspaces: made by the admin; a key with setup:* sees its own."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import AdminCaller, SetupCaller
from api.documentation import gives, takes
from api.exchange import answered, read_setup
from api.wiring import services_of
from scheduler.services.callers.keys import KeyHolder
from scheduler.services.setup.bodies import WorkspaceBody
from scheduler.services.setup.views import WorkspaceView, workspace_view

router = APIRouter(prefix="/v1/workspace", tags=["set-up"])


@router.post("", status_code=201, openapi_extra=takes(WorkspaceBody) | gives(WorkspaceView, 201))
async def create_workspace(request: Request, _principal: AdminCaller) -> Response:
    """Create a tenant."""
    body = await read_setup(request, WorkspaceBody)
    return answered(workspace_view(await services_of(request).setup.create_workspace(body)), 201)


@router.get("", openapi_extra=gives(WorkspaceView, listed=True))
async def list_workspaces(request: Request, principal: SetupCaller) -> Response:
    """List tenants that the caller may see."""
    found = await services_of(request).store.setup.workspaces()
    own = principal.key.workspace_id if isinstance(principal, KeyHolder) else None
    return answered({"data": [workspace_view(each) for each in found if own in (None, each.workspace_id)]})


@router.get("/{workspaceId}", openapi_extra=gives(WorkspaceView))
async def get_workspace(request: Request, workspaceId: UUID, _principal: SetupCaller) -> Response:
    """Read a tenant."""
    return answered(workspace_view(await services_of(request).setup.workspace(workspaceId)))


@router.put("/{workspaceId}", openapi_extra=takes(WorkspaceBody) | gives(WorkspaceView))
async def update_workspace(request: Request, workspaceId: UUID, _principal: AdminCaller) -> Response:
    """Rename a tenant."""
    body = await read_setup(request, WorkspaceBody)
    return answered(workspace_view(await services_of(request).setup.update_workspace(workspaceId, body)))


@router.delete("/{workspaceId}", status_code=204, openapi_extra=gives(None, 204))
async def delete_workspace(request: Request, workspaceId: UUID, _principal: AdminCaller) -> Response:
    """Delete an empty tenant."""
    await services_of(request).setup.delete_workspace(workspaceId)
    return Response(status_code=204)

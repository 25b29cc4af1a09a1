"""Who is calling, and whether they may: the first two checks of every request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from api.wiring import services_of
from scheduler.domain.errors import Malformed, NotAuthorized
from scheduler.services.callers.keys import KeyHolder, Principal, require_admin, require_scope, require_tenant

_BEARER = "bearer "


def key_of(request: Request) -> str | None:
    """The key that a request carries: Authorization: Bearer <key>, else x-api-key: <key>."""
    authorization = request.headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip() or None
    return request.headers.get("x-api-key") or None


def caller_of(request: Request) -> str | None:
    """The network that a request comes from: an IPv4 address, or the first half of an IPv6 one, as one host may have
    all of the second. Behind a proxy it is the proxy's, unless the server was told to trust its headers."""
    try:
        address = ip_address(request.client.host if request.client else "")
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or ip_network((address, 64), strict=False).network_address)
    return str(address)


def path_id(request: Request, name: str) -> UUID | None:
    """An id of the path; None when the path has none of this name. Raises Malformed INVALID_ID."""
    text = request.path_params.get(name)
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise Malformed(f"{name} in the path must be a UUID.", code="INVALID_ID") from None


async def authenticated(request: Request) -> Principal:
    """Who is calling. Raises Unauthenticated."""
    principal = await services_of(request).authenticator.authenticate(key_of(request))
    if isinstance(principal, KeyHolder) and principal.key.counts_callers_apart:
        principal = KeyHolder(replace(principal.key, caller=caller_of(request)))
    request.state.principal = principal
    return principal


Caller = Annotated[Principal, Depends(authenticated)]


def allowed(*scopes: str) -> Callable[[Request, Principal], Awaitable[Principal]]:
    """A dependency: the caller, who has one of `scopes` and belongs to the workspace and environment of the path."""

    async def check(request: Request, principal: Caller) -> Principal:
        require_scope(principal, *scopes)
        workspace_id, environment_id = path_id(request, "workspaceId"), path_id(request, "environmentId")
        if workspace_id is not None:
            require_tenant(principal, workspace_id, environment_id)
        return principal

    return check


async def admin(principal: Caller) -> Principal:
    """The caller, who holds the admin key."""
    require_admin(principal)
    return principal


async def of_environment(principal: Caller) -> KeyHolder:
    """The caller, whose key belongs to an environment: what has no tenant in its path takes the key's."""
    if not isinstance(principal, KeyHolder):
        raise NotAuthorized("This needs the API key of an environment, not the admin key.")
    return principal


EnvironmentCaller = Annotated[KeyHolder, Depends(of_environment)]


async def _with_files_and_batches(principal: EnvironmentCaller) -> KeyHolder:
    require_scope(principal, "batch:*")
    return principal


OpenAICaller = Annotated[KeyHolder, Depends(_with_files_and_batches)]
AdminCaller = Annotated[Principal, Depends(admin)]
SetupCaller = Annotated[Principal, Depends(allowed("setup:*"))]
HeadroomCaller = Annotated[Principal, Depends(allowed("completion-batch:get", "setup:*"))]
CreateCaller = Annotated[Principal, Depends(allowed("completion-batch:create"))]
GetCaller = Annotated[Principal, Depends(allowed("completion-batch:get"))]
CancelCaller = Annotated[Principal, Depends(allowed("completion-batch:cancel"))]
ManageCaller = Annotated[Principal, Depends(allowed("completion-batch:manage"))]

"""The resources that a key may use, as OpenAI lists models."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import EnvironmentCaller
from api.documentation import gives
from api.exchange import answered
from api.wiring import services_of
from scheduler.domain.errors import NotFound
from scheduler.domain.setup import Resource
from scheduler.services.callers.keys import KeyHolder
from scheduler.services.setup.model_views import ModelPage, ModelView, model_view

router = APIRouter(prefix="/v1/models", tags=["models"])


async def _usable(request: Request, principal: KeyHolder) -> Sequence[Resource]:
    resources = await services_of(request).store.setup.resources(principal.key.environment_id)
    allowed = principal.key.resources
    return [each for each in resources if allowed is None or each.resource_id in allowed]


@router.get("", openapi_extra=gives(ModelPage))
async def list_models(request: Request, principal: EnvironmentCaller) -> Response:
    """List the resources that the key may use."""
    return answered(ModelPage(data=[model_view(each) for each in await _usable(request, principal)]))


@router.get("/{model:path}", openapi_extra=gives(ModelView))
async def get_model(request: Request, model: str, principal: EnvironmentCaller) -> Response:
    """Read one by its name, which may hold slashes."""
    for resource in await _usable(request, principal):
        if resource.name == model:
            return answered(model_view(resource))
    raise NotFound(f"The model '{model}' does not exist or the key may not use it.", code="AI_RESOURCE_NOT_FOUND")

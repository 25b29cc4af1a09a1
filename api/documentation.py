"""The OpenAPI description: operations name their msgspec shapes, and this puts the shapes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.anthropic_errors import AnthropicErrorBody
from api.errors import ErrorBody
from api.failures import form_of
from api.openai_errors import OpenAIErrorBody
from api.schemas import (
    BatchPage,
    ChangeBatch,
    CreateBatch,
    CreateMessageBatch,
    CreateOpenAIBatch,
    DeadLetterList,
    DeliveryPage,
    ReplayedDeliveries,
    RetryBody,
)
from scheduler.services.batches.dead_letters import DeadLetterView, ReplayBody, ReplayedBatch, ReplayView
from scheduler.services.batches.delivery_views import DeliveryView
from scheduler.services.batches.views import BatchView, ItemView
from scheduler.services.explain.headroom_views import ConnectionHeadroom, ResourceHeadroom, StatusView
from scheduler.services.explain.views import BatchExplanation, ItemExplanation
from scheduler.services.files.views import DeletedFile, FilePage, FileView
from scheduler.services.items.check import ItemBody
from scheduler.services.setup.bodies import (
    ApiKeyBody,
    ConnectionBody,
    EnvironmentBody,
    ResourceBody,
    WorkspaceBody,
)
from scheduler.services.setup.model_views import ModelPage, ModelView
from scheduler.services.setup.views import (
    ApiKeyView,
    ConnectionView,
    EnvironmentView,
    ResourceView,
    WorkspaceView,
)
from scheduler.services.submissions.message_views import MessageBatchPage, MessageBatchView
from scheduler.services.submissions.views import OpenAIBatchPage, OpenAIBatchView

SHAPES: Final[tuple[type, ...]] = (
    AnthropicErrorBody,
    MessageBatchPage,
    MessageBatchView,
    ApiKeyBody,
    ApiKeyView,
    BatchExplanation,
    BatchPage,
    BatchView,
    ConnectionBody,
    ConnectionHeadroom,
    ConnectionView,
    CreateBatch,
    CreateMessageBatch,
    CreateOpenAIBatch,
    DeadLetterList,
    DeadLetterView,
    DeletedFile,
    DeliveryPage,
    DeliveryView,
    EnvironmentBody,
    EnvironmentView,
    ErrorBody,
    FilePage,
    FileView,
    ItemBody,
    ItemExplanation,
    ItemView,
    ModelPage,
    ModelView,
    OpenAIBatchPage,
    OpenAIBatchView,
    OpenAIErrorBody,
    ResourceBody,
    ResourceHeadroom,
    ResourceView,
    ChangeBatch,
    ReplayBody,
    ReplayView,
    ReplayedBatch,
    ReplayedDeliveries,
    RetryBody,
    StatusView,
    WorkspaceBody,
    WorkspaceView,
)
_EVENTS: Final = {
    "text/event-stream": {
        "schema": {
            "type": "string",
            "description": 'Frames `data: {"action", "payload"}` with `id: <event number>` (none for `item-running`),'
            " then `data: [DONE]`.",
        }
    }
}


def _reference(shape: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def takes(shape: type) -> dict[str, Any]:
    """The request body of an operation."""
    return {"requestBody": {"required": True, "content": _json(_reference(shape))}}


def takes_lines_too(shape: type, item: type) -> dict[str, Any]:
    """A request body that is one object, or lines: the first the object without its items, each other an item."""
    lines = {"application/x-ndjson": {"schema": _reference(item)}}
    return {"requestBody": {"required": True, "content": _json(_reference(shape)) | lines}}


def takes_optionally(shape: type) -> dict[str, Any]:
    """The request body of an operation that does without one too."""
    return {"requestBody": {"required": False, "content": _json(_reference(shape))}}


def gives(shape: type | None, status: int = 200, *, listed: bool = False) -> dict[str, Any]:
    """The answer of an operation; listed: many of them as {"data": […]}; None: nothing."""
    if shape is None:
        return {"responses": {str(status): {"description": "Done."}}}
    schema: dict[str, Any] = _reference(shape)
    if listed:
        schema = {"type": "object", "properties": {"data": {"type": "array", "items": schema}}, "required": ["data"]}
    return {"responses": {str(status): {"content": _json(schema)}}}


def gives_events(status: int = 200) -> dict[str, Any]:
    """An event stream as the answer."""
    return {"responses": {str(status): {"description": "The events of the batch.", "content": _EVENTS}}}


def takes_form(fields: Mapping[str, dict[str, Any]], required: Sequence[str]) -> dict[str, Any]:
    """A form as the request body."""
    schema = {"type": "object", "properties": dict(fields), "required": list(required)}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def gives_content() -> dict[str, Any]:
    """Bytes as the answer: all of them, or a part."""
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    whole, part = {"description": "All of it.", "content": content}, {"description": "A part.", "content": content}
    return {"responses": {"200": whole, "206": part}}


def gives_lines(shape: type) -> dict[str, Any]:
    """Lines of JSON as the answer."""
    return {"responses": {"200": {"content": {"application/x-ndjson": {"schema": _reference(shape)}}}}}


def install(app: FastAPI) -> None:
    """Make `app.openapi()` complete: our shapes, our errors, our two ways to send a key."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _description(app)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def _description(app: FastAPI) -> dict[str, Any]:
    description = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, components = msgspec.json.schema_components(SHAPES, ref_template="#/components/schemas/{name}")
    for path, operations in description["paths"].items():
        shape = form_of(path).BODY
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {"description": "Any error.", "content": _json(_reference(shape))}
            for answered in operation["responses"].values():
                _drop_empty(answered)
    description["components"] = {
        "schemas": dict(sorted(components.items())),
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        },
    }
    description["security"] = [{"bearer": []}, {"apiKey": []}]
    return description


def _drop_empty(answered: dict[str, Any]) -> None:
    """The framework names application/json for every answer; keep it only where we say what it holds."""
    content = answered.get("content", {})
    if content.get("application/json") == {"schema": {}}:
        del content["application/json"]
    if not content:
        answered.pop("content", None)

"""Direct calls: OpenAI's own endpoints, answered in the same call within the budgets that also bind batches."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar, assert_never

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from api import openai_errors
from api.auth import OpenAICaller
from api.exchange import read_body
from api.wiring import services_of
from scheduler.domain.batch import Endpoint
from scheduler.domain.errors import BadParameter
from scheduler.domain.outcome import Failed, Fatal, Refusal, Retry
from scheduler.services.callers.keys import KeyHolder
from scheduler.services.direct.calls import Answered, Busy, NotServed, Streamed
from scheduler.services.direct.feedback import Shut

DEFAULT_WAIT_S: Final = 30.0
LONGEST_WAIT_S: Final = 3_600.0
CLIENT_GONE: Final = 499
"""For the log alone: nobody hears it."""
LONGEST_RETRY_MS: Final = 60_000
_OVERLOADED: Final = frozenset({"PROVIDER_503", "PROVIDER_529"})
_SECONDS = re.compile(r"\d{1,6}(\.\d{1,6})?")
_JSON = "application/json"
_ANY_OBJECT: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
_DESCRIBED: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": "Brim-Max-Wait",
            "in": "header",
            "required": False,
            "description": "Seconds that the call may wait for its limits; then it is answered 429.",
            "schema": {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT_S, "default": DEFAULT_WAIT_S},
        }
    ],
    "requestBody": {"required": True, "content": _ANY_OBJECT},
    "responses": {
        "200": {
            "description": "The provider's answer as it came; with `stream` its events.",
            "content": {**_ANY_OBJECT, "text/event-stream": {"schema": {"type": "string"}}},
        }
    },
}

router = APIRouter(prefix="/v1", tags=["direct calls"])
T = TypeVar("T")


@router.post("/chat/completions", openapi_extra=_DESCRIBED)
async def create_chat_completion(request: Request, principal: OpenAICaller) -> Response:
    """Answer a chat; `model` names a resource."""
    return await _answered(request, principal, "/v1/chat/completions")


@router.post("/completions", openapi_extra=_DESCRIBED)
async def create_completion(request: Request, principal: OpenAICaller) -> Response:
    """Complete a text; `model` names a resource."""
    return await _answered(request, principal, "/v1/completions")


@router.post("/embeddings", openapi_extra=_DESCRIBED)
async def create_embedding(request: Request, principal: OpenAICaller) -> Response:
    """Embed texts; `model` names a resource."""
    return await _answered(request, principal, "/v1/embeddings")


@router.post("/responses", openapi_extra=_DESCRIBED)
async def create_response(request: Request, principal: OpenAICaller) -> Response:
    """Answer in the form of OpenAI's responses; `model` names a resource."""
    return await _answered(request, principal, "/v1/responses")


@router.post("/moderations", openapi_extra=_DESCRIBED)
async def create_moderation(request: Request, principal: OpenAICaller) -> Response:
    """Judge texts; `model` names a resource."""
    return await _answered(request, principal, "/v1/moderations")


async def _answered(request: Request, principal: KeyHolder, endpoint: Endpoint) -> Response:
    services = services_of(request)
    max_wait_s = _max_wait_s(request)
    with services.room.share() as share:
        body = await read_body(request, services.settings.max_body_bytes, share)
        wanted = await services.direct.requests.read(principal.key, endpoint, body)
        call = asyncio.create_task(services.direct.calls.run(wanted, max_wait_s))
        answer = await _unless_gone(request, call)
    match answer:
        case None:
            return Response(status_code=CLIENT_GONE)
        case Answered():
            return Response(answer.body, 200, _headers(answer), media_type=_JSON)
        case Streamed():
            # The type that the provider gave, byte for byte: the framework would add a charset.
            return StreamingResponse(_closing(answer), 200, _headers(answer))
        case Busy():
            return _busy(answer, wanted.resource.name)
        case Shut():
            return _shut(answer, wanted.resource.name)
        case NotServed():
            return _not_served(answer.end, answer.refusal)
        case _:
            assert_never(answer)


def _max_wait_s(request: Request) -> float:
    given = request.headers.get("brim-max-wait", "").strip()
    if not given:
        return DEFAULT_WAIT_S
    if not _SECONDS.fullmatch(given) or float(given) > LONGEST_WAIT_S:
        raise BadParameter(
            f"Brim-Max-Wait must be seconds from 0 to {LONGEST_WAIT_S:g}.",
            param="Brim-Max-Wait",
            reason="invalid_value",
        )
    return float(given)


async def _unless_gone(request: Request, call: asyncio.Task[T]) -> T | None:
    """What the call brings; None when the caller went away, and the call with it."""
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({call, gone}, return_when=asyncio.FIRST_COMPLETED)
        if call.done():
            return call.result()
        return None
    finally:
        for task in (call, gone):
            if not task.done():
                task.cancel()
        await asyncio.wait({call, gone})


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _closing(answer: Streamed) -> AsyncIterator[bytes]:
    """The stream; closed also when the caller goes away, so that the call ends in the books at once."""
    try:
        async for piece in answer.pieces:
            yield piece
    finally:
        await answer.close()


def _headers(answer: Answered | Streamed) -> dict[str, str]:
    return {**answer.headers, "Brim-Wait-Ms": f"{answer.wait_ms:.1f}"}


def _busy(busy: Busy, name: str) -> Response:
    """OpenAI's 429: its clients read retry-after-ms, then Retry-After, and come again then."""
    bound = {
        "connection": "its connection",
        "model": "its model",
        "key": "the API key",
        "address": "the API key",
        "resource": "the model",
    }
    whose = bound.get(busy.budget.partition("-")[0], "the model")
    wait_ms = max(1, busy.wait_ms)
    return openai_errors.envelope(
        429,
        f"Rate limit of {whose} reached for {name}: please try again in {wait_ms / 1000:g}s.",
        kind="rate_limit_error",
        code="rate_limit_exceeded",
        headers=_again(wait_ms),
    )


def _again(wait_ms: int) -> dict[str, str]:
    """When to come again. OpenAI's clients wait a minute at most, and then try all the same: to be spared that, they
    are told not to try again by themselves."""
    headers = {"Retry-After": str(math.ceil(wait_ms / 1000)), "retry-after-ms": str(wait_ms)}
    return headers | {"x-should-retry": "false"} if wait_ms > LONGEST_RETRY_MS else headers


def _shut(shut: Shut, name: str) -> Response:
    """What stands between us and the provider, by its class: its own words may be about our account."""
    match shut.code:
        case "PROVIDER_NO_CREDIT" | "PROVIDER_QUOTA_USED_UP":
            status, kind, code = 429, "insufficient_quota", "insufficient_quota"
            what = f"The provider account behind {name} has no credit or quota left"
        case "PROVIDER_KEY_REFUSED":
            status, kind, code = 503, "server_error", "provider_key_refused"
            what = f"The provider behind {name} refuses the key that it is called with"
        case _:
            status, kind, code = 503, "server_error", "provider_unavailable"
            what = f"The provider behind {name} cannot be reached"
    wait_ms = max(1, shut.wait_ms)
    message = f"{what}: it is tried again in {wait_ms / 1000:g}s."
    return openai_errors.envelope(status, message, kind=kind, code=code, headers=_again(wait_ms))


def _not_served(end: Retry | Failed | Fatal, refusal: Refusal | None) -> Response:
    """How the provider refused: what it says of the request as it came, what concerns our account in our words."""
    if refusal is not None and refusal.status < 500 and refusal.body.lstrip().startswith(b'{"error"'):
        return Response(refusal.body, refusal.status, media_type=_JSON)
    match end:
        case Failed() | Fatal() if refusal is not None and refusal.status < 500:
            status, kind = refusal.status, "invalid_request_error"
        case Failed() if end.status is None:
            status, kind = 400, "invalid_request_error"
        case Retry() if end.code == "PROVIDER_TIMEOUT":
            status, kind = 504, "server_error"
        case Retry() if end.code in _OVERLOADED:
            status, kind = 503, "server_error"
        case _:
            status, kind = 502, "server_error"
    headers = _again(end.after_ms) if isinstance(end, Retry) and end.after_ms else {}
    return openai_errors.envelope(status, end.reason, kind=kind, code=end.code.lower(), headers=headers)

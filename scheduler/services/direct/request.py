"""What a direct call asks for: checked, and what it will cost estimated, as for an item of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw, Struct

from scheduler.domain.batch import Endpoint
from scheduler.domain.errors import BadParameter, NotFound
from scheduler.domain.setup import ApiKey, Connection, Resource
from scheduler.ports.setup import SetupStore
from scheduler.services.items.check import ItemCheck
from scheduler.services.items.terms import terms_of
from scheduler.services.reading.json_text import JsonText
from scheduler.services.reading.problems import Problems

MAX_AGE_S = 2.0
"""So long a process believes what it read of an environment's set-up."""
INLINE_BYTES = 65_536
"""Bodies up to here are estimated on the event loop (a few ms at most), larger ones in a thread."""
STREAMED: frozenset[Endpoint] = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses"})
_REQUEST = "request"


class _Envelope(Struct):
    """What decides where a request goes and how its answer comes."""

    model: Any = None
    stream: Any = None


_ENVELOPES = msgspec.json.Decoder(_Envelope)


@dataclass(frozen=True, slots=True)
class DirectRequest:
    """A checked call. body: as it came. in_tokens: estimated; out_tokens: reserved for the answer."""

    key: ApiKey
    resource: Resource
    endpoint: Endpoint
    body: bytes = field(repr=False)
    in_tokens: int
    out_tokens: int
    streamed: bool


@dataclass(frozen=True, slots=True)
class _Known:
    stamp: str
    resources: Mapping[str, Resource]
    connections: Sequence[Connection]


class DirectRequests:
    """Checks requests against an environment's set-up, which it remembers; that it changed is seen within MAX_AGE_S.
    clock: monotonic seconds."""

    def __init__(self, setup: SetupStore, default_output_tokens: int, clock: Callable[[], float]) -> None:
        self._setup = setup
        self._default_output_tokens = default_output_tokens
        self._clock = clock
        self._environments: dict[UUID, _Known] = {}
        self._looked_at_s: dict[UUID, float] = {}

    async def read(self, key: ApiKey, endpoint: Endpoint, body: bytes) -> DirectRequest:
        """The request of a body. Raises Malformed, BadParameter naming the field, NotFound AI_RESOURCE_NOT_FOUND for a
        model that does not exist or that the key may not use."""
        document = JsonText(body)
        document.fields()
        envelope = _ENVELOPES.decode(document.text)
        if envelope.model is None:
            raise BadParameter.missing("model")
        if not isinstance(envelope.model, str) or not envelope.model:
            raise BadParameter("Invalid type for 'model': expected a string.", param="model", reason="invalid_type")
        # Not `in (None, True, False)`: 1 equals True, and a provider may read it otherwise than we do.
        if not (envelope.stream is None or isinstance(envelope.stream, bool)):
            raise BadParameter("Invalid type for 'stream': expected a boolean.", param="stream", reason="invalid_type")
        if envelope.stream and endpoint not in STREAMED:
            raise BadParameter("This endpoint does not stream.", param="stream", reason="unsupported_parameter")
        known = await self._known(key.environment_id)
        resource = known.resources.get(envelope.model)
        if resource is None:
            # It may be newer than what is remembered: who has just made a resource may call it.
            known = await self._known(key.environment_id, max_age_s=0.0)
            resource = known.resources.get(envelope.model)
        if resource is None or (key.resources is not None and resource.resource_id not in key.resources):
            raise NotFound(
                f"The model '{envelope.model}' does not exist or the key may not use it.", code="AI_RESOURCE_NOT_FOUND"
            )
        if len(body) <= INLINE_BYTES:
            in_tokens, out_tokens = self._cost(key, endpoint, document, resource, known.connections)
        else:
            in_tokens, out_tokens = await asyncio.to_thread(
                self._cost, key, endpoint, document, resource, known.connections
            )
        return DirectRequest(key, resource, endpoint, body, in_tokens, out_tokens, bool(envelope.stream))

    def _cost(
        self,
        key: ApiKey,
        endpoint: Endpoint,
        document: JsonText,
        resource: Resource,
        connections: Sequence[Connection],
    ) -> tuple[int, int]:
        """Estimated by the rules of items. Raises BadParameter for what these refuse."""
        problems = Problems()
        check = ItemCheck(document, terms_of([resource], connections, key, ()), self._default_output_tokens, problems)
        wanted = msgspec.json.encode(
            {"resourceId": str(resource.resource_id), "endpoint": endpoint, _REQUEST: Raw(document.text)}
        )
        found = check.check(0, [Raw(wanted)])
        if first := problems.first:
            param = first["field"].removeprefix(_REQUEST).removeprefix(".") or None
            if first["errorCode"] == "ITEM_EXCEEDS_CAPACITY":
                raise BadParameter(f"The request {first['message']}.", reason="request_too_large")
            if first["message"] == "is required" and param:
                raise BadParameter.missing(param)
            raise BadParameter(f"Invalid '{param}': it {first['message']}.", param=param, reason="invalid_value")
        return found[0].in_tokens, found[0].out_tokens

    async def _known(self, environment_id: UUID, *, max_age_s: float = MAX_AGE_S) -> _Known:
        known, now_s = self._environments.get(environment_id), self._clock()
        if known is None or now_s - self._looked_at_s[environment_id] > max_age_s:
            stamp = await self._setup.offers_stamp()  # before the rest: what changes meanwhile is seen by the next look
            if known is None or known.stamp != stamp:
                resources, connections = await asyncio.gather(
                    self._setup.resources(environment_id), self._setup.connections(environment_id)
                )
                known = _Known(stamp, {each.name: each for each in resources}, connections)
            self._environments[environment_id], self._looked_at_s[environment_id] = known, now_s
        return known

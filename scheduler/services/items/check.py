"""Checks the items of a batch and estimates what each will cost; the bodies keep their bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from scheduler.domain.batch import Endpoint, NewItem
from scheduler.services.items.estimates import Reserve, output_reserve, prompt_tokens
from scheduler.services.items.terms import ResourceTerms
from scheduler.services.reading.json_text import JsonText, is_null, is_object
from scheduler.services.reading.problems import Problems

_EMPTY: Final = Raw()

DEFAULT_ENDPOINT: Endpoint = "/v1/chat/completions"


class ItemBody(Struct, rename="camel", forbid_unknown_fields=True):
    """One item as a caller writes it. endpoint: a chat completion when absent or null."""

    resource_id: str
    request: Raw
    endpoint: Endpoint | None = None
    custom_id: str | None = None
    metadata: Raw | UnsetType = UNSET


class RequestBody(Struct):
    """What we look at in a provider's request body; everything else in it is the provider's business."""

    messages: Raw = _EMPTY
    input: Raw = _EMPTY
    prompt: Raw = _EMPTY
    instructions: Raw = _EMPTY
    tools: Raw = _EMPTY
    functions: Raw = _EMPTY
    response_format: Raw = _EMPTY
    text: Raw = _EMPTY
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    n: Any = None
    best_of: Any = None


_PROMPT_FIELD: Final[Mapping[Endpoint, str]] = {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/v1/embeddings": "input",
    "/v1/responses": "input",
    "/v1/moderations": "input",
}
_NO_OUTPUT: Final[frozenset[Endpoint]] = frozenset({"/v1/embeddings", "/v1/moderations"})
_item_decoder = msgspec.json.Decoder(ItemBody)
_request_decoder = msgspec.json.Decoder(RequestBody)
_any_decoder = msgspec.json.Decoder()


class ItemCheck:
    """Checks items chunk by chunk, in any thread but one at a time. What is wrong goes to `problems`;
    resources that are unknown or not allowed are collected, because they are reported after everything
    else."""

    def __init__(
        self,
        document: JsonText,
        terms: Mapping[str, ResourceTerms],
        default_output_tokens: int,
        problems: Problems,
    ) -> None:
        self._document = document
        self._terms = terms
        self._default_output_tokens = default_output_tokens
        self._problems = problems
        self.unknown: dict[str, None] = {}
        self.forbidden: dict[str, UUID] = {}
        self._used: dict[str, ResourceTerms | None] = {}

    def check(self, first_index: int, raws: Sequence[Raw]) -> list[NewItem]:
        """The items that are good; `first_index` is the index of the first in its batch."""
        return [
            item for index, raw in enumerate(raws, first_index) if (item := self._check_one(index, raw)) is not None
        ]

    def check_alone(self, document: JsonText, problems: Problems) -> NewItem | None:
        """An item that is a document of its own, its problems apart from those of others."""
        self._document, self._problems = document, problems
        return self._check_one(None, Raw(document.text))

    def check_parts(self, document: JsonText, problems: Problems, body: ItemBody) -> NewItem | None:
        """An item that was written otherwise, from its parts, which are slices of `document`."""
        self._document, self._problems = document, problems
        return self._check_body(None, body)

    def _check_one(self, index: int | None, raw: Raw) -> NewItem | None:
        try:
            body = _item_decoder.decode(raw)
        except msgspec.ValidationError as error:
            self._problems.add_decoding(error, ItemBody, index=index)
            return None
        return self._check_body(index, body)

    def _check_body(self, index: int | None, body: ItemBody) -> NewItem | None:
        before = len(self._problems)
        endpoint = body.endpoint or DEFAULT_ENDPOINT
        metadata = self._metadata(index, body.metadata)
        self._custom_id(index, body.custom_id)
        if not is_object(body.request):
            self._problems.add("request", "must be an object", index=index)
            return None
        try:
            request = _request_decoder.decode(body.request)
            in_tokens = self._prompt(index, endpoint, request)
        except msgspec.ValidationError as error:
            self._problems.add_decoding(error, RequestBody, "request", index=index)
            return None
        if not body.resource_id:
            self._problems.add("resourceId", "must not be empty", index=index)
            return None
        terms = self._resource(body.resource_id)
        if terms is None or in_tokens is None or len(self._problems) > before:
            return None
        most_tokens = terms.most_tokens(in_tokens)
        room = None if most_tokens is None else most_tokens - in_tokens
        out_tokens, guess = self._output(endpoint, request, terms, room)
        if most_tokens is not None and in_tokens + out_tokens > most_tokens:
            self._problems.add(
                "request",
                f"needs about {in_tokens + out_tokens} tokens ({in_tokens} in, {out_tokens} reserved for the"
                f" answer), more than the {most_tokens} that its limits ever admit",
                index=index,
                code="ITEM_EXCEEDS_CAPACITY",
            )
            return None
        return NewItem(
            resource_id=terms.resource.resource_id,
            endpoint=endpoint,
            request=self._document.bytes_of(body.request),
            in_tokens=in_tokens,
            out_tokens=out_tokens,
            custom_id=body.custom_id,
            metadata=metadata,
            guess=guess,
        )

    def _metadata(self, index: int | None, raw: Raw | UnsetType) -> bytes | None:
        if isinstance(raw, UnsetType) or is_null(raw):
            return None
        if not is_object(raw):
            self._problems.add("metadata", "must be an object", index=index)
        return self._document.bytes_of(raw)

    def _custom_id(self, index: int | None, custom_id: str | None) -> None:
        if custom_id is not None and ("\0" in custom_id or self._document.holds_surrogate(custom_id)):
            self._problems.add("customId", "holds a character that cannot be stored", index=index)

    def _resource(self, name: str) -> ResourceTerms | None:
        try:
            return self._used[name]
        except KeyError:
            found = self._terms.get(name) or self._terms.get(name.lower())
            if found is None:
                self.unknown[name] = None
            elif not found.allowed:
                self.forbidden[name] = found.resource.resource_id
            self._used[name] = found
            return found

    def _prompt(self, index: int | None, endpoint: Endpoint, request: RequestBody) -> int | None:
        """Estimated prompt tokens; None after noting what is wrong with the prompt."""
        field = _PROMPT_FIELD[endpoint]
        raw: Raw = getattr(request, field)
        if raw is _EMPTY or is_null(raw):
            self._problems.add(f"request.{field}", "is required", index=index)
            return None
        prompt = _any_decoder.decode(raw)
        wrong = _wrong_messages(prompt) if field == "messages" else _wrong_text(prompt)
        if wrong is not None:
            self._problems.add(f"request.{field}{wrong[0]}", wrong[1], index=index)
            return None
        extra = "\n".join(
            bytes(part).decode()
            for part in (request.instructions, request.tools, request.functions, request.response_format, request.text)
            if part is not _EMPTY
        )
        given = bytes(raw)
        characters = len(given) if given.isascii() else len(given.decode())
        return prompt_tokens(prompt, characters, chat=field == "messages", extra=extra)

    def _output(self, endpoint: Endpoint, request: RequestBody, terms: ResourceTerms, room: int | None) -> Reserve:
        if endpoint in _NO_OUTPUT:
            return Reserve(0, None)
        asked = {
            "max_tokens": request.max_tokens,
            "max_completion_tokens": request.max_completion_tokens,
            "max_output_tokens": request.max_output_tokens,
            "n": request.n,
            "best_of": request.best_of,
        }
        return output_reserve(
            asked,
            terms.resource.default_args,
            self._default_output_tokens,
            likely=terms.resource.likely_output_tokens,
            by_use=terms.by_use,
            room=room,
        )


def _wrong_messages(messages: Any) -> tuple[str, str] | None:
    """(where, why) of the first thing wrong with chat messages."""
    if not isinstance(messages, list):
        return "", "must be a list"
    if not messages:
        return "", "must not be empty"
    for position, message in enumerate(messages):
        if not isinstance(message, dict):
            return f"[{position}]", "must be an object"
        role = message.get("role")
        if not isinstance(role, str) or not role:
            return f"[{position}].role", "is required and must be a string"
    return None


def _wrong_text(prompt: Any) -> tuple[str, str] | None:
    """(where, why) of what is wrong with an input or prompt."""
    if not isinstance(prompt, str | list):
        return "", "must be a string or a list"
    if not prompt:
        return "", "must not be empty"
    return None

"""The usage that an answer reports, as far as it can be one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from scheduler.domain.outcome import Usage
from scheduler.providers.error_bodies import decoded

MOST_TOKENS = 2**31 - 1
"""A usage above this is no usage: outcomes keep it in 32 bits."""


class _Usage(msgspec.Struct):
    """Both vocabularies: chat completions and embeddings (prompt / completion), responses (input /
    output)."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    input_tokens: Any = None
    output_tokens: Any = None
    prompt_tokens_details: Any = None
    input_tokens_details: Any = None
    completion_tokens_details: Any = None
    output_tokens_details: Any = None


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


_ANSWERS = msgspec.json.Decoder(_Answer)
_NO_USAGE = Usage(None, None)


def usage_in(body: bytes) -> Usage | None:
    """The usage of an answer; None when the body is no JSON object at all. Raises UnicodeDecodeError for a body
    that is not UTF-8.

    A bad count, or a usage that is no object, costs nothing but itself: an answer is an answer.
    """
    try:
        usage = _ANSWERS.decode(body).usage
    except msgspec.DecodeError:
        answer = decoded(body)
        if not isinstance(answer, dict):
            return None
        usage = _slowly(answer)
    if not body.isascii():
        body.decode()
    return _usage_of(usage)


def tokens(value: object) -> int | None:
    """A count of tokens; None for what cannot be one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is int and 0 <= value <= MOST_TOKENS:
        return value
    return None


def _slowly(answer: Mapping[str, Any]) -> _Usage | None:
    """The usage of an answer that msgspec refused, for a half surrogate or because its usage is no object."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    return _Usage(*(usage.get(name) for name in _Usage.__struct_fields__))


def _usage_of(usage: _Usage | None) -> Usage:
    if usage is None:
        return _NO_USAGE
    prompt, output = tokens(usage.prompt_tokens), tokens(usage.completion_tokens)
    prompt_details = usage.prompt_tokens_details or usage.input_tokens_details
    output_details = usage.completion_tokens_details or usage.output_tokens_details
    return Usage(
        prompt if prompt is not None else tokens(usage.input_tokens),
        output if output is not None else tokens(usage.output_tokens),
        tokens(prompt_details.get("cached_tokens")) if isinstance(prompt_details, dict) else None,
        tokens(output_details.get("reasoning_tokens")) if isinstance(output_details, dict) else None,
    )

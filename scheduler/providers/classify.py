"""From an HTTP answer to an AttemptEnd: pure, for every provider that speaks the OpenAI shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from scheduler.domain.outcome import AttemptEnd, Failed, Fatal, FatalScope, LimitHit, Retry, Succeeded, Usage
from scheduler.providers.waits import wait_ms

MESSAGE_CHARS = 2_000
"""A provider's message is cut to this length before it is kept."""

_NO_CREDIT = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "billing_hard_limit_reached",
        "billing_not_active",
        "access_terminated",
    }
)
_NO_CREDIT_ENDINGS = ("_spend_limit_exceeded", "_usage_limit_exceeded")
_ABOUT_THE_ITEM = frozenset(
    {"moderation", "content_filter", "content_policy_violation", "model_not_found", "unsupported_model"}
)
_TOO_LONG = frozenset({"context_length_exceeded", "string_above_max_length"})
_PASSING = frozenset({408, 409, 425})
_SHOWN = ("x-request-id", "request-id", "content-type", "retry-after", "retry-after-ms")
_SHOWN_STARTS = ("x-ratelimit-", "anthropic-ratelimit-", "openai-", "azureml-")


class _Usage(msgspec.Struct):
    """Both vocabularies: chat completions and embeddings (prompt / completion), responses (input /
    output)."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    input_tokens: Any = None
    output_tokens: Any = None


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


@dataclass(frozen=True, slots=True)
class _Problem:
    """The `error` of a body, as far as it has one. names: its code and type in lower case."""

    names: frozenset[str]
    message: str


MOST_TOKENS = 2**31 - 1
"""A usage above this is no usage: outcomes keep it in 32 bits."""

_ANSWERS = msgspec.json.Decoder(_Answer)
_NO_USAGE = Usage(None, None)


def classify(status: int, headers: Mapping[str, str], body: bytes, now_s: float) -> AttemptEnd:
    """How an attempt ended, from what came back. headers: lower-case names. now_s: Unix time, for dates
    in headers."""
    if 200 <= status < 300:
        return _success(status, headers, body)
    problem = _problem_of(body)
    if _no_credit(status, problem, body):
        reason = problem.message or "The provider reports no credit."
        return Fatal(FatalScope.CONNECTION, reason, "PROVIDER_NO_CREDIT")
    if status == 413 or (status == 429 and "request too large" in problem.message.lower()):
        return Fatal(FatalScope.ITEM, problem.message or "Too large for the provider.", "REQUEST_TOO_LARGE")
    if status == 429:
        # 0 stands for "not said": whoever pauses the budget knows how often that happened in a row.
        wait = wait_ms(headers, problem.message, now_s) or wait_ms({}, _text(body), now_s)
        return LimitHit(wait or 0, problem.message or "The provider's rate limit is reached.")
    if status >= 500 or status in _PASSING:
        wait = wait_ms(headers, "", now_s)
        return Retry(problem.message or f"The provider answered {status}.", f"PROVIDER_{status}", wait)
    return _refusal(status, problem, body)


def _success(status: int, headers: Mapping[str, str], body: bytes) -> AttemptEnd:
    try:
        usage = _usage_of(_ANSWERS.decode(body).usage)
        if not body.isascii():
            body.decode()
    except UnicodeDecodeError:
        return Retry(f"The provider answered {status} with a body that is not UTF-8.", "BAD_RESPONSE")
    except msgspec.DecodeError:
        answer = _decoded(body)
        if not isinstance(answer, dict):
            return Retry(f"The provider answered {status} with a body that is no JSON object.", "BAD_RESPONSE")
        usage = _usage_of(_usage_in(answer))
    return Succeeded(body, _shown(headers), usage)


def _usage_in(answer: Mapping[str, Any]) -> _Usage | None:
    """The usage of an answer that msgspec refused, for a half surrogate or because its usage is no object."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    return _Usage(*(usage.get(name) for name in _Usage.__struct_fields__))


def _usage_of(usage: _Usage | None) -> Usage:
    if usage is None:
        return _NO_USAGE
    prompt, output = _tokens(usage.prompt_tokens), _tokens(usage.completion_tokens)
    return Usage(
        prompt if prompt is not None else _tokens(usage.input_tokens),
        output if output is not None else _tokens(usage.output_tokens),
    )


def _tokens(value: object) -> int | None:
    """A count of tokens; None for what cannot be one. A bad count must not cost the answer that it came with."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is int and 0 <= value <= MOST_TOKENS:
        return value
    return None


def _no_credit(status: int, problem: _Problem, body: bytes) -> bool:
    if status == 402:
        return True
    if status not in (400, 403, 429):
        return False
    if any(name in _NO_CREDIT or name.endswith(_NO_CREDIT_ENDINGS) for name in problem.names):
        return True
    return status == 429 and b"quotaId" in body and b"PerDay" in body


def _refusal(status: int, problem: _Problem, body: bytes) -> AttemptEnd:
    """1xx, 3xx and the 4xx that will not pass."""
    if status == 401 or (status == 403 and not problem.names & _ABOUT_THE_ITEM):
        # The provider's own words may quote a part of the key, so they are not repeated.
        return Fatal(FatalScope.CONNECTION, f"The provider refused the key ({status}).", "PROVIDER_KEY_REFUSED")
    if status < 400:
        reason = f"The provider answered {status} in place of a result; redirects are not followed: check the base URL."
        return Failed(reason, "PROVIDER_REDIRECTED", status, body)
    if problem.names & _TOO_LONG:
        code = "CONTEXT_LENGTH_EXCEEDED"
    elif status == 404:
        code = "MODEL_NOT_FOUND"
    else:
        code = "INVALID_REQUEST"
    return Failed(problem.message or f"The provider refused the request ({status}).", code, status, body)


def _problem_of(body: bytes) -> _Problem:
    decoded = _decoded(body)
    error = decoded.get("error", decoded) if isinstance(decoded, dict) else None
    if isinstance(error, str):
        return _Problem(frozenset(), _cut(error))
    if not isinstance(error, dict):
        return _Problem(frozenset(), "")
    names = frozenset(str(error[key]).lower() for key in ("code", "type") if error.get(key) is not None)
    message = error.get("message")
    return _Problem(names, _cut(message) if isinstance(message, str) else "")


def _decoded(body: bytes) -> Any:
    """The body as JSON; None when it is none. Slow: only for what msgspec refused, half surrogates among it."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _text(body: bytes) -> str:
    return body[: 4 * MESSAGE_CHARS].decode(errors="replace")


def _cut(text: str) -> str:
    """Short, and storable as text in Postgres (no NUL, no half surrogate)."""
    return text[:MESSAGE_CHARS].replace("\x00", "").encode(errors="replace").decode()


def _shown(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in _SHOWN or name.startswith(_SHOWN_STARTS)}

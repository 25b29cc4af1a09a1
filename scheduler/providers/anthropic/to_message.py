"""From an OpenAI chat completion to an Anthropic message, and from a refusal to an Anthropic error: pure."""

from __future__ import annotations

import json
from typing import Any

from scheduler.providers.error_bodies import decoded, problem_in
from scheduler.providers.usages import tokens

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_OWN_REASONS = frozenset(
    {"end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded"}
)
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def to_message(completion: bytes, fallback_id: str) -> dict[str, Any] | None:
    """The message that a completion is; None when it is none. fallback_id: for one without an id.

    Its first choice counts. Tokens read from the cache are told apart, as Anthropic does; thinking becomes a block
    without a signature.
    """
    whole = decoded(completion)
    choices = whole.get("choices") if isinstance(whole, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return None
    choice = choices[0]
    said = choice.get("message")
    if not isinstance(said, dict):
        return None
    reason, sequence = _stop(choice)
    given_id = whole.get("id")
    return {
        "id": given_id if isinstance(given_id, str) and given_id else fallback_id,
        "type": "message",
        "role": "assistant",
        "model": whole.get("model"),
        "content": _content(said),
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": _usage(whole.get("usage")),
    }


def error_of(status: int | None, body: bytes | None, code: str | None, message: str | None) -> dict[str, Any]:
    """The error of a request that failed: Anthropic's own as it came, any other in its form. code, message: ours."""
    given = decoded(body) if body else None
    if isinstance(given, dict) and given.get("type") == "error" and isinstance(given.get("error"), dict):
        return given
    words = problem_in(body).message if body else ""
    kind = _ERROR_TYPES.get(status or 0)
    if kind is None:
        kind = "invalid_request_error" if (code or "").startswith("INVALID") else "api_error"
    return {"type": "error", "error": {"type": kind, "message": words or message or "The request failed."}}


def _content(said: dict[str, Any]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if isinstance(thought := said.get("reasoning_content"), str) and thought:
        blocks.append({"type": "thinking", "thinking": thought, "signature": ""})
    text = said.get("content")
    if isinstance(text, list):
        text = "".join(str(part.get("text", "")) for part in text if isinstance(part, dict))
    if isinstance(text, str) and text:
        blocks.append({"type": "text", "text": text})
    elif isinstance(refusal := said.get("refusal"), str) and refusal:
        blocks.append({"type": "text", "text": refusal})
    calls = said.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            given = _arguments(function.get("arguments"))
            blocks.append({"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": given})
    return blocks


def _arguments(text: Any) -> Any:
    try:
        given = json.loads(text) if isinstance(text, str) and text else {}
    except ValueError:
        given = {"_unparsed": text}
    return given if isinstance(given, dict) else {"_value": given}


def _stop(choice: dict[str, Any]) -> tuple[str, str | None]:
    """Our adapter keeps what Anthropic itself said beside finish_reason: a reason, or the sequence that was met."""
    own, finished = choice.get("stop_reason"), choice.get("finish_reason")
    if isinstance(own, str) and own in _OWN_REASONS:
        return own, None
    if isinstance(own, str) and own and finished == "stop":
        return "stop_sequence", own
    return _STOP_REASONS.get(finished if isinstance(finished, str) else "", "end_turn"), None


def _usage(given: Any) -> dict[str, Any]:
    usage = given if isinstance(given, dict) else {}
    details = usage.get("prompt_tokens_details")
    read = (tokens(details.get("cached_tokens")) if isinstance(details, dict) else None) or 0
    written = tokens(usage.get("cache_creation_input_tokens")) or 0
    prompt = tokens(usage.get("prompt_tokens")) or 0
    return {
        "input_tokens": max(0, prompt - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": tokens(usage.get("completion_tokens")) or 0,
    }

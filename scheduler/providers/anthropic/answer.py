"""From an Anthropic message to an OpenAI chat completion: pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from scheduler.providers.error_bodies import decoded
from scheduler.providers.usages import tokens

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def to_completion(body: bytes, now_s: float) -> bytes | None:
    """The JSON of the chat completion that a message is; None when the body is no message. now_s: Unix time.

    Prompt tokens are all that the prompt holds; those read from the cache stand in prompt_tokens_details, those written
    to it in usage.cache_creation_input_tokens. Thinking is `reasoning_content`. Blocks of tools that ran at Anthropic
    have no counterpart and are left out. The original reason stands beside finish_reason as `stop_reason`.
    """
    message = decoded(body)
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return None
    blocks = [block for block in content if isinstance(block, dict)]
    reason = message.get("stop_reason")
    completion = {
        "id": message.get("id"),
        "object": "chat.completion",
        "created": int(now_s),
        "model": message.get("model"),
        "choices": [
            {
                "index": 0,
                "message": _message(blocks),
                "logprobs": None,
                "finish_reason": _FINISH_REASONS.get(reason, "stop") if isinstance(reason, str) else "stop",
                "stop_reason": message.get("stop_sequence") or reason,
            }
        ],
        "usage": _usage(message.get("usage")),
    }
    return json.dumps(completion, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _message(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    texts = [str(block.get("text", "")) for block in blocks if block.get("type") == "text"]
    thoughts = [str(block.get("thinking", "")) for block in blocks if block.get("type") == "thinking"]
    calls = [_tool_call(block) for block in blocks if block.get("type") == "tool_use"]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _tool_call(block: Mapping[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(block.get("input") or {}, ensure_ascii=False)
    return {
        "id": block.get("id"),
        "type": "function",
        "function": {"name": block.get("name"), "arguments": arguments},
    }


def _usage(given: Any) -> dict[str, Any] | None:
    if not isinstance(given, dict) or tokens(given.get("input_tokens")) is None:
        return None
    read = tokens(given.get("cache_read_input_tokens")) or 0
    written = tokens(given.get("cache_creation_input_tokens")) or 0
    prompt = (tokens(given["input_tokens"]) or 0) + read + written
    output = tokens(given.get("output_tokens")) or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": read},
        "cache_creation_input_tokens": written,
    }

"""A whole chat completion as the stream that a caller asked for: pure."""

from __future__ import annotations

import json
from typing import Any


def as_stream(completion: bytes, request: bytes) -> bytes:
    """The server-sent events of a completion: one chunk with all of its message, one with the reason of its end, its
    usage where the request asks for it (`stream_options.include_usage`), and `[DONE]`."""
    whole = json.loads(completion)
    head = {name: whole.get(name) for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    choice = whole["choices"][0]
    delta = dict(choice["message"])
    if calls := delta.get("tool_calls"):
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]},
    ]
    options = json.loads(request).get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") and whole.get("usage"):
        chunks.append({**head, "choices": [], "usage": whole["usage"]})
    events = [json.dumps(chunk, ensure_ascii=False, separators=(",", ":")) for chunk in chunks]
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode("utf-8", "replace")

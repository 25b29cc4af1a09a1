"""A provider that answers at once without any network: for benches, and only where a setting allows it."""

from __future__ import annotations

from scheduler.domain.outcome import Succeeded, Usage

_ANSWER = Succeeded(
    body=b'{"id":"noop","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":""},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}',
    headers={},
    usage=Usage(0, 0),
)


def answer() -> Succeeded:
    """The same answer for every call; it needs no task and no await."""
    return _ANSWER

"""Answers as server-sent events: the text and the usage of the answer in one piece, a word at a time."""

from collections.abc import Iterator
from typing import Any, Final

from brim_server.simulator.answers import CREATED_S, FINGERPRINT, texts_of, usage_of
from brim_server.simulator.bodies import Charge, Chat, Completion
from brim_server.simulator.dialect import encode

_MOST_PIECES: Final = 256
"""Of one choice; in longer texts a piece has several words."""


def events(body: Chat | Completion, charge: Charge, seed: bytes, completion_tokens: int | None = None) -> bytes:
    """The 200 body, one choice after the other, then the usage if it was asked for. Arguments as of `answers.answer`,
    which gives the same text and usage for the same ones."""
    texts = texts_of(charge, seed, completion_tokens)
    shows_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    if isinstance(body, Chat):
        head: dict[str, Any] = {"id": f"chatcmpl-{seed.hex()}", "object": "chat.completion.chunk"}
        tail: dict[str, Any] = {"system_fingerprint": FINGERPRINT}
    else:
        head, tail = {"id": f"cmpl-{seed.hex()}", "object": "text_completion"}, {}
    head |= {"created": CREATED_S, "model": body.model}
    if shows_usage:
        tail["usage"] = None
    chunks = []
    for index, (text, _, reason) in enumerate(texts):
        choices = _chat_choices(text, reason) if isinstance(body, Chat) else _completion_choices(text, reason)
        chunks += [head | {"choices": [{"index": index, "logprobs": None} | choice]} | tail for choice in choices]
    if shows_usage:
        usage = usage_of(charge.prompt_tokens, sum(tokens for _, tokens, _ in texts))
        chunks.append(head | {"choices": []} | tail | {"usage": usage})
    return b"".join([b"data: %s\n\n" % encode(chunk) for chunk in chunks]) + b"data: [DONE]\n\n"


def _chat_choices(text: str, reason: str) -> Iterator[dict[str, Any]]:
    yield {"delta": {"role": "assistant", "content": "", "refusal": None}, "finish_reason": None}
    for piece in _pieces(text):
        yield {"delta": {"content": piece}, "finish_reason": None}
    yield {"delta": {}, "finish_reason": reason}


def _completion_choices(text: str, reason: str) -> Iterator[dict[str, Any]]:
    for piece in _pieces(text):
        yield {"text": piece, "finish_reason": None}
    yield {"text": "", "finish_reason": reason}


def _pieces(text: str) -> Iterator[str]:
    words = text.split(" ") if text else []
    step = max(1, -(-len(words) // _MOST_PIECES))
    for start in range(0, len(words), step):
        yield (" " if start else "") + " ".join(words[start : start + step])

"""Answers: plausible, and the same bytes for the same request bytes."""

import base64
from array import array
from hashlib import shake_128
from typing import Any, Final, assert_never

from brim_server.simulator.bodies import Body, Charge, Chat, Completion, Embedding, Moderation, Response, prompts_of
from brim_server.simulator.dialect import encode
from brim_server.simulator.moderation import moderation

CREATED_S: Final = 1_767_225_600
"""A fixed time, so that equal requests get equal answers."""
FINGERPRINT: Final = "fp_simulator"

_LONGEST_TOKENS: Final = 64
_DIMENSIONS: Final = 8
_TEXT: Final = (
    "the river rose past its banks and every mill along the valley kept turning while rain went on "
    "over slate roofs as people carried grain to higher ground and counted sacks by lamp light until "
    "morning came with a thin sun that showed how little had been lost after all that water"
)
_WORDS: Final = _TEXT.split()
_SLICES: Final = [
    " ".join(_WORDS[(start + index) % len(_WORDS)] for index in range(_LONGEST_TOKENS)) for start in range(len(_WORDS))
]
_ENDS: Final = [[index for index, letter in enumerate(text + " ") if letter == " "] for text in _SLICES]
"""Where the n-th word of each slice ends: cutting a ready text is cheaper than joining words."""


def answer(body: Body, charge: Charge, seed: bytes, completion_tokens: int | None = None) -> bytes:
    """The 200 body. One word counts as one token; `completion_tokens` per choice is drawn from the seed
    when None, and never exceeds what the request allows."""
    match body:
        case Chat():
            return _chat(body, charge, seed, completion_tokens)
        case Completion():
            return _completion(body, charge, seed, completion_tokens)
        case Embedding():
            return _embedding(body, charge)
        case Response():
            return _response(body, charge, seed, completion_tokens)
        case Moderation():
            return moderation(body, seed)
        case _:
            assert_never(body)


def model_list(models: tuple[str, ...]) -> bytes:
    """The body of GET /v1/models."""
    return encode({"object": "list", "data": [_model(name) for name in models]})


def model(name: str) -> bytes:
    """The body of GET /v1/models/<name>."""
    return encode(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED_S, "owned_by": "simulator"}


def _text(charge: Charge, seed: bytes, choice: int, wanted: int | None) -> tuple[str, int, str]:
    drawn = 1 + (seed[0] + choice) % _LONGEST_TOKENS if wanted is None else wanted
    tokens = max(0, min(drawn, charge.max_output_tokens))
    which = (seed[1] + choice) % len(_SLICES)
    reason = "length" if tokens == charge.max_output_tokens else "stop"
    if tokens == 0:
        return "", 0, reason
    if tokens <= _LONGEST_TOKENS:
        return _SLICES[which][: _ENDS[which][tokens - 1]], tokens, reason
    return " ".join(_WORDS[(which + index) % len(_WORDS)] for index in range(tokens)), tokens, reason


def texts_of(charge: Charge, seed: bytes, wanted: int | None) -> list[tuple[str, int, str]]:
    """(text, tokens, finish reason) of each choice. wanted: tokens of each; None: drawn."""
    return [_text(charge, seed, index, wanted) for index in range(charge.choices)]


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """The usage of a chat or a completion."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def _chat(body: Chat, charge: Charge, seed: bytes, wanted: int | None) -> bytes:
    texts = texts_of(charge, seed, wanted)
    return encode(
        {
            "id": f"chatcmpl-{seed.hex()}",
            "object": "chat.completion",
            "created": CREATED_S,
            "model": body.model,
            "choices": [
                {
                    "index": index,
                    "message": {"role": "assistant", "content": text, "refusal": None},
                    "logprobs": None,
                    "finish_reason": reason,
                }
                for index, (text, _, reason) in enumerate(texts)
            ],
            "usage": usage_of(charge.prompt_tokens, sum(tokens for _, tokens, _ in texts)),
            "system_fingerprint": FINGERPRINT,
        }
    )


def _completion(body: Completion, charge: Charge, seed: bytes, wanted: int | None) -> bytes:
    texts = texts_of(charge, seed, wanted)
    return encode(
        {
            "id": f"cmpl-{seed.hex()}",
            "object": "text_completion",
            "created": CREATED_S,
            "model": body.model,
            "choices": [
                {"text": text, "index": index, "logprobs": None, "finish_reason": reason}
                for index, (text, _, reason) in enumerate(texts)
            ],
            "usage": usage_of(charge.prompt_tokens, sum(tokens for _, tokens, _ in texts)),
        }
    )


def _embedding(body: Embedding, charge: Charge) -> bytes:
    dimensions = body.dimensions or _DIMENSIONS
    vectors: list[Any] = []
    for text in prompts_of(body.input):
        vector = [(byte - 127.5) / 127.5 for byte in shake_128(text.encode()).digest(dimensions)]
        if body.encoding_format == "base64":
            vectors.append(base64.b64encode(array("f", vector).tobytes()).decode())
        else:
            vectors.append(vector)
    return encode(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)
            ],
            "model": body.model,
            "usage": {"prompt_tokens": charge.prompt_tokens, "total_tokens": charge.prompt_tokens},
        }
    )


def _response(body: Response, charge: Charge, seed: bytes, wanted: int | None) -> bytes:
    text, tokens, reason = _text(charge, seed, 0, wanted)
    is_cut = reason == "length"
    return encode(
        {
            "id": f"resp_{seed.hex()}",
            "object": "response",
            "created_at": CREATED_S,
            "status": "incomplete" if is_cut else "completed",
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "instructions": body.instructions,
            "metadata": body.metadata or {},
            "model": body.model,
            "output": [
                {
                    "type": "message",
                    "id": f"msg_{seed.hex()}",
                    "status": "incomplete" if is_cut else "completed",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": text, "annotations": []}],
                }
            ],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": {
                "input_tokens": charge.prompt_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": charge.prompt_tokens + tokens,
            },
        }
    )

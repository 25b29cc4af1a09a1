"""What a request is charged."""

import json
from typing import Any

import msgspec
import pytest

from brim_server.simulator.bodies import Body, Chat, Completion, Embedding, Response, charge_of
from brim_server.simulator.options import Options

MESSAGES = [{"role": "user", "content": "x" * 370}]  # 400 characters as compact JSON


def charge(kind: type[Body], options: Options | None = None, **body: Any) -> int:
    decoded: Body = msgspec.json.decode(json.dumps({"model": "m"} | body), type=kind)
    return charge_of(decoded, options or Options()).tokens


def test_chat_is_charged_its_json_and_the_most_it_may_answer() -> None:
    assert len(json.dumps(MESSAGES, separators=(",", ":"))) == 400
    assert charge(Chat, messages=MESSAGES) == 100 + 16
    assert charge(Chat, messages=MESSAGES, max_tokens=50) == 150
    assert charge(Chat, messages=MESSAGES, max_tokens=50, max_completion_tokens=70) == 170
    assert charge(Chat, messages=MESSAGES, max_tokens=50, n=3) == 250
    assert charge(Chat, Options(default_output_tokens=200), messages=MESSAGES) == 300


def test_how_the_json_was_written_does_not_matter() -> None:
    loose = json.dumps({"model": "m", "messages": [{"role": "user", "content": "é" * 370}]}, indent=4)
    assert charge_of(msgspec.json.decode(loose, type=Chat), Options()).prompt_tokens == 100


def test_chat_can_be_charged_by_its_text_alone() -> None:
    text = Options(count_prompt="text")
    assert charge(Chat, text, messages=MESSAGES) == 370 // 4 + 16
    parts = [{"role": "user", "content": [{"type": "text", "text": "x" * 40}, {"type": "image_url"}]}]
    assert charge(Chat, text, messages=parts) == 10 + 16


def test_completions_are_charged_by_prompt_and_best_of() -> None:
    assert charge(Completion, prompt="x" * 40) == 10 + 16
    assert charge(Completion, prompt="x" * 40, max_tokens=5, n=2, best_of=4) == 10 + 20
    assert charge(Completion, prompt=["x" * 40, "y" * 40], max_tokens=5) == 20 + 10
    assert charge(Completion, prompt=[1, 2, 3], max_tokens=5) == 3 + 5
    assert charge(Completion, prompt=[[1, 2, 3], [4]], max_tokens=5) == 4 + 10


def test_embeddings_are_charged_by_input_alone() -> None:
    assert charge(Embedding, input="x" * 40) == 10
    assert charge(Embedding, input=["x" * 40, "x" * 44]) == 21
    assert charge(Embedding, input=[[1, 2], [3]]) == 3
    assert charge(Embedding, input="x") == 1


def test_responses_are_charged_by_input_and_instructions() -> None:
    assert charge(Response, input="x" * 40, instructions="y" * 40, max_output_tokens=30) == 50
    assert charge(Response, input=MESSAGES) == 116


@pytest.mark.parametrize(
    ("kind", "body", "named"),
    [
        (Chat, {"messages": []}, "messages"),
        (Chat, {"messages": MESSAGES, "n": 0}, "n must"),
        (Chat, {"messages": MESSAGES, "max_tokens": 0}, "max_tokens"),
        (Completion, {"prompt": []}, "prompt"),
        (Completion, {"prompt": "x", "best_of": 1000}, "best_of"),
        (Embedding, {"input": ""}, "input"),
        (Embedding, {"input": "x", "dimensions": 0}, "dimensions"),
        (Response, {"input": "x", "max_output_tokens": -1}, "max_output_tokens"),
    ],
)
def test_a_field_out_of_range_is_named(kind: type[Body], body: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        charge(kind, **body)

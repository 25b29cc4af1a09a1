"""Chat completions as Anthropic messages, there and back."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.outcome import Failed, Retry, Succeeded, Usage
from scheduler.domain.setup import Provider
from scheduler.providers.adapters import Adapters
from scheduler.providers.addresses import Address, headers_of
from scheduler.providers.anthropic.answer import to_completion
from scheduler.providers.anthropic.blocks import Untranslatable
from scheduler.providers.anthropic.request import DEFAULT_MAX_TOKENS, to_messages
from scheduler.providers.bodies import encode_args
from scheduler.providers.call import Account, Call, Departure
from scheduler.providers.profiles import PROFILES
from scheduler.providers.wire import open_session
from tests.workers.provider import running_provider

USER = {"role": "user", "content": "hi"}


def text(of: str) -> dict[str, Any]:
    return {"type": "text", "text": of}


def translated(*messages: Any, **fields: Any) -> dict[str, Any]:
    request = json.dumps({"messages": list(messages or (USER,))} | fields).encode()
    found: dict[str, Any] = json.loads(to_messages(request, "claude", {}))
    return found


def test_the_least_request_gets_what_anthropic_requires() -> None:
    assert translated() == {
        "model": "claude",
        "max_tokens": DEFAULT_MAX_TOKENS,
        "messages": [{"role": "user", "content": [text("hi")]}],
    }


def test_system_messages_go_to_the_front_in_their_order() -> None:
    body = translated(
        {"role": "system", "content": "a"},
        USER,
        {"role": "developer", "content": [text("b"), {**text("c"), "cache_control": {"type": "ephemeral"}}]},
        USER,
    )
    assert body["system"] == [text("a"), text("b"), {**text("c"), "cache_control": {"type": "ephemeral"}}]
    assert body["messages"] == [{"role": "user", "content": [text("hi"), text("hi")]}]


def test_a_round_of_tools() -> None:
    calls = [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "2", "type": "function", "function": {"name": "g", "arguments": ""}},
    ]
    body = translated(
        USER,
        {"role": "assistant", "content": "let me see", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "1", "content": "one"},
        {"role": "tool", "tool_call_id": "2", "content": ""},
        USER,
        tools=[
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
            {"type": "function", "function": {"name": "g", "strict": True}},
            {"type": "web_search_20250305", "name": "web_search"},
        ],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                text("let me see"),
                {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "2", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": [text("one")]},
                {"type": "tool_result", "tool_use_id": "2"},
                text("hi"),
            ],
        },
    ]
    assert body["tools"] == [
        {"name": "f", "input_schema": {"type": "object"}, "description": "d"},
        {"name": "g", "input_schema": {"type": "object", "properties": {}}, "strict": True},
        {"type": "web_search_20250305", "name": "web_search"},
    ]
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
    ],
)
def test_how_a_tool_is_chosen(fields: dict[str, Any], choice: Any) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert translated(tools=tools, **fields).get("tool_choice") == choice


def test_images_and_files() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
        text(""),
    ]
    (message,) = translated({"role": "user", "content": parts})["messages"]
    assert message["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.jpg"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"},
            "title": "a.pdf",
        },
    ]


def test_settings_find_their_names() -> None:
    body = translated(
        max_tokens=5,
        max_completion_tokens=9,
        temperature=1.7,
        top_p=0.5,
        stop="END",
        user="u",
        thinking={"type": "enabled", "budget_tokens": 1024},
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        seed=1,
        stream=True,
        model="theirs",
        presence_penalty=1,
        n=1,
    )
    del body["messages"]
    assert body == {
        "model": "claude",
        "max_tokens": 9,
        "temperature": 1,
        "top_p": 0.5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    }
    assert translated(stop=["a", "b"])["stop_sequences"] == ["a", "b"]


def test_defaults_fill_only_what_is_absent() -> None:
    request = json.dumps({"messages": [USER], "temperature": 0}).encode()
    body = json.loads(to_messages(request, "m", encode_args({"temperature": 1, "max_tokens": 7})))
    assert (body["temperature"], body["max_tokens"]) == (0, 7)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": "f"}, "tools"),
        ({"tools": [{"type": "function"}]}, r"tools\[0\]\.function\.name"),
        ({"tools": [{"type": "x"}], "tool_choice": "any"}, "tool_choice"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [7]}, r"messages\[0\]"),
        ({"messages": [{"role": "assistant", "tool_calls": 7}]}, "tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": [7]}]}, r"tool_calls\[0\]\.function"),
        ({"messages": [{"role": "assistant", "function_call": {"name": "f"}}]}, "function_call"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "{"}}]}]}, "arguments"),
        ({"messages": [{"role": "user", "content": [7]}]}, r"content\[0\]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, r"text must be"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "url must be"),
        ({"tools": [7]}, r"tools\[0\]"),
        ({"messages": [{"role": "function"}]}, r"messages\[0\]\.role"),
        ({"messages": [{"role": "user", "content": 7}]}, r"messages\[0\]\.content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input_audio"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, "file_data"),
        ({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": "u"}]}]}, "text only"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "[]"}}]}]}, "arguments"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "data:x"}]}]}, "data URL"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(Untranslatable, match=named):
        to_messages(json.dumps({"messages": [USER]} | fields).encode(), "m", {})


@pytest.mark.parametrize("request_body", [b"", b"[]", b"{", b"7"])
def test_what_is_no_object_is_refused(request_body: bytes) -> None:
    with pytest.raises(Untranslatable, match="JSON object"):
        to_messages(request_body, "m", {})


loose = st.none() | st.booleans() | st.integers(-1, 9) | st.text(max_size=4) | st.just("\ud800")
anything = st.recursive(
    loose,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "image_url", "url", "function", "name", "arguments", "id", "file"])
            | st.text(),
            inner | st.sampled_from(["text", "image_url", "file", "function"]),
            max_size=4,
        )
    ),
    max_leaves=8,
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "x"])},
    optional={"content": anything, "tool_calls": anything, "tool_call_id": loose},
)
fields = st.dictionaries(
    st.sampled_from(
        ["n", "stop", "temperature", "tools", "tool_choice", "response_format", "user", "modalities", "max_tokens"]
    ),
    anything,
    max_size=3,
)


@given(st.lists(messages, max_size=5), fields)
def test_any_request_is_translated_or_refused_in_words(said: list[dict[str, Any]], more: dict[str, Any]) -> None:
    try:
        body = json.loads(to_messages(json.dumps({"messages": said} | more).encode(), "m", {}))
    except Untranslatable:
        return
    roles = [message["role"] for message in body["messages"]]
    assert all(one != other for one, other in itertools.pairwise(roles))
    assert all(message["content"] for message in body["messages"])


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        text("It is "),
        text("fine."),
        {"type": "tool_use", "id": "1", "name": "f", "input": {"x": "é"}},
        {"type": "server_tool_use", "id": "2", "name": "web_search", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 100,
        "output_tokens": 7,
    },
}


def completion(**changes: Any) -> dict[str, Any]:
    found = to_completion(json.dumps(MESSAGE | changes).encode(), 1_800_000_000.5)
    assert found is not None
    decoded: dict[str, Any] = json.loads(found)
    return decoded


def test_a_message_becomes_a_completion() -> None:
    assert completion() == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 1_800_000_000,
        "model": "claude-x",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "It is fine.",
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": "é"}'}}
                    ],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
                "stop_reason": "tool_use",
            }
        ],
        "usage": {
            "prompt_tokens": 115,
            "completion_tokens": 7,
            "total_tokens": 122,
            "prompt_tokens_details": {"cached_tokens": 100},
            "cache_creation_input_tokens": 5,
        },
    }


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("of a later version", "stop"),
        (None, "stop"),
    ],
)
def test_why_it_stopped(reason: Any, finish: str) -> None:
    assert completion(stop_reason=reason)["choices"][0]["finish_reason"] == finish


def test_which_stop_sequence_it_was() -> None:
    assert completion(stop_reason="stop_sequence", stop_sequence="END")["choices"][0]["stop_reason"] == "END"


def test_an_answer_without_text_or_usage_is_an_answer() -> None:
    only_tool = completion(content=[{"type": "tool_use", "id": "1", "name": "f", "input": {}}], usage=None)
    assert only_tool["choices"][0]["message"]["content"] is None
    assert only_tool["usage"] is None
    assert completion(content=[])["choices"][0]["message"]["content"] == ""


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"content":"x"}', b"\xff", b'{"choices":[]}'])
def test_what_is_no_message_is_none(body: bytes) -> None:
    assert to_completion(body, 0) is None


async def test_a_call_goes_out_natively_and_comes_back_as_a_completion() -> None:
    async with running_provider() as provider, open_session() as session:
        account = Account(
            UUID(int=1),
            "c",
            Provider.ANTHROPIC,
            Address(provider.base_url),
            headers_of(Provider.ANTHROPIC, {}, "k"),
            PROFILES["anthropic"],
        )

        def call(
            endpoint: Any = "/v1/chat/completions", request: bytes = json.dumps({"messages": [USER]}).encode()
        ) -> Call:
            departure = Departure(asyncio.get_running_loop().time() + 5)
            return Call(account, endpoint, "claude", request, {}, 5.0, departure)

        adapters = Adapters(session)
        limits = {"anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "49"}
        provider.reply = lambda _: (200, limits, MESSAGE)
        end = await adapters.send(call())
        assert isinstance(end, Succeeded)
        assert json.loads(end.body)["choices"][0]["message"]["content"] == "It is fine."
        assert end.usage == Usage(115, 7, 100)
        assert end.rates is not None
        assert end.rates.limits[0].remaining == 49
        (seen,) = provider.seen
        assert seen.path == "/v1/messages"
        assert (seen.headers["x-api-key"], seen.headers["anthropic-version"]) == ("k", "2023-06-01")
        assert seen.body["max_tokens"] == DEFAULT_MAX_TOKENS

        provider.reply = lambda _: (
            529,
            {},
            {"type": "error", "error": {"type": "overloaded_error", "message": "full"}},
        )
        end = await adapters.send(call())
        assert isinstance(end, Retry)
        assert (end.reason, end.code, end.refusal and end.refusal.status) == ("full", "PROVIDER_529", 529)
        provider.reply = lambda _: (200, {}, {"object": "chat.completion"})
        end = await adapters.send(call())
        assert isinstance(end, Retry)
        assert end.code == "BAD_RESPONSE"

        sent = len(provider.seen)
        end = await adapters.send(call("/v1/embeddings"))
        assert isinstance(end, Failed)
        assert end.code == "ENDPOINT_NOT_SUPPORTED"
        assert isinstance(await adapters.send(call(request=b'{"messages":[],"n":2}')), Failed)
        assert len(provider.seen) == sent

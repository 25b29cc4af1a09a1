"""The body of a call keeps what was given."""

from __future__ import annotations

import json

import pytest

from scheduler.domain.batch import Endpoint
from scheduler.providers.bodies import build_body, encode_args

CHAT: Endpoint = "/v1/chat/completions"


def test_every_other_value_is_kept_byte_for_byte_and_in_order() -> None:
    request = b'{"seed": 12345678901234567890123, "messages": [ {"a" : 1.0e2} ], "x":"\\u00e9"}'
    body = build_body(request, CHAT, "m", {})
    assert body.startswith(b'{"seed":12345678901234567890123,"messages":[ {"a" : 1.0e2} ],"x":"\\u00e9"')
    assert list(json.loads(body)) == ["seed", "messages", "x", "model", "stream"]


def test_half_surrogates_are_passed_on() -> None:
    assert json.loads(build_body(b'{"x":"\\ud800","n":10000000000000000000000}', CHAT, "m", {})) == {
        "x": "\ud800",
        "n": 10**22,
        "model": "m",
        "stream": False,
    }


def test_model_and_stream_are_ours() -> None:
    body = json.loads(
        build_body(b'{"model":"theirs","stream":true,"stream_options":{"include_usage":true}}', CHAT, 'm"', {})
    )
    assert body == {"model": 'm"', "stream": False}


def test_defaults_fill_only_what_is_absent() -> None:
    body = json.loads(build_body(b'{"a":null}', CHAT, "m", encode_args({"a": 1, "b": {"c": [1.5]}})))
    assert body == {"a": None, "b": {"c": [1.5]}, "model": "m", "stream": False}


def test_embeddings_know_no_stream() -> None:
    assert json.loads(build_body(b'{"input":"x","stream":false}', "/v1/embeddings", "m", {})) == {
        "input": "x",
        "model": "m",
    }


@pytest.mark.parametrize("request_body", [b"[]", b"1", b"{", b""])
def test_what_is_no_object_is_refused(request_body: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|object|char"):
        build_body(request_body, CHAT, "m", {})

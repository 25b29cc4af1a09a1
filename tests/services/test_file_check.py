"""Lines of an input file: what each is refused for, in which words, at which line."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from scheduler.domain.batch import ENDPOINTS, Endpoint, NewItem
from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.submission import LineFault
from scheduler.services.items.terms import ResourceTerms, terms_of
from scheduler.services.submissions.file_check import FileCheck
from scheduler.services.uploads.lines import UploadLines
from tests.store.factories import Tenant, connection_in, resource_in

TENANT = Tenant(*(UUID(int=number) for number in range(1, 7)))
CHAT: Endpoint = "/v1/chat/completions"
MOST_LINE_BYTES = 2_000


def terms(capacity: tuple[Capacity, ...] = ()) -> dict[str, ResourceTerms]:
    """Resources `r` and `s` on one connection; `s` is not for this key."""
    connection = connection_in(TENANT, capacity=capacity)
    resources = [resource_in(TENANT, UUID(int=number), name) for number, name in enumerate("rs", start=10)]
    known = terms_of(resources, [connection], None, ())
    return known | {"s": replace(known["s"], allowed=False)}


def line(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A good line; None as a change leaves a field out."""
    body = {"model": "r", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
    given = {"custom_id": f"c{number}", "method": "POST", "url": CHAT, "body": body, **changes}
    return {name: value for name, value in given.items() if value is not None}


def body(**changes: Any) -> dict[str, Any]:
    """A good body; None as a change leaves a field out."""
    return {name: value for name, value in ({**line()["body"], **changes}).items() if value is not None}


def check(
    *lines: Any, endpoint: Endpoint = CHAT, most_lines: int = 100, capacity: tuple[Capacity, ...] = ()
) -> list[NewItem | LineFault]:
    """What becomes of lines, given as objects or as bytes."""
    text = b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines)
    file = FileCheck(endpoint, terms(capacity), 16, most_lines, MOST_LINE_BYTES)
    cut = UploadLines("", MOST_LINE_BYTES)
    cut.feed(text)
    checked: list[NewItem | LineFault] = []
    while (some := cut.step()) is not None:
        checked += file.check(some)
    checked += file.check(cut.end())
    whole = file.ends()
    return checked if whole is None else [*checked, whole]


BAD: list[tuple[Any, str, str | None]] = [
    (b"{nope", "invalid_json_line", None),
    (b'{"custom_id": NaN}', "invalid_json_line", None),
    (b"\xff\xfe", "invalid_json_line", None),
    (b'["a"]', "invalid_request", None),
    (line(custom_id=None), "missing_required_parameter", "custom_id"),
    (line(custom_id=7), "invalid_request", "custom_id"),
    (line(custom_id="x" * 65), "invalid_request", "custom_id"),
    (line(method=None), "missing_required_parameter", "method"),
    (line(method="GET"), "invalid_request", "method"),
    (line(url=None), "missing_required_parameter", "url"),
    (line(url="/v1/embeddings"), "url_mismatch", "url"),
    (line(body=None), "missing_required_parameter", "body"),
    (line(body="x"), "invalid_request", "body"),
    (line(body=body(model=None)), "missing_required_parameter", "body.model"),
    (line(body=body(model=3)), "invalid_request", "body.model"),
    (line(body=body(model="")), "model_not_found", "body.model"),
    (line(body=body(model="gpt-9")), "model_not_found", "body.model"),
    (line(body=body(model="s")), "model_not_found", "body.model"),
    (line(body=body(model="x" * 600)), "model_not_found", "body.model"),
    (line(body=body(stream=True)), "streaming_unsupported", "body.stream"),
    (line(body=body(stream=1)), "invalid_request", "body.stream"),
    (line(body=body(stream="true")), "invalid_request", "body.stream"),
    (line(body=body(messages=None)), "missing_required_parameter", "body.messages"),
    (line(body=body(messages=[])), "invalid_request", "body.messages"),
    (line(body=body(messages=[{"content": "x"}])), "invalid_request", "body.messages[0].role"),
    (line(body=body(user="x" * MOST_LINE_BYTES)), "invalid_request", None),
]


@pytest.mark.parametrize(("bad", "code", "param"), BAD, ids=[f"{n}-{each[1]}" for n, each in enumerate(BAD)])
def test_a_bad_line_is_named_with_its_number_and_the_others_stay_good(bad: Any, code: str, param: str | None) -> None:
    before, found, after = check(line(2), b"", b"", bad, line(3))
    assert isinstance(before, NewItem)
    assert isinstance(after, NewItem)
    assert isinstance(found, LineFault)
    assert (found.code, found.param, found.line) == (code, param, 4)
    assert found.message.endswith((".", "characters"))


def test_the_words_are_those_of_openai() -> None:
    faults = check(b"nope", line(1), line(1), line(2, url="/v1/responses"))
    assert [fault.message for fault in faults if isinstance(fault, LineFault)] == [
        "This line is not parseable as valid JSON.",
        "The custom_id for this request is a duplicate of another request. The custom_id parameter must be unique for "
        "each request in a batch.",
        "The URL provided for this request does not match the batch endpoint.",
    ]
    assert [fault.line for fault in faults if isinstance(fault, LineFault)] == [1, 3, 4]


def test_a_custom_id_of_64_characters_passes_whatever_its_bytes() -> None:
    (item,) = check(line(custom_id="ü" * 64))
    assert isinstance(item, NewItem)
    assert item.custom_id == "ü" * 64


def test_an_empty_file_and_one_with_too_many_lines_are_refused_as_a_whole() -> None:
    assert [fault.code for fault in check(b"", b"  ", b"") if isinstance(fault, LineFault)] == ["empty_file"]
    exactly = check(*(line(number) for number in range(3)), most_lines=3)
    assert all(isinstance(each, NewItem) for each in exactly)
    *_, whole = check(*(line(number) for number in range(4)), most_lines=3)
    assert isinstance(whole, LineFault)
    assert (whole.code, whole.line) == ("too_many_tasks", None)
    assert "more than the 3 requests" in whole.message


def test_an_item_that_no_limit_ever_admits_is_refused() -> None:
    small = (Capacity(Period.MINUTE, tokens=10),)
    (found,) = check(line(body=body(max_tokens=500)), capacity=small)
    assert isinstance(found, LineFault)
    assert (found.code, found.param) == ("invalid_request", "body")
    assert "more than the 10 that its limits ever admit" in found.message


def test_bodies_keep_every_byte() -> None:
    text = b'{"messages": [{"role": "user", "content": "\\ud83d half"}],   "model":"r", "x": 1.00}'
    (item,) = check(b'{"custom_id":"a","method":"post","url":"/v1/chat/completions","body":' + text + b"}")
    assert isinstance(item, NewItem)
    assert item.request == text


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_every_endpoint_has_its_prompt(endpoint: Endpoint) -> None:
    prompt = {CHAT: "messages", "/v1/completions": "prompt"}.get(endpoint, "input")
    given = {"model": "r", prompt: [{"role": "user", "content": "x"}] if prompt == "messages" else "x"}
    (item,) = check(line(url=endpoint, body=given), endpoint=endpoint)
    assert isinstance(item, NewItem)
    assert item.endpoint == endpoint
    (fault,) = check(line(url=endpoint, body={"model": "r"}), endpoint=endpoint)
    assert isinstance(fault, LineFault)
    assert (fault.code, fault.param) == ("missing_required_parameter", f"body.{prompt}")

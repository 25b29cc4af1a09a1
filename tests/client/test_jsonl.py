"""validate_jsonl: every message of the contract, limits to the byte, chunks cut anywhere."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brim import BrimError, InvalidJsonl, ValidatedJsonl, validate_jsonl


def line(custom_id: object = "a", body: object = None, **more: object) -> bytes:
    entry = {"custom_id": custom_id, "body": {"model": "m"} if body is None else body, **more}
    return json.dumps(entry, ensure_ascii=False).encode() + b"\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "File is empty"),
        (b"\n \t\r\n\n", "File is empty"),
        (line() + b"[1]\n", "Line 2: expected JSON object"),
        (b'\n\n"x"', "Line 3: expected JSON object"),
        (b'{"body": {"model": "m"}}', "Line 1: missing or non-string 'custom_id'"),
        (line(5), "Line 1: missing or non-string 'custom_id'"),
        (line("x" * 65), "Line 1: custom_id exceeds maximum length of 64 characters"),
        (line("x") + b"\n" + line("x"), "Line 3: duplicate custom_id 'x'"),
        (b'{"custom_id": "a"}', "Line 1: missing or non-object 'body'"),
        (line(body=[1]), "Line 1: missing or non-object 'body'"),
        (line(body={}), "Line 1: body missing 'model' field"),
        (line(body={"model": 3}), "Line 1: body missing 'model' field"),
    ],
)
def test_each_fault_has_its_message(content: bytes, message: str) -> None:
    with pytest.raises(InvalidJsonl) as raised:
        validate_jsonl([content])
    assert str(raised.value) == message


@pytest.mark.parametrize("bad", [b"{", b"{'a': 1}", b'{"a": NaN}', b'{"a": "\xff"}', b"[" * 100_000, b"9" * 9_999])
def test_what_is_no_json_is_named_with_its_line(bad: bytes) -> None:
    with pytest.raises(InvalidJsonl, match=r"^Line 2: invalid JSON: ."):
        validate_jsonl([line(), bad])


def test_the_error_is_both_ours_and_a_value_error() -> None:
    with pytest.raises(ValueError, match="empty") as raised:
        validate_jsonl([])
    assert isinstance(raised.value, BrimError)


def test_lengths_are_counted_in_characters() -> None:
    assert validate_jsonl([line("é" * 64)]).line_count == 1
    assert validate_jsonl([line("abc")], max_custom_id_chars=3).line_count == 1
    with pytest.raises(InvalidJsonl, match="maximum length of 3 characters"):
        validate_jsonl([line("abcd")], max_custom_id_chars=3)


def test_the_byte_limit_is_exact() -> None:
    content = line()
    assert validate_jsonl([content], max_bytes=len(content)) == ValidatedJsonl(1, len(content))
    with pytest.raises(InvalidJsonl, match=rf"^File exceeds maximum size of {len(content)} bytes$"):
        validate_jsonl([content, b"\n"], max_bytes=len(content))


def test_the_default_byte_limit_is_100_mib_exactly() -> None:
    # One line padded by a long string: a file of exactly that size, made of few objects.
    head, tail = b'{"custom_id": "a", "body": {"model": "m", "x": "', b'"}}'
    padding = 104_857_600 - len(head) - len(tail)
    chunks = [head, *[b"x" * (1 << 20)] * (padding >> 20), b"x" * (padding % (1 << 20)), tail]
    assert validate_jsonl(chunks) == ValidatedJsonl(1, 104_857_600)
    with pytest.raises(InvalidJsonl, match=r"^File exceeds maximum size of 104857600 bytes$"):
        validate_jsonl([*chunks, b"\n"])


def test_the_line_limit_counts_only_lines_that_hold_something() -> None:
    lines = [line(str(n)) for n in range(3)]
    assert validate_jsonl([b"\n", *lines, b"\n\n"], max_lines=3).line_count == 3
    with pytest.raises(InvalidJsonl, match=r"^File exceeds maximum of 2 lines$"):
        validate_jsonl(lines, max_lines=2)


def test_fifty_thousand_lines_pass_and_one_more_does_not() -> None:
    lines = [line(str(n)) for n in range(50_000)]
    assert validate_jsonl(lines).line_count == 50_000
    with pytest.raises(InvalidJsonl, match=r"^File exceeds maximum of 50000 lines$"):
        validate_jsonl([*lines, line("more")])


def test_an_endless_source_is_left_at_the_limit() -> None:
    def endless() -> Any:
        while True:
            yield b"x" * 1000

    with pytest.raises(InvalidJsonl, match="maximum size of 5000 bytes"):
        validate_jsonl(endless(), max_bytes=5000)


def test_method_and_url_are_asked_for_only_when_wanted() -> None:
    assert validate_jsonl([line(method=3)]).line_count == 1
    with pytest.raises(InvalidJsonl, match=r"^Line 1: missing or non-string 'method'$"):
        validate_jsonl([line()], require_method=True)
    with pytest.raises(InvalidJsonl, match=r"^Line 1: missing or non-string 'url'$"):
        validate_jsonl([line(method="POST")], require_method=True, require_url=True)
    full = line(method="POST", url="/v1/chat/completions")
    assert validate_jsonl([full], require_method=True, require_url=True).line_count == 1


def test_body_and_model_can_be_left_to_others() -> None:
    assert validate_jsonl([line(body={})], require_model=False).line_count == 1
    assert validate_jsonl([b'{"custom_id": "a"}'], require_body=False).line_count == 1


def test_the_last_line_needs_no_line_feed_and_windows_line_ends_are_fine() -> None:
    content = line("a")[:-1] + b"\r\n\r\n" + line("b")[:-1]
    assert validate_jsonl([content]) == ValidatedJsonl(2, len(content))


@pytest.mark.parametrize("source", [str, Path, lambda path: path.open("rb"), lambda path: path.read_bytes()])
def test_every_kind_of_source_is_read(tmp_path: Path, source: Callable[[Path], Any]) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(line("a") + line("b"))
    opened = source(path)
    try:
        assert validate_jsonl(opened) == ValidatedJsonl(2, path.stat().st_size)
    finally:
        if isinstance(opened, io.IOBase):
            assert not opened.closed, "a file that the caller opened is the caller's to close"
            opened.close()


_PIECES = st.sampled_from([line("a"), line("b"), line("é\u2028"), b"\n", b" \r\n", b"{\n", b"[]\n", line("c")[:-1]])


def _verdict(chunks: list[bytes], max_bytes: int) -> object:
    try:
        return validate_jsonl(chunks, max_bytes=max_bytes)
    except InvalidJsonl as fault:
        return str(fault)


@given(st.lists(_PIECES, max_size=6), st.integers(0, 200), st.lists(st.integers(0, 200)))
def test_the_verdict_does_not_depend_on_how_the_file_is_cut(
    pieces: list[bytes], max_bytes: int, cuts: list[int]
) -> None:
    content = b"".join(pieces)
    places = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    chunks = [content[start:end] for start, end in pairwise(places)]
    assert _verdict(chunks, max_bytes) == _verdict([content], max_bytes)

"""JSON whose parts keep their bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.errors import Invalid, Malformed
from scheduler.services.reading.json_text import JsonText, elements_of, is_null, is_object


@given(st.lists(st.sampled_from(["\\ud83d", "\\udE00", "\\ud83d\\ude00", "\\\\ud83d", "a", "\\n", "\\uE000", "é"])))
def test_parts_come_back_byte_for_byte(pieces: list[str]) -> None:
    part = f'"{"".join(pieces)}"'.encode()
    document = JsonText(b'{"a": [%b, 1.50], "b":%b}' % (part, part))
    fields = document.fields()
    assert document.bytes_of(fields["b"]) == part
    assert document.bytes_of(fields["a"]) == b"[%b, 1.50]" % part


def test_a_lone_surrogate_is_noticed_in_text() -> None:
    import msgspec

    document = JsonText(b'{"a": "x\\ud83d", "b": "fine"}')
    fields = document.fields()
    assert document.holds_surrogate(msgspec.json.decode(fields["a"], type=str))
    assert not document.holds_surrogate(msgspec.json.decode(fields["b"], type=str))


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":1,}', b'"\xc3"', b'{"a":NaN}', b'"\\ud83d', b"[" * 100_000])
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        JsonText(body)


def test_only_objects_have_fields() -> None:
    with pytest.raises(Invalid):
        JsonText(b"[]").fields()


def test_kinds_of_parts_are_told_apart() -> None:
    fields = JsonText(b'{"a": {} , "b": null, "c": [1, 2]}').fields()
    assert [is_object(fields[name]) for name in "abc"] == [True, False, False]
    assert [is_null(fields[name]) for name in "abc"] == [False, True, False]
    assert elements_of(fields["a"]) is None
    assert [bytes(each) for each in elements_of(fields["c"]) or ()] == [b"1", b"2"]

"""A large list is taken out of its object in pieces, with the same result as reading the text as a whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.errors import BrimError
from scheduler.services.reading import json_split
from scheduler.services.reading.json_split import split_list
from scheduler.services.reading.json_text import JsonText, elements_of

TEXTS = st.sampled_from(["", "a", '},{"id":', '"items":[', "]}", '\\"', "é😀", "\\ud83d", "\x00", "{[", ']},"x":1}'])
VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ELEMENTS = st.dictionaries(st.sampled_from(["b", "items", "c"]), VALUES, max_size=3).map(lambda more: {"id": 1, **more})
SPACES = st.sampled_from(["", " ", "\n "])


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Objects with a list somewhere in them, written in many ways; now and then cut, or with a stray byte."""
    comma, colon = draw(SPACES) + "," + draw(SPACES), draw(SPACES) + ":" + draw(SPACES)
    fields: list[tuple[str, Any]] = [
        *draw(st.lists(st.tuples(TEXTS, VALUES), max_size=2)),
        ("items", draw(st.lists(ELEMENTS, max_size=8))),
        *draw(st.lists(st.tuples(st.sampled_from(["items", "metadata", "x"]), VALUES), max_size=2)),
    ]
    ascii_only = draw(st.booleans())
    written = (
        json.dumps(name) + colon + json.dumps(value, ensure_ascii=ascii_only, separators=(comma, colon))
        for name, value in fields
    )
    text = ("{" + comma.join(written) + "}").encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 5)):
        return text
    place = draw(st.integers(0, len(text)))
    return text[:place] + draw(st.sampled_from([b"", b"\xff", b"]", b"}", b",", b'"'])) + text[place + 1 :]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_split, "WORTH_BYTES", 40)
    monkeypatch.setattr(json_split, "PIECE_BYTES", 30)


@given(documents())
def test_what_is_split_is_what_the_whole_text_says(body: bytes) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_split, "WORTH_BYTES", 0)
        patched.setattr(json_split, "PIECE_BYTES", 20)
        split = split_list(body, "items")
    if split is None:
        return
    document = JsonText(body)
    fields = document.fields()
    elements = elements_of(fields["items"])
    assert elements is not None
    assert [bytes(each) for each in split.elements] == [bytes(each) for each in elements]
    assert {**{n: bytes(v) for n, v in split.fields.items()}, "items": b""} == {
        **{n: bytes(v) for n, v in fields.items()},
        "items": b"",
    }


@pytest.mark.parametrize("spaced", [(",", ":"), (", ", ": "), (" ,\n", " :\t")])
@pytest.mark.parametrize("indent", [None, 2])
def test_ordinary_texts_are_split(spaced: tuple[str, str], indent: int | None) -> None:
    elements = [{"id": number, "messages": [{"role": "user"}, {"text": '},{"id":'}]} for number in range(50)]
    document = {"type": "ASYNC", "items": elements, "metadata": {"a": [{"b": 1}]}, "last": [{"c": 2}]}
    split = split_list(json.dumps(document, separators=spaced, indent=indent).encode(), "items")
    assert split is not None
    assert [json.loads(bytes(each)) for each in split.elements] == elements
    assert sorted(split.fields) == ["items", "last", "metadata", "type"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"items": [{"id": 1}, {"id": 2}], "items": 5}' + b" " * 40,
        b'{"other": {"items": [{"id": 1}, {"id": 2}]}}' + b" " * 40,
        b'{"items": [{"id": 1}, {"id": 2}' + b" " * 40,
        b'{"items": [{"id": 1}, {"id": 2}]' + b" " * 40,
        b'{"items": [{"id": "\xff"}, {"id": 2}]}' + b" " * 40,
        b'{"items": [{"id": "\\ud83d"}, {"id": 2}]}' + b" " * 40,
        b'{"items": [1, 2, 3], "text": "a long text that makes it worth while"}',
        b'[{"items": [{"id": 1}, {"id": 2}]}, "a long text that makes it worth"]',
        b'{"items": []}' + b" " * 40,
    ],
)
def test_of_what_is_unusual_or_ill_formed_nothing_is_said(body: bytes) -> None:
    assert split_list(body, "items") is None


def test_a_broken_element_far_behind_is_left_to_whoever_reads_the_whole() -> None:
    body = b'{"items": [' + b'{"id": 1}, ' * 40 + b'{"id": }]}'
    assert split_list(body, "items") is None
    with pytest.raises(BrimError):
        JsonText(body)

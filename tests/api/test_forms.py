"""Forms taken as they come: the same whatever way they are cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.forms import FIELD_BYTES, MOST_FIELDS, UploadForm
from scheduler.domain.errors import BadParameter, TooLarge
from scheduler.domain.file import Blob

TYPE = "multipart/form-data; boundary=b"


@dataclass
class Kept:
    """A draft in memory."""

    content: bytearray = field(default_factory=bytearray)

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def write(self, piece: bytes | memoryview) -> None:
        self.content += piece

    def seal(self) -> Blob:
        return Blob(b"", len(self.content))

    def discard(self) -> None: ...


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    """One part of a form."""
    named = "" if filename is None else f'; filename="{filename}"'
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + value + b"\r\n"


def fed(*pieces: bytes, limit: int = 1_000) -> tuple[UploadForm, bytes]:
    """A form that was given these pieces."""
    draft = Kept()
    form = UploadForm(TYPE, draft, limit)
    for piece in pieces:
        form.feed(piece)
    form.finish()
    return form, bytes(draft.content)


@given(
    content=st.binary(max_size=300) | st.sampled_from([b"\r\n--", b"\r\n--bb", b"--b", b"\r\n--b", b"\r\n"]),
    purpose=st.text("abc-_ é", max_size=20),
    cuts=st.lists(st.integers(0, 700), max_size=8),
    first=st.booleans(),
)
def test_a_form_reads_the_same_however_it_is_cut(content: bytes, purpose: str, cuts: list[int], first: bool) -> None:
    if b"\r\n--b" in b"\r\n" + content:
        content = content.replace(b"--b", b"--c")
    parts = [part("purpose", purpose.encode()), part("file", content, "a.jsonl")]
    body = b"".join(parts if first else parts[::-1]) + b"--b--\r\n"
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    form, kept = fed(*(body[start:end] for start, end in pairwise(edges)))
    assert (form.fields, form.filename, kept) == ({"purpose": purpose}, "a.jsonl", content)


def test_the_limit_of_the_file_is_exact() -> None:
    assert fed(part("file", b"x" * 10, "a") + b"--b--", limit=10)[1] == b"x" * 10
    with pytest.raises(TooLarge):
        fed(part("file", b"x" * 11, "a") + b"--b--", limit=10)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (part("file", b"1", "a") + part("file", b"2", "b") + b"--b--", "one file only"),
        (part("", b"1") + b"--b--", "needs a name"),
        (part("purpose", b"\xff") + b"--b--", "UTF-8"),
        (part("purpose", b"x" * (FIELD_BYTES + 1)) + b"--b--", "at most"),
        (b"".join(part(f"f{n}", b"") for n in range(MOST_FIELDS + 1)) + b"--b--", "at most"),
        (part("purpose", b"x"), "before its last boundary"),
        (b"", "before its last boundary"),
        (b"hello", "well-formed"),
        (b"--b\r\nContent Disposition: x\r\n\r\n", "well-formed"),
        (b"--b\r\n" + b"X-Long: " + b"y" * 100_000, "well-formed"),
    ],
)
def test_what_is_no_such_form_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        fed(body)


@pytest.mark.parametrize(
    "kind", ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=" + "b" * 500]
)
def test_the_content_type_names_a_boundary(kind: str) -> None:
    with pytest.raises(BadParameter):
        UploadForm(kind, Kept(), 10)

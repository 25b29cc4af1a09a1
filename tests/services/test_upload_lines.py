"""Bytes to lines: whatever the cuts, the packing and the length."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.errors import Invalid, Malformed, TooLarge
from scheduler.services.uploads.body import pieces_of
from scheduler.services.uploads.lines import STEP_BYTES, Line, UploadLines


def read(pieces: list[bytes], encoding: str = "", most_line_bytes: int = 1 << 20) -> tuple[list[Line], UploadLines]:
    """All lines of a body."""
    lines = UploadLines(encoding, most_line_bytes)
    found: list[Line] = []
    for piece in pieces:
        lines.feed(piece)
        while (some := lines.step()) is not None:
            found += some
    return found + lines.end(), lines


@given(st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b" ", b"{}"]), max_size=60), st.data(), st.booleans())
def test_the_cuts_do_not_matter(parts: list[bytes], data: st.DataObject, packed: bool) -> None:
    body = b"".join(parts)
    expected = [Line(number, line.strip()) for number, line in enumerate(body.split(b"\n"), start=1) if line.strip()]
    sent = gzip.compress(body) if packed else body
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    pieces = [sent[start:end] for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    found, lines = read(pieces, "gzip" if packed else "")
    assert found == expected
    if body.endswith(b"\n") or not body:
        assert lines.digest == hashlib.sha256(body).digest()


def test_a_long_line_is_named_and_the_next_one_read() -> None:
    found, _ = read([b"x" * 600, b"x" * 600, b"\nok\n", b"y" * 1_001], most_line_bytes=1_000)
    assert found == [Line(1, None), Line(2, b"ok"), Line(3, None)]


def test_one_step_unpacks_no_more_than_its_bound() -> None:
    body = (b"z" * 99 + b"\n") * 50_000
    lines = UploadLines("gzip", 1_000)
    lines.feed(gzip.compress(body, 9))
    steps = []
    while (some := lines.step()) is not None:
        steps.append(len(some))
    assert sum(steps) == 50_000
    assert max(steps) <= STEP_BYTES // 100 + 1
    assert lines.end() == []


def test_what_is_no_gzip_is_cut_short_or_is_a_bomb_is_refused() -> None:
    whole = gzip.compress(b"line\n" * 1_000)
    for body in (b"plain", whole[:-3], b""):
        with pytest.raises(Malformed):
            read([body], "gzip")
    with pytest.raises(TooLarge):
        # Long lines: to cut 80 million empty ones takes ten seconds.
        read([gzip.compress((b" " * 4095 + b"\n") * (80 << 8), 9)], "gzip")
    with pytest.raises(Invalid):
        UploadLines("br", 1_000)


async def test_a_silent_body_is_given_up() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.Event().wait()

    async def read_all() -> list[bytes | None]:
        return [piece async for piece in pieces_of(body(), 0.3)]

    with pytest.raises(Malformed, match="silent"):
        await read_all()

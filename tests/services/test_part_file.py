"""Files of results while they grow: what a crash leaves is cut off, what is not ours is written anew."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from scheduler.domain.errors import Unavailable
from scheduler.domain.submission import PartFile
from scheduler.services.files.part_file import Part


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the part lies; its folder does not exist yet."""
    return tmp_path / "outgoing" / "part"


def begun(path: Path, recorded: PartFile) -> Part:
    """A part that holds what is recorded."""
    part = Part(path)
    assert part.begin(recorded)
    return part


def test_lines_are_appended_and_the_record_tells_bytes_lines_and_checksum(path: Path) -> None:
    part = begun(path, PartFile())
    first = part.append(PartFile(), [b"a\n", b"bb\n"])
    second = part.append(first, [b"c\n"])
    assert second == PartFile(7, 3, zlib.crc32(b"a\nbb\nc\n"))
    assert part.append(second, []) == second
    assert b"".join(part.pieces(second)) == path.read_bytes() == b"a\nbb\nc\n"
    part.close()


def test_what_was_written_and_not_recorded_is_cut_off(path: Path) -> None:
    part = begun(path, PartFile())
    recorded = part.append(PartFile(), [b"a\n"])
    part.append(recorded, [b"lost\n", b"torn"])
    part.close()
    again = begun(path, recorded)
    assert path.read_bytes() == b"a\n"
    again.append(recorded, [b"b\n"])
    assert path.read_bytes() == b"a\nb\n"
    again.close()


@pytest.mark.parametrize("there", [None, b"", b"a", b"x\ny\n"])
def test_a_part_that_does_not_hold_what_is_recorded_is_refused_and_begun_anew(path: Path, there: bytes | None) -> None:
    if there is not None:
        path.parent.mkdir()
        path.write_bytes(there)
    part = Part(path)
    assert not part.begin(PartFile(4, 2, zlib.crc32(b"a\nb\n")))
    assert part.begin(PartFile())
    assert path.read_bytes() == b""
    part.close()


def test_two_writers_of_the_same_lines_leave_them_once(path: Path) -> None:
    paused, present = begun(path, PartFile()), begun(path, PartFile())
    recorded = present.append(PartFile(), [b"a\n", b"b\n"])
    paused.append(PartFile(), [b"a\n"])
    assert b"".join(present.pieces(recorded)) == b"a\nb\n"
    paused.close()
    present.close()


def test_a_removed_part_is_gone_and_removing_it_twice_is_harmless(path: Path) -> None:
    part = begun(path, PartFile())
    part.remove()
    part.remove()
    assert not path.exists()


def test_trouble_with_the_disk_can_be_waited_for_and_never_names_a_path(tmp_path: Path) -> None:
    (tmp_path / "outgoing").write_bytes(b"no folder")
    with pytest.raises(Unavailable) as raised:
        Part(tmp_path / "outgoing" / "part").begin(PartFile())
    assert str(tmp_path) not in raised.value.message


def test_a_part_that_became_shorter_is_not_published(path: Path) -> None:
    part = begun(path, PartFile())
    recorded = part.append(PartFile(), [b"a\n"])
    path.write_bytes(b"")
    with pytest.raises(Unavailable, match="shorter"):
        list(part.pieces(recorded))
    part.close()

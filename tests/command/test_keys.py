"""Keys of the data folder: made once, kept, private."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from brim_server.running.failure import StartFailed
from brim_server.running.keys import kept_key


def test_a_key_is_made_once_and_then_kept(tmp_path: Path) -> None:
    first = kept_key(tmp_path / "new" / "secret.key", prefix="brim_")
    assert first.made
    assert first.text.startswith("brim_")
    assert len(first.text) >= len("brim_") + 43
    second = kept_key(tmp_path / "new" / "secret.key", prefix="brim_")
    assert (second.text, second.made) == (first.text, False)


def test_a_key_file_is_for_its_owner_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    kept_key(tmp_path / "secret.key")
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["secret.key"]


def test_an_empty_key_file_is_refused_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret.key").touch()
    with pytest.raises(StartFailed, match="is empty"):
        kept_key(tmp_path / "secret.key")
    assert (tmp_path / "secret.key").read_text() == ""


def test_keys_of_different_folders_differ(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as threads:
        keys = list(threads.map(lambda number: kept_key(tmp_path / str(number) / "k").text, range(20)))
    assert len(set(keys)) == 20

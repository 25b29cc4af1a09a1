"""A data folder with a short path, gone after the test."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import users_of


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder that does not exist yet; fails the test when a server still runs in it at the end."""
    home = Path(tempfile.mkdtemp(prefix="brim-test-"))
    try:
        yield home / "data"
        assert users_of(home) == []
    finally:
        shutil.rmtree(home)

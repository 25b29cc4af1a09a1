"""Where the servers of a running `up` are, written into its data folder for `brim-server doctor`."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FILE = "servers.json"


@dataclass(frozen=True, slots=True)
class Urls:
    """Where Redis and Postgres are."""

    redis_url: str
    database_url: str


@contextlib.contextmanager
def published(data_dir: Path, redis_url: str, database_url: str) -> Iterator[None]:
    """Keep the URLs in the folder as long as the block lasts, readable by its owner alone."""
    file = data_dir / _FILE
    fresh = data_dir / f"{_FILE}.{os.getpid()}"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as out:
        json.dump({"redis_url": redis_url, "database_url": database_url}, out)
    fresh.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def read_published(data_dir: Path) -> Urls | None:
    """Return the URLs of the `up` that uses the folder; None when none does or did not end cleanly."""
    try:
        found = json.loads((data_dir / _FILE).read_text())
        return Urls(found["redis_url"], found["database_url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None

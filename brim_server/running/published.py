"""Where the servers of a running `up` are, written into its data folder for the commands beside it."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

_FILE = "servers.json"


@dataclass(frozen=True, slots=True)
class Urls:
    """Where Redis, Postgres and the uploaded files are. files_dir None: an `up` of before did not say."""

    redis_url: str
    database_url: str
    files_dir: str | None = None


@contextlib.contextmanager
def published(data_dir: Path, urls: Urls) -> Iterator[None]:
    """Keep the URLs in the folder as long as the block lasts, readable by its owner alone."""
    file = data_dir / _FILE
    fresh = data_dir / f"{_FILE}.{os.getpid()}"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as out:
        json.dump(asdict(urls), out)
    fresh.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def read_published(data_dir: Path) -> Urls | None:
    """Return the URLs of the `up` that uses the folder; None when none does or did not end cleanly."""
    try:
        found = json.loads((data_dir / _FILE).read_text())
        return Urls(found["redis_url"], found["database_url"], found.get("files_dir"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None

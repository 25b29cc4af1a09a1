"""Keys that are made once and kept in the data folder, readable by its owner alone."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from brim_server.running.failure import StartFailed


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A key of the data folder. made: this call made it, so nobody has seen it yet."""

    text: str
    made: bool


def kept_key(path: Path, prefix: str = "") -> KeptKey:
    """Return the key in `path`; make one of 256 random bits (after `prefix`) at the first call.

    Two processes that make it at the same time get the same key. Raises StartFailed for an empty or
    unreadable file: a new key in its place would make everything encrypted with the old one unreadable.
    """
    if path.exists():
        return KeptKey(_read(path), made=False)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = prefix + secrets.token_urlsafe(32)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(fd)
    try:
        os.link(fresh, path)  # unlike a rename, never replaces the key of another process
    except FileExistsError:
        return KeptKey(_read(path), made=False)
    finally:
        fresh.unlink()
    return KeptKey(text, made=True)


def read_key(path: Path) -> str | None:
    """Return the key that an `up` of this folder keeps there, None where it keeps none. Raises StartFailed like
    `kept_key`."""
    return _read(path) if path.exists() else None


def _read(path: Path) -> str:
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise StartFailed(f"the key file {path} cannot be read: {error.strerror}") from error
    if not text:
        raise StartFailed(f"the key file {path} is empty; restore it, or delete it if nothing depends on it")
    return text

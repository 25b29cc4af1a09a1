"""Which kind of place the contents lie in: the folder, or the object store that a URL names."""

from __future__ import annotations

from pathlib import Path

from scheduler.blobs.disk import DiskBlobs
from scheduler.domain.errors import InvariantBroken
from scheduler.ports.files import BlobStore


def open_blobs(folder: Path, url: str | None) -> BlobStore:
    """The store of contents. folder: for them, and with a url only for drafts. The object store is not reached before
    its first use. Raises InvariantBroken when the url names none, or its library is not installed."""
    if url is None:
        return DiskBlobs(folder)
    try:
        from scheduler.blobs.remote import ObjectBlobs
    except ImportError as error:
        raise InvariantBroken("BRIM_FILES_URL needs obstore: install brim-server[s3]") from error
    return ObjectBlobs.at(url, folder)

"""What trouble with a disk means to callers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from scheduler.domain.errors import Unavailable

RETRY_AFTER_S = 10.0
_log = structlog.get_logger(__name__)


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Turn an OSError inside into errors.Unavailable; its text, which may hold a path, goes to the log."""
    try:
        yield
    except OSError as error:
        _log.warning("files.store_failed", doing=doing, reason=str(error))
        raise Unavailable("The file store is full or cannot be reached.", retry_after_s=RETRY_AFTER_S) from error

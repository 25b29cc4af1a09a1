"""Ids as the OpenAI face shows them: a prefix that tells the kind, and the 32 hexadecimal digits of a UUID."""

from __future__ import annotations

import re
from uuid import UUID

FILE = "file-"
BATCH = "batch_"
MESSAGE_BATCH = "msgbatch_"
REQUEST = "batch_req_"
ITEM = "item_"
EVENT = "evt_"

_DIGITS = re.compile(r"[0-9a-f]{32}")


def shown_id(prefix: str, of: UUID) -> str:
    """The id as callers see it: `file-0199…`."""
    return f"{prefix}{of.hex}"


def read_id(prefix: str, text: str) -> UUID | None:
    """The UUID behind an id of this kind; None for any other text, which then names nothing."""
    digits = text.removeprefix(prefix)
    if not text.startswith(prefix) or _DIGITS.fullmatch(digits) is None:
        return None
    return UUID(digits)

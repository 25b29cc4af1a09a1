"""Identifiers: what they are made of and how one is derived from another."""

from __future__ import annotations

import hashlib
from typing import NewType
from uuid import UUID

ItemId = NewType("ItemId", UUID)
Seq = NewType("Seq", int)
"""Position of an item in its batch, from 1."""

MAX_SEQ = (1 << 48) - 1


def uuid7(now_ms: int, random_bytes: bytes) -> UUID:
    """A UUIDv7 (RFC 9562, 5.7) of `now_ms` (Unix ms) and 10 random bytes: sorts by time of creation."""
    if len(random_bytes) != 10:
        raise ValueError(f"uuid7 needs 10 random bytes, got {len(random_bytes)}")
    rand_a = int.from_bytes(random_bytes[:2], "big") & 0x0FFF
    rand_b = int.from_bytes(random_bytes[2:], "big") & ((1 << 62) - 1)
    return UUID(int=(now_ms & MAX_SEQ) << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b)


class ItemIds:
    """The item ids of one batch, computed both ways, so that no index of ids is needed.

    An id is a UUIDv8: 74 bits that prove it belongs to the batch, and the 48-bit seq under a mask
    (neighbouring items do not get neighbouring ids). Both come from BLAKE2b of the batch id.
    """

    __slots__ = ("_frame", "_mask")

    def __init__(self, batch_id: UUID) -> None:
        digest = int.from_bytes(hashlib.blake2b(batch_id.bytes, digest_size=16, person=b"brim-item-id").digest(), "big")
        high, mid = digest >> 80, digest >> 64 & 0x0FFF
        low = digest >> 48 & ((1 << 14) - 1)
        self._frame = high << 80 | 0x8 << 76 | mid << 64 | 0b10 << 62 | low << 48
        self._mask = digest & MAX_SEQ

    def of(self, seq: int) -> ItemId:
        """The id of item `seq` (1 ≤ seq < 2^48)."""
        return ItemId(UUID(int=self._frame | (seq ^ self._mask)))

    def seq_of(self, item_id: UUID) -> Seq | None:
        """The seq behind an id, or None when the id is not of this batch."""
        if item_id.int >> 48 << 48 != self._frame:
            return None
        seq = (item_id.int & MAX_SEQ) ^ self._mask
        return Seq(seq) if seq else None


def shard_of(environment_id: UUID, shards: int) -> int:
    """The shard (0 … shards-1) that an environment lives on, for ever: a stable hash."""
    digest = hashlib.blake2b(environment_id.bytes, digest_size=8, person=b"brim-shard").digest()
    return int.from_bytes(digest, "big") % shards

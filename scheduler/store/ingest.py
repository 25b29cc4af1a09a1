"""New items: written by COPY, and counted by the resources that they are for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from scheduler.domain.batch import ENDPOINTS, NewItem
from scheduler.store.item_rows import custom_id_bytes

if TYPE_CHECKING:
    from scheduler.store.database import PooledConnection

_ITEM_COLUMNS = (
    "batch_id",
    "seq",
    "in_tokens",
    "out_tokens",
    "resource_no",
    "endpoint",
    "custom_id",
    "request",
    "metadata",
    "out_copies",
    "out_most",
)
BREATH_ITEMS = 500
COPY_TIMEOUT_S = 600.0
_ENDPOINT_NO = {endpoint: no for no, endpoint in enumerate(ENDPOINTS)}


class FlowTally:
    """Which resources a batch uses, and how much of it each serves."""

    def __init__(self) -> None:
        self.number: dict[UUID, int] = {}
        self.items: list[int] = []
        self.first: list[int] = []
        self.last: list[int] = []

    def add(self, resource_id: UUID, seq: int) -> None:
        """Count item `seq`; seqs come in rising order."""
        no = self.number.setdefault(resource_id, len(self.items))
        if no == len(self.items):
            self.items.append(0)
            self.first.append(seq)
            self.last.append(seq)
        self.items[no] += 1
        self.last[no] = seq


async def copy_items(
    connection: PooledConnection,
    batch_id: UUID,
    items: Sequence[NewItem],
    resource_no: Mapping[UUID, int],
    first_seq: int = 1,
) -> None:
    """Write items with the seqs from `first_seq` on, by COPY. resource_no: of a FlowTally that counted them. Raises
    asyncpg's UniqueViolationError for a seq that is there already."""
    await connection.copy_records_to_table(
        "items",
        records=_item_rows(batch_id, items, resource_no, first_seq),
        columns=_ITEM_COLUMNS,
        timeout=COPY_TIMEOUT_S,
    )


async def _item_rows(
    batch_id: UUID, items: Sequence[NewItem], resource_no: Mapping[UUID, int], first_seq: int
) -> AsyncIterator[tuple[object, ...]]:
    """The rows of `items`, in order. Lets others run now and then: encoding 100,000 rows takes a second."""
    for seq, item in enumerate(items, start=first_seq):
        if not seq % BREATH_ITEMS:
            await asyncio.sleep(0)
        yield (
            batch_id,
            seq,
            item.in_tokens,
            item.out_tokens,
            resource_no[item.resource_id],
            _ENDPOINT_NO[item.endpoint],
            custom_id_bytes(item.custom_id),
            item.request,
            item.metadata,
            item.guess.copies if item.guess else None,
            item.guess.most_tokens if item.guess else None,
        )

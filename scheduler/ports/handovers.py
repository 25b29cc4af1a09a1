"""Hand-overs as the store keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from scheduler.domain.handover import Handover


class HandoverStore(Protocol):
    """One row a part; who works on one holds it by a lease."""

    async def plan(self) -> int:
        """Make the rows of native batches that have none; how many."""
        ...

    async def take(self, holder: str, lease_s: float, most: int) -> Sequence[Handover]:
        """Due ones that nobody holds, for lease_s."""
        ...

    async def record(self, holder: str, handover: Handover, lease_s: float) -> bool:
        """Keep where it stands, and the lease; False when the lease was lost: then nothing was kept."""
        ...

    async def put_off(self, holder: str, handover: Handover, delay_s: float) -> None:
        """Keep its tries, let go of it, look again after delay_s."""
        ...

    async def finish(self, holder: str, handover: Handover) -> bool:
        """DONE. Its batch, when it has ended, is like any other from now on: its retries run here."""
        ...

"""The hander: parts of batches of execution mode native go to their providers' own Batch APIs, and come back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from scheduler.domain.errors import Unavailable
from scheduler.domain.handover import Handover
from scheduler.ports.handovers import HandoverStore
from scheduler.providers.batch_api import BatchApiTrouble
from scheduler.services.submissions.handing_over import HandingOver, LeaseLost

LEASE_S = 300.0
"""Far longer than one call to a provider's Batch API may take; each recorded step begins it anew."""
MOST = 4
"""Parts that one turn works on."""
IDLE_S = 2.0
"""Between two turns: how late a new batch is handed over."""
FIRST_AGAIN_S = 5.0
LONGEST_AGAIN_S = 300.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Handed:
    """One turn: parts made, looked at, and finished."""

    planned: int = 0
    looked_at: int = 0
    done: int = 0


class Hander:
    """One part after the other. poll_s: between two looks at a batch that runs at its provider."""

    def __init__(self, store: HandoverStore, handing_over: HandingOver, holder: str, poll_s: float) -> None:
        self._store = store
        self._handing_over = handing_over
        self._holder = holder
        self._poll_s = poll_s

    async def run_once(self) -> Handed:
        """Move on what is due."""
        planned = await self._store.plan()
        taken = await self._store.take(self._holder, LEASE_S, MOST)
        done = 0
        for handover in taken:
            done += await self._advance(handover)
        return Handed(planned, len(taken), done)

    async def _advance(self, handover: Handover) -> bool:
        try:
            if await self._handing_over.advance(handover):
                return True
        except LeaseLost:
            return False
        except (BatchApiTrouble, Unavailable) as problem:
            tries = handover.tries + 1
            delay_s = min(LONGEST_AGAIN_S, FIRST_AGAIN_S * 2 ** min(tries - 1, 10))
            _log.warning("handover.waits", batch_id=str(handover.batch_id), reason=str(problem), tries=tries)
            await self._store.put_off(self._holder, replace(handover, tries=tries), delay_s)
            return False
        await self._store.put_off(self._holder, replace(handover, tries=0), self._poll_s)
        return False

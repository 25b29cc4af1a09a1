"""The learner: how long the answers of each resource are, for the reserves of later items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from scheduler.domain.errors import Unavailable
from scheduler.domain.output_length import LearnedLengths
from scheduler.ports.learned import LearnedOutput, LearnedStore
from scheduler.providers.profile import OutputReserve, Profile

INTERVAL_S = 5.0
RESOURCES = 10_000
"""Resources remembered at once; a few kilobytes each at most."""
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_LIMITS_AS_KEYS = tuple(f'"{name}"'.encode() for name in _LIMITS)
_COPIES = (b'"n"', b'"best_of"')


@dataclass(frozen=True, slots=True)
class Learned:
    """One turn: resources of which something new was stored."""

    resources: int


class Learner:
    """Sees every answer of this worker, and tells Postgres every few seconds; all in memory until then."""

    def __init__(self, store: LearnedStore) -> None:
        self._store = store
        self._lengths: LearnedLengths[UUID] = LearnedLengths(RESOURCES)
        self._news: dict[UUID, int] = {}

    def saw(
        self,
        resource_id: UUID,
        profile: Profile,
        request: bytes,
        default_args: Mapping[str, bytes],
        output_tokens: int | None,
    ) -> None:
        """Take note of an answer. Ignored when it cannot tell what answers without a limit need.

        An answer to a request with max_tokens is cut by it, which matters only where reserves are by request; one with
        several choices is several answers. Both are recognised by their names anywhere in the request: that is fast,
        and a mistake costs one observation.
        """
        if not output_tokens or any(key in request for key in _COPIES):
            return
        limited = any(name in default_args for name in _LIMITS) or any(key in request for key in _LIMITS_AS_KEYS)
        if limited and profile.output_reserve is OutputReserve.REQUESTED:
            return
        self._lengths.observe(resource_id, output_tokens)
        if resource_id in self._news or len(self._news) < RESOURCES:
            self._news[resource_id] = self._news.get(resource_id, 0) + 1

    async def run_once(self) -> Learned:
        """Store what is new and known well enough. While Postgres is away it is kept."""
        learned = [
            LearnedOutput(resource_id, quantile, seen)
            for resource_id, seen in self._news.items()
            if (quantile := self._lengths.quantile(resource_id)) is not None
        ]
        if not learned:
            return Learned(0)
        for each in learned:
            del self._news[each.resource_id]
        try:
            await self._store.learn_outputs(learned)
        except Unavailable:
            for each in learned:
                self._news[each.resource_id] = self._news.get(each.resource_id, 0) + each.seen
            return Learned(0)
        return Learned(len(learned))

"""The learner: how long the answers of each resource and of each batch on it are, for the reserves of later items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from scheduler.domain.errors import Unavailable
from scheduler.domain.output_length import LearnedLengths
from scheduler.ports.learned import LearnedOutput, LearnedOutputStore
from scheduler.providers.profile import OutputReserve, Profile

INTERVAL_S = 5.0
RESOURCES = 10_000
"""Resources remembered at once; a few kilobytes each at most."""
BATCHES = 4_000
"""Batches (each on a resource) remembered at once. One that is forgotten for others is reserved by its resource."""
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_LIMITS_AS_KEYS = tuple(f'"{name}"'.encode() for name in _LIMITS)
_COPIES = (b'"n"', b'"best_of"')


@dataclass(frozen=True, slots=True)
class Learned:
    """One turn: resources, and batches on them, of which something new was stored."""

    resources: int
    batches: int


class Learner:
    """Sees every answer of this worker, and tells Postgres every few seconds; all in memory until then."""

    def __init__(self, store: LearnedOutputStore) -> None:
        self._store = store
        self._of_resources: LearnedLengths[UUID] = LearnedLengths(RESOURCES)
        self._of_batches: LearnedLengths[tuple[UUID, UUID]] = LearnedLengths(BATCHES)

    def saw(
        self,
        resource_id: UUID,
        batch_id: UUID,
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
        self._of_resources.observe(resource_id, output_tokens)
        self._of_batches.observe((resource_id, batch_id), output_tokens)

    def likely(self, resource_id: UUID, batch_id: UUID) -> int | None:
        """What answers of that batch on that resource need, as far as this worker has seen enough of them."""
        return self._of_batches.quantile((resource_id, batch_id))

    async def run_once(self) -> Learned:
        """Store what is new and known well enough. While Postgres is away it is kept."""
        resources, batches = self._of_resources.take_news(), self._of_batches.take_news()
        told = [LearnedOutput(each.key, each.quantile_tokens, each.seen) for each in resources]
        told += [LearnedOutput(each.key[0], each.quantile_tokens, each.seen, each.key[1]) for each in batches]
        if not told:
            return Learned(0, 0)
        try:
            await self._store.learn_outputs(told)
        except Unavailable:
            self._of_resources.put_back(resources)
            self._of_batches.put_back(batches)
            return Learned(0, 0)
        return Learned(len(resources), len(batches))

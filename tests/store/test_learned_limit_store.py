"""What providers told of their limits, kept and forgotten."""

from __future__ import annotations

from scheduler.domain.work import Limit, Meter
from scheduler.ports.learned import LearnedModel
from scheduler.store import PostgresStore
from tests.store.factories import Tenant, new_id

APART = (Limit("MINUTE", 50, None), Limit("MINUTE", None, 40_000, meter=Meter.INPUT))


async def test_the_last_word_on_a_model_is_kept(store: PostgresStore, tenant: Tenant) -> None:
    [connection] = await store.setup.connections(tenant.environment_id)
    id_ = connection.connection_id
    await store.setup.learn_limits(
        [LearnedModel(id_, "a", APART, None), LearnedModel(id_, "b", (), 12), LearnedModel(new_id(), "a", (), 1)]
    )
    assert await store.setup.learned_limits([id_]) == [
        LearnedModel(id_, "a", APART, None),
        LearnedModel(id_, "b", (), 12),
    ]
    await store.setup.learn_limits([LearnedModel(id_, "b", (), 13)])
    assert (await store.setup.learned_limits([id_, new_id()]))[1].places == 13
    await store.setup.learn_limits([])
    assert await store.setup.learned_limits([]) == []

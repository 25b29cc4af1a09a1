"""Resources with several targets: what is down, shut or full is made up for by the others."""

from __future__ import annotations

from collections import Counter
from typing import Any

from scheduler.domain.capacity import Capacity, Period
from scheduler.domain.setup import Connection
from tests.workers.provider import FakeProvider, refuse, running_provider
from tests.workers.world import World

ITEMS = [str(i) for i in range(60)]


async def gone(world: World, **more: Any) -> Connection:
    """A connection that refuses to be connected to."""
    async with running_provider() as provider:
        base_url = provider.base_url
    return await world.connection(base_url, **more)


async def served_by(world: World, *connections: Connection, **more: Any) -> Counter[str | None]:
    """Run items through a resource with these targets; which model served how many."""
    resource = await world.resource(*connections, **more)
    async with world.worker():
        batch = await world.ended(await world.submit(resource, ITEMS), 40)
    assert batch.completed == len(ITEMS), f"{batch.failed} failed"
    return Counter(item.served_model for item in await world.items(batch))


async def test_with_the_first_target_down_all_items_of_a_spilling_resource_end_on_the_second(
    world: World, provider: FakeProvider
) -> None:
    down, up = await gone(world), await world.connection(provider.base_url)
    assert await served_by(world, down, up, spill=True) == {"model-1": 60}


async def test_with_the_second_target_down_all_items_of_a_spilling_resource_end_on_the_first(
    world: World, provider: FakeProvider
) -> None:
    small = await world.connection(provider.base_url, capacity=(Capacity(Period.SECOND, requests=20),))
    assert await served_by(world, small, await gone(world), spill=True) == {"model-0": 60}


async def test_fallbacks_serve_while_the_first_target_is_parked(world: World, provider: FakeProvider) -> None:
    async with running_provider() as broke:
        broke.reply = refuse(429, "insufficient_quota", "No credit.")
        first, second = await world.connection(broke.base_url), await world.connection(provider.base_url)
        assert await served_by(world, first, second) == {"model-1": 60}
        assert len(broke.seen) <= 60


async def test_an_item_says_which_target_served_it(world: World, provider: FakeProvider) -> None:
    async with running_provider() as other:
        small = await world.connection(provider.base_url, capacity=(Capacity(Period.MINUTE, requests=20),))
        large = await world.connection(other.base_url)
        served = await served_by(world, small, large, spill=True)
        assert served["model-0"] >= 1
        assert served == {"model-0": len(provider.seen), "model-1": len(other.seen)}


async def test_what_is_too_large_for_a_target_goes_to_one_that_it_fits(world: World, provider: FakeProvider) -> None:
    small = await world.connection(provider.base_url, capacity=(Capacity(Period.MINUTE, tokens=5),))
    assert await served_by(world, small, await world.connection(provider.base_url)) == {"model-1": 60}

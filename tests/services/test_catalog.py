"""The catalog under many callers at once."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from scheduler.domain.errors import Unavailable
from scheduler.ports.setup import SetupStore
from scheduler.services.callers.secrets import Vault
from scheduler.services.setup.catalog import Catalog


class SlowStore:
    """Answers when it is let, and counts."""

    def __init__(self) -> None:
        self.looks = self.reads = 0
        self.stamp = "stamp"
        self.away = False
        self.answers = asyncio.Event()

    async def offers_stamp(self) -> str:
        """One look."""
        self.looks += 1
        await self.answers.wait()
        if self.away:
            raise Unavailable("away")
        return self.stamp

    async def connections(self) -> list[Any]:
        """None."""
        self.reads += 1
        return []

    async def resources(self) -> list[Any]:
        """None."""
        return []


def catalog_of(store: SlowStore, now: list[float]) -> Catalog:
    return Catalog(cast(SetupStore, store), Vault(None), lambda: now[0])


@pytest.mark.parametrize("away", [False, True])
async def test_callers_behind_a_slow_look_do_not_look_one_after_the_other(away: bool) -> None:
    store, now = SlowStore(), [0.0]
    catalog = catalog_of(store, now)
    store.answers.set()
    await catalog.refresh()
    now[0], store.looks, store.away = 10.0, 0, away
    store.answers.clear()
    first = asyncio.create_task(catalog.refresh())
    await asyncio.sleep(0)
    now[0] = 10.5
    others = [asyncio.create_task(catalog.refresh()) for _ in range(40)]
    await asyncio.sleep(0)
    now[0] = 11.0
    store.answers.set()
    await asyncio.gather(first, *others)
    assert store.looks == 2, "that under way began before the others came: one more is for all of them"


async def test_without_any_state_every_caller_is_told_that_there_is_none() -> None:
    store = SlowStore()
    store.away = True
    store.answers.set()
    catalog = catalog_of(store, [0.0])
    found = await asyncio.gather(*(catalog.refresh() for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in found] == [Unavailable] * 3


async def test_only_what_changed_is_read_again() -> None:
    store, now = SlowStore(), [0.0]
    store.answers.set()
    catalog = catalog_of(store, now)
    for now[0] in (0.0, 0.01, 10.0, 20.0):
        await catalog.refresh()
    assert (store.looks, store.reads) == (3, 1)
    await catalog.refresh(max_age_s=0)
    now[0] += 0.001
    await catalog.refresh(max_age_s=0)
    assert (store.looks, store.reads) == (4, 1), "who asks for what does not exist makes nobody read everything"
    store.stamp = "another"
    now[0] += 1
    await catalog.refresh()
    assert (store.looks, store.reads) == (5, 2)

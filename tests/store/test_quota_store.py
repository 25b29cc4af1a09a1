"""What is used of quotas, kept."""

from __future__ import annotations

import asyncpg

from scheduler.domain.quota import QuotaUse
from scheduler.store import PostgresStore


async def test_of_one_period_the_higher_figures_stay(store: PostgresStore) -> None:
    await store.quotas.keep_quotas([QuotaUse("a", "D", 7, 10, 500), QuotaUse("a", "L", 0, 10, 500)])
    await store.quotas.keep_quotas([QuotaUse("a", "D", 7, 8, 900), QuotaUse("a", "L", 0, 11, 501)])
    assert sorted(await store.quotas.quotas(["a", "b"])) == [("a", "D", 7, 10, 900, ""), ("a", "L", 0, 11, 501, "")]


async def test_a_newer_period_replaces_and_an_older_one_does_not(store: PostgresStore) -> None:
    await store.quotas.keep_quotas([QuotaUse("a", "D", 7, 10, 500)])
    await store.quotas.keep_quotas([QuotaUse("a", "D", 8, 1, 2), QuotaUse("a", "D", 7, 99, 99)])
    assert await store.quotas.quotas(["a"]) == [QuotaUse("a", "D", 8, 1, 2)]
    await store.quotas.keep_quotas([QuotaUse("a", "D", 7, 99, 99)])
    assert await store.quotas.quotas(["a"]) == [QuotaUse("a", "D", 8, 1, 2)]
    await store.quotas.keep_quotas([])


async def test_what_ended_long_ago_is_forgotten(store: PostgresStore, postgres: asyncpg.Connection) -> None:
    uses = [QuotaUse("a", "D", 7, 1, 1), QuotaUse("a", "L", 0, 1, 1), QuotaUse("b", "MO<", 7, 1, 1)]
    await store.quotas.keep_quotas(uses)
    assert await store.quotas.forget_quotas() == 0
    await postgres.execute("UPDATE quota_uses SET updated_at = now() - interval '33 days'")
    assert await store.quotas.forget_quotas() == 2
    assert await store.quotas.quotas(["a", "b"]) == [QuotaUse("a", "L", 0, 1, 1)]


async def test_whoever_counted_the_days_of_another_zone_is_replaced(store: PostgresStore) -> None:
    await store.quotas.keep_quotas([QuotaUse("a", "D", 8, 10, 500)])
    await store.quotas.keep_quotas([QuotaUse("a", "D", 7, 11, 490, "us-pacific")])
    await store.quotas.keep_quotas([QuotaUse("a", "D", 7, 9, 600, "us-pacific")])
    assert await store.quotas.quotas(["a"]) == [QuotaUse("a", "D", 7, 11, 600, "us-pacific")]

"""Parked connections, kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from scheduler.domain.parking import Parking
from scheduler.store import PostgresStore
from tests.store.factories import Tenant

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def parked(store: PostgresStore, tenant: Tenant, at: datetime) -> Parking:
    """Park the tenant's connection for an hour; what is read then."""
    await store.parkings.park(Parking(tenant.connection_id, "", "NO_CREDIT", "no credit", at, at + HOUR))
    [found] = await store.parkings.parked(at, connection_id=tenant.connection_id)
    return found


async def test_a_parking_that_is_renewed_began_when_it_was_first_parked(store: PostgresStore, tenant: Tenant) -> None:
    await parked(store, tenant, NOON)
    again = await parked(store, tenant, NOON + HOUR + timedelta(minutes=59))
    assert (again.parked_at, again.times) == (NOON, 2)
    assert again.due_at == NOON + 2 * HOUR + timedelta(minutes=59)


async def test_a_parking_that_was_over_for_an_hour_begins_anew(store: PostgresStore, tenant: Tenant) -> None:
    await parked(store, tenant, NOON)
    later = NOON + 2 * HOUR + timedelta(seconds=1)
    assert await store.parkings.parked(later, connection_id=tenant.connection_id) == []
    again = await parked(store, tenant, later)
    assert (again.parked_at, again.times) == (later, 1)

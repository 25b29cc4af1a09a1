"""The store: Postgres behind ports.store. One file per store, its SQL beside it, migrations numbered."""

from scheduler.store.postgres_store import PostgresStore

__all__ = ["PostgresStore"]

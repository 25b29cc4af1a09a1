"""Numbered, forward-only migrations, and what applies them."""

from scheduler.store.migrations.runner import NewerDatabase, migrate, pending

__all__ = ["NewerDatabase", "migrate", "pending"]

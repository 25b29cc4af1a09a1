"""The one place where `brim-server` reaches into the core: migrations and the declarative set-up."""

from dataclasses import dataclass
from pathlib import Path

from brim_server.running.failure import StartFailed
from scheduler.settings import Settings


@dataclass(frozen=True, slots=True)
class Address:
    """How a caller reaches one environment. api_key is None when it is stored only as a hash."""

    workspace_id: str
    environment_id: str
    api_key: str | None


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a set-up did. announcements: ids and made keys, to be printed once."""

    announcements: tuple[str, ...]
    first: Address | None


async def migrate_database(settings: Settings) -> None:
    """Bring the database to this version. Raises StartFailed when Postgres cannot be reached or refuses."""
    from scheduler.domain.errors import Unavailable
    from scheduler.store.migrations import migrate

    try:
        await migrate(settings.database_url, shards=settings.shards)
    except (OSError, Unavailable) as error:
        raise StartFailed(f"BRIM_DATABASE_URL: Postgres cannot be reached: {error}") from error

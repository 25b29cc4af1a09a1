"""The one place where `brim-server` reaches into the core: migrations and the declarative set-up."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from brim_server.running.failure import StartFailed
from scheduler.bootstrap import open_core
from scheduler.domain.errors import BrimError, Unavailable
from scheduler.services.setup.declaration import AppliedConfiguration, AppliedObject, apply_configuration
from scheduler.settings import Settings
from scheduler.store.migrations import migrate


@dataclass(frozen=True, slots=True)
class Address:
    """How a caller reaches the first environment of a set-up. api_key is None when only its hash is known."""

    workspace_id: str
    environment_id: str
    api_key: str | None


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a set-up did. announcements: new objects, their ids and made keys, to be printed once."""

    announcements: tuple[str, ...]
    first: Address | None


async def migrate_database(settings: Settings) -> None:
    """Bring the database to this version. Raises StartFailed when Postgres cannot be reached or refuses."""
    with _told("BRIM_DATABASE_URL"):
        await migrate(settings.database_url, shards=settings.shards)


async def apply(settings: Settings, file: Path) -> Applied:
    """Make what the TOML `file` says exist; repeating it changes nothing.

    Raises StartFailed naming the file and the place in it, or the server that cannot be reached.
    """
    text = _read(file)
    with _told(str(file)):
        async with open_core(settings, max_connections=2) as core:
            applied = await apply_configuration(core, text)
    return Applied(
        tuple(_announcement(each) for each in applied.objects if each.change != "unchanged" or each.made),
        _first_address(applied),
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StartFailed(f"{file} cannot be read: {error}") from error


def _announcement(applied: AppliedObject) -> str:
    said = f"{applied.change} {applied.kind.replace('_', ' ')} {applied.name}: {applied.object_id}"
    return f"{said}, key {applied.key} (shown this once)" if applied.made else said


def _first_address(applied: AppliedConfiguration) -> Address | None:
    """Return the first environment, and the first key of it that is known."""
    workspace = environment = key = None
    for each in applied.objects:
        match each.kind:
            case "workspace" if environment is None:
                workspace = str(each.object_id)
            case "environment" if environment is None:
                environment = str(each.object_id)
            case "workspace" | "environment":
                break
            case "api_key" if key is None:
                key = each.key
    return None if workspace is None or environment is None else Address(workspace, environment, key)


@contextlib.contextmanager
def _told(where: str) -> Iterator[None]:
    """Turn the core's errors into what a person reads; `where` is what they can change."""
    try:
        yield
    except (BrimError, OSError) as error:
        if isinstance(error, Unavailable):
            where = "Postgres or Redis"
        raise StartFailed("\n  ".join([f"{where}: {error}", *_details(error)])) from error


def _details(error: Exception) -> list[str]:
    details = error.details if isinstance(error, BrimError) else None
    problems = (details or {}).get("errors", [])
    # The first one is the message already.
    return [": ".join(filter(None, (problem.get("field"), problem.get("message")))) for problem in problems[1:]]

"""The one place where `brim-server` reaches into the core: migrations and the declarative set-up."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from brim_server.running.failure import StartFailed
from scheduler.bootstrap import open_core
from scheduler.domain.errors import BrimError, Unavailable
from scheduler.services.setup.declaration import AppliedConfiguration, AppliedObject, apply_configuration
from scheduler.settings import Settings
from scheduler.store.migrations import migrate


@dataclass(frozen=True, slots=True)
class Address:
    """How a caller reaches one environment of a set-up. name: workspace/environment. api_key: the text of its first
    key that is known, else None. api_key_name: the first key of the set-up for it."""

    name: str
    workspace_id: str
    environment_id: str
    api_key: str | None = field(repr=False)
    api_key_name: str | None


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a set-up did. announcements: new and changed objects, their ids and made keys, to be printed
    once. addresses: all environments of the set-up, in its order."""

    announcements: tuple[str, ...]
    addresses: tuple[Address, ...]


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
        tuple(_addresses(applied)),
    )


async def is_set_up(settings: Settings) -> bool:
    """Return whether there is a resource that callers could name."""
    with _told("BRIM_DATABASE_URL"):
        async with open_core(settings, max_connections=1) as core:
            return bool(await core.store.setup.resources())


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StartFailed(f"{file} cannot be read: {error}") from error


def _announcement(applied: AppliedObject) -> str:
    said = f"{applied.change} {applied.kind.replace('_', ' ')} {applied.name}: {applied.object_id}"
    return f"{said}, key {applied.key} (shown this once)" if applied.made else said


def _addresses(applied: AppliedConfiguration) -> Iterator[Address]:
    """Tell each environment with its keys, which follow it."""
    workspace: AppliedObject | None = None
    environment: AppliedObject | None = None
    keys: list[AppliedObject] = []
    for each in applied.objects:
        match each.kind:
            case "workspace" | "environment":
                if workspace is not None and environment is not None:
                    yield _address(workspace, environment, keys)
                keys, environment = [], each if each.kind == "environment" else None
                workspace = each if each.kind == "workspace" else workspace
            case "api_key":
                keys.append(each)
    if workspace is not None and environment is not None:
        yield _address(workspace, environment, keys)


def _address(workspace: AppliedObject, environment: AppliedObject, keys: list[AppliedObject]) -> Address:
    return Address(
        f"{workspace.name}/{environment.name}",
        str(workspace.object_id),
        str(environment.object_id),
        next((each.key for each in keys if each.key is not None), None),
        keys[0].name if keys else None,
    )


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

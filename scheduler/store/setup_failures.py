"""What a refused change of a set-up object means to its author."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import asyncpg

from scheduler.domain.errors import Conflict, Invalid, NotFound
from scheduler.store.rows import Row

_MISSING = {
    "environments_workspace_id_fkey": ("WORKSPACE_NOT_FOUND", "The workspace does not exist."),
    "resource_targets_name_a_connection": (
        "AI_CONNECTION_NOT_FOUND",
        "A target names a connection that does not exist in this environment.",
    ),
}
_NO_ENVIRONMENT = ("ENVIRONMENT_NOT_FOUND", "The environment does not exist in this workspace.")


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Name the object and the reason when Postgres refuses to create or change `what`.

    Raises Conflict ALREADY_EXISTS, NotFound for a missing parent or connection, Invalid for a text or a number
    that cannot be stored.
    """
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        part = "name" if "name" in (error.constraint_name or "") else "id or key"
        raise Conflict(f"This {what}'s {part} is taken already.", code="ALREADY_EXISTS") from error
    except asyncpg.ForeignKeyViolationError as error:
        code, message = _MISSING.get(error.constraint_name or "", _NO_ENVIRONMENT)
        raise NotFound(message, code=code) from error
    except (asyncpg.CharacterNotInRepertoireError, UnicodeError) as error:
        raise Invalid(f"A text of this {what} holds a character that cannot be stored.") from error
    except asyncpg.DataError as error:
        raise Invalid(f"A value of this {what} is out of range.") from error


def still_used(what: str, users: Sequence[Row]) -> Conflict:
    """The refusal to delete something that others refer to, naming the first of them."""
    names = ", ".join(f"{user['kind']} {user['name']}" for user in users) or "something made just now"
    return Conflict(f"This {what} is still used by {names}.", code="INVALID_STATE")

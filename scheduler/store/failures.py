"""From asyncpg's exceptions to our families."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from scheduler.domain.errors import BrimError, InvariantBroken, Unavailable

_PASSING = (
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,  # shutdown, cannot connect now, cancelled by time-out
    asyncpg.exceptions.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.exceptions.TransactionRollbackError,  # deadlock, serialization
    asyncpg.exceptions.InvalidTransactionStateError,  # read-only (a standby), idle too long in a transaction
    asyncpg.exceptions.ObjectNotInPrerequisiteStateError,  # lock not available in time
    asyncpg.exceptions.OutdatedSchemaCacheError,  # a migration ran beside us; the next call prepares anew
    asyncpg.exceptions.InvalidCachedStatementError,
    OSError,  # refused, reset; TimeoutError is one
)


def is_passing(error: BaseException) -> bool:
    """Whether the same call may work a little later: the server or the way to it is in trouble, not the call."""
    if isinstance(error, asyncpg.DataError):
        return False
    return isinstance(error, (*_PASSING, asyncpg.InterfaceError, asyncpg.InternalClientError))


@contextmanager
def translated() -> Iterator[None]:
    """Turn what asyncpg raises inside into errors.Unavailable or errors.InvariantBroken; ours pass through."""
    try:
        yield
    except BrimError:
        raise
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(f"The certificate of the database is not accepted: {error.verify_message}.") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        if is_passing(error):
            raise Unavailable("The database is not reachable at the moment.") from error
        # Not the error's own text: it may quote a body or a secret.
        constraint = getattr(error, "constraint_name", None)
        raise InvariantBroken(
            f"postgres refused a statement: {type(error).__name__}" + (f" ({constraint})" if constraint else "")
        ) from error

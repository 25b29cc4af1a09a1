"""How we connect to Postgres: session settings, and patience at the start."""

from __future__ import annotations

import ssl

import asyncpg
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_delay, wait_random_exponential

from scheduler.store.failures import is_passing

CONNECT_PATIENCE_S = 30.0
_TOLD_AT_TRY = 3
CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 30.0

_log = structlog.get_logger(__name__)

SESSION = {
    "application_name": "brim",
    "timezone": "UTC",
    # Nobody may hold a batch row while it thinks.
    "idle_in_transaction_session_timeout": "2s",
    "jit": "off",
    # A host that vanished must not keep its locks for the two hours of TCP's default.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # Every query of ours is a walk along an index with few rows at each step. A plan made while the tables were
    # empty must be the right one when they hold millions, so the planner gets no other choice.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
}


def patiently() -> AsyncRetrying:
    """Try to connect for up to 30 s: the database may still be starting, and at the third try that is told. The last
    error is raised as it is, that of a certificate at once."""
    return AsyncRetrying(
        retry=retry_if_exception(
            lambda error: is_passing(error) and not isinstance(error, ssl.SSLCertVerificationError)
        ),
        stop=stop_after_delay(CONNECT_PATIENCE_S),
        wait=wait_random_exponential(multiplier=0.1, max=2.0),
        before_sleep=_tell,
        reraise=True,
    )


def _tell(state: RetryCallState) -> None:
    if state.attempt_number == _TOLD_AT_TRY:
        error = state.outcome.exception() if state.outcome else None
        _log.warning("postgres.awaited", patience_s=CONNECT_PATIENCE_S, reason=str(error) or type(error).__name__)


async def connect(dsn: str, *, command_timeout_s: float | None = None) -> asyncpg.Connection:
    """A connection of its own, outside the pool. Raises asyncpg's errors as they are."""
    return await asyncpg.connect(
        dsn, timeout=CONNECT_TIMEOUT_S, command_timeout=command_timeout_s, server_settings=SESSION
    )

"""What went wrong with Postgres: gone, busy, or merely asked the wrong thing."""

from collections.abc import Iterator
from typing import Final

import psycopg
from psycopg_pool import PoolTimeout, TooManyRequests

#: SQLSTATE classes and codes that say the server as a whole does not serve, not that this statement was wrong.
_OUTAGE_STATES: Final = ("08", "57P", "53", "58", "25006")
#: Deadlock, serialization failure, statement and lock timeout: the same request may pass a moment later.
_TRANSIENT_STATES: Final = ("40001", "40P01", "55P03", "57014")
#: Every connection of the pool was busy, which says nothing about Postgres: one that cannot be reached trips the
#: breaker itself, from the pool's thread that tries to connect.
_BUSY: Final = (PoolTimeout, TooManyRequests)

_CLIENT_ERRORS: Final = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)


class PostgresDeadlineError(psycopg.OperationalError):
    """Root of this package's errors."""


class DeadlineExpired(PostgresDeadlineError):
    """Postgres did not answer in time, so the connection was closed; whether a COMMIT under way happened is unknown."""


def is_outage(error: BaseException) -> bool:
    """Whether `error` (psycopg's, or Django's that wraps it) says that Postgres cannot be reached or does not serve."""
    return any(_is_outage(cause) for cause in _psycopg_errors(error))


def is_transient(error: BaseException) -> bool:
    """Whether `error` is a conflict, a timeout inside a Postgres that serves, a busy pool or a stale plan: repeat."""
    return is_stale_plan(error) or any(
        isinstance(cause, _BUSY) or (cause.sqlstate or "").startswith(_TRANSIENT_STATES)
        for cause in _psycopg_errors(error)
    )


def is_stale_plan(error: BaseException) -> bool:
    """Whether `error` says that a table has changed since a statement on it was prepared: it did nothing."""
    return any(cause.diag.source_function == "RevalidateCachedQuery" for cause in _psycopg_errors(error))


def is_busy(error: BaseException) -> bool:
    """Whether `error` says that no connection was free in time: nothing was sent."""
    return any(isinstance(cause, _BUSY) for cause in _psycopg_errors(error))


def _is_outage(error: psycopg.Error) -> bool:
    if error.sqlstate:
        return error.sqlstate.startswith(_OUTAGE_STATES)
    # Without SQLSTATE the message is the client's own: refused, reset, closed, deadline; and "2 results" of a
    # COMMIT that the last word of the server and the end of the connection answered.
    return isinstance(error, _CLIENT_ERRORS) and not isinstance(error, _BUSY)


def _psycopg_errors(error: BaseException) -> Iterator[psycopg.Error]:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, psycopg.Error):
            yield seen
        seen = seen.__cause__

"""A bound on every wait for Postgres, also for one that accepts connections and never answers.

libpq waits for ever on a frozen server, and `statement_timeout` is enforced by the very server that is frozen. So the
bound is on our side: Django's ENGINE is `postgres_deadline.backend`, `options()` its OPTIONS, and every wait of its
pool and connections ends at the deadline of the calling context. At that moment the libpq connection is closed, because
its state is unknown.

    with postgres_deadline.deadline(2.0):   # one budget for getconn, every statement and COMMIT
        ...

A COMMIT whose answer did not arrive is neither done nor undone: repeat the request under the same key.
Outside of `deadline()` one wait may take DEFAULT_WAIT_SECONDS; `unbounded()` lifts that for migrations.
"""

from postgres_deadline import read_only
from postgres_deadline.breaker import Breaker, breaker
from postgres_deadline.budget import DEFAULT_WAIT_SECONDS, deadline, extend, paused, remaining, unbounded
from postgres_deadline.connection import DeadlineConnection
from postgres_deadline.errors import (
    DeadlineExpired,
    PostgresDeadlineError,
    is_busy,
    is_outage,
    is_stale_plan,
    is_transient,
)
from postgres_deadline.pool import options

__all__ = [
    "DEFAULT_WAIT_SECONDS",
    "Breaker",
    "DeadlineConnection",
    "DeadlineExpired",
    "PostgresDeadlineError",
    "breaker",
    "deadline",
    "extend",
    "is_busy",
    "is_outage",
    "is_stale_plan",
    "is_transient",
    "options",
    "paused",
    "read_only",
    "remaining",
    "unbounded",
]

"""The pool, Django's OPTIONS for it, and what a fork must not inherit."""

import os
from typing import Any, Final

from psycopg_pool import ConnectionPool

from postgres_deadline import budget, read_only
from postgres_deadline.connection import DeadlineConnection

#: Seconds a caller waits for a connection from the pool.
GETCONN_SECONDS: Final = 1.0

#: Pools and connections of the parent process, kept so that no destructor in the child touches the shared sockets.
_inherited: Final[list[object]] = []


class DeadlinePool(ConnectionPool[DeadlineConnection]):
    """psycopg's pool, with the caller's deadline over the wait for a connection too."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - as psycopg's
        super().__init__(connection_class=DeadlineConnection, check=_check, **options)

    def getconn(self, timeout: float | None = None) -> DeadlineConnection:
        """As psycopg's, for at most what is left of the deadline. Raises PoolTimeout."""
        wait, left = self.timeout if timeout is None else timeout, budget.remaining()
        return super().getconn(wait if left is None else min(wait, left))


def _check(connection: DeadlineConnection) -> None:
    """One round trip when a connection is lent: it lives, and its session refuses writes or does not, as is wanted."""
    connection.autocommit = True
    if read_only.is_wanted():
        # Even if it stands so already: who had the session before may have set it otherwise.
        connection.execute("SET default_transaction_read_only = on")
        connection.refuses_writes = True
    elif connection.refuses_writes:
        connection.execute("SET default_transaction_read_only = off")
        connection.refuses_writes = False
    else:
        connection.execute("")


def options(*, pool_size: int) -> dict[str, Any]:
    """OPTIONS of a Django database: at most `pool_size` connections per process, every wait bounded."""
    return {
        "connect_timeout": 2,
        # A partitioned peer is noticed by the kernel also where nobody waits with a deadline.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        # timezone: Django would set it with a round trip per connection, in a pool thread.
        # client_connection_check_interval: the server drops a statement whose client has hung up, after 1 s.
        # enable_seqscan: the plan of a prepared statement is made while its table is small and outlives its growth.
        # jit: where nothing but a sequential scan will do, its forbidding price would have every such plan compiled.
        "options": "-c timezone=UTC -c client_connection_check_interval=1000 -c enable_seqscan=off -c jit=off",
        # psycopg's own cursors prepare each statement at its first use, see jobs.prepared. Django's never do.
        "prepare_threshold": 0,
        "pool": {
            "min_size": 1,
            "max_size": pool_size,
            "timeout": GETCONN_SECONDS,
            # 0: after two failures an attempt is given up and the next caller starts a new one. With the default the
            # back-off reaches half a minute, which the first callers after an outage would sit out.
            "reconnect_timeout": 0,
            "num_workers": 2,
        },
    }


def _leave_pools_to_the_parent() -> None:
    # Only after a fork, and only where Django is in use: this package serves plain psycopg as well.
    from django.db import connections
    from django.db.backends.postgresql.base import DatabaseWrapper

    pools: dict[str, object] = DatabaseWrapper._connection_pools  # type: ignore[attr-defined]  # no hook for forks
    _inherited.extend(pools.values())
    pools.clear()
    for wrapper in connections.all(initialized_only=True):
        if wrapper.connection is not None:
            _inherited.append(wrapper.connection)
            wrapper.connection = None


os.register_at_fork(after_in_child=_leave_pools_to_the_parent)

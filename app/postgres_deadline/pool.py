"""Django's OPTIONS for Postgres: the pool, its connection class, and what a fork must not inherit."""

import os
from typing import Any, Final

from postgres_deadline.connection import DeadlineConnection

#: Seconds a caller waits for a connection from the pool.
GETCONN_SECONDS: Final = 1.0

#: Pools and connections of the parent process, kept so that no destructor in the child touches the shared sockets.
_inherited: Final[list[object]] = []


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
        "options": "-c timezone=UTC -c client_connection_check_interval=1000",
        "pool": {
            "connection_class": DeadlineConnection,
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

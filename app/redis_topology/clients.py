"""redis-py clients for a topology: a pool, no hidden retries, bounded waits."""

from typing import Any

import redis
import redis.sentinel
from redis.backoff import NoBackoff
from redis.connection import Connection, SSLConnection
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from redis_topology import timeouts, watcher
from redis_topology.connections import PrimaryConnection, PrimaryTlsConnection
from redis_topology.topologies import Sentinel, Topology


def never_again() -> Retry:
    """No retry inside redis-py. A replayed LPUSH is a second message; whoever may repeat decides so itself."""
    return Retry(NoBackoff(), 0)


def no_notifications() -> MaintNotificationsConfig:
    """Saves the round trip on every connect that asks for Redis Enterprise's maintenance notices."""
    return MaintNotificationsConfig(enabled=False)


def sentinel_options(topology: Sentinel) -> dict[str, Any]:
    """Connection arguments towards the Sentinels."""
    return {
        "username": topology.sentinel_username,
        "password": topology.sentinel_password,
        **watcher.IMPATIENT,
        "maint_notifications_config": no_notifications(),
        **({"ssl": True} if topology.tls else {}),
    }


def primary(
    topology: Topology,
    *,
    socket_timeout: float = timeouts.COMMAND,
    socket_connect_timeout: float = timeouts.CONNECT,
    db: int | None = None,
    max_connections: int | None = None,
) -> redis.Redis:
    """A client of the node that takes writes, with its own pool; `db` defaults to the topology's.

    Errors are redis-py's (ConnectionError, TimeoutError; with Sentinel also MasterNotFoundError, which is a
    ConnectionError). Thread-safe; make one per process, after the fork, and keep it.
    """
    arguments: dict[str, Any] = {
        "db": topology.db if db is None else db,
        "username": topology.username,
        "password": topology.password,
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": socket_connect_timeout,
        "health_check_interval": timeouts.HEALTH_CHECK_INTERVAL,
        "retry": never_again(),
        "maint_notifications_config": no_notifications(),
    }
    if max_connections is not None:
        arguments["max_connections"] = max_connections
    return redis.Redis.from_pool(_pool(topology, arguments))


def _pool(topology: Topology, arguments: dict[str, Any]) -> redis.ConnectionPool:
    if isinstance(topology, Sentinel):
        return redis.sentinel.SentinelConnectionPool(  # type: ignore[no-untyped-call]
            topology.primary_name,
            sentinel_manager(topology),
            connection_class=PrimaryTlsConnection if topology.tls else PrimaryConnection,
            **arguments,
        )
    return redis.ConnectionPool(
        connection_class=SSLConnection if topology.tls else Connection,
        host=topology.host,
        port=topology.port,
        **arguments,
    )


def sentinel_manager(topology: Sentinel) -> "Sentinels":
    """What asks the Sentinels in turn who leads."""
    return Sentinels(topology.sentinels, sentinel_kwargs=sentinel_options(topology))  # type: ignore[no-untyped-call]


class Sentinels(redis.sentinel.Sentinel):
    """redis-py's, with a clear word about a wrong password: upstream reports it as a primary that is not there."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Address of the primary. Raises AuthenticationError, or MasterNotFoundError (both are ConnectionErrors)."""
        try:
            host, port = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except redis.sentinel.MasterNotFoundError as error:
            if "AuthenticationError" not in str(error):
                raise
            username = self.sentinel_kwargs.get("username") or "default"
            raise redis.AuthenticationError(
                f"the Sentinels refuse the name and password of user {username!r}: check SENTINEL_PASSWORD and"
                " sentinel_username in REDIS_URL"
            ) from error
        return host, port

"""Connections to the primary that the Sentinels name, and that follow it: see `redis_topology.watcher`.

One class per transport. kombu, django-redis and redis-py are all given these.
"""

from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from redis_topology import watcher


class _Following:
    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # the mixin stands before a redis-py connection
        if self.connection_pool.is_master:  # type: ignore[attr-defined]
            watcher.follow(self)


class PrimaryConnection(_Following, SentinelManagedConnection):
    """To whichever node the Sentinels call primary at the time of connecting."""


class PrimaryTlsConnection(_Following, SentinelManagedSSLConnection):
    """To whichever node the Sentinels call primary, over TLS."""

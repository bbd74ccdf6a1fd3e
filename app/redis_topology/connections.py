"""The connections that this project opens to Redis: one class per topology and transport, with one hook.

Every data connection registers itself here when it connects. A watcher of `+switch-master` walks `live()` and shuts
down what still leads to the old primary: that wakes a blocked read in any thread.
"""

import weakref
from collections.abc import Iterator
from typing import Any

from redis.connection import Connection, SSLConnection
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

_live: weakref.WeakSet[Any] = weakref.WeakSet()


class _Registered:
    """Remembers the connection from its first connect on; a fork's child keeps its parent's entries but shares none
    of their sockets, and redis-py drops those on first use."""

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # the mixin stands before a redis-py connection
        _live.add(self)


class NodeConnection(_Registered, Connection):
    """To a node by address."""


class NodeTlsConnection(_Registered, SSLConnection):
    """To a node by address, over TLS."""


class PrimaryConnection(_Registered, SentinelManagedConnection):
    """To whichever node the Sentinels call primary at the time of connecting."""


class PrimaryTlsConnection(_Registered, SentinelManagedSSLConnection):
    """To whichever node the Sentinels call primary, over TLS."""


def live() -> Iterator[Any]:
    """The connections of this process that have a socket; each has `host`, `port` and `_sock`."""
    return (connection for connection in list(_live) if connection._sock is not None)

"""A topology as a django-redis entry of `CACHES`: one pool to the primary, no reads from replicas."""

from typing import Any

from redis.connection import Connection, SSLConnection

from redis_topology import timeouts
from redis_topology.clients import never_again, no_notifications, sentinel_options
from redis_topology.connections import PrimaryConnection, PrimaryTlsConnection
from redis_topology.topologies import Sentinel, Standalone, Topology


def render(topology: Topology, *, key_prefix: str) -> dict[str, Any]:
    """LOCATION, KEY_PREFIX and OPTIONS. Locks and rate limits need the primary, so nothing reads a replica."""
    own = _sentinel(topology) if isinstance(topology, Sentinel) else _standalone(topology)
    return {
        "LOCATION": own["location"],
        "KEY_PREFIX": key_prefix,
        "OPTIONS": {**_shared(topology, connection_class=own["connection_class"]), **own["options"]},
    }


def _shared(topology: Topology, *, connection_class: type) -> dict[str, Any]:
    return {
        "USERNAME": topology.username,
        "PASSWORD": topology.password,
        "SOCKET_CONNECT_TIMEOUT": timeouts.CONNECT,
        "SOCKET_TIMEOUT": timeouts.COMMAND,
        "CONNECTION_POOL_KWARGS": {
            "connection_class": connection_class,
            "retry": never_again(),
            "maint_notifications_config": no_notifications(),
            "health_check_interval": timeouts.HEALTH_CHECK_INTERVAL,
        },
    }


def _standalone(topology: Standalone) -> dict[str, Any]:
    host = f"[{topology.host}]" if ":" in topology.host else topology.host
    return {
        "location": f"redis://{host}:{topology.port}/{topology.cache_db}",
        "connection_class": SSLConnection if topology.tls else Connection,
        "options": {},
    }


def _sentinel(topology: Sentinel) -> dict[str, Any]:
    # django-redis keeps pools by LOCATION alone: the primary's name and database make it ours.
    return {
        "location": f"redis://{topology.primary_name}/{topology.cache_db}?is_master=1",
        "connection_class": PrimaryTlsConnection if topology.tls else PrimaryConnection,
        "options": {
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": list(topology.sentinels),
            "SENTINEL_KWARGS": sentinel_options(topology),
        },
    }

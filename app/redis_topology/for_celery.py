"""A topology as Celery settings: broker and result backend."""

import ssl
from typing import Any, Final
from urllib.parse import quote

from redis_topology import timeouts
from redis_topology.clients import sentinel_options
from redis_topology.topologies import Sentinel, Standalone, Topology

#: How a channel that Celery opens in passing (remote control's answers) connects again. Seconds. It blocks the worker's
#: event loop, hence the short total; the consumer's own reconnect is not bounded by it.
RECONNECT: Final = {"interval_start": 0, "interval_step": 0.02, "interval_max": 0.1, "connect_retries_timeout": 2}

#: How a result is written again: about 12 s in all, longer than a failover. Seconds and tries.
RESULT_RETRY: Final = {"interval_start": 0, "interval_step": 0.05, "interval_max": 0.2, "max_retries": 60}


def render(topology: Topology) -> dict[str, Any]:
    """Lower-case Celery settings. No key prefix: stream and queues must share one MULTI."""
    url = _sentinel_url(topology) if isinstance(topology, Sentinel) else _node_url(topology)
    found_by = _discovery(topology) if isinstance(topology, Sentinel) else {}
    return {
        "broker_url": url,
        "broker_transport_options": {**found_by, **_transport_options()},
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # NOREPLICAS, OOM and UNBLOCKED are reconnects; by default they end the worker.
        "broker_channel_error_retry": True,
        "result_backend": url,
        "result_backend_transport_options": {**found_by, "retry_policy": dict(RESULT_RETRY)},
        "redis_socket_timeout": timeouts.COMMAND,
        "redis_socket_connect_timeout": timeouts.CONNECT,
        "redis_socket_keepalive": True,
        "redis_backend_health_check_interval": timeouts.HEALTH_CHECK_INTERVAL,
        **_tls(topology),
    }


def _transport_options() -> dict[str, Any]:
    return {
        "socket_connect_timeout": timeouts.CONNECT,
        "socket_timeout": timeouts.COMMAND,
        "socket_keepalive": True,
        "health_check_interval": timeouts.HEALTH_CHECK_INTERVAL,
        "visibility_timeout": timeouts.VISIBILITY,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        # The holder of the mutex may die; by default nobody restores for 300 s then.
        "unacked_mutex_expire": 10,
        **RECONNECT,
    }


def _discovery(topology: Sentinel) -> dict[str, Any]:
    return {"master_name": topology.primary_name, "sentinel_kwargs": sentinel_options(topology)}


def _tls(topology: Topology) -> dict[str, Any]:
    if not topology.tls:
        return {}
    checked = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    return {"broker_use_ssl": checked, "redis_backend_use_ssl": dict(checked)}


def _node_url(topology: Standalone) -> str:
    scheme = "rediss" if topology.tls else "redis"
    return f"{scheme}://{_userinfo(topology)}{_host(topology.host)}:{topology.port}/{topology.db}"


def _sentinel_url(topology: Sentinel) -> str:
    """One URL per Sentinel, joined by `;`: kombu reads the addresses from all and the rest from the first."""
    userinfo = _userinfo(topology)
    return ";".join(f"sentinel://{userinfo}{_host(host)}:{port}/{topology.db}" for host, port in topology.sentinels)


def _userinfo(topology: Topology) -> str:
    if topology.username is None and topology.password is None:
        return ""
    return f"{quote(topology.username or '', safe='')}:{quote(topology.password or '', safe='')}@"


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host

"""Standalone Redis or Sentinel behind one URL, rendered for Celery, Django's cache and redis-py.

`parse` is the only way in; what it returns renders itself. Knows neither Django nor Celery. Connections to Redis are
made by one family of classes (`connections`), so that whoever watches for failovers can reach every one of them.

A Celery app that has nothing else of ours follows its primary, too: it keeps its `broker_url` (`sentinel://…`), and
before its first connection says

    from kombu.transport.redis import SentinelChannel
    from redis_topology.connections import PrimaryConnection
    SentinelChannel.connection_class = PrimaryConnection

so that a worker is not left waiting on a primary that froze. What else of Celery's a failover breaks stays as it is:
see `worker.consumer` and `worker.qos`.
"""

from redis_topology.topologies import Sentinel, Standalone, Topology
from redis_topology.url import RedisUrlError, parse

__all__ = ["RedisUrlError", "Sentinel", "Standalone", "Topology", "parse"]

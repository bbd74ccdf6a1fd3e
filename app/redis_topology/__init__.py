"""Standalone Redis or Sentinel behind one URL, rendered for Celery, Django's cache and redis-py.

`parse` is the only way in; what it returns renders itself. Knows neither Django nor Celery. Connections to Redis are
made by one family of classes (`connections`), so that whoever watches for failovers can reach every one of them.
"""

from redis_topology.topologies import Sentinel, Standalone, Topology
from redis_topology.url import RedisUrlError, parse

__all__ = ["RedisUrlError", "Sentinel", "Standalone", "Topology", "parse"]

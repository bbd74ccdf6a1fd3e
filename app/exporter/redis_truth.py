"""What Redis holds: hints ready per pool and priority, the stream and its group, the broker epoch. Reads only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis
from django.conf import settings
from prometheus_client.core import Metric

import redis_topology.clients
from dispatch import messages
from dispatch.dispatcher import EPOCH_KEY
from dispatch.pools import POOLS, Priority
from exporter.families import family, single
from metrics import catalogue

#: Seconds of one connect and of one answer; discovery past two silent Sentinels comes on top.
SOCKET_SECONDS: Final = 1.0

#: kombu's hash of messages that a consumer holds; one per database, all queues together.
UNACKED_KEY: Final = "unacked"


@dataclass(frozen=True, slots=True)
class Stream:
    """One look at the stream and its consumer group."""

    length: int
    pending: int
    oldest_pending_seconds: float
    lag: int | None  #: None: Redis cannot tell (entries between were deleted)


class RedisTruth:
    """Asks the primary. Keeps one client, because a Sentinel-aware pool follows a failover by itself."""

    def __init__(self, client: redis.Redis | None = None) -> None:
        self._client = client or redis_topology.clients.primary(
            settings.REDIS_TOPOLOGY, socket_timeout=SOCKET_SECONDS, socket_connect_timeout=SOCKET_SECONDS
        )

    def read(self) -> Sequence[Metric]:
        """Every family that comes from Redis. Raises redis.RedisError."""
        return [*self._queues(), *self._stream(), *self._broker()]

    def _queues(self) -> Iterator[Metric]:
        lists = {
            (pool.name, priority.word): name
            for pool in POOLS.values()
            for priority, name in zip(Priority, messages.ready_lists(pool.queue), strict=True)
        }
        with self._client.pipeline(transaction=False) as pipeline:
            for name in lists.values():
                pipeline.llen(name)
            pipeline.hlen(UNACKED_KEY)
            *depths, unacked = pipeline.execute()
        yield family(catalogue.QUEUE_DEPTH, zip(lists, map(float, depths), strict=True))
        yield single(catalogue.QUEUE_UNACKED, unacked)

    def _stream(self) -> Iterator[Metric]:
        name, group = settings.HOLDFAST.ndvi_stream_name, settings.HOLDFAST.ndvi_stream_group
        stream = look_at_stream(self._client, name, group)
        yield single(catalogue.STREAM_LENGTH, stream.length, name)
        yield single(catalogue.STREAM_PENDING, stream.pending, name, group)
        yield single(catalogue.STREAM_PENDING_AGE, stream.oldest_pending_seconds, name, group)
        yield single(catalogue.STREAM_LAG_UNKNOWN, stream.lag is None, name)
        if stream.lag is not None:
            yield single(catalogue.STREAM_LAG, stream.lag, name)

    def _broker(self) -> Iterator[Metric]:
        dead_letters = settings.HOLDFAST.ndvi_stream_dlq_name
        yield single(catalogue.STREAM_DEAD_LETTERS, self._client.xlen(dead_letters), dead_letters)
        yield single(catalogue.BROKER_EPOCH_KNOWN, self._client.exists(EPOCH_KEY))


def look_at_stream(client: redis.Redis, name: str, group: str) -> Stream:
    """The stream as it stands; all zero where no entry was ever added. Raises redis.RedisError."""
    length = client.xlen(name)
    found = _group(client, name, group) if client.exists(name) else None
    if found is None:
        # Without a group nothing was delivered: all of the stream is still to come.
        return Stream(length, pending=0, oldest_pending_seconds=0.0, lag=length)
    pending = int(found["pending"])
    age = _oldest_pending_seconds(client, name, group) if pending else 0.0
    # A null lag is not 0: Redis lost count, and only a reader knows.
    return Stream(length, pending, age, None if found["lag"] is None else int(found["lag"]))


def _group(client: redis.Redis, name: str, group: str) -> Mapping[str, Any] | None:
    groups = client.xinfo_groups(name)
    return next((one for one in groups if _text(one["name"]) == group), None)


def _oldest_pending_seconds(client: redis.Redis, name: str, group: str) -> float:
    summary = client.xpending(name, group)
    if summary["min"] is None:
        return 0.0
    added_ms = int(_text(summary["min"]).partition("-")[0])
    seconds, microseconds = client.time()
    return max(0.0, seconds + microseconds / 1e6 - added_ms / 1e3)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
